"""Judge a program by LiveCodeBench's tests: stdin and stdout, or calls of a function (arXiv 2403.07974)."""

import decimal
import json

from selfcodealign.evaluation.oracles.codec import decode, encode
from selfcodealign.evaluation.oracles.common import compared
from selfcodealign.evaluation.oracles.outside import MOST_PRINTED, Gone, Run

NAMES = [
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing"),
]
"""Modules whose names contest solutions use without importing them."""

DEPTH = 50_000
"""Depth of recursion that the authors allow."""


def decide(nursery, data, secret, inputs, report):
    """Run every test until one fails; `secret`: what each test wants. `data`: entry_point or empty, limit_s a test."""
    wanted = secret["wanted"]
    judge = by_calls if data["entry_point"] else by_scripts
    status, detail, passed = judge(nursery, data, wanted, inputs)
    report("tests", status, tests_passed=passed, tests_all=len(wanted), tests_detail=detail)


def by_calls(nursery, data, wanted, inputs):
    """Call the function with each test's arguments; a tuple counts as a list. Returns status, detail, tests passed."""
    spare_s = (data["limit_s"] + 1) * len(wanted) + 5

    def matches(text, expected, _):
        output = decode(text)
        return (list(output) if isinstance(output, tuple) else output) == decode(expected)

    with Run(nursery, "inputs", {"group": "tests", "spare_s": spare_s}) as run:
        documents = [encode(json.loads(text)) for text in wanted]
        return compared(run, inputs["tests"], documents, spare_s, {}, matches)


def by_scripts(nursery, data, wanted, inputs):
    """Run the program as a script on each test's input. Returns status, detail, tests passed."""
    for number, (text, expected) in enumerate(zip(inputs["tests"], wanted, strict=True)):
        try:
            most = len(expected) + MOST_PRINTED
            with Run(nursery, "script", False, text.encode("utf-8", "surrogatepass"), most) as run:
                status, told = run.finish(data["limit_s"], data["limit_s"] + 1)
                if status:
                    return "fail", f"test {number}: {told.get(b'E') or f'exit status {status}'}", number
                if not same(run.printed.decode("utf-8", "replace"), expected):
                    return "fail", f"test {number}: wrong answer", number
        except Gone as end:
            return end.status, f"test {number}: {end.reason}", number
    return "pass", "", len(wanted)


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
