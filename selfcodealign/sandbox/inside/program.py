"""Make a forked process the program's own, end it as the interpreter would, and hold its way to the verdict."""

import atexit
import builtins
import gc
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

from translate import PROGRAM  # pyright: ignore[reportMissingImports]

READS_ITSELF = ("__file__", "argv", "inspect", "multiprocessing", "concurrent", "subprocess", "runpy", "os.", "open(")
MORE_FRAMES = 12  # the harness's own, so that a program may recurse as deep as in a file of its own


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
                body = dumps({"verdict": verdict, "reason": reason[:500], **info}).encode()[:60000]
                try:
                    seal.update(body)
                    write(descriptor, (b"P" + seal.digest() if verdict == "pass" else b"F") + body)
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
    flush()


def forget(main):
    """Let go of what a script holds, as the interpreter does at last: files and wrappers write what they still have."""
    if threading.active_count() == 1:  # the interpreter would have stopped the daemons by now
        main.__dict__.clear()
        gc.collect()
    flush()


def flush():
    """Flush what the program printed, without running its exit functions."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()  # pyright: ignore[reportOptionalMemberAccess]
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
