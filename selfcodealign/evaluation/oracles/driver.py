"""Runs inside the sandbox, after the text of a judge: reads the case, calls the judge, passes its findings out."""


def drive():
    """Call the judge's function that `judge.json` names, and write a marked line for each finding.

    Findings leave by a copy of stdout that the program does not know, each marked with a secret of this case; the
    program's own stdout goes nowhere. The secret is gone from disk before the program starts.
    """
    import base64
    import json
    import os
    import random
    import signal
    import zlib

    with open("judge.json", encoding="utf-8") as file:
        given = json.load(file)
    os.unlink("judge.json")
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    mark = given.pop("mark")

    def write(finding):
        out.write(mark + json.dumps(finding) + "\n")
        out.flush()

    class Report:
        """What a judge calls to pass a finding out."""

        def __call__(self, group, status, **measures):
            write({"group": group, "status": status, "measures": measures})

        def blob(self, value):
            """Pass out a byte string that is kept for later cases."""
            write({"blob": base64.b64encode(zlib.compress(value, 1)).decode()})

    # A judge ends a program that is stuck in C code by a timer's signal, which the first process of a namespace would
    # not heed: so the program runs in a second one.
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGVTALRM:
            write({"ended": "timeout"})
        os._exit(0)
    # Each fork gives `random` a seed of the moment; a verdict must not depend on it, nor on a program's own text.
    random.seed(0)
    report = Report()
    blobs = {name: zlib.decompress(base64.b64decode(text)) for name, text in given["blobs"].items()}
    leave = os._exit
    try:
        globals()[given["function"]](given["program"], given["data"], blobs, report)
    except BaseException as error:  # SystemExit too: leaving early is no pass
        try:
            text = f"{type(error).__name__}: {error}"
        except BaseException:
            text = type(error).__name__
        report("", "error", error=text[:500])
    leave(0)  # threads that the program left behind must not keep the case alive


drive()
