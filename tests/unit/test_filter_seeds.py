"""Functions are kept or dropped for the reason we say, in both modes."""

import pytest

from scripts.filter_seeds import main
from selfcodealign.config.seeds import FilterSeeds
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.seeds.filters import why_dropped, why_dropped_reference
from tests.seed_rows import DOUBLE, seed_row


def reason(fate: tuple[str, str] | None) -> str | None:
    return fate[0] if fate else None


def body(text: str) -> str:
    return f'def f(x):\n    """Doc."""\n    {text}\n    return x'


@pytest.mark.parametrize(
    ("code", "fixed", "reference"),
    [
        (DOUBLE, None, None),
        ("import numpy as np\n\n\n" + DOUBLE, None, None),
        (body("# TODO: more"), "unfinished", "banned_word"),
        (body("# a bug here"), "unfinished", "banned_word"),
        (body("debug = autodoc = x"), None, "banned_word"),
        (body("x = 'todo'"), None, "banned_word"),
        ("import os\n\n\n" + DOUBLE, "banned_import", "banned_word"),
        ("import osmnx\n\n\n" + DOUBLE, None, "banned_word"),
        ("from os.path import join\n\n\n" + DOUBLE, "banned_import", "banned_word"),
        ("import numpy, os\n\n\n" + DOUBLE, "banned_import", None),
        ("import matplotlib.pyplot as plt\n\n\n" + DOUBLE, "banned_import", "banned_word"),
        (body("import sys"), "banned_import", "banned_word"),
        (body("x = 1\n" * 150), "too_long", "too_long"),
        ('def f():\n    """Doc."""\n    return 1', "no_arguments", "no_arguments"),
        ('def f() -> int:\n    """Doc."""\n    return 1', "no_arguments", None),
        ('async def f():\n    """Doc."""\n    return 1', "no_arguments", None),
        ('def f(\n):\n    """Doc."""\n    return 1', "no_arguments", None),
        ('def f(*, key):\n    """Doc."""\n    return 1', None, None),
        ('def f(*rest):\n    """Doc."""\n    return 1', None, None),
        ('def f(x):\n    """Doc."""\n    def g():\n        return 1\n    print(g)', "returns_nothing", None),
        ('def f(x):\n    """Doc."""\n    return', "returns_nothing", "returns_nothing"),
        ("def f(x):\n    '''Doc.'''\n    return x", None, "no_docstring"),
        ("def f(x):\n    return x", "no_docstring", "no_docstring"),
        ('def f(x):\n    """   """\n    return x', "no_docstring", None),
        ("def f(x):\n    print x\n    return x", "syntax_error", "no_docstring"),
    ],
)
def test_why_dropped(code, fixed, reference):
    assert reason(why_dropped(code, FilterSeeds())) == fixed
    assert reason(why_dropped_reference(code)) == reference


def test_limits_and_modules_can_be_chosen():
    assert why_dropped(DOUBLE, FilterSeeds(min_lines=4)) == ("too_short", "3 lines")
    assert why_dropped(DOUBLE, FilterSeeds(max_lines=2)) == ("too_long", "3 lines")
    assert why_dropped("import re\n\n\n" + DOUBLE, FilterSeeds(banned_modules=["re"])) == ("banned_import", "re")
    assert why_dropped("import os\n\n\n" + DOUBLE, FilterSeeds(banned_modules=[])) is None


def test_what_crashes_parsers_is_a_reason():
    assert reason(why_dropped(body("y = " + "-" * 100_000 + "1"), FilterSeeds())) == "too_nested"
    assert reason(why_dropped("x\0", FilterSeeds())) == "syntax_error"


@pytest.mark.parametrize(("mode", "reasons"), [("fixed", ["banned_import"]), ("reference", ["banned_word"] * 2)])
def test_rows_are_kept_or_set_aside(mode, reasons, tmp_path):
    rows = [seed_row(), seed_row("import os\n\n\n" + DOUBLE), seed_row(body("debug = 1"))]
    write_rows(tmp_path / "s.parquet", SeedRow, rows)
    files = [tmp_path / name for name in ("s.parquet", "k.parquet", "d.parquet", "n.json")]
    main(*files, mode=mode, settings=FilterSeeds())
    assert [row["reason"] for row in read_rows(tmp_path / "d.parquet")] == reasons
    assert list(read_rows(tmp_path / "k.parquet")) == [rows[0], rows[2]][: 3 - len(reasons)]
