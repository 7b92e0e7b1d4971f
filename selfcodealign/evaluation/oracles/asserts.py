"""Judge a program by a list of assertions, as MBPP publishes them."""

from typing import Any

from selfcodealign.evaluation.oracles.common import silent


def judge(program, data, blobs, report):
    """Run the program, the test's own imports, then each assertion; `data` has `setup` and `tests`."""
    space: dict[str, Any] = {"__name__": "solution"}
    with silent():
        exec(compile(program, "<solution>", "exec"), space)
        exec(compile(data["setup"], "<setup>", "exec"), space)
        for test in data["tests"]:
            exec(compile(test, "<test>", "exec"), space)
    report("tests", "pass")
