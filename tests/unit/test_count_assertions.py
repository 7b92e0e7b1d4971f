"""The assertions of a failing response, one by one."""

import pytest

from scripts.count_assertions import main, separate
from scripts.select_responses import main as select
from selfcodealign.config.dataset import SanitizeResponses, SelectResponses
from selfcodealign.config.execution import RunResponses
from selfcodealign.config.generation import Stopping
from selfcodealign.errors import UserError
from selfcodealign.rows import VerdictRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import verdict_row


@pytest.mark.parametrize(
    ("tests", "programs"),
    [
        ("assert f(1)\nassert f(2)", ["assert f(1)", "assert f(2)"]),
        ("x = 1\nassert f(x)\nx = 2\nassert f(x)", ["x = 1\nassert f(x)", "x = 1\nx = 2\nassert f(x)"]),
        ("def test_a():\n    assert f(1)", ["def test_a():\n    assert f(1)"]),
        (
            "def test_a():\n    assert f(1)\ndef test_b():\n    assert f(2)",
            ["def test_a():\n    assert f(1)", "def test_b():\n    assert f(2)"],
        ),
        ("def test_a():\n    assert f(1)\ntest_a()", ["def test_a():\n    assert f(1)\ntest_a()"]),
        ("print(f(1))", []),
        ("assert f(", []),
    ],
)
def test_tests_are_split_into_checks(tests, programs):
    assert separate(tests) == programs


CODE = "```python\ndef double(x):\n    return 2 * x if x != 7 else 0\n```"
TESTS = (
    "```python\nstart = 1\nassert double(start) == 2\nassert double(7) == 14\n"
    "assert double(2) == 4\nassert double(3) == 6\n```"
)


@pytest.fixture
def verdicts(tmp_path):
    path = tmp_path / "verdicts.parquet"
    rows = [
        verdict_row(0, id="res-a", passed=False, response=CODE, tests=TESTS),
        verdict_row(1, id="res-b", passed=True),
        verdict_row(2, id="res-c", passed=False, verdict="timeout"),
    ]
    write_rows(path, VerdictRow, rows)
    return path


def chosen(folder, verdicts, assertions=None, **options) -> list[str]:
    outputs = [folder / name for name in ("rows.parquet", "dropped.parquet", "funnel.json")]
    select(
        [verdicts],
        *outputs,
        assertions=assertions,
        mode="fixed",
        run_seed=1,
        settings=SelectResponses(**options),
        sanitizing=SanitizeResponses(),
        stopping=Stopping(),
    )
    return sorted(row["response_id"] for row in read_rows(outputs[0]))


def test_an_assertion_after_the_first_failure_still_counts(tmp_path, verdicts):
    counts = tmp_path / "counts.parquet"
    main(verdicts, counts, tmp_path / "work", settings=RunResponses())
    (row,) = read_rows(counts)
    assert (row["id"], row["held"], row["total"]) == ("res-a", 3, 4)
    assert chosen(tmp_path, verdicts, assertions=[counts], pass_threshold=0.75) == ["res-a", "res-b"]
    assert chosen(tmp_path, verdicts, assertions=[counts], pass_threshold=0.8) == ["res-b"]
    assert chosen(tmp_path, verdicts) == ["res-b"]


def test_a_threshold_needs_counts(tmp_path, verdicts):
    with pytest.raises(UserError, match=r"pass_threshold 0\.5 needs the counts of count_assertions"):
        chosen(tmp_path, verdicts, pass_threshold=0.5)
