"""Run cases as their authors would: `python plain_runs.py CASES.json`, one fork of a warm process for each of them.

`CASES.json` maps ids to `text`, `files`, `stdin` and `collected`: may pytest find tests in it? A file in which it finds
none, or which ends it, runs as a script. Written beside it, `OUTCOMES.json` maps ids to the exit status and
to what was printed.
"""

import atexit
import builtins
import contextlib
import gc
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
import types
from pathlib import Path

LONGEST_S, LONGEST_CPU_S = 30, 6
"""By the clock, for what sleeps on a busy machine, and of CPU time, for what never ends."""
QUIET = ("-q", "--assert=plain", "-p", "no:cacheprovider", "-c", os.devnull)
NO_TESTS = (2, 3, 5)
"""Pytest's exit statuses for a file that it cannot load, that leaves while it loads, and that holds no test."""


def run(path: Path, collected: bool) -> int:
    """Run one file in this process and return its exit status."""
    if collected:
        import pytest

        # Collected from here, not from a folder of temporary files that is full of others, and with temporary files of
        # its own: pytest would tidy up those of former runs first.
        folder = str(path.parent)
        places = ("--rootdir", folder, "--confcutdir", folder, "--basetemp", f"{folder}/temporary")
        return int(pytest.main([*QUIET, *places, str(path)]))
    sys.argv[:] = [str(path)]
    sys.path[0] = str(path.parent)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__dict__.update(__file__=str(path), __builtins__=builtins)
    status = 0
    try:
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    module.__dict__.clear()
    gc.collect()
    return status


def forked(case: dict, folder: Path, collected: bool) -> tuple[int, str]:
    """Run a case in a process of its own; returns its exit status, 124 if it took too long, and what it printed."""
    folder.mkdir(parents=True)
    path, printed, given = folder / "test_sample.py", folder / "printed.txt", folder / "stdin.txt"
    for name, text in case["files"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    path.write_text(case["text"], encoding="utf-8", errors="surrogatepass", newline="")
    given.write_text(case["stdin"], encoding="utf-8")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_CPU_S, LONGEST_CPU_S))
            os.chdir(folder)
            os.dup2(os.open(given, os.O_RDONLY), 0)
            os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT), 1)
            os.dup2(1, 2)
            status = run(path, collected)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.__stdout__):
                with contextlib.suppress(Exception):
                    stream.flush()  # pyright: ignore[reportOptionalMemberAccess]
            os._exit(status & 0xFF)
    deadline = time.monotonic() + LONGEST_S
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 124, "too long"
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it left behind
    return os.waitstatus_to_exitcode(ended[1]), printed.read_text(errors="replace")


def main() -> None:
    """Run all cases of a file."""
    path = Path(sys.argv[1])
    cases = json.loads(path.read_text())
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if any(case["collected"] for case in cases.values()):
        for name in ("asyncio", "doctest", "unittest.mock", "pytest", "numpy", "pandas"):
            __import__(name)  # once for all
    gc.collect()
    gc.freeze()
    outcomes = {}
    for number, (name, case) in enumerate(cases.items()):
        status, printed = forked(case, path.parent / f"{number}-0", case["collected"])
        if status in NO_TESTS and case["collected"]:
            status, printed = forked(case, path.parent / f"{number}-1", False)
        outcomes[name] = status, printed
    path.with_name("OUTCOMES.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
