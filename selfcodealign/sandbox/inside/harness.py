"""Run one program in a process of its own, and answer the zygote's challenge if its tests finish.

The process belongs to the program: it may exit, replace builtins, write to every descriptor, or close them. So nothing
it says counts as a pass but the digest of a challenge that is sent after the response has loaded, made with a key that
only this module's closures hold. What could still be done, by reading the frames below one's own, is refused by static
rules.
"""

import ast
import atexit
import builtins
import gc
import inspect
import json
import linecache
import marshal
import os
import random
import socket
import sys
import threading
import traceback
import types
import unittest
from typing import NoReturn

try:
    from _blake2 import blake2b  # `hashlib` would bring a large library along
except ImportError:
    from hashlib import blake2b

import collect  # pyright: ignore[reportMissingImports]
import guards  # pyright: ignore[reportMissingImports]
import judge  # pyright: ignore[reportMissingImports]
import translate  # pyright: ignore[reportMissingImports]

RESPONSE, TESTS, PROGRAM = translate.RESPONSE, translate.TESTS, translate.PROGRAM
READS_ITSELF = ("__file__", "argv", "inspect", "multiprocessing", "concurrent", "subprocess", "runpy", "os.", "open(")
MORE_FRAMES = 12  # the harness's own, so that a program may recurse as deep as in a file of its own


class Finished(BaseException):
    """Raised after `unittest.main()`, which would have ended the program."""


# ---- one process, one program ---------------------------------------------------------------------------------------


class Channel:
    """The way to the zygote: one message says that the response has loaded, one ends the case."""

    def __init__(self, descriptor, key, leave):
        owner = os.getpid()
        seal = blake2b(key=key)
        read, write, getpid, dumps = os.read, os.write, os.getpid, json.dumps

        def loaded():
            if getpid() == owner:
                write(descriptor, b"L")
                seal.update(read(descriptor, 64))

        def finish(verdict, reason, status, **info) -> NoReturn:
            """Report and end the process, with the exit status that plain Python would have had."""
            if getpid() == owner:
                body = dumps({"verdict": verdict, "reason": reason[:500], **info}).encode()
                try:
                    write(descriptor, (b"P" + seal.digest() if verdict == "pass" else b"F") + body[:60000])
                except OSError:
                    leave(status)
            leave(status)
            os._exit(status)

        self.loaded, self.finish = loaded, finish


def described(error):
    """Return `Kind: message` of an exception whose own methods may misbehave."""
    try:
        text = " ".join(str(error).split())
    except BaseException:
        text = "(no message)"
    try:
        name = type(error).__name__
    except BaseException:
        name = "exception"
    return f"{name}: {text[:300]}" if text else str(name)


def verdict_of(error):
    """Return the verdict that an exception out of a response or its tests means."""
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, (AssertionError, SystemExit, unittest.SkipTest)):
        return "fail"
    if any(kind.__module__ == "_pytest.outcomes" for kind in type(error).__mro__):  # pytest.fail, skip, exit
        return "fail"
    return "error"


def show(error, names):
    """Print a traceback of the program's own frames to its stderr."""
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename not in names:
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace)
        sys.stderr.flush()
    except BaseException:
        return


