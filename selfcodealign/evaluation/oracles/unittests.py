"""Judge a program by published unittest classes: one group for each class named."""

import io
import sys
import types
import unittest

from selfcodealign.evaluation.oracles.compared import Watched, divided
from selfcodealign.evaluation.oracles.inside import TooSlow, cpu_limit, describe, silent


def judge(program, data, report):
    """Run program and tests as one module, then each class of `data["classes"]` within `limit_s` of CPU time.

    A class passes with no failure, no error and at least one test run. `data["groups"]` names the group of each class.
    With `other`, the number of a run with other values, only the groups `again` run.
    """
    module = types.ModuleType("solution")
    sys.modules["solution"] = sys.modules["__main__"] = module  # the judge is not for the program to find
    module.__file__ = "solution.py"
    whole = program + "\n" + data["tests"]
    with open("solution.py", "w", encoding="utf-8") as file:
        file.write(whole)  # some programs look at their own source
    first, rest = divided(whole, program.count("\n") + 1)
    watched = Watched((program, first), (data["tests"], rest), "solution.py", data.get("other"))
    with silent():
        code = compile(first, "solution.py", "exec", dont_inherit=True)
        exec(code, module.__dict__)
        exec(watched.code(code.co_flags), module.__dict__)
    for name, group in zip(data["classes"], data["groups"], strict=True):
        if group not in data.get("again", [group]):
            continue
        status, detail, measures = "fail", "", {}
        watched.forget()
        try:
            suite = unittest.TestLoader().loadTestsFromTestCase(getattr(module, name))
            with silent(), cpu_limit(data["limit_s"]):
                result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
            failed = result.failures + result.errors
            measures = watched.measures(group)
            if changed := watched.replaced():
                detail = changed
            elif not failed and result.testsRun and len(result.skipped) < result.testsRun:
                status = "pass"
            elif failed:
                detail = f"{failed[0][0].id().split('.')[-1]}: {failed[0][1].strip().splitlines()[-1][:200]}"
            else:
                detail = "no test ran"
        except TooSlow:
            status, detail = "timeout", f"{name} took more than {data['limit_s']} s of CPU time"
        except BaseException as error:
            detail = describe(error)
        report(group, status, **({group + "_detail": detail} if detail else {}), **measures)
