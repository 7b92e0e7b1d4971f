"""Whatever is killed in the middle of a run, every id gets its verdict, exactly once, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sandbox import suite
from tests.sandbox.test_suite import require

# The promise is made for 10,000; fewer keep the test short.
CASES = int(os.environ.get("SELFCODEALIGN_KILL_CASES", "200"))
LAYERS = ("bubblewrap", "apptainer")
KINDS = {
    "pass": ("def f(x): return x + {n}", "assert f(1) == {n} + 1"),
    "fail": ("def f(x): return x - {n} - 1", "assert f(1) == {n} + 1"),
    "error": ("def f(x): return x.missing_{n}", "assert f(1) == 1"),
    "vacuous": ("def f(x): return {n}", "f(1)"),
}


def expected(number: int) -> str:
    """Return the verdict that a numbered case must get."""
    return ("fail", "error", "vacuous")[number % 3] if number % 5 == 0 else "pass"


@pytest.fixture
def cases(tmp_path):
    """Write the cases and return their file."""
    path = tmp_path / "cases.jsonl"
    with path.open("w") as file:
        for number in range(CASES):
            code, test = (text.format(n=number) for text in KINDS[expected(number)])
            file.write(json.dumps({"id": f"case {number}", "code": code, "test": test}) + "\n")
    return path


def start(cases: Path, output: Path, layer: str) -> subprocess.Popen:
    """Start the command line in a session of its own."""
    command = [sys.executable, "-m", "selfcodealign", "sandbox", "--input", cases, "--output", output]
    command += ["--isolation", layer, "--workers", "2"]
    return subprocess.Popen(command, cwd=suite.ROOT, stderr=subprocess.PIPE, start_new_session=True)


def wait_for(output: Path, lines: int, process: subprocess.Popen) -> None:
    """Wait until the output has so many lines."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read().decode()
        if output.exists() and output.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {lines} verdicts within the time")


def check(output: Path) -> None:
    """Every id has one row, and the verdict it must have."""
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == CASES
    found = {row["id"]: (row["verdict"], row["reason"]) for row in rows}
    assert len(found) == CASES
    wrong = {name: pair for name, pair in found.items() if pair[0] != expected(int(name.split()[1]))}
    assert not wrong


def parents() -> dict[int, int]:
    """Return pid → parent's pid of all processes."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    return found


def below(pid: int) -> list[int]:
    """List the descendants of a process."""
    table = parents()
    found, queue = [], [pid]
    while queue:
        at = queue.pop()
        children = [child for child, parent in table.items() if parent == at]
        found += children
        queue += children
    return found


def depth(pid: int) -> int:
    """Return how many pid namespaces deep a process lies: a worker is at 3, the program that it runs at 4."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((len(line.split()) - 1 for line in lines if line.startswith("NSpid")), 0)


def runs(pid: int) -> bool:
    """Say whether a process is there, and no zombie."""
    try:
        return bool(depth(pid)) and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def started(pid: int) -> int:
    """Return when a process was started, in clock ticks; 0 for one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0


def gone(pids: list[int]) -> bool:
    """Wait until processes have ended; False if some have not after a while."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not any(map(runs, pids)):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("layer", LAYERS)
def test_a_killed_runner_continues_where_it_was(layer, cases, tmp_path):
    require(layer)
    output = tmp_path / "verdicts.jsonl"
    for share in (0.2, 0.5):
        process = start(cases, output, layer)
        wait_for(output, int(CASES * share), process)
        workers = below(process.pid)
        assert workers
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert gone(workers), "workers outlive their runner"
    with output.open("ab") as file:
        file.write(b'{"id": "case 99999", "verd')
    process = start(cases, output, layer)
    assert process.wait(timeout=300) == 0, process.stderr.read().decode()
    check(output)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("victim", ["worker", "container"])
def test_a_killed_worker_is_replaced_and_its_case_runs_again(victim, layer, cases, tmp_path):
    require(layer)
    output = tmp_path / "verdicts.jsonl"
    process = start(cases, output, layer)
    killed = 0
    for share in (0.2, 0.4, 0.6):
        wait_for(output, int(CASES * share), process)
        targets = [pid for pid in below(process.pid) if depth(pid) == (3 if victim == "worker" else 1)]
        # The oldest: a worker in the place of a killed one may still run the case of that, which is run twice at most.
        for pid in sorted(targets, key=started)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    assert process.wait(timeout=300) == 0, process.stderr.read().decode()
    assert killed == 3
    check(output)
