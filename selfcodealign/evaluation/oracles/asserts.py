"""Judge functions by a list of assertions, as MBPP publishes them."""

import importlib
import json
import sys
from typing import Any

from selfcodealign.evaluation.oracles.inside import describe
from selfcodealign.evaluation.oracles.outside import Gone, Remote, Run, names_of, questions

KNOWN = {*sys.stdlib_module_names, "numpy"}
"""Modules that tests may use because the program imports them."""


def decide(nursery, data, secret, inputs, report):
    """Run the test's own imports, then each assertion; `secret`: `setup` and `tests`. `data`: limit_s.

    The assertions run here. Names that they do not define are the program's: its modules are imported for the tests
    themselves, its functions and classes are called in its process.
    """
    status, reason = "fail", ""
    texts = [secret["setup"], *secret["tests"]]
    with Run(nursery, "questions") as run:
        try:
            kind, text = run.hear(data["limit_s"], data["limit_s"] + 1)
            if kind != b"L":
                raise Gone("fail", json.loads(text)[1])
            there, ask = json.loads(text), questions(run, data["limit_s"])
            space: dict[str, Any] = {"__name__": "tests"}
            for name in names_of(*texts):
                if name in there:
                    known = str(there[name]).split(".")[0] in KNOWN
                    space[name] = importlib.import_module(there[name]) if known else Remote(ask, name)
            for text in texts:
                exec(compile(text, "<test>", "exec", dont_inherit=True), space)
            status = "pass"
        except Gone as end:
            status, reason = end.status, end.reason
        except BaseException as error:
            reason = describe(error)
    report("tests", status, tests_detail=reason)
