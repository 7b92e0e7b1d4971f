"""Free names become imports or the reason a function goes; its text stays as it is."""

import json

import pytest

from scripts import extract_functions
from scripts.infer_imports import imports_of, main, seed_row
from selfcodealign.config.seeds import Columns, ExtractFunctions
from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.seeds import lexer
from selfcodealign.seeds.names import free_names, with_imports
from tests.seed_rows import DOUBLE, function_row, outputs, write_shard


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
    resolved, reason, _ = imports_of(code)
    assert (resolved.statements, reason) == (imports, "")


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
    resolved, found, said = imports_of(code)
    assert (resolved.statements, found) == ([], reason)
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


@pytest.mark.parametrize(
    ("body", "signature", "imports"),
    [
        ("return isinstance(x, datetime)", "f(x)", ["from datetime import datetime"]),
        ("return isinstance(x, (str, datetime))", "f(x)", ["from datetime import datetime"]),
        ("return x", "f(x: datetime)", ["from datetime import datetime"]),
        ("return x", "f(x: 'datetime')", ["from datetime import datetime"]),
        ("return x", "f(x: datetime.datetime)", ["import datetime"]),
        ("return datetime(x, 1, 1)", "f(x)", ["from datetime import datetime"]),
        ("return datetime.fromtimestamp(x)", "f(x)", ["from datetime import datetime"]),
        ("return datetime.timedelta(x)", "f(x)", ["import datetime"]),
        ("return x or datetime.date.today()", "f(x)", ["import datetime"]),
        ("return map(datetime.strptime, x)", "f(x)", ["from datetime import datetime"]),
        ("return time()", "f(x)", ["from time import time"]),
        ("return time.time()", "f(x)", ["import time"]),
        ("return x", "f(x: time)", ["from datetime import time"]),
        ("return isinstance(x, date)", "f(x)", ["from datetime import date"]),
        ("return copy(x)", "f(x)", ["from copy import copy"]),
        ("return copy.copy(x)", "f(x)", ["import copy"]),
        ("return map(copy, x)", "f(x)", ["from copy import copy"]),
        ("return bisect(x, 1)", "f(x)", ["from bisect import bisect"]),
        ("return bisect.bisect(x, 1)", "f(x)", ["import bisect"]),
        ("return glob(x)", "f(x)", ["from glob import glob"]),
        ("return glob.glob(x)", "f(x)", ["import glob"]),
        ("return random()", "f(x)", ["from random import random"]),
        ("return random.choice(x)", "f(x)", ["import random"]),
        ("return array('i', x)", "f(x)", ["from array import array"]),
        ("return array.array('i', x)", "f(x)", ["import array"]),
        ("return fnmatch(x, '*')", "f(x)", ["from fnmatch import fnmatch"]),
        ("return socket.socket(x)", "f(x)", ["import socket"]),
    ],
)
def test_a_module_and_its_member_are_told_apart_by_use(body, signature, imports):
    assert imports_of(function(body, signature))[0].statements == imports


@pytest.mark.parametrize(
    ("body", "signature", "imports"),
    [
        ("return x", "f(x: 'Optional[int]')", ["from typing import Optional"]),
        ("return x", "f(x) -> 'List[int]'", ["from typing import List"]),
        ("return x", "f(x: 'Literal[1, 2]')", ["from typing import Literal"]),
        ("return x", "f(x: Literal['List', 'no type'])", ["from typing import Literal"]),
        ("return x", "f(x: Dict[str, 'Optional[int]'])", ["from typing import Dict, Optional"]),
        ("return x", "f(*x: 'Sequence[int]', **y: 'Any')", ["from typing import Any, Sequence"]),
        ("y = {}  # type: Dict[str, int]\nreturn y", "f(x)", ["from typing import Dict"]),
        ("y: 'Dict[str, int]' = {}\nreturn y", "f(x)", ["from typing import Dict"]),
        ("for y in x:  # type: Tuple[int, int]\n    pass\nreturn x", "f(x)", ["from typing import Tuple"]),
        ("return cast('List[int]', x)", "f(x)", ["from typing import List, cast"]),
        ("return x", "f(x: 'np.ndarray')", ["import numpy as np"]),
        ("y = 1  # type: ignore\nreturn y", "f(x)", []),
        ("y = 1  # type: this is no type\nreturn y", "f(x)", []),
        ("return x + 'List: Dict'", "f(x)", []),
    ],
)
def test_types_in_strings_and_comments_are_found(body, signature, imports):
    assert imports_of(function(body, signature))[0].statements == imports


