"""Each judge's comparison decides as the authors' harness does, where values are nearly equal or oddly typed."""

import ast
import math
from pathlib import Path
from typing import Any

import pytest

from selfcodealign.evaluation.execution import judge_text
from selfcodealign.evaluation.oracles import evalplus, evoeval, livecodebench, script
from selfcodealign.evaluation.oracles.common import Fingerprint, close, fingerprint


def data(**values: Any) -> dict[str, Any]:
    return {"entry_point": "f", "dataset": "mbpp", "rules": "0.2", **values}


@pytest.mark.parametrize(
    ("output", "wanted", "atol", "values", "expected"),
    [
        (3, 3, 0, {}, True),
        (3, 4, 0, {}, False),
        (0.1 + 0.2, 0.3, 0, {}, True),  # floats get a tolerance of 1e-6
        (0.3001, 0.3, 0, {}, False),
        ([0.1 + 0.2], [0.3], 0, {}, True),
        ((1, 2), [1, 2], 0, {}, False),
        ((1, 2), [1, 2], 1e-6, {}, True),  # once a tolerance is set, a tuple may stand for a list
        ((1, 2), [1, 2], 1e-6, {"rules": "0.3"}, False),  # not in the newest rules
        ([2], [], 1e-6, {}, False),
        ([2], [], 1e-6, {"rules": "0.2+broadcasting"}, True),
        (None, True, 0, {"entry_point": "are_equivalent"}, False),
        (False, True, 0, {"entry_point": "are_equivalent"}, True),
        (0, 7, 0, {"entry_point": "sum_div"}, True),
        ("found", True, 0, {"entry_point": "check_str"}, True),
        (None, True, 0, {"entry_point": "check_str"}, False),
        (True, False, 0, {"entry_point": "check_str"}, False),
        ([2, 1], [1, 2], 0, {"entry_point": "Diff"}, False),
        ([2, 1], [1, 2], 0, {"entry_point": "Diff", "rules": "0.3"}, True),
    ],
)
def test_evalplus_equality(output: Any, wanted: Any, atol: float, values: dict[str, Any], expected: bool) -> None:
    assert evalplus.equal(output, wanted, [], atol, data(**values))[0] is expected


def test_evalplus_tolerance_lasts_once_an_expected_value_is_a_float() -> None:
    _, atol = evalplus.equal(1.5, 1.5, [], 0, data())
    assert atol == 1e-6
    assert evalplus.equal((1, 2), [1, 2], [], atol, data())[0]


@pytest.mark.parametrize(("x", "expected"), [(-0.5, True), (-0.50001, True), (0.5, False)])
def test_evalplus_takes_any_zero_of_the_polynomial(x: float, expected: bool) -> None:
    settings = data(dataset="humaneval", entry_point="find_zero")
    assert evalplus.equal(x, None, [[1, 2]], 1e-4, settings)[0] is expected


@pytest.mark.parametrize(
    ("task", "raw", "expected"),
    [
        (2, [[3, 4], [5]], [(3, 4), (5,)]),
        (63, [[[1, 2], [3]]], [[(1, 2), (3,)]]),
        (75, [[[1, 2]], 6], [[(1, 2)], 6]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1], [], 2]], [[{1}, {}, {}]]),
        (124, ["1", "2j"], (1.0, 2j)),
        (252, ["1+2j"], [1 + 2j]),
        (250, [[1, [2]], 8], [(1, [2]), 8]),
        (259, [[[1], [2]], [[3]]], [((1,), (2,)), ((3,),)]),
        (278, [[1, [2], 3]], [(1, (2,), 3)]),
        (580, [[1, [2, [3]]]], ((1, (2, (3,))),)),
        (722, [{"a": [1]}, 2], [{"a": (1,)}, 2]),
        (999, [[1]], [[1]]),
    ],
)
def test_mbpp_inputs_become_the_values_the_tasks_expect(task: int, raw: Any, expected: Any) -> None:
    (found,) = evalplus.decoded({"dataset": "mbpp", "task": task}, [raw])
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (True, 1, False),
        (1.0, 1.0 + 1e-9, True),
        ([1.0, math.nan], [1.0, math.nan], True),
        ([1], (1,), False),
        ([], [1.0], False),
        ({"a": [1]}, {"a": [1]}, True),
        ({"a": 1}, {"a": True}, False),
        ({1, 2}, {2, 1}, True),
        (None, None, True),
        ("a", "a", True),
    ],
)
def test_evoeval_equality_is_typed(first: Any, second: Any, expected: bool) -> None:
    assert evoeval.equal(first, second) is expected


