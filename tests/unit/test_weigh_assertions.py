"""Responses and single assertions are weighed by each other, at the verdicts that each assertion has by itself."""

import gzip
import json
import random
from typing import Any

import pytest

from demo import measure
from scripts import weigh_assertions
from scripts.build_preferences import main as build_preferences
from scripts.select_responses import main as select
from scripts.weigh_assertions import main, named, run_each, shared, task_of
from selfcodealign import verification
from selfcodealign.config.dataset import (
    BuildPreferences,
    DecontaminateDataset,
    SanitizeResponses,
    SelectResponses,
    WeighAssertions,
)
from selfcodealign.config.execution import RunResponses
from selfcodealign.config.generation import Stopping
from selfcodealign.dataset.matrix import credible, pooled, weighed
from selfcodealign.errors import UserError
from selfcodealign.rows import VerdictRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.sandbox import Settings, run_cases
from tests.conftest import ROOT
from tests.dataset_rows import verdict_row

ONCE = Settings(vacuous=False, workers=1)


# ---- the weights ----


def weigh(matrix: str, authors: str, expected: str = "", least: float = 0.27):
    """Weigh a matrix drawn as words: a row for each response, the author of each column, and what it expects."""
    rows = matrix.split()
    columns = [str(number) for number in range(len(authors))]
    held = {str(n): {one for one, mark in zip(columns, row, strict=True) if mark == "1"} for n, row in enumerate(rows)}
    own = {
        author: [one for one, by in zip(columns, authors, strict=True) if by == author] for author in sorted({*authors})
    }
    values = dict(zip(columns, expected or columns, strict=True))
    found = weighed(held, own, values, least)
    return found, credible(found, held)


@pytest.mark.parametrize(
    ("matrix", "authors", "expected", "outcome", "right"),
    [
        pytest.param("1111 1111 1100", "0122", "", "credible", ["0", "1"], id="the-majority-is-right"),
        pytest.param("1110 1110 0001", "0012", "", "credible", ["0", "1"], id="an-author-is-outvoted"),
        pytest.param("0111 0111 1111", "0122", "", "credible", ["2"], id="all-assertions-beat-the-majority"),
        pytest.param("110 101", "001", "", "weak_evidence", [], id="a-tie-that-agrees-on-little"),
        pytest.param("11110 11101", "01234", "", "credible", ["0", "1"], id="a-tie-that-agrees-on-much"),
        pytest.param("11", "00", "", "credible", ["0"], id="one-response"),
        pytest.param("10", "00", "", "weak_evidence", [], id="one-response-that-fails-itself"),
        pytest.param("1", "0", "", "credible", ["0"], id="one-assertion"),
        pytest.param("0", "0", "", "no_agreement", [], id="one-assertion-that-fails"),
        pytest.param("1 1 0", "0", "", "credible", ["0", "1"], id="one-assertion-of-three-responses"),
        pytest.param("10 01", "01", "", "no_agreement", [], id="two-that-contradict-each-other"),
        pytest.param("10 10 01", "01", "", "weak_evidence", [], id="contradicting-tests-of-two-authors"),
        pytest.param("100 010 001", "012", "", "no_agreement", [], id="nobody-agrees"),
        pytest.param("0000 0000", "0011", "", "no_agreement", [], id="nobody-holds-any"),
        pytest.param("110000 110000 110000", "001122", "", "weak_evidence", [], id="too-few-hold"),
        pytest.param("111010 111010", "000111", "abcdef", "credible", ["0", "1"], id="values-hard-to-guess"),
        pytest.param("111010 111010", "000111", "tttftt", "weak_evidence", [], id="values-easy-to-guess"),
        pytest.param("", "", "", "no_assertion", [], id="no-response"),
    ],
)
def test_outcomes(matrix, authors, expected, outcome, right):
    found, believed = weigh(matrix, authors, expected)
    assert (found.outcome, believed) == (outcome, right)


