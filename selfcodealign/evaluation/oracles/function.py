"""Judge a program by a published test: source text that defines `check`, called with the function asked for."""

from typing import Any

from selfcodealign.evaluation.oracles.common import silent


def judge(program, data, blobs, report):
    """Run HumanEval's published test; `data` has `test` and `entry_point`.

    The program is a module, not the main script: what stands under `if __name__ == "__main__"` does not run, as in
    the published harness, which executes the text in an empty namespace.
    """
    space: dict[str, Any] = {"__name__": "solution"}
    with silent():
        exec(compile(program, "<solution>", "exec"), space)
        # The test's own names live apart from the program's, so that neither can shadow the other.
        test_space = dict(space)
        exec(compile(data["test"], "<test>", "exec"), test_space)
        test_space["check"](space[data["entry_point"]])
    report("tests", "pass")
