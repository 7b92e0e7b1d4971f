"""A script's command line is its `main`, and a person's mistake is one sentence."""

import argparse
import itertools
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from selfcodealign import stage
from selfcodealign.config.section import Count, Mode, Section
from selfcodealign.errors import UserError, one_line_errors
from selfcodealign.stage import PAIRS, TOOK, pairs, parser, progress, read, run, words


def main(
    shards: list[Path],
    rows: Path,
    *,
    threshold: float = 0.5,
    verify: bool = True,
    mode: Literal["fixed", "reference"] = "fixed",
    limit: int | None = None,
    weights: dict[str, float] | None = None,
) -> None:
    """Do nothing, with options."""
    if threshold > 1:
        raise UserError("--threshold is over 1; choose a share")


def test_flags_are_keywords():
    words = "--shards a b --rows out --threshold 0.7 --verify false --limit 3 --weights easy=1 hard=2"
    parsed = read(main, words.split())
    assert parsed == {
        "shards": [Path("a"), Path("b")],
        "rows": Path("out"),
        "threshold": 0.7,
        "verify": False,
        "limit": 3,
        "weights": {"easy": 1.0, "hard": 2.0},
    }


@pytest.mark.parametrize(
    "words", ["--rows out", "--shards a --rows out --verify maybe", "--shards a --rows out --mode x"]
)
def test_wrong_flags_are_refused(words):
    with pytest.raises(UserError):
        read(main, words.split())


