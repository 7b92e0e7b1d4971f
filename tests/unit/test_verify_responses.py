"""Every response gets a verdict, in its own row, whatever happens to the run."""

import json
import logging

import pyarrow.parquet as pq
import pytest

from scripts.verify_responses import main, reference_program, verdict_columns
from selfcodealign.config.execution import VerifyResponses
from selfcodealign.errors import UserError
from selfcodealign.rows import ResponseRow, VerdictRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.verification import case_of

pytestmark = pytest.mark.slow

RESPONSE = "Add one.\n\n```python\ndef add_one(x):\n    return x + 1\n```"
LEAVING = RESPONSE.replace("return x + 1", "raise SystemExit(0)")
SAMPLES = {
    "right": (RESPONSE, "```python\nassert add_one(1) == 2\n```", "pass"),
    "wrong": (RESPONSE, "```python\nassert add_one(1) == 3\n```", "fail"),
    "leaves": (LEAVING, "```python\nassert add_one(1) == 2\n```", "fail"),
    "empty": (RESPONSE, "```python\nadd_one(1)\n```", "vacuous"),
    "broken": ("```python\ndef add_one(x) return\n```", "```python\nassert add_one(1) == 2\n```", "error"),
    "same": (RESPONSE, "```python\nassert add_one(1) == 2\n```", "pass"),
}


def response_row(name: str, response: str, tests: str) -> dict:
    sampling = {"model": "m", "revision": "r", "template": "t", "examples": [1], "temperature": 0.7, "top_p": 1.0}
    numbers = {"max_tokens": 8, "seed": 1, "tokens_in": 1, "tokens_out": 1, "sample": 0}
    parents = {"instruction_id": "ins-1", "seed_id": "seed-1", "concept_id": None}
    task = {"instruction": "Add one.", "concepts": [], "category": "", "difficulty": "", "language": "python"}
    text = {"raw": f"{response}\n\n<tests>\n{tests}", "response": response, "tests": tests, "finish_reason": "stop"}
    return {"id": name, **sampling, **numbers, **parents, **task, **text}


@pytest.fixture
def stage(tmp_path):
    """Write the samples as a shard, and return the keywords of `main`."""
    rows = [response_row(name, response, tests) for name, (response, tests, _) in SAMPLES.items()]
    write_rows(tmp_path / "responses.parquet", ResponseRow, rows)
    files = {name: tmp_path / f"verdicts.{suffix}" for name, suffix in FILES.items()}
    return {"responses": tmp_path / "responses.parquet", "work": tmp_path / "work", **files}


FILES = {"rows": "parquet", "dropped": "dropped.parquet", "funnel": "funnel.json"}


def test_every_row_keeps_its_place_and_gets_its_verdict(stage):
    main(**stage, settings=VerifyResponses())
    rows = list(read_rows(stage["rows"]))
    assert [(row["id"], row["verdict"]) for row in rows] == [(name, sample[2]) for name, sample in SAMPLES.items()]
    assert [row["passed"] for row in rows] == [sample[2] == "pass" for sample in SAMPLES.values()]
    assert set(rows[0]) == set(VerdictRow.model_fields)
    assert rows[0]["assertions_run"] == rows[0]["assertions_held"] == 1
    assert rows[1]["assertions_run"] == 1
    assert rows[1]["assertions_held"] == 0
    assert pq.read_table(stage["dropped"]).num_rows == 0
    funnel = json.loads(stage["funnel"].read_text())
    assert funnel["entered"] == funnel["kept"] == len(SAMPLES)
    assert funnel["verdicts"] == {"error": 1, "fail": 2, "pass": 2, "vacuous": 1}
    assert sum(funnel["isolation"].values()) == len(SAMPLES)


def test_a_killed_run_continues_and_a_finished_one_runs_nothing(stage, monkeypatch, caplog):
    def stopping(cases, settings):
        for number, verdict in enumerate(run_cases(cases, settings)):
            if number == 3:
                raise KeyboardInterrupt
            yield verdict

    from selfcodealign import verification

    run_cases = verification.run_cases
    monkeypatch.setattr(verification, "run_cases", stopping)
    with pytest.raises(KeyboardInterrupt):
        main(**stage, settings=VerifyResponses())
    assert not stage["rows"].exists()

    given = []

    def counting(cases, settings):
        return run_cases((given.append(case["id"]) or case for case in cases), settings)

    monkeypatch.setattr(verification, "run_cases", counting)
    with caplog.at_level(logging.INFO):
        main(**stage, settings=VerifyResponses())
    assert len(given) == len(SAMPLES) - 3
    assert [row["verdict"] for row in read_rows(stage["rows"])] == [sample[2] for sample in SAMPLES.values()]

    given.clear()
    main(**stage, settings=VerifyResponses())
    assert given == []


def test_a_rerun_on_other_responses_runs_those_that_are_new(stage):
    rows = [response_row(name, response, tests) for name, (response, tests, _) in SAMPLES.items()]
    write_rows(stage["responses"], ResponseRow, rows[1:])
    main(**stage, settings=VerifyResponses())
    write_rows(stage["responses"], ResponseRow, rows[:-1])
    main(**stage, settings=VerifyResponses())
    assert [row["verdict"] for row in read_rows(stage["rows"])] == [sample[2] for sample in SAMPLES.values()][:-1]


def test_reference_mode_counts_exit_status_0(stage):
    main(**stage, mode="reference", settings=VerifyResponses())
    verdicts = {row["id"]: row["passed"] for row in read_rows(stage["rows"])}
    assert verdicts == {"right": True, "wrong": False, "leaves": True, "empty": True, "broken": False, "same": True}


def test_isolation_none_needs_a_second_flag(stage):
    with pytest.raises(UserError, match="i-understand"):
        main(**stage, settings=VerifyResponses(isolation="none"))


@pytest.mark.parametrize(
    ("raw", "program"),
    [
        ("a\n```python\nx = 1\n```\nb\n```bash\nls\n```", "x = 1\n\nls"),
        ("```python\nn = input()\nif __name__ == '__main__':\n    run()\n```", "n = input()"),
        (
            "```python\nn = 1\nif __name__ == '__main__':\n    run()\n```",
            "n = 1\nif __name__ == '__main__':\n    run()",
        ),
        ("no block", ""),
        ("```python\nx = 1", ""),
    ],
    ids=["all languages", "input cuts the main guard", "no input keeps it", "no block", "unclosed block"],
)
def test_the_reference_joins_all_blocks(raw, program):
    assert reference_program(raw) == program


def test_code_is_taken_out_of_its_fences_and_response_and_tests_stay_apart():
    case = case_of(*SAMPLES["right"][:2])
    assert case == {"code": "def add_one(x):\n    return x + 1", "test": "assert add_one(1) == 2"}


def test_code_without_fences_is_taken_as_it_is():
    case = case_of("def f(): return 1", "assert f() == 1")
    assert case == {"code": "def f(): return 1", "test": "assert f() == 1"}


def test_output_that_is_no_unicode_can_be_stored():
    columns = verdict_columns({"stdout": "a\ud800b", "verdict": "pass", "passed": True})
    assert columns["stdout"] == "a?b"
