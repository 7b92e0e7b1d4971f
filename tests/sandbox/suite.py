"""The cases of the hostile suite, and the settings in which all of them must hold.

A case is an entry of `cases/*.toml`: what the sandbox is given, and what it must answer. `expect` is the one verdict
that is right, `expect_any` lists several; `stdout`, `stderr`, `exit_status`, `tests_run` and `truncated` are compared
where given; `survivor` names a process that must be gone afterwards. `needs` lists packages that the interpreter must
have.
"""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
GIVEN = (
    *("code", "test", "program", "stdin", "files"),
    *("timeout_s", "memory_mb", "scratch_mb", "processes", "output_kb"),
)
COMPARED = ("stdout", "stderr", "exit_status", "tests_run", "truncated")
SECRET = "a-secret-of-the-runner-4f1d"
NOBODY = 65534
PR_SET_CHILD_SUBREAPER = 36


def load() -> list[dict[str, Any]]:
    """Read all cases; ids are unique over all files."""
    cases = []
    for path in sorted((Path(__file__).parent / "cases").glob("*.toml")):
        for case in tomllib.loads(path.read_text())["case"]:
            if "code_json" in case:
                # Text that no text file can hold.
                case["code"] = json.loads(case.pop("code_json"))
            if "test_made" in case:
                # Long tests, as an expression that makes their text.
                case["test"] = eval(case.pop("test_made").strip())
            cases.append({**case, "category": path.stem})
    return cases


@contextmanager
def host(folder: Path) -> Iterator[dict[str, str]]:
    """Lay out what programs will look for on the host, and yield the texts that stand for it in the cases."""
    secret = folder / "secret.txt"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    name = f"sandbox-suite-{os.getpid()}"
    with (
        tempfile.NamedTemporaryFile(prefix=".sandbox-suite-", dir=Path.home()) as private,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind("\0" + name)
        abstract.listen()
        yield {
            "@HOME_FILE@": private.name,
            "@SECRET_FILE@": str(secret),
            "@SECRET@": SECRET,
            "@PORT@": str(server.getsockname()[1]),
            "@ABSTRACT@": name,
            "@RUNNER@": str(os.getpid()),
        }


def given(case: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """Return what the sandbox gets of a case, the host's texts filled in."""
    row: dict[str, Any] = {"id": case["id"]}
    for key in GIVEN:
        if key in case:
            value = case[key]
            for mark, text in texts.items() if isinstance(value, str) else ():
                value = value.replace(mark, text)
            row[key] = value
    return row


@dataclass(frozen=True)
class Outcome:
    """What came of one run of the suite."""

    verdicts: dict[str, dict[str, Any]]
    left: list[str]
    """Commands of the processes that the run left behind."""


def run(cases: list[dict[str, Any]], folder: Path, *flags: str, user: int | None = None) -> Outcome:
    """Run cases through the command line, as this user or another."""
    folder.chmod(0o755)
    # What loses its parent becomes a child of this process, where it can be seen.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = children()
    checkout, python = ROOT, sys.executable
    if user is not None:
        # Another user may not be able to read this checkout, nor its interpreter.
        checkout = folder / "checkout"
        shutil.copytree(
            ROOT / "selfcodealign", checkout / "selfcodealign", ignore=shutil.ignore_patterns("__pycache__")
        )
        python = interpreter_of(user)
        cases = [case for case in cases if all(has(python, name, user) for name in case.get("needs", ()))]
    output = folder / "output"
    output.mkdir(mode=0o777)
    output.chmod(0o777)
    with host(folder) as texts:
        lines = [json.dumps(given(case, texts)) for case in cases]
        (folder / "cases.jsonl").write_text("\n".join(lines) + "\n")
        command = [python, "-m", "selfcodealign", "sandbox", "--input", folder / "cases.jsonl"]
        command += ["--output", output / "verdicts.jsonl", "--workers", "2", *flags]
        identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        environment = {"PATH": os.environ["PATH"], "HOME": str(Path.home()), "SUITE_SECRET": SECRET, **images()}
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=400, **identity
        )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in (output / "verdicts.jsonl").read_text().splitlines()]
    verdicts = {row["id"]: row for row in rows}
    assert len(rows) == len(verdicts) == len(cases), "every id has exactly one verdict"
    return Outcome(verdicts, left_over(before))


def plain_outcomes(cases: dict[str, dict[str, Any]], folder: Path) -> dict[str, tuple[int, str]]:
    """Run files without a sandbox, as `plain_runs.py` says; returns exit statuses and what was printed, by id."""
    path = folder / "CASES.json"
    path.write_text(json.dumps(cases))
    command = [sys.executable, ROOT / "tests" / "sandbox" / "plain_runs.py", path]
    subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=600)
    return json.loads(path.with_name("OUTCOMES.json").read_text())


def children() -> set[int]:
    """Return the pids of this process's live children."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(folder.name))
    return found


def left_over(before: set[int]) -> list[str]:
    """Return the commands of children that were not there before, after giving them a moment to end."""
    deadline = time.monotonic() + 10
    while (left := children() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [Path(f"/proc/{pid}/cmdline").read_text()[:100] for pid in left]


def images() -> dict[str, str]:
    """Return the variable that says where images are, if it is set."""
    name = "SELFCODEALIGN_IMAGES"
    return {name: os.environ[name]} if name in os.environ else {}


def interpreter_of(user: int) -> str:
    """Return an interpreter that a user can run: this one, or the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run([python, "-c", "import ctypes"], check=True, capture_output=True, user=user, extra_groups=[])
            return python
        except (OSError, subprocess.SubprocessError):
            continue
    raise AssertionError(f"user {user} can run no Python here")


def has(python: str, package: str, user: int) -> bool:
    """Tell whether an interpreter can import a package."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], capture_output=True, user=user, extra_groups=[]).returncode == 0


def survivors(name: str) -> list[str]:
    """List the live processes of a name."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "comm").read_text().strip() == name and "Z" not in (folder / "stat").read_text().split()[
                    2
                ]:
                    found.append(folder.name)
            except OSError:
                continue
    return found
