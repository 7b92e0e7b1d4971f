"""Free names become imports or the reason a function goes; its text stays as it is."""

import json

import pytest

from scripts.infer_imports import imports_of, main
from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.seeds import lexer
from selfcodealign.seeds.names import free_names, with_imports
from tests.seed_rows import DOUBLE, function_row


def function(body: str, signature: str = "f(x)") -> str:
    return f'def {signature}:\n    """Doc."""\n' + "".join(f"    {line}\n" for line in body.split("\n"))


@pytest.mark.parametrize(
    ("code", "imports"),
    [
        (DOUBLE, []),
        (function("return np.sum(x)"), ["import numpy as np"]),
        (function("return math.sqrt(re.sub('a', 'b', x))"), ["import math", "import re"]),
        (
            function("return x", "f(x: List[int]) -> Optional[Dict[str, int]]"),
            ["from typing import Dict, List, Optional"],
        ),
        (function("return defaultdict(Counter)"), ["from collections import Counter, defaultdict"]),
        (function("return datetime.now()"), ["from datetime import datetime"]),
        (function("return datetime.datetime.now()"), ["import datetime"]),
        (function("return [y for y in x if (z := y)]"), []),
        (function("def g():\n    return f\nreturn g"), []),
        (function("import numpy as np\nreturn np.sum(x)"), []),
        (function("try:\n    return x\nexcept ValueError as error:\n    return error"), []),
        (function("global total\ntotal = 1\nreturn total"), []),
        (function("return __name__"), []),
        ("@functools.cache\n" + DOUBLE, ["import functools"]),
        (function("class A:\n    y = 1\n    z = y\nreturn A"), []),
    ],
)
def test_names_are_resolved(code, imports):
    assert imports_of(code) == (imports, "", "")


@pytest.mark.parametrize(
    ("code", "reason", "detail"),
    [
        (function("print(x)"), "returns_nothing", ""),
        (function("return"), "returns_nothing", ""),
        (function("return  # x"), "returns_nothing", ""),
        (function("s = 'return 1'  # return 1\nyield x"), "returns_nothing", ""),
        (function("return helper(x) + OTHER"), "undefined_name", "OTHER helper"),
        (function("return x", "f(x=DEFAULT)"), "undefined_name", "DEFAULT"),
        (function("return [y for _ in x]"), "undefined_name", "y"),
        (function("class A:\n    y = 1\n    def g(self):\n        return y\nreturn A"), "undefined_name", "y"),
        (function("print x\nreturn x"), "syntax_error", None),
        (function("return `x`"), "syntax_error", None),
        (function("return x\0"), "syntax_error", None),
        (function("return " + "(" * 300 + "x" + ")" * 300), "syntax_error", None),
        (function("return " + "-" * 100_000 + "x"), "too_nested", ""),
    ],
)
def test_what_cannot_be_resolved_says_why(code, reason, detail):
    imports, found, said = imports_of(code)
    assert (imports, found) == ([], reason)
    assert detail is None or said == detail


@pytest.mark.parametrize(
    ("code", "returns"),
    [
        ("return x", True),
        ("return\\\n x", True),
        ("if x: return(1)", True),
        ("if x: return; y = 1", False),
        ("return_value = 1", False),
        ("x.return_ = 1", False),
        ("no_return 1", False),
        ("'''return 1'''", False),
        ("# return 1", False),
        ("x = 'it\\'s return 1'", False),
        ("return\n1", False),
        ("returné = 1", False),
    ],
)
def test_a_return_with_a_value_is_told_from_text_about_one(code, returns):
    assert lexer.returns_value(lexer.as_array(code.encode())) is returns


def test_free_names_are_those_that_running_would_miss():
    code = function("y = [a for a in b]\nreturn lambda c: c + d + y", "f(e=g)")
    assert free_names(code) == {"b", "d", "g"}


def test_imports_go_above_and_the_text_stays():
    assert with_imports(DOUBLE, []) == DOUBLE
    assert with_imports(DOUBLE, ["import re", "import math"]) == "import re\nimport math\n\n\n" + DOUBLE


def test_seeds_lead_back_to_their_functions(tmp_path):
    good = function_row(function("return math.sqrt(x)"))
    bad = function_row(function("return helper(x)"), path="b.py")
    write_rows(tmp_path / "f.parquet", FunctionRow, [good, bad])
    main(tmp_path / "f.parquet", tmp_path / "s.parquet", tmp_path / "d.parquet", tmp_path / "n.json")
    (seed,) = read_rows(tmp_path / "s.parquet")
    assert seed["function_id"] == good["id"]
    assert seed["imports"] == ["import math"]
    assert seed["content"] == "import math\n\n\n" + good["content"]
    (dropped,) = read_rows(tmp_path / "d.parquet")
    assert dropped == {**bad, "reason": "undefined_name", "detail": "helper"}
    assert json.loads((tmp_path / "n.json").read_text())["dropped"] == {"undefined_name": 1}
