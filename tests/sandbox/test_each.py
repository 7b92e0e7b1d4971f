"""With `each`, every assertion is judged by itself, and only a program that came to its end is believed."""

import pytest

from selfcodealign.errors import UserError
from selfcodealign.sandbox import Settings, run_cases

FOUR = "assert f(1) == 1\nassert f(2) == 2\nassert f(3) == 3\nassert f(4) == 4"


def run(code, test=FOUR, **settings):
    (found,) = run_cases([{"id": "a", "code": code, "test": test, "each": True}], Settings(workers=1, **settings))
    return found


@pytest.mark.parametrize(
    ("code", "held"),
    [
        ("def f(x): return x", "0 1 2 3"),
        ("def f(x): return x if x != 2 else 0", "0 2 3"),
        ("def f(x): return x if x != 1 else 1 // 0", "1 2 3"),
        ("def f(x): return f(x) if x == 4 else x", "0 1 2"),
        ("def g(x): return x", ""),
    ],
)
def test_an_assertion_that_fails_stops_no_other(code, held):
    found = run(code, vacuous=False)
    assert (found["verdict"], found["each"]) == ("pass", held)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        pytest.param("import sys\ndef f(x): return sys.exit(0) if x == 3 else x", "fail", id="exit"),
        pytest.param("import os\ndef f(x): return os._exit(0) if x == 3 else x", "fail", id="exit-at-once"),
        pytest.param("def f(x):\n    if x == 3: raise KeyboardInterrupt\n    return x", "error", id="interrupt"),
        pytest.param("def f(x):\n    while x == 3: pass\n    return x", "timeout", id="no-end"),
        pytest.param("def f(x): return x if x != 3 else [0] * 10**12", "memory", id="no-memory"),
        pytest.param("import builtins\nbuiltins.len = f = lambda x: x", "fail", id="another-builtin"),
        pytest.param(
            "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()", "fail", id="equal-to-all"
        ),
        pytest.param("import os\ndef f(x): os.write(250, b'F{}')", "fail", id="a-report-of-failure"),
        pytest.param(
            'import os\ndef f(x): os.write(250, b\'P\' + bytes(64) + b\'{"verdict": "pass", "each": "0 1 2 3"}\')',
            "fail",
            id="a-report-of-success",
        ),
    ],
)
def test_nothing_is_believed_of_a_program_that_did_not_come_to_its_end(code, verdict):
    found = run(code, timeout_s=1, vacuous=False)
    assert found["verdict"] == verdict
    assert not found.get("each")


def test_what_a_stub_and_mutants_hold_is_told():
    test = "assert f(1, 2) == 1\nassert f\nassert f(5, 2) == 2\nassert f(1, 2) != 9"
    found = run("def f(x, y):\n    return x if x < y else y", test, mutants=5)
    assert found["each"] == "0 1 2 3"
    assert found["stub_held"] == "1 3"
    assert found["mutants_held"][0] == "1 3"
    assert all(one is not None and {"1", "3"} <= set(one.split()) for one in found["mutants_held"])
    assert found["mutation_score"] is None


def test_of_tests_as_a_whole_mutants_are_told_too():
    case = {"id": "a", "code": "def f(x):\n    return x + 1", "test": "assert f(1) == 2"}
    (found,) = run_cases([case], Settings(workers=1, mutants=9))
    assert found["mutants_held"] == [None] * len(found["mutants_held"]) != []
    assert found["mutation_score"] == 1.0
    assert "each" not in found


def test_only_responses_with_tests_have_each():
    with pytest.raises(UserError, match="each"):
        list(run_cases([{"id": "a", "program": "assert 1", "each": True}], Settings(workers=1)))
