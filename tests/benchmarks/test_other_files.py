"""Files without published solutions, or whose programs need many packages: they load, and what can be judged is."""

import ast
import base64
import json
import pickle
import sys
import zlib
from pathlib import Path

import pytest

from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Benchmark, Problem
from selfcodealign.evaluation.execution import Task, execute
from selfcodealign.sandbox import Settings
from tests.benchmarks.test_real_benchmarks import EXPLAINED
from tests.published import published

FILES = {
    "livecodebench": ("livecodebench-public-tests.json.gz", 879, 0),
    "livecodebench:release_v1": ("livecodebench-release_v1-400.jsonl.gz", 219, 181),
    "bigcodebench": ("BigCodeBench.jsonl.gz", 1140, 0),
    "bigcodebench_hard": ("BigCodeBench-Hard.json.gz", 148, 0),
}
"""The problems of each file that have tests, and the others."""
EVERY = {"livecodebench": 20, "livecodebench:release_v1": 10, "bigcodebench": 10}
"""Unless all are wanted, one problem in so many is judged."""
ABSENT = (
    *("numpy", "pandas", "sklearn", "matplotlib", "faker", "pytz", "requests_mock", "pyfakefs", "tkinter", "Tk"),
    *("unzip", "top", "pip"),
)
"""Packages and programs that BigCodeBench's tests use without saying so; not every machine has them."""
BY_HAND = {
    # Three cards, seniors on a flight, and the largest bitwise or.
    "problem-0": (
        "for _ in range(int(input())):\n    s = input()\n    print('YES' if sum(a != b for a, b in zip(s, 'abc')) < 3 "
        "else 'NO')\n",
        "for _ in range(int(input())):\n    print('YES' if input() == 'abc' else 'NO')\n",
    ),
    "problem-9": (
        "class Solution:\n    def countSeniors(self, details: List[str]) -> int:\n"
        "        return sum(int(d[11:13]) > 60 for d in details)\n",
        "class Solution:\n    def countSeniors(self, details: List[str]) -> int:\n"
        "        return sum(int(d[11:13]) >= 0 for d in details)\n",
    ),
    "problem-11": (
        "class Solution:\n    def maximumOr(self, nums: List[int], k: int) -> int:\n        n = len(nums)\n"
        "        rest = [functools.reduce(operator.or_, nums[:i] + nums[i + 1:], 0) for i in range(n)]\n"
        "        return max((nums[i] << k) | rest[i] for i in range(n))\n",
        "class Solution:\n    def maximumOr(self, nums: List[int], k: int) -> int:\n"
        "        return functools.reduce(operator.or_, nums) << k\n",
    ),
}
"""LiveCodeBench publishes no solutions: a right and a wrong one, which use names without importing them."""


def loaded(name: str, full: bool = True) -> tuple[Benchmark, list[Problem]]:
    """Return a benchmark and the problems of a file."""
    benchmark = base.get(name.split(":")[0])
    return benchmark, benchmark.problems(published(f"bench/{FILES[name][0]}"))[:: 1 if full else EVERY[name]]


def passing(benchmark: Benchmark, programs: dict[str, tuple[Problem, str]], folder: Path) -> set[str]:
    """Judge programs with this interpreter; return the names of those that pass."""
    tasks = [Task(name, problem, program) for name, (problem, program) in programs.items()]
    settings = Settings(isolation="bubblewrap", python=sys.executable, workers=2, preload=())
    found = execute(benchmark, tasks, settings, folder)
    return {name for name, outcome in found.items() if benchmark.passed(outcome.groups)}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_whole_and_every_problem_can_be_asked(name):
    benchmark, problems = loaded(name)
    file, tested, untested = FILES[name]
    assert (len(problems), len(benchmark.untested(published(f"bench/{file}")))) == (tested, untested)
    assert len({problem.id for problem in problems}) == tested
    for problem in problems:
        # The second file of LiveCodeBench has tests only.
        asked = str(problem.record.get("complete_prompt") or problem.record.get("problem") or "")
        assert any(passage.text.strip() for passage in benchmark.passages(problem)) or name.endswith("release_v1")
        for style in ("base", "instruct"):
            prompt = benchmark.prompt(problem, style)
            assert prompt is not None
            assert style == "instruct" or asked in prompt.text
            assert str(problem.record.get("starter_code") or "") in prompt.text
        assert benchmark.wanted(problem)


