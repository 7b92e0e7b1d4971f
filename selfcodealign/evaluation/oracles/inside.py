"""The program's side of a judgement: load it as a module or run it as a script, call it, and write down what it did.

Nothing here decides, and nothing here knows what is wanted: all of it lies in the program's reach.
"""

import atexit
import builtins
import contextlib
import gc
import hashlib
import io
import json
import linecache
import marshal
import os
import random
import signal
import sys
import threading
import time
import types
from typing import Any

from selfcodealign.evaluation.oracles.codec import decode, encode
from selfcodealign.evaluation.oracles.compared import Watched, divided

WRITING_S = 10.0
"""CPU seconds, beyond an input's limit, in which its output must be written out, if it is not large."""
PART = 10_000
"""Items of a list that are written out together for its fingerprint."""
EXACT = 2
"""Version of `marshal` whose bytes depend on values alone, not on which objects are shared."""
MOST_WAITING, LONGEST_WAIT_S = 1 << 16, 0.02
"""Bytes of answers that are sent together, and seconds that the first of them may wait."""
SOLUTION, SCRIPT = "solution.py", "program.py"


class TooSlow(BaseException):
    """One input took longer than its share of CPU time."""


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


@contextlib.contextmanager
def silent():
    """Keep what a program prints out of the way."""
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield


def describe(error):
    """Name an error in one short line; a hostile `__str__` must not stop what asks."""
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return str(type(error).__name__)


def module(name, file, text):
    """Return a new module of a name, in the place where dataclasses, pickle and type hints look for it."""
    made = types.ModuleType(name)
    made.__file__ = os.path.abspath(file)
    sys.modules[name] = made
    linecache.cache[made.__file__] = linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    return made


def loaded(program, names=None):
    """Execute a text as the module `solution` and return its names; `if __name__ == "__main__"` does not run."""
    program = program.lstrip("\ufeff")
    made = module("solution", SOLUTION, program)
    made.__dict__.update(names or {})
    exec(compile(program, str(made.__file__), "exec", dont_inherit=True), made.__dict__)
    return made.__dict__


# ---- functions whose answers are values ----------------------------------------------------------------------------


