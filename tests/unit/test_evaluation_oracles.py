"""Each judge's comparison decides as the authors' harness does, where values are nearly equal or oddly typed."""

import ast
import collections
import copy
import datetime
import decimal
import fractions
import itertools
import math
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy
import pytest

from selfcodealign.evaluation.execution import judge_text
from selfcodealign.evaluation.oracles import evalplus, evoeval, inside, livecodebench, script
from selfcodealign.evaluation.oracles.codec import Opaque, decode, encode
from selfcodealign.evaluation.oracles.common import close
from selfcodealign.evaluation.oracles.inside import fingerprint


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
        ("maze_moves", ["up", "down"], ["right"], [[[0, 0], [0, 0]], (0, 0), (0, 0)], False),  # over the border
        ("maze_moves", ["left"], ["right"], [[[0, 0]], (0, 0), (0, -1)], False),
        ("maze_path", [(0, 0), (-1, 0)], [(0, 0)], [[[1], [1]], (0, 0), (-1, 0)], False),
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


BIG = 10**4_200


class Pair(NamedTuple):
    x: int
    y: int


class Everything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class Liar(list):  # an own subclass counts as what it holds
    __eq__ = Everything.__eq__  # pyright: ignore[reportAssignmentType]
    __hash__ = None  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, True, None, BIG, -(10**400), 0.1, -0.0, math.inf, "", "é", "\ud800", "\ud83d", "x" * 9, b"\0", 1 + 2j),
        *([], (), {}, set(), [1, [2, (3, {"a": {4}})]], {(1, (2,)): [None]}, frozenset({(1, 2)}), [1, 2.0, True, "a"]),
        *([(1, 2)] * 9, ([1], [], ["a"]) * 3, [[0.5], [True], [None], []], [(1,), (2,), (3,), [4]], [(BIG,)] * 4),
        *(collections.Counter("aab"), collections.deque([1, 2]), collections.OrderedDict(b=1, a=2), bytearray(b"a")),
        *(collections.defaultdict(list, {1: [2]}), range(1, 9, 2), decimal.Decimal("1.10"), fractions.Fraction(1, 3)),
        *(datetime.date(2020, 2, 29), datetime.datetime(2020, 1, 2, 3, 4), datetime.timedelta(1, 2, 3), ..., int, dict),
        *(numpy.float64(1.5), numpy.int32(7), numpy.bool_(True), numpy.str_("a")),
    ],
    ids=lambda value: ascii(value)[:20] if value is not BIG else "big",
)
def test_values_come_back_with_their_exact_types(value: Any) -> None:
    found = decode(encode(value))
    assert found == value
    assert type(found) is type(value)
    assert isinstance(value, collections.defaultdict) or repr(found) == repr(value)


def test_what_repr_cannot_tell_comes_back_too() -> None:
    array = numpy.arange(6, dtype="int16").reshape(2, 3)
    assert (decode(encode(array)) == array).all()
    assert decode(encode(array)).dtype == array.dtype
    assert decode(encode(numpy.array([[1, "a"]], dtype=object))).tolist() == [[1, "a"]]
    assert math.isnan(decode(encode([math.nan]))[0])
    assert decode(encode({1: 2}.keys())) == {1}
    assert list(decode(encode({1: 2}.values()))) == [2]
    assert ("a", 1) in decode(encode({"a": 1}.items()))


def test_an_own_subclass_is_what_it_holds_whatever_it_says() -> None:
    assert decode(encode(Pair(1, 2))) == (1, 2)
    assert decode(encode(Liar([1]))) == [1]
    assert decode(encode(Liar([1]))) != [2]
    assert isinstance(decode(encode(Liar())), list)


@pytest.mark.parametrize(
    "value", [Everything(), [Everything()], mock.ANY, {"a": mock.ANY}, (len,)], ids=lambda value: type(value).__name__
)
def test_what_cannot_be_written_out_equals_nothing(value: Any) -> None:
    found = decode(encode(value))
    for other in (0, 3, None, [3], {"a": 1}, (len,), [None]):
        assert found != other
    assert bool(found) is bool(value)


def test_a_generator_is_an_iterator_over_the_same_values() -> None:
    found = decode(encode(x * x for x in range(3)))
    assert found != [0, 1, 4]
    assert list(found) == [0, 1, 4]
    assert isinstance(decode(encode(itertools.count())), Opaque)


def test_cycles_shared_parts_and_depth_are_no_matter() -> None:
    cycle: list[Any] = []
    cycle.append((cycle, {"a": cycle}))
    found = decode(encode(cycle))
    assert found[0][0] is found
    shared: list[Any] = []
    for _ in range(60):
        shared = [shared, shared]
    assert len(encode(shared)) < 3_000  # 2^60 parts if each were written
    deep: Any = 0
    for _ in range(50_000):
        deep = [deep]
    found, depth = decode(encode(deep)), 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == 50_000


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "7", "[]", "[[0], []]", '[[5], [["list", [1], 0]]]', "[{}, []]"),
        *('[[0], [["os", "system"]]]', '[[0], [["type", "eval"]]]', '[[0], [["tuple", [[0]], 0]]]'),
        *('[[0], [["dict", [[0], 1], 0]]]', '[[0], [["array", ["O", null, ""]]]]', "[" * 100_000),
    ],
)
def test_what_is_no_document_is_an_error_and_runs_nothing(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, IndexError, RecursionError)):
        decode(text)


@pytest.mark.parametrize(
    "value", [[("a", 1, 2.5, None)] * 30_000, {"a": [1]}, "text", [{1}, {2}]], ids=["rows", "dict", "text", "sets"]
)
def test_a_fingerprint_is_that_of_equal_values_whose_parts_are_shared_or_not(value: Any) -> None:
    assert fingerprint(value) == fingerprint(copy.deepcopy(value))
    assert fingerprint(value)[0] != fingerprint([value])[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [([1], [True]), ([(1,)], [[1]]), ([1] * 30_000, (1,) * 30_000), ([0.0], [-0.0]), (["1"], [b"1"])],
    ids=["truth", "tuples", "long tuple", "signs", "bytes"],
)
def test_values_of_other_types_have_other_fingerprints(first: Any, second: Any) -> None:
    assert fingerprint(first)[0] != fingerprint(second)[0]


class Sent(list):
    """A socket that keeps what is sent."""

    def sendall(self, part: bytearray) -> None:
        self.append(bytes(part))


def test_no_answer_waits_for_an_input_that_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "LONGEST_WAIT_S", 100.0)
    sent = Sent()
    monkeypatch.setattr(sys, "sent", sent, raising=False)
    program = "import sys\ndef f(x):\n    return len(sys.sent)\n"
    asked = [(encode([0]), limit, 0) for limit in (1.0, 1.0, 9.0, 1.0)]
    inside.answer_inputs(sent, program, {"entry_point": "f"}, {"g": asked}, {"group": "g", "spare_s": 20.0})
    # One message tells that it has loaded. Two answers go together, before what may take longer begins.
    assert [int(part) for part in re.findall(rb"R.{8}\[(\d)", b"".join(sent), re.DOTALL)] == [1, 1, 2, 2]


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
