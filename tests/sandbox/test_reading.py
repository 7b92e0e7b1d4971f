"""Tests that cannot fail are recognised by reading them; stubs and mutants are what they claim to be."""

import ast
import subprocess
import sys
import types
from pathlib import Path

import pytest

import selfcodealign.sandbox.inside as inside

# They find each other by their bare names, as they do inside.
sys.path.insert(0, str(Path(inside.__file__).parent))
import instruments  # pyright: ignore[reportMissingImports]
import mutants  # pyright: ignore[reportMissingImports]
import refused  # pyright: ignore[reportMissingImports]
import stub  # pyright: ignore[reportMissingImports]
import vacuity  # pyright: ignore[reportMissingImports]
import values  # pyright: ignore[reportMissingImports]

sys.path.pop(0)

CODE = "import math\ndef f(x):\n    return x + 1\nclass C:\n    pass"


def why(test: str, code: str = CODE) -> str | None:
    return vacuity.why_vacuous(ast.parse(code), ast.parse(test), test)


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1) == 2",
        "assert not f(1)",
        "assert f(1) == 2, 'message'",
        "for x in [1, 2]:\n    assert f(x) == x + 1",
        "def test():\n    assert f(1) == 2",
        "def helper():\n    assert f(1) == 2\nhelper()",
        "try:\n    f('x')\nexcept TypeError:\n    pass\nelse:\n    raise AssertionError",
        "try:\n    f('x')\n    assert False\nexcept TypeError:\n    pass",
        "try:\n    assert f(1) == 2\nexcept AssertionError:\n    raise SystemExit(1)",
        "try:\n    assert f(1) == 2\nexcept AssertionError:\n    ok = False\nassert ok",
        "if f(1) != 2:\n    raise ValueError",
        "import sys\nif f(1) != 2:\n    sys.exit(1)",
        "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        self.assertEqual(f(1), 2)",
        "import numpy as np\nnp.testing.assert_allclose(f(1), 2)",
        "import pytest\nwith pytest.raises(TypeError):\n    f('x')",
        "import doctest\ndoctest.testmod()",
        "import unittest\nunittest.main()",
        "assert globals()['f'](1) == 2",
        "x = f(1)\nassert x == 2 or x == 3",
        "assert isinstance(C(), C)",
        "from unittest.mock import patch\nwith patch('__main__.f') as g:\n    g()\n    g.assert_called_once()",
    ],
)
def test_tests_that_may_fail_are_left_to_the_run(test):
    assert why(test) is None


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("", "there are no tests"),
        ("print(f(1))", "assert nothing"),
        ("assert True", "constant"),
        ("assert 'f works'", "constant"),
        ("assert (f(1) == 2, 'message')", "constant"),
        ("assert f(1) == 2 or True", "constant"),
        ("x = f(1)\nassert x == x", "constant"),
        ("assert not False", "constant"),
        ("assert 1 < 2", "constant"),
        ("if False:\n    assert f(1) == 2", "unreachable"),
        ("while 0:\n    assert f(1) == 2", "unreachable"),
        ("for x in []:\n    assert f(1) == 2", "unreachable"),
        ("def test():\n    return\n    assert f(1) == 2", "unreachable"),
        ("import sys\nsys.exit()\nassert f(1) == 2", "unreachable"),
        ("try:\n    assert f(1) == 2\nexcept:\n    pass", "swallowed"),
        ("try:\n    assert f(1) == 2\nexcept Exception as e:\n    print(e)", "swallowed"),
        ("try:\n    assert f(1) == 2\nexcept (ValueError, AssertionError):\n    pass", "swallowed"),
        ("from contextlib import suppress\nwith suppress(AssertionError):\n    assert f(1) == 2", "swallowed"),
        ("def verify():\n    assert f(1) == 2", "nobody calls"),
        ("assert math.sqrt(4) == 2", "nothing that the response defines"),
        ("def f(x):\n    return 2\nassert f(1) == 2", "redefine f"),
    ],
)
def test_tests_that_cannot_fail_are_named_with_the_reason(test, reason):
    assert reason in (why(test) or "")


