"""Judge an answer by a DS-1000 context, whose tests take the answer as a string (arXiv 2211.11501, new format)."""

import ast
import os
import sys
import types

from selfcodealign.evaluation.oracles.compared import Relied, Watched
from selfcodealign.evaluation.oracles.inside import describe, silent

# Where envs/benchmark_data.py puts what the problems load by name.
for variable, folder in (("SEABORN_DATA", "seaborn_data"), ("SCIKIT_LEARN_DATA", "scikit_learn_data")):
    if os.path.isdir(os.path.join(sys.prefix, folder)):
        os.environ[variable] = os.path.join(sys.prefix, folder)


class Replaced(Exception):
    """The answer has changed what its tests rely on."""


def judge(program, data, report):
    """Execute the context and call its tests on the answer; `data["tests"]` is the published code context.

    With `other`, the number of a run with other values, it reports which places agreed with them.
    """
    sys.modules["__main__"] = types.ModuleType("__main__")  # empty: the context is not for the answer to find
    context = types.ModuleType("__main__")
    text = data["tests"]
    tree = ast.parse(text)
    # Not changed by the instruments, which build their tree anew.
    relied = Relied(ast.parse(text))
    watched = Watched((program, parsed(program, tree)), (text, tree), "<context>", data.get("other"))
    names = context.__dict__
    try:
        with silent():
            code = watched.code(0)
            names["__builtins__"] = watched.builtins
            exec(code, names)
            relied.note(names)
            names.update({name: guarded(names[name], watched, relied) for name in ("exec_test",) if name in names})
            execute, check = names["test_execution"], names.get("test_string")
            execute(program)
            if check is not None:
                check(program)
        if changed := watched.replaced() or relied.replaced():
            raise Replaced(changed)
    except BaseException as error:
        report("tests", "fail", tests_detail=describe(error), **told(watched))
        return
    report("tests", "pass", **watched.measures("tests"))


def told(watched):
    """Return what a run with other values found before it ended."""
    return {} if watched.other is None else watched.measures("tests")


def guarded(function, watched, relied):
    """Return a test that looks, right after the answer has run, whether it compares by what was there before."""

    def test(*values, **words):
        if changed := relied.replaced() or watched.replaced():
            raise Replaced(changed)
        return function(*values, **words)

    return test


def parsed(program, context):
    """Return the tree of an answer; one that is no text by itself is read where the context puts it."""
    try:
        return ast.parse(program)
    except SyntaxError:
        pass
    for node in ast.walk(context):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "[insert]" in node.value:
            try:
                return ast.parse(node.value.replace("[insert]", program))
            except SyntaxError:
                continue
    return ast.Module(body=[], type_ignores=[])  # it will not run