def test_an_assertion_is_as_credible_as_those_that_hold_it():
    found, _ = weigh("111 111 001", "012")
    assert found.scores == {"0": 1.0, "1": 1.0, "2": found.scores["2"]}
    # First weights are 1, 1 and 1/3.
    assert found.credibility == {"0": round(6 / 7, 12), "1": round(6 / 7, 12), "2": 1.0}
    assert found.scores["2"] == round(1 / (1 + 12 / 7), 12)


def shuffled(given: dict[str, Any], drawn: random.Random) -> dict[str, Any]:
    items = [*given.items()]
    drawn.shuffle(items)
    return dict(items)


def test_equal_verdicts_have_equal_scores_and_no_order_matters():
    drawn = random.Random(3)
    for _ in range(50):
        columns, rows = drawn.randint(1, 9), drawn.randint(1, 6)
        held = {f"r{n}": {f"c{m}" for m in range(columns) if drawn.random() < 0.6} for n in range(rows)}
        held["twin"] = set(held["r0"])
        own = {f"r{n}": [f"c{m}" for m in range(columns) if m % rows == n] for n in range(rows)}
        values = {f"c{m}": str(m % 3) for m in range(columns)}

        first = weighed(held, own, values, 0.27)
        assert weighed(shuffled(held, drawn), shuffled(own, drawn), shuffled(values, drawn), 0.27) == first
        assert first.scores["twin"] == first.scores["r0"]


@pytest.mark.parametrize(
    ("survivors", "wrong", "rejections", "chosen"),
    [
        # One rejects both mutants; the others reject nothing more.
        ({"a": [False, False], "bb": [False, True], "c": [True, False]}, {}, 1, ["a"]),
        ({"a": [False, False], "bb": [False, True], "c": [True, False]}, {}, 2, ["a", "bb", "c"]),
        # Of equals the shortest; what rejects nothing is left out, however many rejections are wanted.
        ({"bb": [False], "a": [False], "c": [True]}, {}, 1, ["a"]),
        ({"bb": [False], "a": [False], "c": [True]}, {}, 9, ["a", "bb"]),
        # A wrong response is as good as a mutant, and of an unknown outcome nothing follows.
        ({"a": [None], "b": [None]}, {"w": {"a"}}, 1, ["b"]),
        ({"a": [True], "b": [None]}, {}, 1, []),
        ({}, {"w": set()}, 2, []),
    ],
)
def test_the_pool_is_what_rejects_wrong_programs(survivors, wrong, rejections, chosen):
    held = {"right": set(survivors), **wrong}
    assert pooled(sorted(survivors), held, survivors, rejections) == chosen


# ---- the matrix ----