@pytest.mark.parametrize(
    "code",
    [
        "import sys\ndef f(): return sys._getframe(1)",
        "import inspect\ndef f(): return inspect.currentframe()",
        "def f(frame): return frame.f_back",
        "import gc\ndef f(): return gc.get_objects()",
        "from gc import get_referrers",
        "import sys\ndef f(): return getattr(sys, '_getframe')(1)",
        "isinstance = lambda a, b: True",
        "def f():\n    global len\n    len = 0",
    ],
)
def test_code_that_looks_for_the_harness_is_refused(code):
    assert refused.looks_for_harness(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [CODE, "import inspect\ndef f(): return inspect.signature(f)", "def sum(x): return 0", "import gc\ngc.collect()"],
)
def test_ordinary_code_is_not_refused(code):
    assert refused.looks_for_harness(ast.parse(code)) is None


def test_a_stub_keeps_names_and_signatures_open_and_returns_none():
    code = '''
"""About this module."""
import math
from functools import partial
LIMIT, (LOW, HIGH) = 3, (1, 2)
double = lambda x: 2 * x

@partial
def f(a, *, b):
    """Say it."""
    return a + b

async def g():
    yield 1

class Base(ValueError):
    size = 3
    def __init__(self, x):
        self.x = x
    @property
    def y(self):
        return 1
    @staticmethod
    def z(a):
        return a

if LIMIT:
    def late():
        return 1
'''
    names: dict = {}
    exec(compile(stub.stub_of(ast.parse(code)), "stub", "exec"), names)
    assert names["f"](1, 2, c=3) is None
    assert names["f"].__doc__ == "Say it."
    assert names["late"]() is None
    assert [names[name] for name in ("LIMIT", "LOW", "HIGH", "double")] == [None] * 4
    assert names["math"].pi > 3
    made = names["Base"](1)
    assert isinstance(made, ValueError)
    assert made.y is None
    assert names["Base"].z(1) is None
    assert not hasattr(made, "x")
    assert not hasattr(made, "size")


def test_mutants_differ_from_the_code_and_from_each_other():
    code = "def f(a, b):\n    if a > b and a != 0:\n        return a - b\n    return [a, 1]"
    texts = set()
    for number in range(20):
        tree = ast.parse(code)
        if not mutants.mutate(tree, number, 20):
            break
        texts.add(ast.unparse(tree))
        compile(tree, "mutant", "exec")
    assert len(texts) >= 6
    assert ast.unparse(ast.parse(code)) not in texts


def test_mutants_are_spread_over_the_code():
    code = "\n".join(f"def f{n}(a):\n    return a + {n}" for n in range(10))
    changed = []
    for number in range(3):
        tree = ast.parse(code)
        assert mutants.mutate(tree, number, 3)
        both = zip(ast.unparse(tree).splitlines(), ast.unparse(ast.parse(code)).splitlines(), strict=True)
        changed.append(next(place for place, (new, old) in enumerate(both) if new != old))
    assert changed[0] < 10 < changed[-1]


@pytest.mark.filterwarnings("ignore:'str' object is not callable")
def test_instruments_leave_the_tests_meaning_alone():
    loop = "for x in range(5):\n    assert 0 <= x < 5 != 6 and x in range(9)\n    total += x"
    test = f"total = 0\n{loop}\nassert total == 10"
    seen = []

    class Instruments:
        def hook(self, what, value=None):
            seen.append(what)

    tree = ast.parse(test)
    names = {}
    code = compile(ast.fix_missing_locations(instruments.Instrument("mark", tree).visit(tree)), "tests", "exec")
    saved = types.SimpleNamespace(known=frozenset(), held=[])
    marks = {"mark": Instruments(), **values.Compared(values.Look(saved, (), None, ())).marks("mark")}
    exec(instruments.installed(code, marks), names)
    assert names["total"] == 10
    assert seen.count("ran") == seen.count("held") == 6


def test_nothing_inside_needs_more_than_the_standard_library():
    for name in inside.MODULES:
        tree = ast.parse((Path(inside.__file__).parent / f"{name}.py").read_text())
        for node in ast.walk(tree):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in imported:
                top = module.split(".")[0]
                assert top in sys.stdlib_module_names or top in inside.MODULES, f"{name} imports {module}"


GONE = """
import gc, sys
sys.path.insert(0, sys.argv[1])
import guards
gc.collect()
gc.disable()
[type(f"Gone{number}", (), {}) for number in range(200)]  # classes are cycles: they stay until garbage is collected
saved = guards.Snapshot()
gc.collect()
late = [type("Late", (), {"__eq__": lambda self, other: True}) for _ in range(2_000)]
print(len(saved.known & set(map(id, late))))
"""


def test_a_class_of_the_response_never_gets_the_id_of_one_that_was_there():
    command = [sys.executable, "-c", GONE, str(Path(inside.__file__).parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"
