"""On real solutions, right and wrong, the sandbox agrees with `python file.py`."""

import ast
import gzip
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from selfcodealign.sandbox import Settings, run_cases
from tests.sandbox.test_reading import mutants

TIMEOUT_S = 4
LONGEST_S = 20
SAMPLES = 1_300


def tasks(path):
    """Read a benchmark's tasks."""
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def samples(shared):
    """Return (id, code, test) of published solutions, and of some with one thing changed, which mostly are wrong."""
    rows = []
    for task in tasks(shared / "bench/HumanEval.jsonl.gz"):
        test = f"{task['test']}\ncheck({task['entry_point']})\n"
        rows.append((task["task_id"], task["prompt"] + task["canonical_solution"], test))
    for task in tasks(shared / "bench/mbpp.jsonl.gz"):
        rows.append((f"MBPP/{task['task_id']}", task["code"], "\n".join([task["test_setup_code"], *task["test_list"]])))
    for name, code, test in rows[:: len(rows) // (SAMPLES - len(rows))]:
        tree = ast.parse(code)
        if mutants.mutate(tree, 1, 3):
            rows.append((f"{name} changed", ast.unparse(tree), test))
        if len(rows) >= SAMPLES:
            break
    assert len(rows) >= 1_000
    return rows


def plainly(folder, number, code, test) -> bool | None:
    """Run a sample as a file of its own; None if it takes too long."""
    path = folder / f"{number}.py"
    path.write_text(f"{code}\n\n{test}\n")
    # Most need no installed package, and start in half the time without looking for any.
    for flags in (["-S"], []):
        command = [sys.executable, *flags, path]
        try:
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode == 0:
            return True
    return False


@pytest.mark.timeout(900)
def test_verdicts_differ_from_plain_python_in_at_most_one_in_a_thousand(samples, tmp_path):
    cases = ({"id": name, "code": code, "test": test} for name, code, test in samples)
    settings = Settings(workers=2, timeout_s=TIMEOUT_S, python=sys.executable)
    found = {row["id"]: row for row in run_cases(cases, settings)}
    assert len(found) == len(samples)
    with ThreadPoolExecutor(2) as pool:
        plain = list(pool.map(lambda item: plainly(tmp_path, item[0], *item[1][1:]), enumerate(samples)))
    different = [
        (name, expected, found[name]["verdict"], found[name]["reason"])
        for (name, _, _), expected in zip(samples, plain, strict=True)
        # Tests that also pass against a stub are flagged on purpose; there are a few in every benchmark.
        if found[name]["verdict"] != "vacuous" and found[name]["passed"] != bool(expected)
    ]
    assert len(different) <= len(samples) / 1000, different
    assert sum(row["verdict"] == "vacuous" for row in found.values()) <= len(samples) / 100
    assert sum(not row["passed"] for row in found.values()) > 50, "some samples must be wrong"
