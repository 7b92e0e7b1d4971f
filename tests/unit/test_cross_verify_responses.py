"""Responses that pass the same tests of others agree, and agreement is a score."""

import pytest

from scripts.cross_verify_responses import agreement, main, pair_id, pairs
from scripts.select_responses import main as select
from selfcodealign.config.dataset import SanitizeResponses, SelectResponses
from selfcodealign.config.execution import RunResponses
from selfcodealign.config.generation import Stopping
from selfcodealign.rows import VerdictRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import verdict_row


def executed(name: str, verdict: str = "pass", **columns) -> dict:
    return verdict_row(
        0, id=f"res-{name}", instruction_id="ins-0", verdict=verdict, passed=verdict == "pass", **columns
    )


def scores(group, passing: set[tuple[str, str]]) -> dict[str, tuple[int, int, float]]:
    outcomes = {pair_id(one, other): (one["id"][4:], other["id"][4:]) in passing for one in group for other in group}
    return {row["id"][4:]: (row["tests_passed"], row["agreeing"], row["score"]) for row in agreement(group, outcomes)}


@pytest.mark.parametrize(
    ("verdicts", "passing", "expected"),
    [
        # Two agree against one: each of the two passes both their suites.
        (
            {"a": "pass", "b": "pass", "c": "pass"},
            {("a", "b"), ("b", "a")},
            {"a": (2, 2, 4 / 9), "b": (2, 2, 4 / 9), "c": (1, 1, 1 / 9)},
        ),
        # All agree.
        ({"a": "pass", "b": "pass"}, {("a", "b"), ("b", "a")}, {"a": (2, 2, 1.0), "b": (2, 2, 1.0)}),
        # A response with a wrong test of its own is rescued by the others' tests.
        ({"a": "fail", "b": "pass"}, {("a", "b")}, {"a": (1, 2, 0.5), "b": (1, 2, 0.5)}),
        # Vacuous tests are no evidence.
        ({"a": "vacuous", "b": "pass"}, {("b", "a")}, {"a": (0, 1, 0.0), "b": (1, 1, 0.5)}),
        # Alone, a response agrees with itself.
        ({"a": "pass"}, set(), {"a": (1, 1, 1.0)}),
        ({"a": "vacuous"}, set(), {"a": (0, 1, 0.0)}),
    ],
)
def test_agreement_is_scored(verdicts, passing, expected):
    group = [executed(name, verdict) for name, verdict in verdicts.items()]
    assert scores(group, passing) == expected


def test_each_pair_runs_once_and_never_with_tests_that_prove_nothing():
    group = [executed("a"), executed("b"), executed("c", "vacuous")]
    assert [pair_id(*pair) for pair in pairs(group)] == ["res-a|res-b", "res-b|res-a", "res-c|res-a", "res-c|res-b"]


RIGHT = "```python\ndef double(x):\n    return 2 * x\n```"
OTHER_RIGHT = "```python\ndef double(x):\n    return x + x\n```"
WRONG = "```python\ndef double(x):\n    return x ** 2\n```"
GOOD_TESTS = "```python\nassert double(3) == 6\nassert double(0) == 0\n```"
MORE_TESTS = "```python\nassert double(5) == 10\n```"
WRONG_TESTS = "```python\nassert double(2) == 4\nassert double(3) == 9\n```"


def test_the_majority_wins_in_the_sandbox(tmp_path):
    """A response that passes its own wrong tests is outvoted, and a second run executes nothing again."""
    given = [
        executed("a", response=RIGHT, tests=GOOD_TESTS),
        executed("b", response=OTHER_RIGHT, tests=MORE_TESTS),
        executed("c", response=WRONG, tests=WRONG_TESTS),
    ]
    write_rows(tmp_path / "verdicts.parquet", VerdictRow, given)
    for attempt in ("first", "second"):
        rows = tmp_path / f"{attempt}.parquet"
        main(tmp_path / "verdicts.parquet", rows, tmp_path / "work", settings=RunResponses())
    rows = {row["id"]: row for row in read_rows(tmp_path / "first.parquet")}
    assert rows["res-a"]["score"] == rows["res-b"]["score"] == 4 / 9
    assert rows["res-c"]["score"] == 1 / 9
    assert (tmp_path / "first.parquet").read_bytes() == (tmp_path / "second.parquet").read_bytes()
    outputs = [tmp_path / name for name in ("rows.parquet", "dropped.parquet", "funnel.json")]
    by_agreement = {"settings": SelectResponses(selection="consensus"), "sanitizing": SanitizeResponses()}
    by_agreement["stopping"] = Stopping()
    scores = [tmp_path / "first.parquet"]
    select([tmp_path / "verdicts.parquet"], *outputs, consensus=scores, mode="fixed", run_seed=1, **by_agreement)
    (chosen,) = read_rows(outputs[0])
    assert chosen["response_id"] in ("res-a", "res-b")
