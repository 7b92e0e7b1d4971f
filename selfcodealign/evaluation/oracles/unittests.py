"""Judge a program by published unittest classes: one group for each class named."""

import io
import sys
import types
import unittest

from selfcodealign.evaluation.oracles.inside import TooSlow, cpu_limit, describe, silent

GUARDED = (
    *("builtins", "math", "operator", "unittest", "unittest.case", "unittest.suite", "unittest.loader"),
    *("unittest.result", "unittest.runner", "unittest.mock", "numpy.testing", "numpy.testing._private.utils"),
    *("pandas.testing", "pandas._testing", "pandas._testing.asserters"),
)
"""Modules by which tests decide."""
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, type, classmethod, staticmethod)


def held():
    """Return what the guarded modules and their classes hold, and of functions the code and the defaults."""
    found = {}
    for module in filter(None, map(sys.modules.get, GUARDED)):
        for name, value in list(vars(module).items()):
            own = isinstance(value, type) and value.__module__ == module.__name__ != "builtins"
            for part, inner in [("", value), *(list(vars(value).items()) if own else [])]:
                if isinstance(inner, FUNCTIONS):
                    function = getattr(inner, "__func__", inner)
                    details = [getattr(function, key, None) for key in ("__code__", "__defaults__", "__kwdefaults__")]
                    found[f"{module.__name__}.{name}.{part}".rstrip(".")] = inner, *details
    return found


def replaced(before):
    """Name what of it has been replaced or changed since, or return an empty text."""
    now = held()
    for name, parts in before.items():
        if name not in now or [id(part) for part in parts] != [id(part) for part in now[name]]:
            return name
    return ""


def judge(program, data, report):
    """Run program and tests as one module, then each class of `data["classes"]` within `limit_s` of CPU time.

    A class passes with no failure, no error and at least one test run. `data["groups"]` names the group of each class.
    """
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    module.__file__ = "solution.py"
    whole = program + "\n" + data["tests"]
    with open("solution.py", "w", encoding="utf-8") as file:
        file.write(whole)  # some programs look at their own source
    before = held()
    with silent():
        exec(compile(whole, "solution.py", "exec"), module.__dict__)
    for name, group in zip(data["classes"], data["groups"], strict=True):
        status, detail = "fail", ""
        try:
            suite = unittest.TestLoader().loadTestsFromTestCase(getattr(module, name))
            with silent(), cpu_limit(data["limit_s"]):
                result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
            failed = result.failures + result.errors
            if changed := replaced(before):
                detail = f"the program replaces {changed}"
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
        report(group, status, **({group + "_detail": detail} if detail else {}))