def prepare(case, texts):
    """Make the process look as it does for `python program.py`; returns the new `__main__`."""
    os.chdir("/tmp")
    for name, text in case["files"].items():
        path = os.path.join("/tmp", os.path.normpath("/" + name).lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
    whole = "\n\n".join(text for _, text in texts)
    if any(word in whole for word in READS_ITSELF):
        with open(PROGRAM, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(whole)
    for name, text in texts:
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __file__=PROGRAM, __annotations__={})
    sys.modules["__main__"] = main
    sys.argv[:] = [PROGRAM]
    sys.path.insert(0, "/tmp")
    sys.setrecursionlimit(sys.getrecursionlimit() + MORE_FRAMES)
    text = "\0".join(text for _, text in texts).encode("utf-8", "surrogatepass")
    seed = int.from_bytes(blake2b(text, digest_size=4).digest(), "big")
    random.seed(seed + case["rerun"])
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed((seed + case["rerun"]) % 2**32)
    gc.enable()
    return main


def wind_down():
    """Do what the interpreter does at its end: wait for threads, run exit functions, flush."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process._children:
        sys.modules["multiprocessing.util"]._exit_function()
    if getattr(threading, "_shutdown_locks", True) or getattr(threading, "_threading_atexits", True):
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def flush():
    """Flush what the program printed, without running its exit functions."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            continue


def exit_status(error):
    """Return the exit status that a SystemExit asks for, printing its message as Python would."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    try:
        print(error.code, file=sys.stderr)
    except BaseException:
        return 1
    return 1


# ---- whole programs -------------------------------------------------------------------------------------------------


def run_program(case, channel, translated):
    """Run a script as `python program.py` would; a pass is status 0 reached by its last statement."""
    main = prepare(case, [(PROGRAM, case["program"])])
    left, status = False, 1
    try:
        ready = marshal.loads(translated) if translated else translate.translate_program(case)
        exec(ready["code"], main.__dict__)
        status = 0
    except SystemExit as error:
        status = exit_status(error)
        left = status == 0 and _left_early(error, case["program"], PROGRAM)
    except BaseException as error:
        show(error, (PROGRAM,))
        flush()
        channel.finish(verdict_of(error), described(error), 1)
    try:
        wind_down()
    except BaseException as error:
        show(error, (PROGRAM,))
    if left:
        channel.finish("fail", "the program ended before its last assertion", status)
    if status:
        channel.finish("fail", f"exit status {status}", status)
    channel.loaded()
    channel.finish("pass", "", 0)


def _left_early(error, text, name):
    """Tell whether status 0 came while a file of a case asserted something, or before it would have."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == name:
            frames.append((0 if code.co_name == "<module>" else code.co_firstlineno, trace.tb_lineno))
        trace = trace.tb_next
    return judge.assertion_left(ast.parse(text, name), frames)


# ---- responses and tests --------------------------------------------------------------------------------------------


class Instruments:
    """What the harness puts into the tests: counters, a look at compared values, and its own unittest."""

    def __init__(self, main, saved):
        self.main, self.saved = main, saved
        self.ran = self.held = self.tests = 0
        self.calls, self.called = 0, set()
        self.marked, self.marks = frozenset(), False  # names of the tests' test functions; do they set `pytestmark`?
        self.lefts = []  # left sides of the comparisons that are being made
        self.unittest_done = self.pytest_done = False
        self.at_end = False  # is the last statement of the tests running?
        self.leaving = None  # the SystemExit with which the tests themselves ended, successfully
        self.collected = lambda: ({}, {})

    def hook(self, what, value=None):
        """Do what a hook in the tests asks for."""
        if what in ("watch", "left", "right"):
            if guards.always_agrees(value):
                raise guards.Forged(f"a {type(value).__name__} claims to equal anything")
            if what == "left":
                self.lefts.append(value)
                del self.lefts[:-100]  # left behind where the right side raised
            elif what == "right" and self.lefts:
                left = self.lefts.pop()
                if guards.agree_with_any(left, value) or guards.agree_with_any(value, left):
                    raise guards.Forged("a compared value would agree with any other")
            return value
        if what == "ran":
            self.ran += 1
        elif what == "held":
            self.held += 1
        elif what == "called":
            self.called.add(value)
            self.calls += 1
        elif what == "unittest":
            self.run_unittest()
            if value:
                raise Finished
        elif what == "pytest":
            self.run_unittest()
            self.run_uncalled(*self.collected())
            return 0
        elif what == "end":
            self.at_end = True
        elif what == "exit":
            self.leave(value)
        return None

    def leave(self, status):
        """End the tests as they ask to; with status 0 at their end they have passed so far."""
        error = SystemExit(status)
        if self.at_end and (status is None or (isinstance(status, int) and status == 0)):
            self.leaving = error
        raise error

    def run_unittest(self):
        """Run every TestCase of the program; raises the failure that counts."""
        if self.unittest_done:
            return
        self.unittest_done = True
        kinds = [
            value
            for value in vars(self.main).values()
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == "__main__"
        ]
        if not kinds:
            return
        loader = unittest.TestLoader()
        suite = unittest.TestSuite()
        for kind in kinds:
            suite.addTests(loader.loadTestsFromTestCase(kind))
        if not suite.countTestCases():
            return
        result = Result(self)
        suite.run(result)
        self.tests += result.testsRun
        if result.testsRun > result.ended + len(result.skipped) and result.first is None:
            raise AssertionError("a test ended without a result")
        if result.first is not None:
            raise result.first
        if result.testsRun and len(result.skipped) >= result.testsRun:
            raise unittest.SkipTest("every test was skipped")

    def run_uncalled(self, functions, classes):
        """Run pytest-style functions and classes of the tests that nothing has called."""
        if self.pytest_done:
            return
        self.pytest_done = True
        session = self.session()
        session.run(functions, classes, lenient=self.ran > 0)
        self.tests += session.tests

    def session(self):
        """Return what runs pytest-style tests and makes their fixtures."""
        return collect.Session(self.main, self.called, self.really_ran, self.marks)

    def really_ran(self, call, name):
        """Call a test; raises if it was the tests' own and its body was not what ran."""
        before = self.calls
        outcome = call()
        if name in self.marked and self.calls == before and not inspect.iscoroutine(outcome):
            raise AssertionError(f"{name} was replaced")
        return outcome

    def run_doctests(self, whole, text):
        """Run the examples in docstrings; `whole`: the text itself is a doctest."""
        import doctest  # loaded and guarded already wherever the texts say so

        runner = doctest.DocTestRunner(verbose=False)
        if whole:
            found = [doctest.DocTestParser().get_doctest(text, self.main.__dict__, "tests", TESTS, 0)]
        else:
            found = doctest.DocTestFinder().find(self.main, "__main__", module=self.main, globs=self.main.__dict__)
        quiet = []
        for item in found:
            if not item.examples:
                continue
            runner.run(item, out=quiet.append)
            self.tests += 1
            self.ran += len(item.examples)
        if runner.failures:
            raise AssertionError("doctest: " + " ".join("".join(quiet).split())[:300])


class Result(unittest.TestResult):
    """Keep the first failure as an exception; a test that skips itself while it runs has not passed."""

    first = None
    ended = 0

    def __init__(self, instruments):
        super().__init__()
        self.instruments, self.session = instruments, instruments.session()
        self.tear_down = lambda: None
        self.before = 0

    def startTest(self, test):
        """Make the fixtures that pytest would, for a class that uses both."""
        super().startTest(test)
        self.before = self.instruments.calls
        self.tear_down = self.session.around_unittest(test)

    def stopTest(self, test):
        """Tear them down."""
        super().stopTest(test)
        self.tear_down()

    def addSuccess(self, test):
        """Count it."""
        super().addSuccess(test)
        self.ended += 1
        name = getattr(test, "_testMethodName", "")
        if name in self.instruments.marked and self.instruments.calls == self.before:
            self._keep(AssertionError(f"{name} was replaced"))

    def addExpectedFailure(self, test, err):
        """Count it."""
        super().addExpectedFailure(test, err)
        self.ended += 1

    def _keep(self, error):
        if self.first is None:
            self.first = error

    def addFailure(self, test, err):
        """Keep the failure."""
        super().addFailure(test, err)
        self._keep(err[1])

    def addError(self, test, err):
        """Keep the error; leaving the program inside a test is a failure."""
        super().addError(test, err)
        self._keep(err[1] if not isinstance(err[1], SystemExit) else AssertionError("SystemExit in a test"))

    def addSubTest(self, test, subtest, err):
        """Keep a subtest's failure."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._keep(err[1])

    def addUnexpectedSuccess(self, test):
        """Count as a failure."""
        super().addUnexpectedSuccess(test)
        self._keep(AssertionError("unexpected success"))

    def addSkip(self, test, reason):
        """Count as a failure, unless a decorator of the tests asked for it."""
        super().addSkip(test, reason)
        method = getattr(test, getattr(test, "_testMethodName", ""), None)
        decorated = getattr(type(test), "__unittest_skip__", False) or getattr(method, "__unittest_skip__", False)
        if not decorated:
            self._keep(unittest.SkipTest(f"skipped while running: {reason}"))


def run_tested(case, channel, saved, translated):
    """Run a response, then its tests; passes only if every test finishes and nothing it relies on was replaced."""
    code_text, test_text = case["code"], case["test"]
    main = prepare(case, [(RESPONSE, code_text), (TESTS, test_text)])
    saved.note_table()
    names = (RESPONSE, TESTS)
    instruments = Instruments(main, saved)

    def stop(error, when) -> NoReturn:
        if case["role"] == "real":
            show(error, names)
            flush()
        reason = described(error)
        if isinstance(error, SystemExit):
            reason = f"the program ended itself {when} ({reason})"
        elif when.startswith("while"):
            reason = f"{reason} {when}"
        status = exit_status(error) if isinstance(error, SystemExit) else 1
        channel.finish(verdict_of(error), reason, status, **counts())
        os._exit(status)

    def collected():
        # All looked up at once, before one of them can replace another.
        functions, classes = ({name: vars(main).get(name) for name in ready[kind]} for kind in ("functions", "classes"))
        return functions, classes

    def counts():
        return {"ran": instruments.ran, "held": instruments.held, "tests": instruments.tests}

    try:
        ready = marshal.loads(translated) if translated else translate.translate(case, [case["role"]])[0]
    except translate.Settled as found:
        return channel.finish(found.verdict, found.reason, found.status)
    except translate.Broken as found:
        return stop(found.error, found.when)

    instruments.collected = collected
    instruments.marked, instruments.marks = frozenset(ready["marked"]), ready["marks"]
    try:
        exec(ready["code"], main.__dict__)
    except BaseException as error:
        stop(error, "while the response was loading")
    if main.__dict__.get("__builtins__") not in (builtins, builtins.__dict__):
        channel.finish("fail", "the response replaces __builtins__", 1)
    used, bound, imports = ready["names"]
    changed = saved.replaced() or saved.hidden(main.__dict__, used, bound, imports)
    if changed:
        channel.finish("fail", f"the response replaces {changed}", 1)
    channel.loaded()
    # The tests' own code keeps the builtins it knows, even if the response replaces some for a moment.
    main.__dict__["__builtins__"] = saved.for_tests()
    try:
        try:
            exec(judge.installed(ready["tests"], ready["hook"], instruments), main.__dict__)
        except Finished:
            if not ready["calls_main"]:
                raise AssertionError("the tests were ended from outside") from None
            instruments.unittest_done = True
        except SystemExit as error:
            if error is not instruments.leaving or _left_early(error, test_text, TESTS):
                raise
        functions, classes = collected()
        if not ready["whole_doctest"]:
            instruments.run_unittest()
            instruments.run_uncalled(functions, classes)
        if ready["doctests"]:
            instruments.run_doctests(ready["whole_doctest"], test_text)
        wind_down()
    except BaseException as error:
        stop(error, "before its tests had finished")
    changed = saved.replaced(test_text if ready["patches"] else "")
    changed = changed or saved.momentarily(ready["patches"])
    if changed:
        channel.finish("fail", f"the response replaces {changed}", 1)
    if case["role"] == "real" and case["vacuous"]:
        if ready["doctests"] and not instruments.ran and not ready["statements"]:
            channel.finish("vacuous", "the doctests hold no example", 0, **counts())
        may_fail = ready["raises"] and instruments.leaving is None
        if ready["asserts"] and not instruments.ran and not may_fail:
            channel.finish("vacuous", "no assertion ran", 0, **counts())
    channel.finish("pass", "", 0, **counts())


def run(case, descriptor, key, saved, translated, leave=os._exit):
    """Run one case to its end; never returns. `translated`: of `translate`, if it has been done already."""
    channel = Channel(descriptor, key, leave)
    key = None
    if "program" in case:
        run_program(case, channel, translated)
    else:
        run_tested(case, channel, saved, translated)
    os._exit(70)


# ---- before the first program ---------------------------------------------------------------------------------------


class Rehearsed(BaseException):
    """Raised where a case would end its process."""


def rehearse(rounds=24):
    """Run a case of our own in this process, for the interpreter to adapt the code of this module to it.

    CPython 3.11 and newer rewrites the instructions of a function during its first calls. In the process of a case that
    would copy the pages of memory they lie in, again for every case.
    """

    def leave(status):
        raise Rehearsed(status)

    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    main, path, arguments = sys.modules["__main__"], sys.path[:], sys.argv[:]
    depth, folder = sys.getrecursionlimit(), os.getcwd()
    case = {"code": "def f(x): return x + 1", "test": "assert f(1) == 2", "files": {}, "rerun": 0, "vacuous": True}
    case["number"] = 0
    roles = ("real", "stub")
    translated = [marshal.dumps(each) for each in translate.translate(case, roles)]
    # It works once in a process, and this one's children need it.
    shut_down, threading._shutdown = threading._shutdown, lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    saved = guards.Snapshot()
    with here, there:
        for turn in range(rounds):
            there.send(bytes(32))
            try:
                case["role"] = roles[turn % 2]
                run(case, here.fileno(), bytes(32), saved, translated[turn % 2], leave)
            except Rehearsed:
                there.recv(1 << 16)
                there.recv(1 << 16)
            finally:
                gc.disable()
                sys.modules["__main__"] = main
                sys.path[:], sys.argv[:] = path, arguments
                sys.setrecursionlimit(depth)
                os.chdir(folder)
    threading._shutdown = shut_down  # pyright: ignore[reportAttributeAccessIssue]
    linecache.cache.clear()