@pytest.mark.parametrize(
    ("oracle", "output", "wanted", "arguments", "expected"),
    [
        ("palindrome", "abBA", "abba", ["ab"], True),
        ("palindrome", "abba", "abcba", ["ab"], False),
        ("zero_in_interval", 1.0, 1.0, [[-1, 1], [0, 2]], True),
        ("zero_in_interval", 3.0, 1.0, [[-3, 1], [0, 2]], False),
        ("zero_in_interval", None, None, [[1], [0, 2]], True),
        ("sparse_zero", 0.0, None, [[0, 1, 5]], True),
        ("maze_moves", ["right", "down"], ["down", "right"], [[[0, 0], [0, 0]], (0, 0), (1, 1)], True),
        ("maze_moves", ["right"], ["down", "right"], [[[0, 1], [0, 0]], (0, 0), (1, 1)], False),
        ("maze_path", [(0, 0), (0, 1)], [(0, 0), (0, 1)], [[[1, 1]], (0, 0), (0, 1)], True),
        ("maze_path", [(0, 0), (0, 2)], [(0, 0), (0, 1), (0, 2)], [[[1, 1, 1]], (0, 0), (0, 2)], False),
        ("product_pair", (0, 2), (1, 3), [[2, 5, 3], 6], True),
        ("product_pair", (2, 0), (1, 3), [[2, 5, 3], 6], False),
        ("product_pair", "No magic today", "No magic today", [[2], 9], True),
    ],
)
def test_evoeval_special_checks(oracle: str, output: Any, wanted: Any, arguments: Any, expected: bool) -> None:
    assert bool(evoeval.ORACLES[oracle](output, wanted, *arguments)) is expected


@pytest.mark.parametrize(
    ("printed", "wanted", "expected"),
    [
        ("1 2\n", "1 2", True),
        ("  1 2  \n\n", "1 2\n", True),
        ("1.0 2", "1 2", True),
        ("50000000000000001", "50000000000000000", False),
        ("1\n2", "1 2", False),
        ("Yes", "YES", False),
    ],
)
def test_livecodebench_compares_lines_then_exact_numbers(printed: str, wanted: str, expected: bool) -> None:
    assert livecodebench.same(printed, wanted) is expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(1, 1 + 1e-9, True), ([1.0, 2.0], (1.0, 2.1), False), (math.inf, math.inf, True), (math.nan, math.nan, False)],
)
def test_close_agrees_with_numpy(a: Any, b: Any, expected: bool) -> None:
    import numpy

    assert close(a, b, rtol=1e-7, atol=1e-6) is expected
    assert bool(numpy.allclose(a, b, rtol=1e-7, atol=1e-6)) is expected


def test_fingerprint_is_equal_for_equal_values_whichever_objects_they_share() -> None:
    part = [1, 2]
    assert fingerprint([part, part]) == fingerprint([[1, 2], [1, 2]])
    assert fingerprint([1, 2]) != fingerprint([1, 3])
    assert fingerprint("x", least=1_000) is None
    assert isinstance(fingerprint("x" * 2_000, least=1_000), Fingerprint)


def test_uncovered_lines_are_counted_as_coverage_reports_ranges() -> None:
    text = "def f(x):\n    if x:\n        return (\n            1\n        )\n    y = 2\n\n    return y\nf(1)\n"
    assert script.uncovered(text, {1, 2, 3, 4, 9}) == 3  # lines 6 to 8: the blank one lies inside the range
    marked = "if True: # pragma: no cover\n    a = 1\n    b = 2\n"
    assert script.uncovered(marked, set()) == 0


@pytest.mark.parametrize("name", sorted(p.stem for p in Path(evalplus.__file__).parent.glob("[a-z]*.py")))
def test_a_judge_stands_alone_inside_the_sandbox(name: str) -> None:
    """Its text, composed with the common part, imports the standard library only."""
    if name in ("common", "driver"):
        return
    tree = ast.parse(judge_text(name))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    import sys

    assert {module.split(".")[0] for module in modules} <= set(sys.stdlib_module_names)