def test_a_signature_in_a_type_comment_is_found():
    code = (
        'def f(a, b):\n    # type: (int, List[int]) -> Dict[str, int]\n    """Doc."""\n    return {"a": a + sum(b)}\n'
    )
    assert imports_of(code)[0].statements == ["from typing import Dict, List"]
    code = 'def f(\n    a,  # type: List[int]\n):\n    # type: (...) -> int\n    """Doc."""\n    return a[0]\n'
    assert imports_of(code)[0].statements == ["from typing import List"]


@pytest.mark.parametrize(
    ("head", "body", "found"),
    [
        ("string = 'abc'", "return string, x", ["string = 'abc'"]),
        ("string = make()", "return string, x", "string"),
        ("def unquote(s):\n    return s", "return unquote(x)", "unquote"),
        ("class Counter:\n    pass", "return Counter(x)", "Counter"),
        ("if True:\n    def gcd(a): return a", "return gcd(x)", "gcd"),
        ("try:\n    from lib import reduce\nexcept ImportError:\n    reduce = None", "return reduce(x)", "reduce"),
        ("from mine import deepcopy", "return deepcopy(x)", "deepcopy"),
        ("from . import math", "return math.sqrt(x)", "math"),
        ("from .x import (\n    sqrt,\n    floor,\n)", "return sqrt(x)", "sqrt"),
        ("math, re = load()", "return math.sqrt(x)", "math"),
        ("for math in range(3):\n    pass", "return math + x", "math"),
        ("with open('a') as math:\n    pass", "return math, x", "math"),
        ("if math := load():\n    pass", "return math + x", "math"),
        ("match load():\n    case [_, *math]:\n        pass", "return math + x", "math"),
        ("match load():\n    case {'a': 1, **math}:\n        pass", "return math + x", "math"),
        ("match load():\n    case 1:\n        import re as math", "return math.sub(x)", ["import re as math"]),
        ("if any(math for math in load()):\n    import math", "return math.sqrt(x)", ["import math"]),
        ("import math as re", "return re.sqrt(x)", ["import math as re"]),
        ("from datetime import datetime as dt", "return dt(x, 1, 1)", ["from datetime import datetime as dt"]),
        ("import datetime", "return datetime.datetime.min, x", ["import datetime"]),
        ("import math\nmath.x = 1\nmath.y[0] = 2", "return math.sqrt(x)", ["import math"]),
        ("import os.path", "return os.path.join(x)", ["import os.path"]),
        (
            "try:\n    import simplejson as json\nexcept ImportError:\n    import json",
            "return json.loads(x)",
            ["import json"],
        ),
        ("LIMIT = 3\nNAMES = ('a', 'b')", "return x < LIMIT, NAMES", ["LIMIT = 3", "NAMES = ('a', 'b')"]),
        ("LIMIT = 3\nLIMIT = 4", "return x < LIMIT", "LIMIT"),
        ("LIMIT = 3\nLIMIT += 4", "return x < LIMIT", "LIMIT"),
        ("LIMIT = -1.5e3", "return x < LIMIT", ["LIMIT = -1.5e3"]),
        ("TABLE = " + repr(list(range(300))), "return TABLE[x]", "TABLE"),
        ("TABLE = {}\nfor i in range(9):\n    TABLE[i] = chr(i)", "return TABLE[x]", "TABLE"),
        ("SEEN = []\n\n\ndef add(x):\n    SEEN.append(x)", "return SEEN[x]", "SEEN"),
        ("NAMES = ['a']\nNAMES.extend(load())", "return NAMES[x]", "NAMES"),
        ("SIZES = {'a': 1}\nSIZES['b'] = 2", "return SIZES[x]", "SIZES"),
        ("COUNTS = {'a': 1}\nCOUNTS['a'] += load()", "return COUNTS[x]", "COUNTS"),
        ("SEEN = {1}\n\n\ndef add(x):\n    SEEN.add(x)", "return x in SEEN", "SEEN"),
        ("SIZES = {'a': 1}\nprint(SIZES['b'] == 2)", "return SIZES[x]", ["SIZES = {'a': 1}"]),
        ("NONE = ()", "return x in NONE", ["NONE = ()"]),
    ],
)
def test_a_file_s_own_bindings_come_first(head, body, found, tmp_path):
    write_shard(tmp_path / "s.parquet", [("org/repo", "a.py", f"{head}\n\n\n{function(body)}")])
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    extract_functions.main(str(tmp_path / "s.parquet"), **places, columns=Columns(), settings=ExtractFunctions())
    *_, row = read_rows(places["functions"])
    resolved, reason, detail = imports_of(row["content"], row["bindings"])
    if isinstance(found, list):
        assert (resolved.statements, reason) == (found, "")
    else:
        assert (reason, detail) == ("undefined_name", found)
    settings = {"columns": Columns(), "settings": ExtractFunctions()}
    extract_functions.main(str(tmp_path / "s.parquet"), **places, mode="reference", **settings)
    assert [row["bindings"] for row in read_rows(places["functions"])] == [[]], "the published code asks nothing"


