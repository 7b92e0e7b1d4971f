"""Judge functions by a list of assertions, as MBPP publishes them."""

import json
import types
from typing import Any

from selfcodealign.evaluation.oracles.inside import describe, loaded
from selfcodealign.evaluation.oracles.outside import Gone, Remote, Run, questions


def decide(nursery, data, secret, inputs, report):
    """Run the test's own imports, then each assertion; `secret`: setup, tests, reference. `data`: limit_s.

    The assertions run here, beside what the authors' solution imports. The functions and classes that it defines are
    the program's own, called in its process.
    """
    status, reason = "fail", ""
    with Run(nursery, "questions") as run:
        try:
            kind, text = run.hear(data["limit_s"], data["limit_s"] + 1)
            if kind != b"L":
                raise Gone("fail", json.loads(text)[1])
            ask = questions(run, data["limit_s"])
            space: dict[str, Any] = loaded(secret["reference"])
            for name, value in list(space.items()):
                if isinstance(value, (types.FunctionType, type)) and value.__module__ == space["__name__"]:
                    space[name] = Remote(ask, name)
            for text in (secret["setup"], *secret["tests"]):
                exec(compile(text, "<test>", "exec", dont_inherit=True), space)
            status, reason = ("pass", "") if secret["tests"] else ("fail", "the problem has no tests")
        except Gone as end:
            status, reason = end.status, end.reason
        except BaseException as error:
            reason = describe(error)
    report("tests", status, tests_detail=reason)
