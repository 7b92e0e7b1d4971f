"""Each benchmark's judge tells right from wrong inside the sandbox, on small problems in its published form."""

import pytest

from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Problem
from selfcodealign.evaluation.execution import Task, execute
from selfcodealign.sandbox import Settings

pytestmark = pytest.mark.slow

STDIN = {"tests": [{"input": "2\n3\n", "output": "5\n", "testtype": "stdin"}, {"input": "1\n1\n", "output": "2.0"}]}
CALLS = {
    "starter_code": "class Solution:\n    def add(self, a: int, b: List[int]) -> List[int]:\n        ",
    "tests": [{"input": "2\n[3]", "output": "[2, 3]", "testtype": "functional"}],
}
EDIT = {
    "before": "def f():\n    return 1\n",
    "tests": "### START TESTS ###\nif True: # pragma: no cover\n    assert f() == 2\n",
}
FRAME = {
    "code_context": (
        "def test_execution(solution: str):\n"
        "    code = 'x = 20\\n[insert]\\n'.replace('[insert]', solution)\n"
        "    env = {}\n"
        "    exec(code, env)\n"
        "    assert env['result'] == 21\n"
        "def test_string(solution: str):\n"
        "    assert 'for' not in solution\n"
    )
}
UNIT = {
    "code_prompt": "import math\ndef task_func(x):\n",
    "test": (
        "import unittest\nclass TestCases(unittest.TestCase):\n    def test_root(self):\n"
        "        self.assertEqual(task_func(4), 2)\n    def test_zero(self):\n"
        "        self.assertEqual(task_func(0), 0)\n"
    ),
}
CLASS = {
    "test_classes": ["BoxTestAdd", " BoxTest"],
    "test": (
        "import unittest\nclass BoxTestAdd(unittest.TestCase):\n    def test_1(self):\n"
        "        self.assertEqual(Box().add(1), 1)\n"
        "class BoxTest(unittest.TestCase):\n    def test_1(self):\n        self.assertEqual(Box().add(-1), 0)\n"
    ),
}
MBPP = {
    "test_list": ["assert add(1, 2) == 3", "assert math.isclose(add(0.1, 0.2), 0.3)"],
    "test_imports": ["import math"],
    "code": "def add(a, b):\n    return a + b",
}
WRONG_BOX = "class Box:\n    def add(self, n):\n        return 5\n"
PATCHES = [
    "import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None\n",
    "import unittest\nunittest.TestCase.assertEqual.__code__ = (lambda s, first, second, msg=None: None).__code__\n",
    "import unittest\nunittest.TestCase.run = lambda s, result: result.startTest(s)\n",
    "import unittest.case\nunittest.case._Outcome.testPartExecutor = unittest.case.contextlib.nullcontext\n",
    "import unittest\nunittest.TestResult.addFailure = lambda *a: None\n",
    "import unittest\nunittest.TestCase._baseAssertEqual.__defaults__ = (None, None, None)\n",
    "import unittest\nunittest.TextTestRunner.run = None\n",
]
"""Programs that would have unittest agree."""
CASES = [
    ("livecodebench", STDIN, "a = int(input())\nb = int(input())\nprint(a + b)", True),
    ("livecodebench", STDIN, "import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit()", True),
    (
        "livecodebench",
        STDIN,
        "def main():\n    print(sum(int(input()) for _ in range(2)))\nif __name__ == '__main__':\n    main()",
        True,
    ),
    ("livecodebench", STDIN, "print(5)", False),
    ("livecodebench", STDIN, "while True:\n    pass", False),
    ("livecodebench", CALLS, "class Solution:\n    def add(self, a: int, b: List[int]):\n        return (a, *b)", True),
    ("livecodebench", CALLS, "class Solution:\n    def add(self, a, b):\n        return []", False),
    ("livecodebench", CALLS, "class Solution:\n    def other(self):\n        pass", False),
    ("canitedit", EDIT, "def f():\n    return 2\n", True),
    ("canitedit", EDIT, "def f():\n    return 1\n", False),
    ("canitedit", EDIT, "import sys\nsys.exit(0)\n", True),  # the authors look at the exit status alone
    ("canitedit", EDIT, "import sys\nsys.exit(1)\n", False),
    ("ds1000", FRAME, "result = x + 1", True),
    ("ds1000", FRAME, "for result in [x + 1]:\n    pass", False),
    ("ds1000", FRAME, "result = x", False),
    ("bigcodebench", UNIT, "import math\ndef task_func(x):\n    return math.sqrt(x)", True),
    ("bigcodebench", UNIT, "def task_func(x):\n    return x // 2 + 1", False),
    ("bigcodebench", UNIT, "def task_func(x):\n    raise SystemExit(0)", False),
    *(("classeval", CLASS, patch + WRONG_BOX, False) for patch in PATCHES),
    ("classeval", CLASS, "class Box:\n    def add(self, n):\n        return max(n, 0)\n", True),
    ("classeval", CLASS, "class Box:\n    def add(self, n):\n        return n\n", False),
    ("mbpp", MBPP, "def add(a, b):\n    return a + b", True),
    ("mbpp", MBPP, "def add(a, b):\n    return 3", False),
]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Run all cases of each benchmark together."""
    found = {}
    for name in sorted({case[0] for case in CASES}):
        benchmark = base.get(name)
        tasks = [
            Task(str(place), Problem(f"task-{place}", record), program)
            for place, (owner, record, program, _) in enumerate(CASES)
            if owner == name
        ]
        found |= execute(benchmark, tasks, Settings(workers=1, preload=()), tmp_path_factory.mktemp("references"))
    return found


@pytest.mark.parametrize("place", range(len(CASES)), ids=lambda place: f"{CASES[place][0]}-{place}")
def test_right_and_wrong_programs_are_told_apart(place, verdicts):
    name, _, _, right = CASES[place]
    assert base.get(name).passed(verdicts[str(place)].groups) is right, verdicts[str(place)].reason


def test_a_passing_edits_excess_code_is_measured(verdicts):
    place = next(str(place) for place, case in enumerate(CASES) if case[0] == "canitedit")
    assert verdicts[place].measures["excess"] == 0


def test_classeval_judges_each_class_of_tests(verdicts):
    place = str(len(CASES) - 3)
    assert dict(verdicts[place].groups) == {"BoxTestAdd": "pass", "BoxTest": "fail"}


def test_endless_programs_time_out(verdicts):
    assert dict(verdicts["4"].groups) == {"tests": "timeout"}