@pytest.mark.parametrize(
    ("code", "statements", "undecorated"),
    [
        (function("return x", "f(x: Node) -> 'Tree'"), ["from typing import Any", "Node = Any", "Tree = Any"], []),
        (function("return x", "f(x: Optional[Node])"), ["from typing import Any, Optional", "Node = Any"], []),
        ("@ours(1)\n" + DOUBLE, [], ["ours"]),
        ("@ours.deprecated\n@functools.cache\n" + DOUBLE, ["import functools"], ["ours"]),
        ("@ours(\n    limit=LIMIT,\n)\n" + DOUBLE, [], ["LIMIT", "ours"]),
        ("@ours(Counter, math.pi)\n" + DOUBLE, [], ["ours"]),
        ("@math._ours\n@functools.cache\n" + DOUBLE, ["import functools"], ["math._ours"]),
        ("@math._ours(limit=3)\n" + function("return math.sqrt(x)"), ["import math"], ["math._ours"]),
    ],
)
def test_names_of_annotations_and_decorators_alone_lose_no_function(code, statements, undecorated):
    resolved, reason, _ = imports_of(code)
    assert (resolved.statements, resolved.undecorated, reason) == (statements, undecorated, "")
    assert "ours" not in seed_row(function_row(code), resolved)["content"]


@pytest.mark.parametrize(
    ("code", "unknown"),
    [
        (function("return x", "f(x: Column[int])"), "Column"),
        (function("return x", "f(x) -> Optional[Result[int, str]]"), "Result"),
        (function("return x", "f(x: Node, y: Node[int])"), "Node"),
        ("@ours.singleton(DOMAIN)\n" + DOUBLE, "DOMAIN ours"),
        (function("@ours\ndef g():\n    return x\nreturn g"), "ours"),
    ],
)
def test_a_type_with_parameters_has_no_stand_in_and_a_singleton_is_no_function(code, unknown):
    assert imports_of(code)[1:] == ("undefined_name", unknown)


@pytest.mark.parametrize(
    "code",
    [
        function("return Node(x)", "f(x: Node)"),
        function("return x", "f(x: tree.Node)"),
        "@pytest.fixture(params=[1])\n" + DOUBLE,
        "@fixture\n" + DOUBLE,
        "@pytest.mark.parametrize('x', [1])\n" + DOUBLE,
    ],
)
def test_names_that_run_are_not_stood_for(code):
    assert imports_of(code)[1] == "undefined_name"


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


def test_what_looks_like_a_decorator_in_a_docstring_is_none():
    code = 'def f(x):\n    """Double.\n\n@math._ours\n"""\n    return 2 * x\n'
    resolved, reason, _ = imports_of(code)
    assert (resolved.statements, resolved.undecorated, reason) == ([], [], "")