TELLING = "assert f(1) == 1\nassert f(2) == 2\nassert f(3) == 3\nassert f(4) == 4"
RESPONSES = {
    "plain": "def f(x): return x",
    "wrong at 2": "def f(x): return x if x != 2 else 0",
    "raises at 2": "def f(x): return x if x != 2 else 1 // 0",
    "loops at 3": "def f(x):\n    while x == 3: pass\n    return x",
    "fills memory at 3": "def f(x): return x if x != 3 else [0] * 10**12",
    "recurses at 1": "def f(x): return f(x) if x == 1 else x",
    "exits at 2": "import sys\ndef f(x): return x if x != 2 else sys.exit(0)",
    "leaves at 2": "import os\ndef f(x): return x if x != 2 else os._exit(0)",
    "raises an exit at 2": "def f(x):\n    if x == 2: raise SystemExit\n    return x",
    "counts": "calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls)",
    "remembers": "def f(x, seen=[]):\n    seen.append(x)\n    return seen[0]",
    "breaks after 2": "ok = True\ndef f(x):\n    global ok\n    ok = ok and x != 2\n    return x if ok else 0",
    "replaces a builtin": "import builtins\ndef f(x):\n    builtins.len = lambda y: 0\n    return x",
    "replaces an error": "import builtins\nbuiltins.AssertionError = ValueError\ndef f(x): return 0",
    "agrees with all": "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "prints a verdict": "print('PASS 0 1 2 3')\ndef f(x):\n    print('each 0 1 2 3')\n    return 0",
    "forges a report": "import os\ndef f(x):\n    os.write(250, b'P' + bytes(64) + b'{}')\n    return 0",
    "closes the channel": "import os\ndef f(x):\n    os.close(250)\n    return x",
    "hides all": "def all(x): return True\ndef f(x): return x",
    "no function": "g = 1",
    "no python": "def f(",
}
PURE = {
    *("plain", "wrong at 2", "raises at 2", "loops at 3", "fills memory at 3", "recurses at 1", "no function"),
}
CHECKS = [
    TELLING,
    "import math\nassert math.isclose(f(1), 1)\nassert math.floor(f(2)) == 2",
    "x = 1\nassert f(x) == 1\nx = 2\nassert f(x) == 2",
    "def test_f():\n    y = f(4)\n    assert y == 4",
    "assert all([f(1) == 1, f(4) == 4])\nassert len([f(1)]) == 1",
    "assert f(f.__code__) is f.__code__\nassert [f(n) for n in range(3)] == [0, 1, 2]",
    "assert undefined(f(1))\nassert f(1) == f(1)",
]


def given(names=tuple(RESPONSES), tests=CHECKS, **columns):
    """Make rows of responses to one instruction; the tests go to the first of them, one each."""
    texts = dict(zip(names, tests, strict=False))
    return [
        verdict_row(
            0,
            id=f"res-{name}",
            instruction_id="ins-0",
            response=f"```python\n{RESPONSES[name]}\n```",
            tests=f"```python\n{texts.get(name, 'pass')}\n```",
            **columns,
        )
        for name in names
    ]


@pytest.mark.slow
def test_shared_programs_give_the_verdicts_of_one_program_each(tmp_path):
    """State, exits, loops, full memory, replaced builtins and forgeries change no other assertion's verdict."""
    task = task_of("ins-0", given())
    assert len(task.checks) == 15
    fast = Settings(vacuous=False, timeout_s=1, wall_factor=60, workers=1)
    one_each = [
        {"id": f"{response}|{text}", "code": code, "test": text}
        for response, code in task.codes.items()
        for text in task.checks
    ]
    alone = {verdict["id"]: verdict["passed"] for verdict in run_cases(one_each, fast)}
    together = {}
    for _, response, texts, verdict in run_each([(task, one) for one in task.codes], fast, tmp_path):
        if len(texts) == 1:
            together[f"{response}|{texts[0]}"] = verdict["passed"]
        else:
            held = verdict["each"].split()
            together |= {f"{response}|{text}": str(number) in held for number, text in enumerate(texts)}
    assert together == alone
    assert 0 < sum(alone.values()) < len(alone)
    # Some did share one, and those that may not did not.
    assert task.pure == {f"res-{name}" for name in PURE}
    assert task.programs["res-counts"] == 15
    assert task.programs["res-plain"] == 6, "nine share a program, and two another"
    assert task.programs["res-loops at 3"] == 6 + 9, "the nine's program has ended early"


def test_assertions_that_use_nothing_of_a_response_and_those_of_useless_tests_are_left_out():
    tests = ["assert f(1)\nassert 1 + 1 == 2\nassert f( 1 )", "assert f(1)\nassert f(2)"]
    rows = given(("plain", "counts"), tests)
    task = task_of("ins-0", rows)
    assert list(task.checks) == ["assert f(1)", "assert f(2)"]
    assert task.authors == {"res-plain": ["assert f(1)"], "res-counts": ["assert f(1)", "assert f(2)"]}
    rows[1]["verdict"] = "flaky"
    assert list(task_of("ins-0", rows).checks) == ["assert f(1)"]


