"""Runs inside the sandbox, after the text of an oracle: reads the case, calls the oracle, passes its findings out."""

import json
import os
import random
import signal
import sys

from selfcodealign.evaluation.oracles.common import unpacked
from selfcodealign.evaluation.oracles.inside import any_digits
from selfcodealign.evaluation.oracles.outside import LATE, Nursery


class Report:
    """What an oracle calls to pass a finding out, marked with a secret of this case."""

    def __init__(self, out, mark):
        self.out, self.mark = out, mark

    def write(self, finding):
        """Write one line."""
        self.out.write(self.mark + json.dumps(finding) + "\n")
        self.out.flush()

    def __call__(self, group, status, **measures):
        """Pass out what became of a group, or measures alone."""
        self.write({"group": group, "status": status, "measures": measures})

    def blob(self, name, text):
        """Pass out a text that is kept for later cases."""
        self.write({"blob": name, "text": text})


def late():
    """Return what comes after the nursery: the mark of findings, and what is wanted of the program."""
    size = os.fstat(LATE).st_size
    parts, at = [], 0
    while at < size:
        parts.append(os.pread(LATE, 1 << 20, at))
        at += len(parts[-1])
    os.close(LATE)
    return json.loads(b"".join(parts))


def drive():
    """Call the oracle's function that `judge.json` names: `decide` outside the program, the others beside it."""
    any_digits()
    with open("judge.json", encoding="utf-8") as file:
        given = json.load(file)
    os.unlink("judge.json")
    # Nothing that a program puts into its folder is imported here.
    sys.path[:] = [entry for entry in sys.path if entry not in ("", "/tmp")]
    program, data = given["program"], given["data"]
    inputs = {name: unpacked(text) for name, text in given["blobs"].items()}.get("inputs", {})
    nursery = Nursery(program, data, inputs) if given["function"] == "decide" else None
    told = late()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    report = Report(out, told["mark"])
    try:
        if nursery is not None:
            globals()["decide"](nursery, data, told["secret"], inputs, report)
        else:
            beside(given["function"], program, {**data, **told["secret"]}, report)
    except BaseException as error:  # SystemExit too: leaving early is no pass
        failed(report, error)
    os._exit(0)  # and the kernel ends all that is left


def beside(function, program, data, report):
    """Call an oracle that loads the program into its own process.

    It ends a program that is stuck in C code by a timer's signal, which the first process of a namespace would not
    heed: so this is a second one.
    """
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGVTALRM:
            report.write({"ended": "timeout"})
        return
    leave = os._exit
    sys.path.insert(0, "/tmp")
    # Each fork gives `random` a seed of the moment; a verdict must not depend on it, nor on a program's own text.
    random.seed(0)
    try:
        globals()[function](program, data, report)
    except BaseException as error:
        failed(report, error)
    leave(0)  # threads that the program left behind must not keep the case alive


def failed(report, error):
    """Report an error that no oracle expected."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException:
        text = type(error).__name__
    report("", "error", error=text[:500])


drive()
