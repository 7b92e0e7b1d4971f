"""A script's command line is its `main`, and a person's mistake is one sentence."""

from pathlib import Path
from typing import Literal

import pytest

from selfcodealign.errors import UserError
from selfcodealign.stage import one_line_errors, parser, progress, run


def main(
    shards: list[Path],
    rows: Path,
    *,
    threshold: float = 0.5,
    verify: bool = True,
    mode: Literal["fixed", "reference"] = "fixed",
    limit: int | None = None,
    weights: dict[str, str] | None = None,
) -> None:
    """Do nothing, with options."""
    if threshold > 1:
        raise UserError("--threshold is over 1; choose a share")


def test_flags_are_keywords():
    words = "--shards a b --rows out --threshold 0.7 --verify false --limit 3 --weights easy=1 hard=2"
    parsed = vars(parser(main).parse_args(words.split()))
    assert parsed == {
        "shards": [Path("a"), Path("b")],
        "rows": Path("out"),
        "threshold": 0.7,
        "verify": False,
        "mode": "fixed",
        "limit": 3,
        "weights": {"easy": "1", "hard": "2"},
    }


@pytest.mark.parametrize(
    "words", ["--rows out", "--shards a --rows out --verify maybe", "--shards a --rows out --mode x"]
)
def test_wrong_flags_are_refused(words):
    with pytest.raises(SystemExit):
        parser(main).parse_args(words.split())


def test_a_users_mistake_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(main, ["--shards", "a", "--rows", "out", "--threshold", "2"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: --threshold is over 1; choose a share\n"


def test_progress_passes_items_on():
    assert list(progress(range(3), total=3, label="counting")) == [0, 1, 2]


def test_a_full_disk_is_one_line(capsys):
    with pytest.raises(SystemExit), one_line_errors(), open("/dev/full", "w") as full:
        full.write("x")
        full.flush()
    assert "no space is left on the disk" in capsys.readouterr().err