def test_programs_hold_no_more_than_so_many_assertions(monkeypatch):
    monkeypatch.setattr(weigh_assertions, "MOST_TOGETHER", 3)
    task = task_of("ins-0", given(("plain",), ["\n".join(f"assert f({n}) == {n}" for n in range(7))]))
    assert [len(texts) for texts in shared(task, "res-plain", task.checks)] == [3, 3, 1]
    assert len({named(task, "res-plain", texts) for texts in shared(task, "res-plain", task.checks)}) == 3


# ---- the rule ----

RIGHT = ["def double(x):\n    return 2 * x", "def double(x):\n    return x + x"]
WRONG = "def double(x):\n    return x ** 2"
TESTS = [
    "assert double(3) == 6\nassert double(0) == 0",
    "assert double(5) == 10\nassert double(4) == 9",
    "assert double(2) == 4\nassert double(3) == 9",
]


def executed(number: int, code: str, tests: str, passed: bool, task: str = "ins-0") -> dict:
    names = {"response": f"```python\n{code}\n```", "tests": f"```python\n{tests}\n```"}
    return verdict_row(0, id=f"res-{task[-1]}{number}", instruction_id=task, sample=number, passed=passed, **names)


def three(task: str = "ins-0") -> list[dict]:
    """Make a right response, one whose own tests are wrong, and a wrong one that passes its own."""
    codes = zip((*RIGHT, WRONG), TESTS, (True, False, True), strict=True)
    return [executed(number, *texts, task=task) for number, texts in enumerate(codes)]


def weighed_rows(folder, rows, name="rows", **options):
    folder.mkdir(exist_ok=True)
    write_rows(folder / "verdicts.parquet", VerdictRow, rows)
    files = (folder / f"{name}.parquet", folder / f"{name}.assertions.parquet")
    weighing = WeighAssertions(**options.pop("weighing", {}))
    main(folder / "verdicts.parquet", *files, folder / "work", settings=RunResponses(**options), weighing=weighing)
    responses, assertions = (list(read_rows(path)) for path in files)
    return {row["id"]: row for row in responses}, {row["text"]: row for row in assertions}


def test_right_code_with_wrong_tests_is_rescued_and_wrong_code_with_wrong_tests_is_not(tmp_path):
    rows, assertions = weighed_rows(tmp_path, three())
    assert {name: row["credible"] for name, row in rows.items()} == {"res-00": True, "res-01": True, "res-02": False}
    assert rows["res-00"]["score"] == rows["res-01"]["score"] > rows["res-02"]["score"]
    agreed = {text for text, row in assertions.items() if row["agreed"]}
    assert agreed == {
        "assert double(0) == 0",
        "assert double(2) == 4",
        "assert double(3) == 6",
        "assert double(5) == 10",
    }
    assert assertions["assert double(3) == 9"]["response_ids"] == ["res-02"]
    assert assertions["assert double(3) == 9"]["held"] == 1
    pool = [text for text, row in assertions.items() if row["pooled"]]
    assert {row["tests"] for row in rows.values()} == {"```python\n" + "\n".join(sorted(pool)) + "\n```"}
    assert set(pool) <= agreed
    assert rows["res-02"]["pool_share"] == sum("(0)" in text or "(2)" in text for text in pool) / len(pool)
    assert rows["res-02"]["programs"] == 1
    assert all(row["cpu_s"] > 0 for row in rows.values())


