"""Run one program in a process of its own, and answer the zygote's challenge if its tests finish.

The process belongs to the program: it may exit, replace builtins, write to every descriptor, or close them. So nothing
it says counts as a pass but the digest of a challenge that is sent after the response has loaded, made with a key that
only this module's closures hold. What could still be done, by reading the frames below one's own, is refused by static
rules.
"""

import ast
import atexit
import builtins
import ctypes
import gc
import inspect
import itertools
import json
import linecache
import os
import random
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

import judge  # pyright: ignore[reportMissingImports]

RESPONSE, TESTS, PROGRAM = "/tmp/response.py", "/tmp/tests.py", "/tmp/program.py"
READS_ITSELF = ("__file__", "argv", "inspect", "multiprocessing", "concurrent", "subprocess", "runpy", "os.", "open(")
VERSION_OFFSET = 24  # of a dict's version: after reference count, type and length
MORE_FRAMES = 12  # the harness's own, so that a program may recurse as deep as in a file of its own
GUARDED = (
    "builtins", "unittest", "unittest.case", "unittest.suite", "unittest.loader", "unittest.result", "unittest.runner",
    "unittest.main", "unittest.mock", "doctest", "math", "cmath", "operator", "functools", "itertools", "copy", "json",
    "re", "types", "collections", "contextlib", "numbers", "decimal", "fractions", "statistics", "random", "string",
    "inspect", "time", "os", "io", "asyncio", "asyncio.runners", "threading", "atexit", "numpy", "numpy.testing",
    "pandas", "pandas.testing",
)  # fmt: skip
GUARDED_CLASSES = (unittest.TestCase, unittest.TestResult, unittest.TestSuite, unittest.TestLoader)
WATCHED_MODULES = ("unittest.mock",)
LIFTED = frozenset(
    {"input", "print", "open", "breakpoint", "help", "exit", "quit", "copyright", "credits", "license", "_"}
)


class Finished(BaseException):
    """Raised after `unittest.main()`, which would have ended the program."""


class Forged(Exception):
    """A value or a replaced function would have made any test pass."""


class Versions:
    """Tell cheaply whether dicts have been written to since they were looked at last.

    CPython 3.8 to 3.12 keeps a number in each dict that changes with every write. Comparing the contents instead would
    touch the reference count of every function, and so copy most of the memory shared with the zygote.
    """

    def __init__(self, dicts):
        known = sys.implementation.name == "cpython" and (3, 8) <= sys.version_info[:2] <= (3, 12)
        self.fields = [ctypes.c_uint64.from_address(id(item) + VERSION_OFFSET) for item in dicts] if known else []
        self.seen = [field.value for field in self.fields]
        if len(set(self.seen)) < 2:
            self.fields = []

    def changed(self, place):
        """Tell whether a dict has been written to; True also where that cannot be known."""
        return not self.fields or self.fields[place].value != self.seen[place]


def snapshot():
    """Remember what the guarded modules and classes hold; called once, before any program runs."""
    kinds = (types.FunctionType, types.BuiltinFunctionType, type)
    modules = []
    for name in GUARDED:
        module = sys.modules.get(name)
        if module is not None:
            held = {key: value for key, value in vars(module).items() if isinstance(value, kinds)}
            modules.append((name, module, tuple(held.items())))
    classes = [(kind, tuple(vars(kind).items())) for kind in GUARDED_CLASSES]
    dicts = [vars(module) for _, module, _ in modules]
    # A class shows its dict only through a proxy.
    dicts += [item for kind in GUARDED_CLASSES for item in gc.get_referents(vars(kind)) if type(item) is dict]
    return tuple(modules), tuple(classes), tuple(sys.meta_path), sys.modules, Versions(dicts)


def replaced(saved, allowed=""):
    """Name the first thing that differs from the snapshot, or None; names that `allowed` mentions may differ."""
    modules, classes, finders, table, versions = saved
    for name, module, _ in modules:
        if table.get(name) is not module:
            return name
    for place, (name, module, held) in enumerate(modules):
        if versions.changed(place):
            current = module.__dict__
            for key, value in held:
                if current.get(key) is not value and key not in LIFTED and key not in allowed:
                    return f"{name}.{key}"
    for place, (kind, held) in enumerate(classes, len(modules)):
        if versions.changed(place):
            for key, value in held:
                if kind.__dict__.get(key) is not value and not key.startswith("__"):
                    return f"{kind.__name__}.{key}"
    if tuple(sys.meta_path[: len(finders)]) != finders and not set(finders) <= set(sys.meta_path):
        return "sys.meta_path"
    return "sys.settrace" if sys.gettrace() is not None or sys.getprofile() is not None else None


