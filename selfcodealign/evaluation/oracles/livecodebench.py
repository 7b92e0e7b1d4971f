"""Judge a program by LiveCodeBench's tests: stdin and stdout, or calls of a function (arXiv 2403.07974)."""

import ast
import decimal
import io
import json
import sys
from typing import Any

from selfcodealign.evaluation.oracles.common import TooSlow, cpu_limit, describe

STARS = [
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing"),
]
"""Modules whose names contest solutions use without importing them."""


def judge(program, data, blobs, report):
    """Run every test until one fails; `data`: tests (input, output), function (name or empty), limit_s a test."""
    sys.setrecursionlimit(50_000)
    passed = 0
    status, detail = "pass", ""
    try:
        ast.parse(program)
        call = functional(program, data) if data["function"] else None
        for number, test in enumerate(data["tests"]):
            with cpu_limit(data["limit_s"]):
                right = call(test) if call else answers(program, test)
            if not right:
                status, detail = "fail", f"test {number}: wrong answer"
                break
            passed += 1
    except TooSlow:
        status, detail = "timeout", f"test {passed} took more than {data['limit_s']} s of CPU time"
    except BaseException as error:
        status, detail = "fail", f"test {passed}: {describe(error)}"
    report("tests", status, tests_passed=passed, tests_all=len(data["tests"]), tests_detail=detail)


def space_of(name):
    """Return a namespace with the usual names of contest solutions."""
    space: dict[str, Any] = {"__name__": name}
    for module in STARS:
        exec(f"from {module} import *", space)
    for module in STARS:
        exec(f"import {module}", space)
    return space


def functional(program, data):
    """Load a solution and return how it answers one test: arguments and result are JSON, one argument a line."""
    space = space_of("solution")
    with cpu_limit(data["limit_s"]):
        exec(compile(program, "<solution>", "exec"), space)
    holder = space["Solution"]() if "Solution" in space else None
    function = getattr(holder, data["function"]) if holder is not None else space[data["function"]]

    def call(test):
        found = function(*(json.loads(line) for line in test["input"].split("\n")))
        return (list(found) if isinstance(found, tuple) else found) == json.loads(test["output"])

    return call


def answers(program, test):
    """Run a program on one input and compare what it prints."""
    kept = sys.stdin, sys.stdout
    raw = io.TextIOWrapper(io.BytesIO(test["input"].encode()), encoding="utf-8")
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    sys.stdin, sys.stdout = raw, out
    try:
        exec(compile(program, "<solution>", "exec"), space_of("__main__"))
    except SystemExit as error:
        if error.code not in (None, 0):
            return False
    finally:
        sys.stdin, sys.stdout = kept
    return same(out.buffer.getvalue().decode("utf-8", "replace"), test["output"])


def same(printed, wanted):
    """Compare stripped lines as text, else token by token as exact decimal numbers."""
    left, right = lines(printed), lines(wanted)
    return len(left) == len(right) and all(a == b or same_numbers(a, b) for a, b in zip(left, right, strict=True))


def lines(text):
    """Split stripped text into stripped lines."""
    return [line.strip() for line in text.strip().split("\n")]


def same_numbers(first, second):
    """Whether two lines hold equal numbers."""
    try:
        return [decimal.Decimal(token) for token in first.split()] == [
            decimal.Decimal(token) for token in second.split()
        ]
    except decimal.InvalidOperation:
        return False