@pytest.mark.parametrize(
    ("code", "tests", "outcome"),
    [
        pytest.param(RIGHT[0], "assert double", "no_assertion", id="an-assertion-that-a-stub-holds"),
        pytest.param(RIGHT[0], "assert double(1) is None or double(2)", "no_assertion", id="one-that-a-stub-holds-too"),
        pytest.param(RIGHT[0], "print(double(1))", "no_assertion", id="no-assertion"),
        pytest.param(RIGHT[0], "assert double(1) == 3", "no_agreement", id="one-that-fails"),
        pytest.param("N = 2\ndef double(x): pass", "assert N == 2", "no_discrimination", id="a-constant"),
        pytest.param(RIGHT[0], "assert double(1) == 2", "credible", id="one-response-and-one-assertion"),
    ],
)
def test_outcomes_of_the_rule(tmp_path, code, tests, outcome):
    rows, assertions = weighed_rows(tmp_path, [executed(0, code, tests, True)])
    (row,) = rows.values()
    assert row["outcome"] == outcome
    assert row["credible"] is (outcome == "credible")
    assert bool(row["tests"]) is (outcome == "credible")
    assert (row["pool_share"] is None) is (outcome != "credible")
    assert all(one["pooled"] is (outcome == "credible") for one in assertions.values())


def test_a_pool_that_fails_as_one_program_is_none(tmp_path):
    """Each passes by itself; behind the other's statements one fails."""
    tests = "double = double or 1\nassert double(1) == 2"
    spoiling = "def helper(): return 2\nx = helper()\ndouble_too = double\ndouble = str\nassert double_too(1) == x"
    rows, _ = weighed_rows(tmp_path, [executed(0, RIGHT[0], spoiling, True), executed(1, RIGHT[1], tests, True)])
    assert {row["outcome"] for row in rows.values()} == {"pool_fails"}
    assert not any(row["credible"] or row["tests"] for row in rows.values())


def stable(rows):
    return [{key: value for key, value in row.items() if key != "cpu_s"} for row in rows.values()]


@pytest.mark.slow
def test_neither_order_nor_workers_nor_neighbours_change_a_row(tmp_path):
    tasks = [row for number in range(3) for row in three(f"ins-{number}")]
    first, assertions = weighed_rows(tmp_path / "first", tasks)
    turned = list(reversed(tasks))
    again, other = weighed_rows(tmp_path / "again", turned)
    assert stable(again) == stable(first)
    assert other == assertions
    alone, _ = weighed_rows(tmp_path / "alone", three("ins-1"))
    assert stable(alone) == [row for row in stable(first) if row["instruction_id"] == "ins-1"]


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    """What has a verdict does not run again, whichever of the four rounds of programs was stopped."""
    tasks = [row for number in range(2) for row in three(f"ins-{number}")]
    ran: list[str] = []
    run, stop_after = verification.run_cases, 0

    def stopping(cases, settings):
        for verdict in run(cases, settings):
            ran.append(verdict["id"])
            yield verdict
            if stop_after and len(ran) % stop_after == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(verification, "run_cases", stopping)
    weighed_rows(tmp_path / "whole", tasks)
    expected, ran[:] = sorted(ran), []
    stop_after = 3
    stops = 0
    while True:
        try:
            weighed_rows(tmp_path / "killed", tasks)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 3
    assert sorted(ran) == expected
    stop_after = 0
    ran.clear()
    before = (tmp_path / "killed/rows.parquet").read_bytes()
    weighed_rows(tmp_path / "killed", tasks)
    assert ran == []
    assert (tmp_path / "killed/rows.parquet").read_bytes() == before
    whole, killed = (list(read_rows(tmp_path / name / "rows.parquet")) for name in ("whole", "killed"))
    assert stable(dict(enumerate(whole))) == stable(dict(enumerate(killed)))


# ---- what follows from it ----