# ---- values that are equal to everything ----------------------------------------------------------------------------


class _Nothing:
    """A value that no honest object equals, contains, or lies on both sides of."""


def always_agrees(value, depth=3):
    """Tell whether a value, or an element of it, claims to equal anything."""
    kind = type(value)
    if kind in (int, str, float, bool, bytes, type(None), complex):
        return False
    if depth and kind in (list, tuple, set, frozenset):
        return any(always_agrees(item, depth - 1) for item in itertools.islice(value, 200))
    if depth and kind is dict:
        return any(always_agrees(item, depth - 1) for item in itertools.islice(value.values(), 200))
    equal = getattr(kind, "__eq__", None)
    if isinstance(equal, types.FunctionType) and _own(equal) and _claims(equal, value):
        return True
    contains = getattr(kind, "__contains__", None)
    if isinstance(contains, types.FunctionType) and _own(contains) and _claims(contains, value):
        return True
    less, more = getattr(kind, "__lt__", None), getattr(kind, "__gt__", None)
    if isinstance(less, types.FunctionType) and isinstance(more, types.FunctionType) and _own(less) and _own(more):
        return _claims(less, value) and _claims(more, value)
    return False


def _own(function):
    """Tell whether a function was made by the program, or by the one library module with a value equal to all."""
    module = function.__globals__.get("__name__")
    return module == "__main__" or module in WATCHED_MODULES


def _claims(function, value):
    try:
        answer = function(value, _Nothing())
        return answer is not NotImplemented and bool(answer)
    except Exception:
        return False


# ---- one process, one program ---------------------------------------------------------------------------------------


class Channel:
    """The way to the zygote: one message says that the response has loaded, one ends the case."""

    def __init__(self, handle, key):
        owner = os.getpid()
        seal = blake2b(key=key)
        send, receive, getpid, dumps, leave = handle.send, handle.recv, os.getpid, json.dumps, os._exit

        def loaded():
            if getpid() == owner:
                send(b"L")
                seal.update(receive(64))

        def finish(verdict, reason, status, **info) -> NoReturn:
            """Report and end the process, with the exit status that plain Python would have had."""
            if getpid() == owner:
                body = dumps({"verdict": verdict, "reason": reason[:500], **info}).encode()
                try:
                    send((b"P" + seal.digest() if verdict == "pass" else b"F") + body[:60000])
                except OSError:
                    leave(status)
            leave(status)

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


def run_program(case, channel):
    """Run a script as `python program.py` would; a pass is status 0 reached by its last statement."""
    main = prepare(case, [(PROGRAM, case["program"])])
    left, status, tree, last = False, 1, None, None
    try:
        tree = ast.parse(case["program"], PROGRAM)
        last = tree.body[-1] if tree.body else None
        exec(compile(tree, PROGRAM, "exec", dont_inherit=True), main.__dict__)
        status = 0
    except SystemExit as error:
        status = exit_status(error)
        left = status == 0 and _left_early(error, tree, last)
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


