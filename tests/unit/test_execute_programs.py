"""Every program gets a verdict for each group of tests, decided in the sandbox, whatever it tries."""

import json
from pathlib import Path

import pytest

from scripts.execute_programs import main
from selfcodealign.config.execution import ExecutePrograms
from selfcodealign.errors import UserError
from selfcodealign.evaluation import base, execution
from selfcodealign.evaluation.base import Outcome, Problem
from selfcodealign.evaluation.execution import Task, execute, sandbox_settings
from selfcodealign.evaluation.rows import ExecutedRow, ProgramRow
from selfcodealign.rows_io import read_rows, write_rows

pytestmark = pytest.mark.slow

HEAD = 'def halve(x: float):\n    """Half of it."""\n'
RECORD = {
    "task_id": "HumanEval/0",
    "prompt": HEAD,
    "entry_point": "halve",
    "canonical_solution": "    return x / 2\n",
    "test": "def check(candidate):\n    assert candidate(2) == 1\n",
    "base_input": [[1.0], [2.0]],
    "plus_input": [[0.1], [1e9]],
    "atol": 0,
}
PROGRAMS = {
    "right": (HEAD + "    return x * 0.5\n", "pass", "pass"),
    "nearly": (HEAD + "    return x * 0.5 + 1e-9\n", "pass", "pass"),
    "base only": (HEAD + "    return x * 0.5 if x < 5 else None\n", "pass", "fail"),
    "wrong": (HEAD + "    return x\n", "fail", "fail"),
    "empty": ("", "fail", "fail"),
    "syntax": ("def halve(x) return x\n", "fail", "fail"),
    "absent": ("def other(x):\n    return x\n", "fail", "fail"),
    "exits": (HEAD + "    import os\n    os._exit(0)\n", "fail", "fail"),
    "leaves": (HEAD + "    raise SystemExit(0)\n", "fail", "fail"),
    "forges": (HEAD + '    print(\'{"group": "base", "status": "pass"}\', flush=True)\n', "fail", "fail"),
    "main block": (HEAD + "    return x * 0.5\nif __name__ == '__main__':\n    print(input())\n", "pass", "pass"),
    "prints": (HEAD + "    print('x' * 100_000)\n    return x * 0.5\n", "pass", "pass"),
    "loops": (HEAD + "    while x == 2.0:\n        pass\n    return x * 0.5\n", "timeout", "pass"),
    "loops in C": (HEAD + "    return x * 0.5 if x < 3 else sum(range(10**13))\n", "pass", "timeout"),
}
PROBLEM = Problem("HumanEval/0", RECORD)
SETTINGS = sandbox_settings(base.get("humaneval_plus"), workers=1)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, Outcome]:
    """Verdicts on all programs, from one run."""
    tasks = [Task(name, PROBLEM, program) for name, (program, _, _) in PROGRAMS.items()]
    return execute(base.get("humaneval_plus"), tasks, SETTINGS, tmp_path_factory.mktemp("references"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_group_gets_its_own_verdict(outcomes, name):
    _, first, second = PROGRAMS[name]
    assert dict(outcomes[name].groups) == {"base": first, "plus": second}
    if (first, second) != ("pass", "pass"):
        assert outcomes[name].reason


def test_expected_outputs_are_computed_once_and_kept_encoded(tmp_path, monkeypatch):
    benchmark = base.get("humaneval_plus")
    references = execution.References(benchmark, tmp_path, SETTINGS)
    references.prepare([PROBLEM])
    (kept,) = tmp_path.rglob("*.json")
    assert set(json.loads(kept.read_text())) == {"inputs", "expected"}

    def never(*arguments: object) -> None:
        raise AssertionError("the reference ran again")

    monkeypatch.setattr(execution, "run_cases", never)
    execution.References(benchmark, tmp_path, SETTINGS).prepare([PROBLEM])


def test_a_reference_that_does_not_run_is_named(tmp_path):
    broken = Problem("HumanEval/9", {**RECORD, "canonical_solution": "    return undefined\n"})
    with pytest.raises(UserError, match=r"reference solution of HumanEval/9 gave no outputs \(NameError"):
        execution.References(base.get("humaneval_plus"), tmp_path, SETTINGS).prepare([broken])


def test_marked_lines_alone_count_and_torn_ones_do_not():
    text = 'x{"group": "a"}\nsecret{"group": "a", "status": "pass"}\nsecret{"gro'
    assert execution.findings(text, "secret") == [{"group": "a", "status": "pass"}]


@pytest.mark.parametrize(
    ("verdict", "stdout", "expected"),
    [
        ("timeout", "", "timeout"),
        ("memory", "", "memory"),
        ("internal", "", "crashed"),
        ("fail", 'm{"ended": "timeout"}', "timeout"),
        ("fail", '{"ended": "timeout"}', "fail"),
    ],
)
def test_an_undecided_group_takes_the_reason_why_the_run_ended(verdict, stdout, expected):
    ended = {"verdict": verdict, "exit_status": 0, "stdout": stdout, "stderr": "", "reason": "r", "isolation": "x"}
    measured = {"cpu_s": 1.0, "wall_s": 1.0, "memory_mb": 1.0}
    assert dict(execution.outcome(("a",), {**ended, **measured}, "m").groups) == {"a": expected}


def judged(folder: Path, workers: int) -> list[dict]:
    rows = folder / f"verdicts-{workers}.parquet"
    work = folder / f"work-{workers}"
    main(
        "demo",
        folder / "tasks.jsonl",
        folder / "programs.parquet",
        rows,
        work,
        folder / "references",
        workers=workers,
        settings=ExecutePrograms(),
    )
    return list(read_rows(rows, list(ExecutedRow.model_fields)))


def test_the_rule_writes_equal_verdicts_with_one_and_two_workers(tmp_path):
    (tmp_path / "tasks.jsonl").write_text(json.dumps(RECORD) + "\n")
    names = ["right", "wrong", "empty", "leaves"]
    programs = [
        {"id": f"HumanEval/0#{n}", "task_id": "HumanEval/0", "sample": n, "program": PROGRAMS[name][0], "note": ""}
        for n, name in enumerate(names)
    ]
    write_rows(tmp_path / "programs.parquet", ProgramRow, programs)
    one, two = judged(tmp_path, 1), judged(tmp_path, 2)
    assert [row["id"] for row in one] == [row["id"] for row in programs]
    assert [row["passed"] for row in one] == [True, False, False, False]
    assert [(row["groups"], row["reason"]) for row in one] == [(row["groups"], row["reason"]) for row in two]
    assert one[0]["isolation"] in ("apptainer", "bubblewrap")
