"""Run one program in a process of its own, and answer the zygote's challenge if its tests finish.

The process belongs to the program: it may exit, replace builtins, write to every descriptor, or close them. So nothing
it says counts as a pass but the digest of a challenge that is sent after the response has loaded, made with a key that
only this module's closures hold. What could still be done, by reading the frames below one's own, is refused by static
rules.
"""

import ast
import builtins
import gc
import linecache
import marshal
import os
import socket
import sys
import threading
import types
from typing import NoReturn

import guards  # pyright: ignore[reportMissingImports]
import instruments  # pyright: ignore[reportMissingImports]
import refused  # pyright: ignore[reportMissingImports]
import translate  # pyright: ignore[reportMissingImports]
import vacuity  # pyright: ignore[reportMissingImports]
import values  # pyright: ignore[reportMissingImports]
from hooks import Finished, Instruments  # pyright: ignore[reportMissingImports]
from program import (  # pyright: ignore[reportMissingImports]
    Channel,
    described,
    exit_status,
    flush,
    forget,
    prepare,
    show,
    verdict_of,
    wind_down,
)

MOST_PLACES = 20_000  # characters
RESPONSE, TESTS, PROGRAM = translate.RESPONSE, translate.TESTS, translate.PROGRAM


# ---- whole programs -------------------------------------------------------------------------------------------------


def run_program(case, channel, saved, translated):
    """Run a script as `python program.py` would; a pass is status 0 reached by its last statement."""
    main = prepare(case, [(PROGRAM, case["program"])])
    if case["judges"]:
        saved.note_table()
        main.__dict__["lent"] = types.SimpleNamespace(
            values=values, instruments=instruments, refused=refused, translate=translate, saved=saved
        )
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
        forget(main)
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
    return vacuity.assertion_left(ast.parse(text, name), frames)


def run_tested(case, channel, saved, translated):
    """Run a response, then its tests; passes only if every test finishes and nothing it relies on was replaced."""
    code_text, test_text = case["code"], case["test"]
    main = prepare(case, [(RESPONSE, code_text), (TESTS, test_text)])
    saved.note_table()
    names = main.__dict__
    hooks = Instruments(main, names)
    look = values.Look(saved, (), case["number"] if case["role"] == "other" else None, (RESPONSE, TESTS))

    def stop(error, when) -> NoReturn:
        if case["role"] == "other":
            channel.finish("none", " ".join(sorted(look.lying)), 1)
        if case["role"] == "real":
            show(error, (RESPONSE, TESTS))
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
        functions, classes = ({name: names.get(name) for name in ready[kind]} for kind in ("functions", "classes"))
        return functions, classes

    def counts():
        places = " ".join(sorted(look.met))
        met = places if len(places) < MOST_PLACES else values.ANYWHERE
        each = {"each": " ".join(map(str, hooks.each))} if case.get("each") else {}
        return {"ran": hooks.ran, "held": hooks.held, "tests": hooks.tests, "met": met, **each}

    def replaced(tests_done):
        changed = saved.replaced(test_text if tests_done and ready["patches"] else "")
        changed = changed or ("write" in ready["means"] and saved.replaced_deeply())
        if not (tests_done and "policy" in test_text):
            changed = changed or saved.replaced_loop()
        return changed

    try:
        ready = marshal.loads(translated) if translated else translate.translate(case, [case["role"]])[0]
    except translate.Settled as found:
        return channel.finish(found.verdict, found.reason, found.status)
    except translate.Broken as found:
        return stop(found.error, found.when)

    look.mentioned = ready["mentioned"]
    if "write" not in ready["means"]:
        look.held = None
    hooks.collected = collected
    hooks.marked, hooks.marks = frozenset(ready["marked"]), ready["marks"]
    try:
        exec(ready["code"], main.__dict__)
    except BaseException as error:
        stop(error, "while the response was loading")
    if main.__dict__.get("__builtins__") not in (builtins, builtins.__dict__):
        channel.finish("fail", "the response replaces __builtins__", 1)
    used, called, bound, imports = ready["names"]
    changed = replaced(False) or saved.hidden(main.__dict__, used, called, bound, imports)
    if changed:
        channel.finish("fail", f"the response replaces {changed}", 1)
    channel.loaded()
    # The tests' own code keeps the builtins it knows, even if the response replaces some for a moment.
    main.__dict__["__builtins__"] = saved.for_tests()
    if ready["owned"] is not None:
        names = hooks.names = guards.Names(
            main.__dict__, *(frozenset(ready[each]) for each in ("owned", "classes", "assigned"))
        )
    marks = {ready["hook"]: hooks, **values.Compared(look).marks(ready["hook"])}
    try:
        try:
            exec(instruments.installed(ready["tests"], marks), names)
        except Finished:
            if not ready["calls_main"]:
                raise AssertionError("the tests were ended from outside") from None
            hooks.unittest_done = True
        except SystemExit as error:
            if error is not hooks.leaving or _left_early(error, test_text, TESTS):
                raise
        functions, classes = collected()
        if not ready["whole_doctest"]:
            hooks.run_unittest()
            hooks.run_uncalled(functions, classes)
        if ready["doctests"]:
            hooks.run_doctests(ready["whole_doctest"], test_text)
        if hooks.examples_failed:
            raise AssertionError(f"doctest: {hooks.examples_failed} examples failed")
        wind_down()
    except BaseException as error:
        stop(error, "before its tests had finished")
    if case["role"] == "other":
        channel.finish("none", " ".join(sorted(look.lying)), 0)
    changed = replaced(True) or saved.momentarily(ready["patches"])
    if isinstance(names, guards.Names):
        changed = changed or names.replaced()
    if changed:
        channel.finish("fail", f"the response replaces {changed}", 1)
    if case["role"] == "real" and case["vacuous"]:
        if not hooks.ran and (hooks.doctests_called or (ready["doctests"] and not ready["statements"])):
            channel.finish("vacuous", "the doctests hold no example", 0, **counts())
        may_fail = ready["raises"] and hooks.leaving is None
        if ready["asserts"] and not hooks.ran and not may_fail:
            channel.finish("vacuous", "no assertion ran", 0, **counts())
    channel.finish("pass", "", 0, **counts())


def run(case, descriptor, key, saved, translated, leave=os._exit):
    """Run one case to its end; never returns. `translated`: of `translate`, if it has been done already."""
    channel = Channel(descriptor, key, leave)
    key = None
    if "program" in case:
        run_program(case, channel, saved, translated)
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
