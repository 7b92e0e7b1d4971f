"""What a failed run prints last: a sentence, a log and where the command stands."""

from pathlib import Path

import pytest

from selfcodealign.failures import BY_HAND, has_failed, last_words, sentence, tail


@pytest.mark.parametrize(
    ("text", "said", "failed"),
    [
        (
            f"x\n\nerror: the shard is broken; fetch it\n{BY_HAND}cd a && bash -c b\n",
            "error: the shard is broken; fetch it",
            True,
        ),
        (f"Traceback\n  File\nValueError: no\n{BY_HAND}cd a\n", "ValueError: no", True),
        ("judge_seeds: 4/9  44% 1.00 rows/s left 00:05\n", "judge_seeds: 4/9  44% 1.00 rows/s left 00:05", False),
        ("", "", False),
    ],
    ids=["sentence", "traceback", "killed", "nothing"],
)
def test_a_log_says_why(text, said, failed):
    assert sentence(text) == said
    assert has_failed(text) is failed


def test_an_error_far_above_the_end_is_not_the_reason():
    """A person's library may print `error:` and go on."""
    text = "error: old\n" + "line\n" * 60 + f"KeyError: 1\n{BY_HAND}cd a\n"
    assert sentence(text) == "KeyError: 1"


def test_the_last_words_name_log_and_command(tmp_path):
    first, killed = tmp_path / "a b.log", tmp_path / "killed.log"
    first.write_text(f"error: no\n{BY_HAND}cd a\n")
    assert last_words([first, killed], "all.log").splitlines() == [
        "",
        "error: no",
        f"log: {first}",
        f"by hand: tail -n 1 '{first}'",
        "error: killed ended without a word",
        f"log: {killed}",
        "by hand: grep -r -A 40 'Error in rule' all.log",
    ]


def test_of_a_large_log_the_end_is_read(tmp_path):
    log = tmp_path / "large.log"
    log.write_bytes(b"\xff" * 2_000_000 + b"\nerror: at the end\n")
    assert len(tail(log)) <= 1_000_000
    assert sentence(tail(log)) == "error: at the end"
    assert tail(Path("nowhere.log")) == ""
