"""Scores are means over tasks with intervals; what is missing or differs from the paper is said."""

import json

import pytest

from scripts.score_benchmark import described, grouped, main
from selfcodealign.config.evaluation import ScoreBenchmark
from selfcodealign.evaluation import base, scoring
from selfcodealign.evaluation.base import Problem, Sampling
from selfcodealign.evaluation.rows import ExecutedRow, SampleRow
from selfcodealign.rows_io import write_json, write_rows

PLUS = base.get("humaneval_plus")


def problem(number: int, **fields) -> Problem:
    return Problem(f"HumanEval/{number}", {"prompt": "", **fields})


def verdict(base_status: str, plus_status: str) -> dict:
    groups = {"base": base_status, "plus": plus_status}
    return {"passed": PLUS.passed(groups), "groups": groups, "measures": {}}


def test_plus_needs_base_and_plus_to_pass():
    assert verdict("pass", "pass")["passed"]
    assert not verdict("fail", "pass")["passed"]
    assert not verdict("pass", "timeout")["passed"]


def test_scores_are_means_over_tasks_with_every_k_that_fits():
    rows = {
        "HumanEval/0": [verdict("pass", "pass")] * 4 + [verdict("pass", "fail")] * 6,
        "HumanEval/1": [verdict("fail", "fail")] * 10,
    }
    found = scoring.score(PLUS, [problem(0), problem(1)], rows, seed=1)
    values = {name: metric["value"] for name, metric in found["metrics"].items()}
    assert values == {"pass@1": 20.0, "pass@10": 50.0, "base_pass@1": 50.0, "base_pass@10": 50.0}
    assert found["headline"] == "pass@1"
    assert found["statuses"]["plus"] == {"fail": 16, "pass": 4}
    low, high = found["metrics"]["pass@1"]["low"], found["metrics"]["pass@1"]["high"]
    assert low <= 20 <= high


@pytest.mark.parametrize(("missing", "value"), [("exclude", 100.0), ("fail", 50.0)])
def test_missing_tasks_are_named_and_count_as_failures_only_when_asked(missing, value):
    found = scoring.score(PLUS, [problem(0), problem(1)], {"HumanEval/0": [verdict("pass", "pass")]}, missing=missing)
    assert found["metrics"]["pass@1"]["value"] == value
    assert found["missing"] == ["HumanEval/1"]
    assert "HumanEval/1" in found["warnings"][0]


def test_unequal_numbers_of_samples_are_said():
    rows = {"HumanEval/0": [verdict("pass", "pass")], "HumanEval/1": [verdict("pass", "pass")] * 3}
    found = scoring.score(PLUS, [problem(0), problem(1)], rows)
    assert any("unequal numbers of samples, from 1 to 3" in text for text in found["warnings"])


def test_differences_from_the_papers_settings_are_said():
    found = scoring.settings_warnings(PLUS, "v0.1.10", Sampling(n=1, temperature=0.8, max_tokens=1024))
    assert found == [
        "the paper used version v0.1.9 of HumanEval+, this is v0.1.10",
        "the paper sampled HumanEval+ with temperature 0.0, here it is 0.8",
    ]
    assert scoring.settings_warnings(PLUS, "v0.1.9", PLUS.sampling) == []
    assert scoring.settings_warnings(base.get("demo"), None, Sampling(n=5)) == []


def test_the_papers_number_stands_beside():
    found = scoring.paper_number(PLUS, "CodeQwen1.5-7B-Base")
    assert found is not None
    assert found["ours"] == {"model": "SelfCodeAlign-CQ-7B", "value": 67.1}
    assert found["same_model"] == {"model": "CodeQwen1.5-7B-Base", "value": 45.7}
    assert scoring.paper_number(base.get("demo"), None) is None


@pytest.mark.parametrize("name", base.names())
def test_every_headline_has_its_column_in_the_paper(name):
    benchmark = base.get(name)
    found = scoring.paper_number(benchmark, None)
    assert (found is None) == (benchmark.paper is None)


def test_classeval_reports_the_best_strategy():
    benchmark = base.get("classeval")
    record = {"test_classes": ["A", "B"]}
    problems = [Problem(f"ClassEval_0/{name}", record, name, name) for name in ("holistic", "incremental")]
    rows = {
        "ClassEval_0/holistic": [{"passed": False, "groups": {"A": "pass", "B": "fail"}, "measures": {}}],
        "ClassEval_0/incremental": [{"passed": True, "groups": {"A": "pass", "B": "pass"}, "measures": {}}],
    }
    values = {name: m["value"] for name, m in scoring.score(benchmark, problems, rows)["metrics"].items()}
    assert values["class_level"] == values["incremental_class_level"] == 100
    assert (values["holistic_class_level"], values["holistic_method_level"]) == (0, 50)


