"""Judge a function by a published test: source text that defines `check`, called with the function asked for."""

import json
from typing import Any

from selfcodealign.evaluation.oracles.inside import describe, loaded
from selfcodealign.evaluation.oracles.outside import Gone, Remote, Run, questions


def decide(nursery, data, secret, inputs, report):
    """Run HumanEval's published test; `data`: entry_point, limit_s. `secret`: test, and reference.

    The test runs here, beside the authors' solution, whose helpers some tests use; only its calls of the function
    reach the program. The program is a module: what stands under `if __name__ == "__main__"` does not run.
    """
    status, reason = "fail", ""
    with Run(nursery, "questions") as run:
        try:
            kind, text = run.hear(data["limit_s"], data["limit_s"] + 1)
            if kind != b"L":
                raise Gone("fail", json.loads(text)[1])
            candidate = Remote(questions(run, data["limit_s"]), data["entry_point"])
            space: dict[str, Any] = loaded(secret["reference"])
            space[data["entry_point"]] = candidate
            exec(compile(secret["test"], "<test>", "exec", dont_inherit=True), space)
            space["check"](candidate)
            status = "pass"
        except Gone as end:
            status, reason = end.status, end.reason
        except BaseException as error:
            reason = describe(error)
    report("tests", status, tests_detail=reason)