def test_hard_tasks_are_among_all_tasks():
    every = {problem.id for problem in loaded("bigcodebench")[1]}
    assert every > {problem.id for problem in loaded("bigcodebench_hard")[1]}


def table(problem: Problem, change: str) -> str:
    """Return a program that knows the answers to all tests of a problem, and changes them."""
    tests = problem.record["tests"]
    known = {test["input"]: test["output"] for test in tests}
    if tests[0].get("testtype") != "functional":
        return f"import sys\nanswer = {known!r}[sys.stdin.read()]\nprint({change})\n"
    known = {repr([json.loads(line) for line in given.split("\n")]): json.loads(out) for given, out in known.items()}
    head = problem.record["starter_code"].rstrip()
    return f"{head.split('def ')[0]}def {head.split('def ')[-1].split('(')[0]}(self, *given):\n" + (
        f"        answer = {known!r}[repr(list(given))]\n        return {change}\n"
    )


@pytest.mark.parametrize("name", [name for name in EVERY if name.startswith("livecodebench")])
def test_right_answers_pass_livecodebench_and_others_do_not(name, tmp_path, full):
    benchmark, problems = loaded(name, full)
    right = {f"{problem.id} right": (problem, table(problem, "answer")) for problem in problems}
    wrong = {f"{problem.id} wrong": (problem, table(problem, "[answer, 7]")) for problem in problems}
    empty = {f"{problem.id} empty": (problem, benchmark.empty(problem)) for problem in problems[::3]}
    assert passing(benchmark, right | wrong | empty, tmp_path) == set(right)


def test_programs_by_hand_are_judged_right(tmp_path):
    benchmark, problems = loaded("livecodebench")
    by_id = {problem.id: problem for problem in problems}
    right = {f"{name} right": (by_id[name], right) for name, (right, _) in BY_HAND.items()}
    wrong = {f"{name} wrong": (by_id[name], wrong) for name, (_, wrong) in BY_HAND.items()}
    assert passing(benchmark, right | wrong, tmp_path) == set(right)


def test_private_tests_are_unpacked_as_the_hub_packs_them(tmp_path):
    benchmark, problems = loaded("livecodebench")
    rows = []
    for problem in problems[:50]:
        first, *rest = problem.record["tests"]
        packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(rest)))).decode()
        rows.append({"question_id": problem.id, "public_test_cases": json.dumps([first]), "private_test_cases": packed})
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [problem.record["tests"] for problem in benchmark.problems(path)] == [
        problem.record["tests"] for problem in problems[:50]
    ]


def test_bigcodebench_solutions_that_need_no_package_pass(tmp_path, full):
    benchmark, problems = loaded("bigcodebench")
    standard = set(sys.stdlib_module_names)
    chosen = [
        problem
        for problem in problems
        if set(ast.literal_eval(problem.record["libs"])) <= standard
        and problem.id not in EXPLAINED["bigcodebench"]
        and not any(word in problem.record["test"] + problem.record["canonical_solution"] for word in ABSENT)
    ][:: 1 if full else EVERY["bigcodebench"]]
    assert len(chosen) >= 20
    right = {f"{problem.id} right": (problem, benchmark.canonical(problem)) for problem in chosen}
    empty = {f"{problem.id} empty": (problem, benchmark.empty(problem)) for problem in chosen}
    assert passing(benchmark, right | empty, tmp_path) == set(right)