def test_canitedit_means_excess_code_over_problems_with_a_passing_sample():
    benchmark = base.get("canitedit")
    problems = [Problem(f"{n}_x/lazy", {}, "adaptive", "lazy") for n in range(2)]
    passing = {"passed": True, "groups": {"tests": "pass"}, "measures": {"excess": 0.1}}
    more = {**passing, "measures": {"excess": 0.3}}
    failing = {"passed": False, "groups": {"tests": "fail"}, "measures": {}}
    rows = {"0_x/lazy": [passing, more], "1_x/lazy": [failing, failing]}
    metrics = scoring.score(benchmark, problems, rows)["metrics"]
    assert metrics["excess_code"]["value"] == pytest.approx(20)
    assert metrics["excess_code"]["tasks"] == 1


def test_livecodebench_windows_include_both_ends():
    benchmark = base.get("livecodebench")
    dates = {"a": "2023-05-01", "b": "2023-09-01T00:00:00", "c": "2024-02-29", "d": "2024-03-01"}
    problems = [Problem(name, {"contest_date": date, "tests": []}) for name, date in dates.items()]
    rows = {name: [{"passed": True, "groups": {"tests": "pass"}, "measures": {}}] for name in dates}
    metrics = scoring.score(benchmark, problems, rows)["metrics"]
    assert {name: metrics[name]["tasks"] for name in metrics if name.startswith("from_")} == {
        "from_2023-09-01_pass@1": 2,
        "from_2023-07-01_pass@1": 2,
        "from_2023-05-01_pass@1": 3,
    }


def test_the_rule_writes_numbers_settings_and_warnings(tmp_path):
    tasks = [
        {"task_id": f"Demo/{n}", "prompt": "", "entry_point": "f", "test": "", "canonical_solution": ""} for n in "01"
    ]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    write_json(tmp_path / "about.json", {"version": None, "sha256": "x"})
    sampled = {"texts": [""], "finish_reasons": ["stop"], "style": "base", "model": "m", "revision": "r"}
    numbers = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 160, "seed": 1, "tokens_in": 5, "tokens_out": 7}
    names = [("Demo/0#0", "Demo/0"), ("Demo/1#0", "Demo/1")]
    write_rows(
        tmp_path / "samples.parquet",
        SampleRow,
        [{"id": i, "task_id": task, "sample": 0, **sampled, **numbers} for i, task in names],
    )
    judged = {"reason": "", "measures": "{}", "cpu_s": 0.1, "wall_s": 0.1, "memory_mb": 1.0, "isolation": "bubblewrap"}
    rows = [
        {"id": i, "task_id": task, "sample": 0, "passed": task == "Demo/0", "note": "", **judged}
        | {"groups": [{"name": "tests", "status": "pass" if task == "Demo/0" else "fail"}]}
        for i, task in names
    ]
    rows[1]["note"] = "no_code"
    write_rows(tmp_path / "verdicts.parquet", ExecutedRow, rows)
    files = {
        "problems": "tasks.jsonl",
        "about": "about.json",
        "samples": "samples.parquet",
        "verdicts": "verdicts.parquet",
    }
    main(
        "demo",
        **{key: tmp_path / name for key, name in files.items()},
        scores=tmp_path / "s.json",
        name="base",
        run_seed=3,
        settings=ScoreBenchmark(),
    )
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["metrics"]["pass@1"]["value"] == 50
    assert found["settings"]["tokens_out"] == 14
    assert found["settings"]["isolation"] == ["bubblewrap"]
    assert found["tasks"]["Demo/1"] == {"n": 1, "passed": 0, "verdicts": [{"tests": "fail"}]}
    assert "1 of 2 answers hold no code" in found["warnings"]


def test_rows_are_grouped_by_task_in_the_order_of_samples():
    row = {"task_id": "a", "passed": True, "groups": [{"name": "tests", "status": "pass"}], "measures": '{"x": 1}'}
    assert grouped([row]) == {"a": [{"passed": True, "groups": {"tests": "pass"}, "measures": {"x": 1}}]}


def test_the_number_of_samples_is_counted_per_task():
    columns = {"style": "base", "model": "m", "revision": "r", "temperature": 0.2, "top_p": 0.9, "max_tokens": 9}
    rows = [{"task_id": task, "tokens_in": 1, "tokens_out": 2, **columns} for task in ("a", "a", "b")]
    settings, sampling = described(rows)
    assert sampling == Sampling(2, 0.2, 0.9, 9)
    assert settings["tokens_in"] == 3
