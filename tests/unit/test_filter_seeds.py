"""Functions are kept or dropped for the reason we say, in both modes."""

import ast

import pytest

from scripts.filter_seeds import main
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
    assert reason(why_dropped(code)) == fixed
    assert reason(why_dropped_reference(code)) == reference


UNUSUAL = [
    "import os.path, sys\n\n\n" + DOUBLE,
    "import numpy, \\\n    os\n\n\n" + DOUBLE,
    "from numpy import (\n    sys\n)\nimport os\n\n\n" + DOUBLE,
    "from . import os\n\n\n" + DOUBLE,
    "import re; import sys\n\n\n" + DOUBLE,
    body("from os import path; import sys"),
    body("raise ValueError from os"),
    body("def g(): return 1").replace("return x", "return"),
    body("class G:\n        def h(self): return 1").replace("return x", "pass"),
    body("if x:\n        return 1\n    def g():\n        pass").replace("\n    return x", ""),
    body("def g():\n\t    return 1").replace("\n    return x", ""),
    body("y = f\"{x['a']}\""),
    body("y = f'{x!r:{x}} {{' + f'}}'"),
    body('y = rb"\\\\"; z = u"return 1"').replace("return x", "return  # x"),
    body("return \\\n        x").replace("\n    return x", ""),
    body("return (\n        x)").replace("\n    return x", ""),
    body("return; return 1").replace("\n    return x", ""),
    body("y = lambda: x").replace("return x", "return"),
    body("# FixMe"),
    body("y = 'XXX'"),
    body("y = x  # see todo_list"),
    body("y = x\n# hack\n"),
    body("y = 1\r"),
    body("y = 1\f"),
    body("größe = 1  # todo"),
    body("y = 1  # “bug”"),
    body("y = 1  # ébug, hac\u212a and f\u0131xme"),
    body("raise ValueError from x; import sys"),
    body("import os\n    from sys import path"),
    body("import os"),
    body("from os.path import (\n        join)"),
    body("from .os import path"),
    "x = 1; import sys\nimport os\n\n\n" + DOUBLE,
    body("def g():\n        if x:\n            return 1\n    y = 1").replace("return x", "pass"),
    body("def g():\n        return 1\n    if x:\n        return 2").replace("return x", "pass"),
    body("class G: y = 1\n    if x: return 2").replace("return x", "pass"),
    body('y = f\'{x["a"]} {x["b{"]}\''),
    body("y = f'''{x['a']}'''; z = f'{x:\"^10}'"),
    DOUBLE.replace("twice x", "twice x. TODO: a \\ttab"),
    DOUBLE.replace("twice x", "twice x\\tbug"),
    DOUBLE.replace("twice x", "twice x. Bug 12"),
    body("\n    ".join(f"y = {n}  # {n}" for n in range(80)) + "\n    z = 1  # hack"),
    "@wraps(lambda: 1)\n" + DOUBLE,
    "@property\nasync  def  f (\n  x\n):\n    'Doc.'\n    return x",
    "def f(  # none\n):\n    'Doc.'\n    return 1",
    "def f(x) -> {1: 2}[1]:  # said\n    'Doc.'\n    return x",
    "def f(x): 'Doc.'; return x",
    "def f(x):\n    'Doc.' 'More.'\n    return x",
    "def f(x):\n    ('Doc.')\n    return x",
    "def f(x):\n    b'Doc.'\n    return x",
    "def f(x):\n    f'Doc.'\n    return x",
    "def f(x):\n    R'Doc.'\n    return x",
    "def f(x):\n    '\\n'\n    return x",
    "def f(x):\n    ' \\x20'\n    return x",
    "def f(x):\n    'Doc.' % x\n    return x",
    "def f(x):\n    'Doc.'.strip()\n    return x",
    "def f(x):\n    'Doc.' if x else 1\n    return x",
    "def f(x):\n    'Doc.'; return x",
    "def f(x):\n    # first\n\n    'Doc.'\n    return x\n\n# after",
    DOUBLE + "\n\n\ndef g():\n    return 1",
    "class A:\n    def f(self):\n        'Doc.'\n        return 1\n" + DOUBLE,
    "x = [\n]\nif x:\n    pass\n" + DOUBLE,
    body("y = " + "-" * 1_000 + "x"),
    body("y = " + "x + " * 1_000 + "x"),
]


@pytest.mark.parametrize("code", UNUSUAL)
def test_a_glance_gives_the_verdict_of_the_syntax_tree(code):
    ast.parse(code)
    assert why_dropped(code, parsed=True) == why_dropped(code)


def test_limits_and_modules_can_be_chosen():
    assert why_dropped(DOUBLE, min_lines=4) == ("too_short", "3 lines")
    assert why_dropped(DOUBLE, max_lines=2) == ("too_long", "3 lines")
    assert why_dropped("import re\n\n\n" + DOUBLE, banned_modules=["re"]) == ("banned_import", "re")
    assert why_dropped("import os\n\n\n" + DOUBLE, banned_modules=[]) is None
    assert why_dropped("import os\n\n\n" + DOUBLE, banned_modules=[], parsed=True) is None
    assert why_dropped("import re\n\n\n" + DOUBLE, banned_modules=["re"], parsed=True) == ("banned_import", "re")


def test_what_crashes_parsers_is_a_reason():
    assert reason(why_dropped(body("y = " + "-" * 100_000 + "1"))) == "too_nested"
    assert reason(why_dropped("x\0")) == "syntax_error"


@pytest.mark.parametrize(("mode", "reasons"), [("fixed", ["banned_import"]), ("reference", ["banned_word"] * 2)])
def test_rows_are_kept_or_set_aside(mode, reasons, tmp_path):
    rows = [seed_row(), seed_row("import os\n\n\n" + DOUBLE), seed_row(body("debug = 1"))]
    write_rows(tmp_path / "s.parquet", SeedRow, rows)
    main(tmp_path / "s.parquet", tmp_path / "k.parquet", tmp_path / "d.parquet", tmp_path / "n.json", mode=mode)
    assert [row["reason"] for row in read_rows(tmp_path / "d.parquet")] == reasons
    assert list(read_rows(tmp_path / "k.parquet")) == [rows[0], rows[2]][: 3 - len(reasons)]
