"""Programs that lie about their answers fail by construction; honest ones of every style pass."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Outcome, Problem
from selfcodealign.evaluation.execution import Task, execute
from selfcodealign.sandbox import Settings

pytestmark = pytest.mark.slow

PROGRAMS = tomllib.loads(Path(__file__).with_name("evaluation_programs.toml").read_text(encoding="utf-8"))
"""Kind → `passes` and `fails` → name → program. Never to be run without isolation: some attack other processes."""
PLUS = {
    "prompt": 'def add(a, b):\n    """Sum."""\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "base_input": [[1, 2], [3, 4]],
    "plus_input": [[5, 6], [-1, 1], [0.1, 0.2]],
    "atol": 0,
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(3, 4) == 7\n",
}
CALLS = {
    "metadata": json.dumps({"func_name": "add"}),
    "tests": [{"input": f"{n}\n2", "output": str(n + 2), "testtype": "functional"} for n in (1, 3)],
}
NODE = {
    "code": PROGRAMS["by_name"]["passes"]["the authors'"],
    "test_setup_code": "root = Node(1)\nroot.next = Node(2)",
    "test_list": ["assert sum(root) == 3", "assert set([sum(root)]) == {3}"],
}
SORT = {
    **PLUS,
    "prompt": "def order(xs):\n",
    "entry_point": "order",
    "canonical_solution": "    return sorted(xs)\n",
    # All in one group: those that never end cost the whole time limit of each.
    "base_input": [[[3, 1, 2]], [[2, 1]], [[]]],
    "plus_input": [],
}
UNITTESTS = """
import unittest
class TestCases(unittest.TestCase):
    def setUp(self):
        self.wanted = [1, 2]
    def test_value(self):
        self.assertEqual({f}(2), 4)
        self.assertNotEqual({f}(2), 5)
    def test_list(self):
        self.assertListEqual(list({f}([2, 3])), [4, 6])
        self.assertIn({f}(3), [6, 7])
    def test_dict(self):
        self.assertEqual({f}({"a": 2}), {"a": 4})
        self.assertTrue({f}({"b": 2})["b"] == 4)
    def test_object(self):
        self.assertEqual({f}(Pair(1, 2)), Pair(2, 4))
        self.assertNotEqual({f}(Pair(1, 2)), Pair(2, 5))
    def test_near(self):
        self.assertAlmostEqual({f}(0.5), 1.0, places=3)
"""
CONTEXT = """
import difflib
import math
import copy


def generate_test_case(test_case_id):
    test_input = test_case_id * 20
    return test_input, copy.deepcopy(test_input) + 1


def exec_test(result, ans):
    try:
        assert math.isclose(result, ans)
        assert result == ans
        assert abs(result - ans) < 1e-9
        assert difflib.get_close_matches(str(int(result)), [str(ans)], cutoff=0.99)
        return 1
    except AssertionError:
        return 0


exec_context = r'''
x = test_input
[insert]
'''


def test_execution(solution: str):
    code = exec_context.replace("[insert]", solution)
    for i in range(2):
        test_input, expected_result = generate_test_case(i + 1)
        test_env = {"test_input": test_input}
        exec(code, test_env)
        assert exec_test(test_env["result"], expected_result)
"""
RECORDS: dict[tuple[str, str], dict[str, Any]] = {
    # The same task in each benchmark whose answers are values.
    ("values", "humaneval"): PLUS,
    ("values", "humaneval_plus"): PLUS,
    ("values", "mbpp"): {
        "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"],
        "code": "def add(a, b):\n    return a + b\n",
    },
    ("values", "livecodebench"): CALLS,
    ("values", "evoeval_creative"): {**PLUS, "inputs": ["1, 2", "3, 4"]},
    ("in_place", "humaneval_plus"): SORT,
    ("scripts", "livecodebench"): {"tests": [{"input": "3\n1 2 3\n", "output": "6\n", "testtype": "stdin"}] * 2},
    ("edits", "canitedit"): {"before": "def f():\n    return 1\n", "tests": "assert f() == 2\n"},
    ("by_name", "mbpp"): NODE,
    ("answers", "ds1000"): {"code_context": CONTEXT},
    # The same task, of a class and of a function, where tests share a process with the program.
    ("beside", "classeval"): {
        "test_classes": ["BoxTest"],
        "test": UNITTESTS.replace("TestCases", "BoxTest").replace("{f}", "Box().f"),
    },
    ("beside", "bigcodebench"): {"code_prompt": "def f(x):", "test": UNITTESTS.replace("{f}", "Box().f")},
}
METHOD = "\nclass Solution:\n    def add(self, a, b): return globals()['add'](a, b)\n"


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> dict[tuple[str, str, str], Outcome]:
    """Judge the programs of each kind by each of its benchmarks."""
    found = {}
    for (kind, name), record in RECORDS.items():
        tail = METHOD if record is CALLS else ""
        programs = PROGRAMS[kind]["passes"] | PROGRAMS[kind]["fails"]
        tasks = [Task(key, Problem("Task/0", record), text + tail) for key, text in programs.items()]
        settings = Settings(workers=4, preload=())  # some of them sleep until their limit
        outcomes = execute(base.get(name), tasks, settings, tmp_path_factory.mktemp("references"))
        found |= {(kind, name, key): outcome for key, outcome in outcomes.items()}
    return found


@pytest.mark.parametrize(
    ("kind", "name", "wanted", "key"),
    [
        (kind, name, wanted, key)
        for kind, name in RECORDS
        for wanted in ("passes", "fails")
        for key in PROGRAMS[kind][wanted]
    ],
)
def test_honest_programs_pass_and_others_fail(kind, name, wanted, key, verdicts):
    outcome = verdicts[kind, name, key]
    assert base.get(name).passed(outcome.groups) is (wanted == "passes"), outcome.reason


def test_a_program_that_sleeps_ends_at_the_limit_of_an_input(verdicts):
    outcome = verdicts["in_place", "humaneval_plus", "asleep"]
    assert outcome.groups["base"] == "timeout"
    assert outcome.wall_s < 20