def test_a_dataset_by_the_matrix_has_pooled_tests_and_pairs_of_the_best_and_the_worst(tmp_path):
    worse = executed(3, "def double(x):\n    return 1", "assert double(1) == 1", True)
    rows, _ = weighed_rows(tmp_path, [*three(), worse])
    assert rows["res-03"]["score"] < rows["res-02"]["score"]
    weights, files = [tmp_path / "rows.parquet"], [tmp_path / name for name in ("chosen", "dropped", "funnel.json")]
    common = {"mode": "fixed", "run_seed": 1}

    def chosen(**options):
        settings = SelectResponses.model_validate({"selection": "matrix"} | options)
        asked = {"settings": settings, "sanitizing": SanitizeResponses(), "stopping": Stopping()}
        select([tmp_path / "verdicts.parquet"], *files, weights=weights, **asked, **common)
        return list(read_rows(files[0])), {row["id"]: row["reason"] for row in read_rows(files[1])}

    both, dropped = chosen(per_instruction=2)
    assert {row["response_id"] for row in both} == {"res-00", "res-01"}
    assert all(row["passed"] and row["tests"] == rows["res-00"]["tests"] for row in both)
    assert {row["pass_rate"] for row in both} == {0.5}
    assert dropped == {"res-02": "not_credible", "res-03": "not_credible"}
    by_own_tests, _ = chosen(selection="passing", per_instruction=4)
    own = {row["id"]: row["tests"] for row in [*three(), worse] if row["passed"]}
    assert {row["response_id"]: row["tests"] for row in by_own_tests} == own, "weights are the matrix's alone"
    (one,), _ = chosen()
    assert one["response_id"] in ("res-00", "res-01")
    names = ("pairs", "labels", "tasks", "left", "funnel.json")
    outputs = [tmp_path / f"preferences-{name}" for name in names]
    sections = {"settings": BuildPreferences(), "decontamination": DecontaminateDataset()}
    build_preferences(
        files[0], [tmp_path / "verdicts.parquet"], *outputs, benchmarks={}, weights=weights, **sections, **common
    )
    (pair,) = read_rows(outputs[0])
    assert pair["rejected_id"] == "res-03"
    assert {row["response_id"]: row["label"] for row in read_rows(outputs[1])} == {
        "res-00": True, "res-01": True, "res-02": False, "res-03": False
    }  # fmt: skip
    (task,) = read_rows(outputs[2])
    assert task["tests"] == rows["res-00"]["tests"]


def test_a_choice_by_the_matrix_needs_its_weights(tmp_path):
    write_rows(tmp_path / "verdicts.parquet", VerdictRow, three())
    files = [tmp_path / name for name in ("chosen", "dropped", "funnel.json")]
    sections = {"sanitizing": SanitizeResponses(), "stopping": Stopping()}
    with pytest.raises(UserError, match="selection matrix needs the weights of weigh_assertions, and response res-00"):
        select([tmp_path / "verdicts.parquet"], *files, settings=SelectResponses(selection="matrix"), **sections)


# ---- the oracle ----


def written() -> list[dict]:
    """Read what the toy model wrote to 100 tasks of the demo, four responses each, with their verdicts by own tests."""
    tasks = json.loads(gzip.decompress((ROOT / "tests/data/toy_responses.json.gz").read_bytes()))
    return [
        executed(sample, code, tests, verdict == "pass", f"ins-{number:03d}")
        | {"id": f"res-{number:03d}-{sample}", "instruction": instruction, "verdict": verdict}
        for number, (instruction, responses) in enumerate(tasks)
        for sample, (code, tests, verdict) in enumerate(responses)
    ]


@pytest.mark.slow
def test_by_the_oracle_the_matrix_halves_what_own_tests_get_wrong_both_ways(tmp_path):
    rows = written()
    weights, assertions = weighed_rows(tmp_path, rows)
    right = {verdict["id"]: verdict["passed"] for verdict in run_cases(measure.cases(rows), ONCE)}
    before = measure.summary(rows, right)
    after = measure.summary(measure.weighed(rows, list(weights.values())), right)
    for name in ("code right, of passing", "pass, of right code"):
        assert before[name] < 1
        assert 1 - after[name] <= (1 - before[name]) / 2, name
    wrong = measure.of_assertions(rows, list(assertions.values()))
    assert wrong["all, fail right code"] > 0.05
    assert wrong["pooled, fail right code"] <= wrong["all, fail right code"] / 4
    assert 0 < wrong["pooled, assertions"] < wrong["agreed, assertions"] < wrong["all, assertions"]
