"""Judge a program by the outputs of a reference solution on many inputs, as EvalPlus does (arXiv 2305.01210)."""

import math
from typing import Any

from selfcodealign.evaluation.oracles.codec import decode
from selfcodealign.evaluation.oracles.common import ODD, close, differential, reference_outputs

# Entry points whose outputs are not compared with `==` (EvalPlus, `_special_oracle.py`).
NOT_NONE = {"check_str", "text_match_three", "text_starta_endb"}
SET_EQUAL = {
    "similar_elements",
    "find_char_long",
    "common_in_nested_lists",
    "extract_singly",
    "larg_nnum",
    "intersection_array",
    "find_dissimilar",
    "Diff",
}


def decide(nursery, data, secret, inputs, report):
    """Compare a program with the reference; `secret` also has atol, rules (`equal`), dataset and entry_point."""
    by_text = secret["entry_point"] not in {"find_zero", "are_equivalent", *NOT_NONE}

    def matcher():
        atol = secret["atol"]

        def matches(output, wanted, document):
            nonlocal atol
            if by_text and output == wanted and not ODD.search(output):
                # The same text is the same value; what it means for later inputs must be known all the same.
                atol = atol or (1e-6 if all_floats(decode(wanted), secret["rules"]) else 0)
                return True
            found, atol = equal(decode(output), decode(wanted), decode(document), atol, secret)
            return found

        return matches

    differential(nursery, secret, inputs, report, matcher)


def equal(output: Any, wanted: Any, arguments, atol, data):
    """Decide whether an output matches; return that and the tolerance that later inputs use.

    `data["rules"]` names the generation of EvalPlus: "0.2" is the paper's (April 2024), "0.3" the newest, which adds
    set equality, two second opinions and the demand of equal types. In April 2024 `allclose([2], [])` passed by
    broadcasting; "0.2" rejects it, "0.2+broadcasting" reproduces it for the sake of verdicts recorded then.
    """
    entry_point, dataset, rules = data["entry_point"], data["dataset"], data["rules"]
    exact: Any = output == wanted
    if dataset == "mbpp":
        if entry_point == "are_equivalent":
            exact = output is not None  # EvalPlus takes anything; nothing at all is no answer
        elif entry_point == "sum_div":
            exact = exact or output == 0
        elif entry_point in NOT_NONE:
            exact = output == wanted if isinstance(output, bool) else wanted == (output is not None)
        elif rules == "0.3" and entry_point in SET_EQUAL:
            exact = set(output) == set(wanted)
        elif rules == "0.3" and entry_point == "surface_Area":
            exact = exact or abs(output - pyramid_surface(*arguments)) <= atol
        elif rules == "0.3" and entry_point == "digit_distance_nums":
            exact = exact or output == digit_distance(*arguments)
    if dataset == "humaneval" and entry_point == "find_zero":
        return abs(sum(c * math.pow(output, i) for i, c in enumerate(arguments[0]))) <= atol, atol
    if atol == 0 and all_floats(wanted, rules):
        atol = 1e-6  # from here on, for this group's later inputs too
    if bool(exact) or atol == 0:
        return bool(exact), atol
    if rules == "0.3" and type(output) is not type(wanted):
        return False, atol
    if rules != "0.2+broadcasting" and isinstance(wanted, (list, tuple)) and size(output) != size(wanted):
        return False, atol
    return close(output, wanted, rtol=1e-07, atol=atol), atol


def size(value: Any):
    """Return the length of a value; one without a length is an error of the program."""
    return len(value)


def all_floats(value, rules):
    """Whether an expected value is a float or a flat sequence of floats."""
    if isinstance(value, float):
        return True
    if isinstance(value, (list, tuple)):
        # An empty expected list counts as floats before 0.3, so that from there on a tuple may stand for a list.
        return all(isinstance(item, float) for item in value) and (bool(value) or rules != "0.3")
    return type(value).__module__ == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") == "f"


def pyramid_surface(base_edge, height):
    """Surface of a square pyramid, reading the height as that of the apex (second opinion on Mbpp/581)."""
    slant = math.sqrt((base_edge / 2) ** 2 + height**2)
    return round(base_edge**2 + 2 * base_edge * slant)


def digit_distance(first, second):
    """Sum of digit differences, the shorter number padded with zeros (second opinion on Mbpp/558)."""
    width = max(len(str(first)), len(str(second)))
    pairs = zip(str(first).zfill(width), str(second).zfill(width), strict=True)
    return sum(abs(int(a) - int(b)) for a, b in pairs)


def reference(program, data, report):
    """Report the authors' outputs; `data`: entry_point, dataset, task (number), groups (name → JSON inputs)."""
    groups = {group: decoded(data, raw) for group, raw in data["groups"].items()}
    only_presence = data["dataset"] == "mbpp" and data["entry_point"] in NOT_NONE
    convert = (lambda output: output is not None) if only_presence else (lambda output: output)
    reference_outputs(program, data, groups, report, convert)


# How to rebuild the Python values that JSON cannot hold, by the number of the MBPP task (EvalPlus, `data/mbpp.py`).
# Each shape is a recipe over the argument list.
FLAT_TUPLES = {
    2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809,
}  # fmt: skip
LISTS_OF_TUPLES = {63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780}
FIRST_LIST_OF_TUPLES = {75, 413, 444, 753}
SECOND_TUPLE = {106, 750}
FIRST_TUPLE = {250, 307, 405, 446, 617, 720, 763, 808}
TUPLES_OF_TUPLES = {259, 401, 445}
DEEP_TUPLES = {580, 615, 791}


def decoded(data, inputs):
    """Turn JSON inputs into the Python values a task expects."""
    if data["dataset"] != "mbpp":
        return inputs
    task = data["task"]
    if task in FLAT_TUPLES:
        return [[tuple(value) for value in arguments] for arguments in inputs]
    if task in LISTS_OF_TUPLES:
        return [[[tuple(item) for item in value] for value in arguments] for arguments in inputs]
    if task in FIRST_LIST_OF_TUPLES:
        return [[[tuple(item) for item in first], second] for first, second, *_ in inputs]
    if task in SECOND_TUPLE:
        return [[first, tuple(second)] for first, second, *_ in inputs]
    if task in FIRST_TUPLE:
        return [[tuple(first), *rest] for first, *rest in inputs]
    if task in TUPLES_OF_TUPLES:
        return [[tuple(tuple(item) for item in value) for value in arguments] for arguments in inputs]
    if task in DEEP_TUPLES:
        return [deep_tuple(arguments) for arguments in inputs]
    if task == 115:
        return [[[set(item) if isinstance(item, list) and item else {} for item in first]] for first, *_ in inputs]
    if task == 124:
        return [(float(real), complex(other)) for real, other in inputs]
    if task == 252:
        return [[complex(first)] for first, *_ in inputs]
    if task == 278:
        return [[tuple(tuple(item) if isinstance(item, list) else item for item in first)] for first, *_ in inputs]
    if task == 722:
        return [[{key: tuple(value) for key, value in first.items()}, *rest] for first, *rest in inputs]
    return inputs


def deep_tuple(value):
    """Turn lists into tuples at every depth."""
    return tuple(deep_tuple(item) for item in value) if isinstance(value, list) else value