class Link:
    """The program's end of the socket to its judge: a kind of one byte, eight of length, and a text."""

    def __init__(self, handle):
        self.handle, self.waiting, self.sent = handle, bytearray(), time.monotonic()

    def tell(self, kind, text="", now=True):
        """Send one message: now, or with those that follow soon."""
        body = text.encode("utf-8", "surrogatepass")
        self.waiting += kind + len(body).to_bytes(8, "big") + body
        if now or len(self.waiting) > MOST_WAITING or time.monotonic() - self.sent > LONGEST_WAIT_S:
            self.send()

    def send(self):
        """Send what waits."""
        self.handle.sendall(self.waiting)
        self.waiting.clear()
        self.sent = time.monotonic()

    def hear(self):
        """Return the text of the next message."""
        size = int.from_bytes(self.exactly(8), "big")
        return self.exactly(size).decode("utf-8", "surrogatepass")

    def exactly(self, size):
        """Return that many bytes; the process ends where its judge is gone."""
        parts = []
        while size:
            part = self.handle.recv(min(size, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def fingerprint(value):
    """Hash a value by exact types, and return the length of what was hashed; a long list in parts, to save memory.

    `marshal` takes half the time of a document. It knows no types but Python's own, and calls all that lends its
    memory bytes; what it refuses is hashed as a document.
    """
    kind, size = type(value), 0
    hashed = hashlib.sha256(kind.__name__.encode())
    parts = [value]
    if kind in (list, tuple) and len(value) > PART:
        parts = (value[start : start + PART] for start in range(0, len(value), PART))
    for part in parts:
        try:
            written = marshal.dumps(part, EXACT)
        except ValueError:
            written = encode(part).encode()
        hashed.update(written)
        size += len(written)
    return hashed.hexdigest(), size


def answer_inputs(handle, program, data, inputs, asked):
    """Call the program's function on the inputs of a group and send its outputs, until the judge has heard enough.

    `data`: entry_point; `names`, of modules whose names are there without an import; depth of recursion, if another.
    `inputs`: for each group (document of the arguments, CPU seconds, and, where a digest is to be sent first, those
    in which it must be made, else 0); with `lines`, each line of a document is an argument in JSON. `asked`: group, and
    spare_s, the CPU seconds for loading and all inputs.
    """
    link = Link(handle)
    start = time.process_time()
    sys.setrecursionlimit(data.get("depth") or sys.getrecursionlimit())
    try:
        with cpu_limit(asked["spare_s"]):
            found = loaded(program, usual_names(data.get("names", ())))
            function = method_of(found, data["entry_point"])
    except TooSlow:
        return link.tell(b"T", "loading the program took too long")
    except BaseException as error:
        return link.tell(b"E", describe(error))
    link.tell(b"L")
    before = 0.0
    for document, limit, digest_s in inputs[asked["group"]]:
        if link.waiting and limit + digest_s > before:
            link.send()  # the judge gives an answer no longer than its own input may take
        before = limit + digest_s
        limit = min(limit, asked["spare_s"] - (time.process_time() - start))
        if limit <= 0:
            return link.tell(b"T", "no time is left for it")
        arguments = [json.loads(line) for line in document.split("\n")] if data.get("lines") else decode(document)
        try:
            with cpu_limit(limit):
                output = function(*arguments)
            with cpu_limit(limit + (digest_s or WRITING_S)):  # a generator runs while it is written out
                text = fingerprint(output)[0] if digest_s else encode(output)
        except TooSlow:
            return link.tell(b"T", f"more than {limit:.1f} s of CPU time")
        except BaseException as error:
            return link.tell(b"E", describe(error))
        if digest_s:
            link.tell(b"D", text)
            if link.hear() != "whole":
                output = None  # giving back a gigabyte is not the next input's time
                continue
            text = encode(output)
        link.tell(b"R", text, now=False)
    return link.tell(b"Z")


def usual_names(modules):
    """Return the public names of some modules, and the modules themselves."""
    space = {}
    for name in modules:
        exec(f"from {name} import *", space)
    for name in modules:
        exec(f"import {name}", space)
    space.pop("__builtins__", None)
    return space


def method_of(found, name):
    """Return the function of a name, or the method of a name `Solution.method` on an object made for it."""
    holder, _, method = name.rpartition(".")
    return getattr(found[holder](), method) if holder in found else found[method]


# ---- names that a test uses ----------------------------------------------------------------------------------------


def answer_questions(handle, program, data, inputs, asked):
    """Load the program and do what the judge's tests ask of its names, one operation at a time."""
    link = Link(handle)
    try:
        found = loaded(program)
    except BaseException as error:
        return link.tell(b"E", json.dumps([type(error).__name__, describe(error)]))
    link.tell(b"L")
    kept: list[Any] = []

    def keep(value):
        kept.append(value)
        return len(kept) - 1

    def recall(number):
        return found[number] if isinstance(number, str) else kept[number]

    while True:
        what, target, text = json.loads(link.hear())
        try:
            owner = recall(target)
            positional, named = decode(text, recall)
            link.tell(b"R", encode(OPERATIONS[what](owner, *positional, **named), keep))
        except BaseException as error:
            link.tell(b"E", json.dumps([type(error).__name__, describe(error)]))


OPERATIONS = {
    "call": lambda owner, *values, **named: owner(*values, **named),
    "get": getattr,
    "set": setattr,
    "item": lambda owner, key: owner[key],
    "length": len,
    "items": list,
    "text": str,
    "repr": repr,
    "has": lambda owner, value: value in owner,
}


# ---- scripts -------------------------------------------------------------------------------------------------------


def run_script(handle, program, data, inputs, traced):
    """Run a text as `python program.py` would, from its standard streams to its real end; never returns.

    `data`: `tail`, of the script, if there is one, which are its tests; `names`, of modules whose names are there
    without an import; `other`, the number of a run with other values. Tells `E` and the error that ended it, or `L`
    once its last statement is reached, with the lines it ran if `traced`; of tests `M`, where the program decided what
    they compare (in a run with other values, where it agreed with those), and what it has replaced.
    """
    program = program.lstrip("\ufeff")
    text = program + data.get("tail", "")
    sys.setrecursionlimit(data.get("depth") or sys.getrecursionlimit())
    link = Link(handle)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream: Any = io.TextIOWrapper(open(number, mode + "b", closefd=False), encoding="utf-8", errors=(  # noqa: SIM115
            "backslashreplace" if number == 2 else "strict"
        ), line_buffering=number == 2)  # fmt: skip
        stream.mode = mode  # as the interpreter does; templates for fast input ask
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    with open(SCRIPT, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)
    main = module("__main__", SCRIPT, text)
    main.__dict__.update(usual_names(data.get("names", ())), __builtins__=builtins)
    sys.argv[:] = [SCRIPT]
    sys.path.insert(0, os.getcwd())
    status, lines = 1, set()

    def local(frame, event, argument):
        if event == "line":
            lines.add(frame.f_lineno)
        return local

    def trace(frame, event, argument):
        return local if frame.f_code.co_filename == SCRIPT else None

    watched = None
    try:
        codes = [compile(text, SCRIPT, "exec", dont_inherit=True)]
        if "tail" in data and not traced:
            first, rest = divided(text, program.count("\n") + 1)
            watched = Watched((program, first), (data["tail"], rest), SCRIPT, data.get("other"))
            if watched.means:
                flags = codes[0].co_flags
                codes = [compile(first, SCRIPT, "exec", flags=0, dont_inherit=True), watched.code(flags)]
        sys.settrace(trace if traced else None)
        for code in codes:
            exec(code, main.__dict__)
        sys.settrace(None)
        link.tell(b"L", json.dumps(sorted(lines)))
        status = 0
    except SystemExit as error:
        status = error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        link.tell(b"E", describe(error))
    if watched is not None:
        found = watched.measures("tests")
        places = next(iter(found.values()), [])
        link.tell(b"M", json.dumps([places, watched.replaced() or ""]))
    if not wind_down(main):
        status = status or 120  # as the interpreter's, when its last output is lost
    os._exit(status)


def wind_down(main):
    """Do what the interpreter does at its end; False if the last output could not be written."""
    multiprocessing = sys.modules.get("multiprocessing.util")
    with contextlib.suppress(BaseException):
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        if multiprocessing is not None:
            multiprocessing._exit_function()  # pyright: ignore[reportAttributeAccessIssue]
    written = True
    for turn in (1, 2):
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            try:
                stream.flush()  # pyright: ignore[reportOptionalMemberAccess]
            except (ValueError, AttributeError):
                continue  # closed, or none of Python's
            except BaseException:
                written = False
        if turn == 1:
            # Files that only the program's names hold are written when those are forgotten.
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            main.__dict__.clear()
            gc.collect()
    return written


def settle():
    """Make a forked process look like a fresh one: `random` must not depend on the moment."""
    random.seed(0)
    os.chdir("/tmp")
    gc.enable()


def any_digits():
    """Allow integers of any length to be printed and read, as Python did when the benchmarks were made."""
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
