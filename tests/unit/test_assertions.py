"""Tests are cut into single checks, and what may leave something behind for the next check has a program of its own."""

import pytest

from selfcodealign.dataset.assertions import checks, expected, is_pure, parsed, together
from tests.sandbox import suite

FORGING = ("escapes", "false_passes", "tampering", "unittest_values", "values")


@pytest.mark.parametrize(
    ("tests", "texts"),
    [
        pytest.param("assert f(1)\nassert f( 2 )", ["assert f(1)", "assert f(2)"], id="one-spelling"),
        pytest.param("x = 1\nassert f(x)", ["x = 1\nassert f(x)"], id="a-statement-before"),
        pytest.param(
            "import math\nassert f(1)\nassert f(math.pi)",
            ["assert f(1)", "import math\nassert f(math.pi)"],
            id="imports-that-are-used",
        ),
        pytest.param(
            "def test_f():\n    'says'\n    assert f(1)\n    assert f(2)\ntest_f()",
            ["assert f(1)", "assert f(2)"],
            id="a-function-of-assertions",
        ),
        pytest.param(
            "def test_f():\n    x = 1\n    assert f(x)",
            ["def test_f():\n    x = 1\n    assert f(x)"],
            id="a-function-of-more",
        ),
        pytest.param(
            "def test_f(n):\n    assert f(n)\ntest_f(1)",
            ["def test_f(n):\n    assert f(n)\ntest_f(1)"],
            id="a-function-that-takes-something",
        ),
        pytest.param(
            "def test_f():\n    assert f(1)\nrun(test_f)",
            ["def test_f():\n    assert f(1)"],
            id="a-function-that-others-use",
        ),
        pytest.param(
            "def test_f():\n    assert f(N) == 1\nN = 1\ntest_f()",
            ["def test_f():\n    assert f(N) == 1\nN = 1\ntest_f()"],
            id="a-function-that-reads-what-is-bound-behind-it",
        ),
        pytest.param(
            "def test_f():\n    assert f(g()) == 1\nN = 1\ndef g():\n    return N\nassert f(2)",
            [
                "N = 1\n\ndef g():\n    return N\n\ndef test_f():\n    assert f(g()) == 1",
                "N = 1\n\ndef g():\n    return N\nassert f(2)",
            ],
            id="a-test-nobody-calls-that-reads-what-is-bound-behind-it",
        ),
        pytest.param("assert f(", [], id="no-python"),
        pytest.param(f"assert f(1) == {'+'.join('1' * 600)}", [], id="too-deep-to-be-written-again"),
        pytest.param("def test_f(): pass", [], id="nothing-that-can-fail"),
    ],
)
def test_tests_are_cut_into_checks(tests, texts):
    assert [check.text for check in checks(tests)] == texts


def test_a_string_that_python_cannot_write_down_again_is_no_traceback():
    # Python 3.11 writes no backslash in an f-string's expression, and has no other way to write this character.
    assert len(checks("assert f(f\"{'\u200b'}\")")) <= 1


@pytest.mark.parametrize(
    ("test", "plain"),
    [
        ("assert f(1) == [2]", True),
        ("assert sorted(f(1).items(), key=lambda item: item[1]) == []", True),
        ("import math\nassert math.isclose(f(1), 2)", True),
        ("import random\nassert random.random() < f(1)", False),
        ("import os\nassert f(1) != os._exit(0)", False),
        ("assert (x := f(1))", False),
        ("assert f.__doc__", False),
        ("assert exec('x = 1') is None", False),
        ("assert open('x')", False),
        ("x = [1]\nassert f(x)", False),
        ("for x in (1, 2):\n    assert f(x)\nassert f(3)", False),
    ],
)
def test_only_bare_assertions_share_a_program(test, plain):
    assert [check.plain for check in checks(test)] == [plain]


@pytest.mark.parametrize(
    ("code", "pure"),
    [
        ("def f(x): return x", True),
        ("'''says'''\nimport math as m\nN = -3\nPAIR = (1, 'a')\ndef f(x, n=2):\n    return m.pi", True),
        (
            "def f(n):\n    a = 0\n    def g():\n        nonlocal a\n        a += 1\n    g()\n    return a",
            True,
        ),
        ("import functools\ndef f(n):\n    @functools.lru_cache(None)\n    def g(k): return k\n    return g(n)", True),
        ("def f(x):\n    if x < 0: raise ValueError('x')\n    return type(x)", True),
        ("MEMO = {}\ndef f(x): return MEMO.setdefault(x, len(MEMO))", False),
        ("def f(x, seen=[]):\n    seen.append(x)\n    return len(seen)", False),
        ("def f(x):\n    f.calls = x", False),
        ("def f(x):\n    global y\n    y = x", False),
        ("from functools import lru_cache\n@lru_cache\ndef f(x): return x", False),
        ("def calls():\n    yield 1\nC = calls()\ndef f(x): return next(C)", False),
        ("import random\ndef f(x): return random.random()", False),
        ("def f(x):\n    import sys\n    sys.exit()", False),
        ("from re import enum\ndef f(x): enum.sys.exit()", False),
        ("import re\ndef f(x): re.enum.sys.exit()", False),
        ("from math import *\ndef f(x): return x", False),
        ("def f(x): exit()", False),
        ("def f(x): return ().__class__", False),
        ("def f(x): return type('T', (), {'__eq__': lambda *_: True})()", False),
        ("class A: pass", False),
        ("def all(x): return True", False),
        ("def f(x):\n    with open('x') as file: return file", False),
        ("print(1)\ndef f(x): return x", False),
        ("def f(", False),
        ("", False),
        (f"N = {'-' * 700}1", True),
    ],
)
def test_code_that_may_keep_something_is_not_pure(code, pure):
    assert is_pure(code) is pure


def test_no_code_of_the_hostile_suite_that_forges_its_verdict_shares_a_program():
    forging = [case for case in suite.load() if case["category"] in FORGING and "code" in case]
    wrong = [case for case in forging if case.get("expect") != "pass" and is_pure(case["code"])]
    # Its tests leave early, not its code.
    assert [case["id"] for case in wrong] == ["test_that_leaves_before_its_last_assertion"]
    assert len(forging) > 200


@pytest.mark.parametrize(
    ("check", "value"),
    [
        ("assert f(1) == [2]", "[2]"),
        ("assert f(1) is True", "True"),
        ("assert f(1)", "True"),
        ("assert not f(1)", "False"),
        ("assert f(1) > 2", "assert f(1) > 2"),
        ("assert 1 < f(1) < 3", "assert 1 < f(1) < 3"),
        ("def test_f(): pass", "def test_f():\n    pass"),
    ],
)
def test_what_a_check_expects(check, value):
    assert expected(parsed(check)[0]) == value


def test_checks_join_to_one_text_of_tests():
    texts = [
        "import math\nassert math.pi",
        "import math\nassert f(1)\nassert math.e",
        "def test_a():\n    x = 1\n    assert f(x)",
    ]
    joined = together(check for text in texts for check in checks(text))
    assert joined.count("import math") == 1
    assert joined.endswith("assert f(x)\ntest_a()")