def _left_early(error, tree, last):
    """Tell whether status 0 came before a later statement of the script that asserts something."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != PROGRAM:
        trace = trace.tb_next
    if trace is None:
        return False
    line = trace.tb_lineno
    if last is not None and last.lineno <= line:
        if isinstance(last, ast.If):
            return judge.asserts_anything([item for item in last.body if item.lineno > line])
        return False
    return judge.asserts_anything([node for node in tree.body if node.lineno > line])


# ---- responses and tests --------------------------------------------------------------------------------------------


class Instruments:
    """What the harness puts into the tests: counters, a look at compared values, and its own unittest."""

    def __init__(self, main, saved):
        self.main, self.saved = main, saved
        self.ran = self.held = self.tests = 0
        self.called = set()
        self.unittest_done = False

    def __call__(self, what, value=None):
        """Do what a hook in the tests asks for."""
        if what == "watch":
            if always_agrees(value):
                raise Forged(f"a {type(value).__name__} claims to equal anything")
            return value
        if what == "ran":
            self.ran += 1
        elif what == "held":
            self.held += 1
        elif what == "called":
            self.called.add(value)
        elif what == "unittest":
            self.run_unittest()
            if value:
                raise Finished
        return None

    def run_unittest(self):
        """Run every TestCase of the program; raises the failure that counts."""
        if self.unittest_done:
            return
        self.unittest_done = True
        loader = unittest.TestLoader()
        suite = unittest.TestSuite()
        for value in list(vars(self.main).values()):
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == "__main__":
                suite.addTests(loader.loadTestsFromTestCase(value))
        if not suite.countTestCases():
            return
        result = Result()
        suite.run(result)
        self.tests += result.testsRun
        if result.first is not None:
            raise result.first
        if result.testsRun and len(result.skipped) >= result.testsRun:
            raise unittest.SkipTest("every test was skipped")

    def run_uncalled(self, names, classes):
        """Run pytest-style functions and classes of the tests that nothing has called."""
        for name in names:
            function = vars(self.main).get(name)
            if name not in self.called and isinstance(function, types.FunctionType):
                self.run_function(function, function)
        for name in classes:
            kind = vars(self.main).get(name)
            if not isinstance(kind, type) or issubclass(kind, unittest.TestCase):
                continue
            methods = [key for key, value in vars(kind).items() if key.startswith("test") and callable(value)]
            if not methods or set(methods) & self.called:
                continue
            for setup in ("setup_class", "teardown_class"):
                if setup == "setup_class" and hasattr(kind, setup):
                    getattr(kind, setup)()
            for key in methods:
                instance = kind()
                self._around(instance, key, "setup")
                self.run_function(getattr(instance, key), getattr(kind, key))
                self._around(instance, key, "teardown")

    @staticmethod
    def _around(instance, key, when):
        hook = getattr(instance, when + "_method", None)
        if hook is not None:
            hook(*([getattr(instance, key)] if len(inspect.signature(hook).parameters) else []))

    def run_function(self, function, marked):
        """Call one test function, once for each of its pytest parameters."""
        marks = getattr(marked, "pytestmark", [])
        if any(mark.name in ("skip", "xfail") for mark in marks):
            return
        choices = [_parameters(mark) for mark in marks if mark.name == "parametrize"]
        needed = {
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.default is parameter.empty and parameter.kind not in (2, 4)
        }
        for combination in itertools.product(*choices):
            arguments = {}
            for chosen in combination:
                arguments.update(chosen)
            for name in needed - set(arguments):
                if name == "tmp_path":
                    import pathlib
                    import tempfile

                    arguments[name] = pathlib.Path(tempfile.mkdtemp())
            if needed - set(arguments):
                # A helper that takes arguments, or a test with fixtures of its own: nothing to call it with.
                return
            self.tests += 1
            outcome = function(**arguments)
            if inspect.iscoroutine(outcome):
                import asyncio  # loaded and guarded already wherever the texts say `async`

                asyncio.run(outcome)

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


def _parameters(mark):
    """Return the argument dicts of one pytest `parametrize` mark."""
    names, values = mark.args[0], mark.args[1]
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    chosen = []
    for value in values:
        value = getattr(value, "values", value) if type(value).__name__ == "ParameterSet" else value
        if len(names) == 1 and not (isinstance(value, tuple) and type(value) is not tuple):
            value = value if isinstance(value, tuple) and type(mark).__name__ == "ParameterSet" else (value,)
        chosen.append(dict(zip(names, value)))  # noqa: B905 - Python 3.8 has no strict
    return chosen


class Result(unittest.TestResult):
    """Keep the first failure as an exception; a test that skips itself while it runs has not passed."""

    first = None

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


def run_tested(case, channel, saved):
    """Run a response, then its tests; passes only if every test finishes and nothing it relies on was replaced."""
    role, number = case["role"], case["number"]
    code_text, test_text = case["code"], case["test"]
    main = prepare(case, [(RESPONSE, code_text), (TESTS, test_text)])
    names = (RESPONSE, TESTS)
    instruments = Instruments(main, saved)

    def stop(error, when) -> NoReturn:
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

    def counts():
        return {"ran": instruments.ran, "held": instruments.held, "tests": instruments.tests}

    try:
        code = ast.parse(code_text, RESPONSE)
        compiled = compile(code, RESPONSE, "exec", dont_inherit=True)
    except BaseException as error:
        stop(error, "in the response")
    whole_doctest = False
    try:
        test = ast.parse(test_text, TESTS)
    except BaseException as error:
        whole_doctest = bool(judge.DOCTEST.search(test_text))
        if not whole_doctest:
            stop(error, "in the tests")
        test = ast.Module(body=[], type_ignores=[])
    # Tests may be nothing but the examples in the response's docstrings.
    only_docstrings = not test.body and not whole_doctest and bool(judge.DOCTEST.search(code_text))
    if role == "real":
        harmful = judge.looks_for_harness(code, code_text)
        if harmful:
            channel.finish("fail", harmful, 1)
        if case["vacuous"] and not whole_doctest and not only_docstrings:
            why = judge.why_vacuous(code, test, test_text)
            if why:
                channel.finish("vacuous", why, 0)
    elif role == "stub":
        compiled = compile(judge.stub_of(code), RESPONSE, "exec", dont_inherit=True)
    elif not judge.mutate(code, number, case["mutants"]):
        channel.finish("none", "no such mutant", 0)
    else:
        compiled = compile(code, RESPONSE, "exec", dont_inherit=True)

    functions = [
        node.name for node in test.body if isinstance(node, judge.FUNCTIONS) and judge.TEST_NAME.search(node.name)
    ]
    classes = [node.name for node in test.body if isinstance(node, ast.ClassDef)]
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(test))
    raises = any(isinstance(node, ast.Raise) or judge.called_name(node) in judge.LEAVING for node in ast.walk(test))
    judge.without_last_exit(test)
    hook = "sandbox_" + os.urandom(8).hex()
    test = ast.fix_missing_locations(judge.Instrument(hook, test).visit(test))
    future = compiled.co_flags & FUTURE
    try:
        tests = compile(test, TESTS, "exec", flags=future, dont_inherit=True)
    except BaseException as error:
        stop(error, "in the tests")
    run_doctests = whole_doctest or only_docstrings or bool(judge.DOCTEST.search(test_text)) or "doctest" in test_text

    try:
        exec(compiled, main.__dict__)
    except BaseException as error:
        stop(error, "while the response was loading")
    if main.__dict__.get("__builtins__") not in (builtins, builtins.__dict__):
        channel.finish("fail", "the response replaces __builtins__", 1)
    changed = replaced(saved)
    if changed:
        channel.finish("fail", f"the response replaces {changed}", 1)
    channel.loaded()
    main.__dict__[hook] = instruments
    # The tests' own code keeps the builtins it knows, even if the response replaces some for a moment.
    main.__dict__["__builtins__"] = {**vars(builtins), **dict(saved[0][0][2])}
    try:
        try:
            exec(tests, main.__dict__)
        except Finished:
            instruments.unittest_done = True
        if not whole_doctest:
            instruments.run_unittest()
            instruments.run_uncalled(functions, classes)
        if run_doctests:
            instruments.run_doctests(whole_doctest, test_text)
        wind_down()
    except BaseException as error:
        stop(error, "before its tests had finished")
    changed = replaced(saved, test_text)
    if changed:
        channel.finish("fail", f"the response replaces {changed}", 1)
    if role == "real" and case["vacuous"]:
        if run_doctests and not instruments.ran and not test.body:
            channel.finish("vacuous", "the doctests hold no example", 0, **counts())
        if asserts and not instruments.ran and not raises:
            channel.finish("vacuous", "no assertion ran", 0, **counts())
    channel.finish("pass", "", 0, **counts())


FUTURE = 0
for _name in ("annotations", "division", "generator_stop"):
    FUTURE |= getattr(__import__("__future__"), _name).compiler_flag


def run(case, handle, key, saved):
    """Run one case to its end; never returns."""
    channel = Channel(handle, key)
    key = None
    if "program" in case:
        run_program(case, channel)
    else:
        run_tested(case, channel, saved)
    os._exit(70)
