"""What several judges use. Its text precedes a judge's in the sandbox, where imports of this package are left out."""

import contextlib
import copy
import hashlib
import importlib
import io
import math
import os
import pickle
import random
import signal
import time
from typing import Any

LARGE = 1_000_000
"""Pickled bytes from which an expected output is kept as a fingerprint (four tasks have outputs of up to 780 MB)."""


GROUP_S = 60.0
"""Longest that one group of inputs may take, loading the program included; EvalPlus waits two seconds more."""

NUMBERS = (int, float, bool)


class TooSlow(BaseException):
    """One input took longer than its share of CPU time."""


class Fingerprint(tuple):
    """Stands for an expected output too large to keep."""


class Digester:
    """A file object that hashes and counts what is written."""

    def __init__(self):
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk):
        """Take in one chunk."""
        self.hash.update(chunk)
        self.size += len(chunk)


def fingerprint(value, least=0):
    """Hash a value by its pickle without shared references; None if its pickle is smaller than `least` bytes."""
    sink = Digester()
    pickler = pickle.Pickler(sink, protocol=4)
    pickler.fast = True  # no memo: equal values give equal bytes, whichever objects they share
    pickler.dump(value)
    return Fingerprint((sink.hash.hexdigest(), sink.size)) if sink.size >= least else None


def loaded(program, entry_point):
    """Execute a module's text and return its function; `if __name__ == "__main__"` does not run."""
    space: dict[str, Any] = {"__name__": "solution"}
    exec(compile(program, "<solution>", "exec"), space)
    return space[entry_point]


def reference_outputs(program, data, groups, report, convert=lambda output: output):
    """Run the authors' solution and report a pickle of (group, inputs, expected outputs, CPU seconds) for each group.

    `groups` maps a group's name to its list of argument lists; large outputs are kept as fingerprints.
    """
    with silent():
        function = loaded(program, data["entry_point"])
    found = []
    for group, inputs in groups.items():
        expected, seconds = [], []
        for arguments in copy.deepcopy(inputs):
            with silent():
                start = time.process_time()
                output = function(*arguments)
                seconds.append(time.process_time() - start)
            output = convert(output)
            expected.append(fingerprint(output, least=LARGE) or output)
        found.append((group, inputs, expected, seconds))
    report.blob(pickle.dumps(found, protocol=4))


def differential(program, data, blobs, report, matcher):
    """Compare a program's outputs with the reference's, group by group, stopping a group at its first failure.

    `data`: entry_point, reference (the authors' program), min_time_limit_s, factor. `matcher()` makes, for each group,
    a function (output, wanted, arguments) → whether they match, so that it may remember what came before.
    """
    known = pickle.loads(blobs["reference"])
    limits = [[max(data["min_time_limit_s"], data["factor"] * taken) for taken in seconds] for *_, seconds in known]
    budgets = [min(GROUP_S, sum(each)) + 2 for each in limits]
    start = time.process_time()
    try:
        with silent(), cpu_limit(max(budgets)):
            function = loaded(program, data["entry_point"])
    except TooSlow:
        for group, *_ in known:
            report(group, "timeout", **{group + "_detail": "loading the program took too long"})
        return
    loading_s = time.process_time() - start

    def judge_group(number):
        group, inputs, expected, _ = known[number]
        pairs = zip(inputs, expected, limits[number], strict=True)
        status, detail = compared(function, pairs, budgets[number] - loading_s, data, matcher())
        report(group, status, **({group + "_detail": detail} if detail else {}))

    for number, (group, *_) in enumerate(known):
        if number == len(known) - 1:
            judge_group(number)
        # As with the authors, no group sees what the program remembers of another, nor ends with it.
        elif child := os.fork():
            status = os.waitpid(child, 0)[1]
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGVTALRM:
                report(group, "timeout", **{group + "_detail": "one call into C took too long"})
        else:
            leave = os._exit
            random.seed(0)
            with contextlib.suppress(BaseException):
                judge_group(number)
            leave(0)


def compared(function, pairs, spare_s, data, matches):
    """Call a function on inputs until an output does not match; return the group's status and a detail.

    `pairs` yields (arguments, expected output, CPU seconds allowed); `spare_s` are the CPU seconds for all of them.
    """
    start = time.process_time()
    for number, (arguments, wanted, limit) in enumerate(pairs):
        limit = min(limit, spare_s - (time.process_time() - start))
        if limit <= 0:
            return "timeout", f"input {number}: no time is left for it"
        original = copy.deepcopy(arguments) if isinstance(wanted, Fingerprint) else None
        try:
            with silent(), cpu_limit(limit):
                output = function(*arguments)
            if original is not None:
                if fingerprint(output) == wanted:
                    continue
                # Unequal bytes may still be equal values: only the reference can tell.
                with silent():
                    wanted = loaded(data["reference"], data["entry_point"])(*original)
            if not matches(output, wanted, arguments):
                return "fail", f"input {number}: wrong output"
        except TooSlow:
            return "timeout", f"input {number} took more than {limit:.1f} s of CPU time"
        except BaseException as error:
            return "fail", f"input {number}: {describe(error)}"
    return "pass", ""


@contextlib.contextmanager
def silent():
    """Keep what a program prints out of the way."""
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield


@contextlib.contextmanager
def cpu_limit(seconds):
    """Raise TooSlow inside the block after that much CPU time of this process, however busy the machine is.

    Where one call into C code does not return, no exception can be raised: a second timer then ends the process.
    """

    def too_slow(signum, frame):
        raise TooSlow

    signal.signal(signal.SIGPROF, too_slow)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * seconds + 2)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def describe(error):
    """Name an error in one short line; a hostile `__str__` must not stop the judge."""
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return type(error).__name__


def close(output: Any, wanted: Any, rtol, atol, equal_nan=False):
    """Compare numbers elementwise, |a − b| ≤ atol + rtol |b|, as numpy's allclose does, which is asked only for arrays.

    Plain numbers and lists are compared here: numpy in the process would double what a case costs.
    """
    if type(output) in NUMBERS and type(wanted) in NUMBERS:
        if math.isnan(output) or math.isnan(wanted):
            return equal_nan and math.isnan(output) and math.isnan(wanted)
        if math.isinf(output) or math.isinf(wanted):
            return output == wanted
        return abs(output - wanted) <= atol + rtol * abs(wanted)
    if isinstance(output, (list, tuple)) and isinstance(wanted, (list, tuple)) and len(output) == len(wanted):
        return all(close(a, b, rtol, atol, equal_nan) for a, b in zip(output, wanted, strict=True))
    numpy = importlib.import_module("numpy")
    return bool(numpy.allclose(output, wanted, rtol=rtol, atol=atol, equal_nan=equal_nan))
