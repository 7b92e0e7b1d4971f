"""What an answer is worth, told by a sandbox that is made up; the real one judges in tests/sandbox/test_rewards.py."""

from pathlib import Path
from typing import Any

import pytest

from selfcodealign.config import TrainGrpo
from selfcodealign.errors import UserError
from selfcodealign.training.rewards import Answer, Group, Server, Worth, code_of, judge, never_varied

TESTS = "```python\nassert f(1) == 2\nassert f(2) == 3\n```"
GOOD = "```python\ndef f(x):\n    return x + 1\n```"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GOOD, "def f(x):\n    return x + 1"),
        (f"Here it is.\n\n{GOOD}\n\nIt adds one.", "def f(x):\n    return x + 1"),
        (f"{GOOD}\n</response>\n\n<tests>\n```python\nassert f(1) == 5\n```\n</tests>", "def f(x):\n    return x + 1"),
        (f"{GOOD}\n\n### Tests\n\n```python\nassert f(1) == 5\n```", "def f(x):\n    return x + 1"),
        ("def f(x): return x + 1", None),
        ("```python\ndef f(x): return x + 1", None),
        ("```python\ndef f(x: return x + 1\n```", None),
        ("```python\n\n```", None),
        ("```python\nx = '\0'\n```", None),
        ("", None),
    ],
    ids=["code", "prose", "own_tests", "headed_tests", "no_fence", "unclosed", "syntax", "blank", "nul", "empty"],
)
def test_code_is_what_stands_before_the_answers_own_tests(text: str, code: str | None) -> None:
    assert code_of(text, TESTS) == code


def worth(
    text: str,
    held: str,
    *,
    tokens: int = 10,
    finished: bool = True,
    reason: str = "AssertionError",
    **settings: object,
) -> tuple[Worth, int]:
    """Judge one answer by a sandbox in which tests pass that contain `held`; return its programs too."""
    given = TrainGrpo.model_validate({"answer_tokens": 40, **settings})
    ran: list[dict[str, str]] = []

    def run(cases: list[dict[str, str]]) -> list[dict[str, object]]:
        ran.extend(cases)
        passes = [all(part in held for part in case["test"].split("\n")) for case in cases]
        return [{"verdict": "pass" if one else "fail", "reason": reason, "passed": one} for one in passes]

    (found,) = judge([Answer(text, TESTS, tokens, finished)], run, given)
    return found, len(ran)


@pytest.mark.parametrize(
    ("held", "reward", "share", "programs"),
    [
        ("assert f(1) == 2 assert f(2) == 3", "share", 1.0, 1),
        ("assert f(1) == 2", "share", 0.5, 3),
        ("", "share", 0.0, 3),
        ("assert f(1) == 2 assert f(2) == 3", "all", 1.0, 1),
        ("assert f(1) == 2", "all", 0.0, 1),
    ],
    ids=["all_hold", "half", "none", "all", "all_of_half"],
)
def test_a_share_costs_a_program_for_each_test_and_only_where_not_all_hold(held, reward, share, programs):
    found, ran = worth(GOOD, held, reward=reward)
    assert (found.tests, ran) == (share, programs)


@pytest.mark.parametrize(
    "reason", ["the response replaces math", "a compared value of the response would agree", "the program ended itself"]
)
def test_what_was_caught_at_forging_gets_nothing_for_the_tests_that_hold(reason):
    assert worth(GOOD, "assert f(1) == 2", reason=reason) == (Worth(0.0, parses=True, form=1.0, brevity=0.0), 1)


def test_an_answer_without_code_runs_nothing_and_gets_nothing():
    found, ran = worth("I cannot.", "assert", form_weight=1.0, brevity_weight=1.0)
    assert (found, ran) == (Worth(0.0, parses=False, form=0.0, brevity=0.0), 0)


def test_form_and_brevity_count_as_much_as_the_settings_say():
    weights = {"form_weight": 0.5, "brevity_weight": 0.25}
    settings = TrainGrpo(answer_tokens=40, **weights)
    passing, _ = worth(GOOD, TESTS, tokens=10)
    assert passing.total(TrainGrpo()) == 1
    assert passing.total(settings) == 1 + 0.5 + 0.25 * 0.75
    cut, _ = worth(GOOD, TESTS, tokens=40, finished=False)
    assert cut.total(settings) == 1
    failing, _ = worth(GOOD, "", tokens=10)
    assert failing.total(settings) == 0.5, "a short answer that fails is no better than a long one"


def test_a_limit_is_not_run_into_again_and_a_failure_of_the_sandbox_is_no_reward():
    def run(cases):
        kinds = ["timeout" if "while" in case["code"] else "internal" for case in cases]
        return [{"verdict": kind, "reason": "", "passed": False} for kind in kinds]

    answers = [Answer(text, TESTS, 9, True) for text in ("```python\nwhile True: pass\n```", GOOD)]
    timeout, internal = judge(answers, run, TrainGrpo())
    assert timeout.total(TrainGrpo()) == 0
    assert internal.total(TrainGrpo()) is None


def test_the_share_of_tasks_whose_reward_never_varies_is_named_once_it_is_large():
    varied = [Group("a", (1.0, 0.0), 2, 1), Group("a", (0.0, 0.0), 2, 0)]
    same = [Group("b", (1.0, 1.0), 2, 2), Group("c", (0.5, None), 2, 0)]
    assert never_varied(varied) is None
    assert never_varied([*varied, same[0]]) is None
    told = never_varied([*varied, *same])
    assert told is not None
    assert told.startswith(
        "the reward never varied for 2 of 3 tasks (67%), which taught nothing: every answer passed for 1"
    )


def test_a_reward_of_form_alone_is_no_pass():
    told = never_varied([Group("a", (1.0, 1.0), 2, 0)])
    assert told is not None
    assert "every answer passed for 0 of them, and for 1 all were equally wrong" in told


def test_a_temporary_folder_whose_name_is_too_long_for_a_socket_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("long" * 25)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    no_pool: Any = None
    with pytest.raises(UserError, match="has too long a name for a socket in it: set TMPDIR to a shorter one"):
        Server(no_pool)
    assert not list(deep.iterdir())
