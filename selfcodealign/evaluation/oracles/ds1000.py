"""Judge an answer by a DS-1000 context, whose tests take the answer as a string (arXiv 2211.11501, new format)."""

import os
import sys
import types

from selfcodealign.evaluation.oracles.inside import silent

# Where envs/benchmark_data.py puts what the problems load by name.
for variable, folder in (("SEABORN_DATA", "seaborn_data"), ("SCIKIT_LEARN_DATA", "scikit_learn_data")):
    if os.path.isdir(os.path.join(sys.prefix, folder)):
        os.environ[variable] = os.path.join(sys.prefix, folder)


def judge(program, data, report):
    """Execute the context and call its tests on the answer; `data["context"]` is the published code context."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    with silent():
        exec(compile(data["context"], "<context>", "exec"), module.__dict__)
        module.__dict__["test_execution"](program)
        if "test_string" in module.__dict__:
            module.__dict__["test_string"](program)
    report("tests", "pass")
