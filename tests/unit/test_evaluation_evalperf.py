"""EvalPerf measures correct programs only, enough of them, and scores them against references from fast to slow."""

import json
from pathlib import Path

import pytest

from selfcodealign.evaluation import base
from selfcodealign.evaluation.benchmarks.evalperf import differential
from selfcodealign.evaluation.execution import Task, execute
from selfcodealign.evaluation.scoring import score
from selfcodealign.sandbox import Settings

pytestmark = pytest.mark.slow

SLOW = "def total(n):\n    return sum(i * 1 for i in range(n) for _ in range(20)) // 20\n"
FAST = "def total(n):\n    return n * (n - 1) // 2\n"
PERF = {
    "task_id": "HumanEval/0",
    "entry_point": "total",
    "reference": [SLOW, FAST],
    "scores": [40.0, 100.0],
    "pe_input": "[[100000]]",
}
PLUS = {
    "task_id": "HumanEval/0",
    "prompt": "",
    "canonical_solution": FAST,
    "base_input": [[3]],
    "plus_input": [[9]],
    "atol": 0,
}


@pytest.mark.parametrize(
    ("measures", "expected"),
    [
        ({}, None),
        ({"reference_costs": [100, 10]}, (0.0, 0.0)),
        ({"reference_costs": [100, 10], "cost": 10}, (100.0, 100.0)),
        ({"reference_costs": [100, 10], "cost": 11}, (40.0, 50.0)),
        ({"reference_costs": [100, 10], "cost": 101}, (0.0, 0.0)),
        ({"reference_costs": [100, None], "cost": 5}, (40.0, 50.0)),
    ],
)
def test_the_first_reference_that_is_not_beaten_sets_the_score(measures, expected):
    assert differential(PERF["scores"], measures) == expected


@pytest.fixture
def problems(tmp_path: Path):
    """Join the two published files."""
    for name, record in (("perf", PERF), ("plus", PLUS)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
    benchmark = base.get("evalperf")
    records = benchmark.joined([tmp_path / "perf.jsonl", tmp_path / "plus.jsonl"])
    (tmp_path / "joined.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return benchmark.problems(tmp_path / "joined.jsonl")


@pytest.mark.parametrize(("correct", "measured"), [(12, True), (4, False)])
def test_a_task_is_measured_with_ten_correct_samples_only(problems, tmp_path, correct, measured):
    benchmark = base.get("evalperf")
    programs = [FAST] * (correct - 1) + [SLOW] + ["def total(n):\n    return 0\n"]
    tasks = [Task(str(number), problems[0], program) for number, program in enumerate(programs)]
    found = execute(benchmark, tasks, Settings(workers=1), tmp_path / "references")
    rows = [
        {
            "passed": benchmark.passed(found[task.id].groups),
            "groups": found[task.id].groups,
            "measures": found[task.id].measures,
        }
        for task in tasks
    ]
    metrics = score(benchmark, problems, {"HumanEval/0": rows})["metrics"]
    assert metrics["pass@1"]["value"] == pytest.approx(100 * correct / (correct + 1), abs=0.01)
    assert (metrics["dps"]["tasks"] == 1) is measured
    if measured:
        assert rows[0]["measures"]["unit"] in ("instructions", "cpu_s")
        assert rows[0]["measures"]["cost"] < rows[0]["measures"]["reference_costs"][0]
        assert metrics["dps"]["value"] > 0
        assert "cost" not in rows[-1]["measures"]