def test_a_users_mistake_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(main, ["--shards", "a", "--rows", "out", "--threshold", "2"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: --threshold is over 1; choose a share\n"


def test_a_job_does_without_pandas_until_somebody_asks_for_it():
    pytest.importorskip("pandas")
    code = """
import sys
from selfcodealign.stage import run

def main() -> None:
    import pyarrow as pa
    table = pa.table({"a": pa.array(["x", None]), "b": [[1], [2]]})
    before = "pandas" in sys.modules
    print(before, len(table.to_pandas()), pa.array(__import__("pandas").Series([1, None])).null_count)

run(main, [])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False 2 1\n"


def test_progress_passes_items_on_and_says_what_they_took(caplog):
    with caplog.at_level("INFO"):
        assert list(progress(range(3), total=3, label="counting")) == [0, 1, 2]
    count, unit, seconds = re.findall(TOOK, caplog.text)[0]
    assert (count, unit) == ("3", "rows")
    assert 0 <= float(seconds) < 5


def test_progress_says_what_goes_on_while_no_item_comes(monkeypatch, capsys):
    monkeypatch.setattr(stage, "BEAT_S", 0.05)
    said = threading.Event()
    steps = itertools.count(1)

    def state() -> str:
        step = next(steps)
        if step == 3:
            said.set()
        return f"token {step} of 160"

    def slow() -> Iterator[str]:
        assert said.wait(60)
        yield "answer"

    assert list(progress(slow(), total=1, unit="answers", label="write_responses", state=state)) == ["answer"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "token" in line]
    assert lines[0].startswith("write_responses: 0/1")
    assert lines[0].endswith("token 1 of 160")
    assert lines[1].endswith("token 2 of 160")


def test_a_full_disk_is_one_line(capsys):
    with pytest.raises(SystemExit), one_line_errors(), open("/dev/full", "w") as full:
        full.write("x")
        full.flush()
    assert "no space is left on the disk" in capsys.readouterr().err


class Shape(Section):
    """Settings of a made-up stage."""

    name: str = Field(description="what it is called")
    sides: Annotated[int, Field(ge=3, le=9)] = Field(default=4, description="corners of the shape, 50% of them sharp")
    colours: list[str] = Field(default=["red"], description="colours in turn")
    weights: dict[str, float] = Field(default={"a": 1.0}, min_length=1, description="weight by name")
    limit: Count | None = Field(default=None, description="most shapes")
    least: float = Field(default=0.0, description="least size")

    @model_validator(mode="after")
    def _check(self):
        if self.least > self.sides:
            raise ValueError("least is above sides; lower it")
        return self


class Speed(Section):
    """Settings of how it runs."""

    batch: Count = 8
    device: str = ""


def draw(
    rows: Path,
    *,
    settings: Shape,
    engine: Annotated[Speed, PAIRS],
    mode: Mode = "fixed",
) -> None:
    """Draw shapes.

    Args:
        rows: where they
            are drawn.
    """


def test_a_section_is_a_flag_for_each_key():
    words = "--rows out --name x --sides 5 --colours --weights b=2 --least=-1e-3 --engine batch=3 device=--odd=1"
    assert read(draw, words.split()) == {
        "rows": Path("out"),
        "settings": Shape(name="x", sides=5, colours=[], weights={"b": 2}, least=-0.001),
        "engine": Speed(batch=3, device="--odd=1"),
    }


def test_keys_left_out_have_the_sections_defaults():
    assert read(draw, ["--rows", "out", "--name", "x", "--engine"])["settings"] == Shape(name="x")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--sides 2", "--sides: Input should be greater than or equal to 3, not '2'"),
        ("--sides many", "--sides: Input should be a valid integer"),
        ("--limit 0", "--limit: Input should be greater than or equal to 1, not '0'"),
        ("--weights", "--weights: Dictionary should have at least 1 item"),
        ("--weights a=much", "--weights: a: Input should be a valid number"),
        ("--weights a=1 a=2", "'a' is given twice"),
        ("--weights a", "'a' lacks the ="),
        ("--least 7", "least is above sides; lower it"),
        ("--engine batch=0", "--engine: batch: Input should be greater than or equal to 1, not '0'"),
        ("--engine speed=1", "--engine: speed is unknown; known names: batch, device"),
        ("--mode both", "--mode: Input should be 'fixed' or 'reference', not 'both'"),
        ("--corners 3", "unrecognized arguments: --corners 3; --help explains every flag"),
    ],
)
def test_a_wrong_value_is_refused_at_the_flag(words, told, capsys):
    with pytest.raises(SystemExit):
        run(draw, ["--rows", "out", "--name", "x", "--engine", *words.split()])
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_help_explains_every_flag():
    said = " ".join(parser(draw).format_help().split())
    for text in (
        "--rows VALUE where they are drawn. (path)",
        "--sides VALUE corners of the shape, 50% of them sharp (integer at least 3 and at most 9; default: 4)",
        "--limit VALUE most shapes (integer at least 1 or empty)",
        "this project's rules",
        "--engine [NAME=VALUE ...]",
    ):
        assert text in said
    assert "Args:" not in said


def test_two_sections_with_one_key_are_refused_when_a_script_starts():
    def twice(*, first: Shape, second: Shape) -> None: ...

    with pytest.raises(argparse.ArgumentError, match="conflicting option string"):
        parser(twice)


class Odd(Section):
    """Settings of every kind, the defaults of which are never what is written."""

    text: str = "default"
    maybe: str | None = None
    number: int = 7
    share: float = 0.5
    flag: bool = True
    kind: Literal["plain", "--odd"] = "plain"
    names: list[str] = Field(default=["default"])
    sizes: list[int] = Field(default=[1])
    weights: dict[str, float] = Field(default={"default": 1.0})
    told: dict[str, str] = Field(default={"default": "x"})


def back(told: list[str]) -> Odd:
    """Read words as a script does."""

    def main(*, settings: Odd) -> None: ...

    return read(main, told)["settings"]


ODD = {
    "nothing is given": {},
    "an empty text": {"text": ""},
    "an empty text in place of none": {"maybe": ""},
    "an empty list": {"names": []},
    "an empty dict": {"weights": {}, "told": {}},
    "a negative number": {"number": -3, "share": -1e-9},
    "a huge and a tiny number": {"number": 10**30, "share": 5e-324},
    "false": {"flag": False},
    "text with spaces": {"text": " two  words ", "names": ["a b", " "]},
    "quotes": {"text": 'it\'s "so" `here` $HOME \\', "told": {"a'b": 'c"d'}},
    "leading dashes": {"text": "--number", "names": ["-x", "--", "-"], "kind": "--odd"},
    "two dashes alone": {"text": "--", "maybe": "--"},
    "the sign between name and value": {"text": "a=b=c", "names": ["x=y"], "told": {"a": "=b=", "c": ""}},
    "names with dashes and spaces": {"weights": {"--class implementation": 2.5, "": 0.0}},
    "negative numbers in a list and a dict": {"sizes": [-1, 0, 2], "weights": {"a": -0.5}},
    "lines and letters of the world": {"text": "one\ntwo\t·", "names": ["größer", "数"]},
    "words of the shell": {"text": "; exit 1 #", "names": ["&&", "|", ">x", "*", "{params.x}"]},
    "a text that another type would read": {"text": "true", "maybe": "None", "told": {"a": "1e3"}},
}


@pytest.mark.parametrize("values", ODD.values(), ids=[name.replace(" ", "-") for name in ODD])
def test_settings_written_as_words_are_read_back_equal(values):
    told = words(Odd(**values).model_dump(mode="json"))
    assert back(told) == Odd(**values)
    assert back(shlex.split(shlex.join(told))) == Odd(**values), "rules hand words to a shell"


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["--", "-x", "--text", "--text=1", "=", "-1"]
)
NAMES = TEXT.filter(lambda name: "=" not in name)
FLOATS = st.floats(allow_nan=False)


@given(
    st.builds(
        Odd,
        text=TEXT,
        maybe=st.none() | TEXT,
        number=st.integers(),
        share=FLOATS,
        flag=st.booleans(),
        kind=st.sampled_from(["plain", "--odd"]),
        names=st.lists(TEXT),
        sizes=st.lists(st.integers()),
        weights=st.dictionaries(NAMES, FLOATS),
        told=st.dictionaries(NAMES, TEXT),
    )
)
def test_any_settings_written_as_words_are_read_back_equal(settings):
    assert back(words(settings.model_dump())) == settings


def test_a_name_that_cannot_be_read_back_is_refused():
    with pytest.raises(UserError, match="'a=b' has a = in it"):
        pairs({"a=b": 1})


def test_pairs_are_read_back_by_the_section_they_are_marked_for():
    speed = Speed(batch=2, device="-x = y")
    assert read(draw, ["--rows", "out", "--name", "x", "--engine", *pairs(speed.model_dump())])["engine"] == speed


class Asking(Section):
    """A section with another in it."""

    speed: Annotated[Speed, PAIRS] = Speed()


def test_a_pair_of_a_section_within_a_section_is_named():
    def main(*, asking: Asking) -> None: ...

    assert read(main, ["--speed", "batch=3"]) == {"asking": Asking(speed=Speed(batch=3))}
    with pytest.raises(UserError, match="--speed: sped is unknown; known names: batch, device"):
        read(main, ["--speed", "sped=3"])
    with pytest.raises(UserError, match="--speed: batch: .*greater than or equal to 1, not '0'"):
        read(main, ["--speed", "batch=0"])
