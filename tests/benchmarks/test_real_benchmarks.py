"""On the authors' files their own solutions pass, empty ones fail, and changed ones fail where the tests can tell."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import PASS, Benchmark, Outcome, Problem
from selfcodealign.evaluation.execution import ROOT, Task, execute, interpreter, sandbox_settings
from tests.benchmarks.conftest import WANTED
from tests.conftest import missing
from tests.published import published

FILES = {
    "humaneval": "HumanEval.jsonl.gz",
    "humaneval_plus": "HumanEvalPlus-v0.1.9.jsonl.gz",
    "humaneval_plus:v0.1.10": "HumanEvalPlus-v0.1.10.jsonl.gz",
    "mbpp_plus": "MbppPlus-v0.1.0.jsonl.gz",
    "mbpp_plus:v0.2.0": "MbppPlus-v0.2.0.jsonl.gz",
    "mbpp": "sanitized-mbpp.json",
    **{
        f"evoeval_{name}": f"evoeval/EvoEval_{name}.jsonl.gz" for name in ("difficult", "creative", "subtle", "combine")
    },
    **{f"evoeval_{name}": f"evoeval/EvoEval_{name}.jsonl.gz" for name in ("tool_use", "verbose", "concise")},
    "canitedit": "canitedit.jsonl.gz",
    "classeval": "ClassEval_data.json.gz",
    "ds1000": "ds1000.jsonl.gz",
    # Its pins take a quarter of an hour to build.
    **({"bigcodebench": "BigCodeBench.jsonl.gz"} if WANTED == "full" else {}),
}

NETWORK = "reaches for the network, which programs do not have"
CORPORA = "needs nltk's corpora, which envs/benchmark_data.py fetches where there is a network"

EXPLAINED: dict[str, dict[str, str]] = {
    "canitedit": {
        "78_llm_inference": "imports vLLM, whose packages exclude this project's",
        "47_merge_sort": "its test asks the clock whether one sort is a tenth faster; seen to fail once in three runs",
    },
    "classeval": {
        "ClassEval_17": "expects January 2024 to lie in the future",
        "ClassEval_35": "needs 4 to 5 CPU seconds for a test, of which the authors allow 5",
        "ClassEval_48": "expects the host name of its author's laptop",
        "ClassEval_52": "needs data of nltk, which come over the network",
        "ClassEval_69": "its first unittest class holds no tests, and a class passes only if a test ran",
    },
    "ds1000": {
        **dict.fromkeys(("519", "539", "565", "566", "567", "577", "598", "624", "629"), "downloads its data"),
        **dict.fromkeys(("650", "654", "655", "656", "661", "819"), "downloads its data"),
        **dict.fromkeys(("377", "378", "379", "380"), "is filed under numpy, but imports torch or tensorflow"),
    },
    "bigcodebench": {
        **{f"BigCodeBench/{n}": NETWORK for n in (101, 176, 314, 590, 1005, 1006, 1012, 1038, 1040)},
        **{f"BigCodeBench/{n}": CORPORA for n in (177, 290, 332, 334, 376, 383, 633, 635, 655, 658, 726, 734)},
        **{f"BigCodeBench/{n}": CORPORA for n in (806, 808, 849, 940, 1109)},
    },
}
"""Authors' solutions that fail where they are run, and why."""

LEAST = {"classeval": 0.98, "ds1000": 0.98, "bigcodebench": 0.97}
"""The share of groups of tests that must pass: 99 %, but less where data come over a network that is not there."""

FAILING_CLASSES = {
    "CalendarTestGetUpcomingEvents",
    "EightPuzzleTestSolve",
    "IpUtilTestGetHostname",
    "LemmatizationTestGetPosTag",
    "LemmatizationTestLemmatizeSentence",
    "LemmatizationTestMain",
    "TestPDFHandler",
}
"""The unittest classes, of ClassEval's 502, in which those five solutions fail."""

EVERY = {"mbpp_plus:v0.2.0": 4, "humaneval_plus:v0.1.10": 4, "evoeval_verbose": 4, "evoeval_concise": 4, "ds1000": 12}
"""Unless all are wanted, one problem in so many: second versions, HumanEval in other words with the same solutions, and
a benchmark whose imports take seconds."""
ENDLESS = ("21_dijkstra_bellman", "53_minimax_to_alphabeta", "95_dbscan")
"""Programs before an edit that take the whole 60 s of a test; only if all are wanted."""


@pytest.fixture(scope="session")
def references(tmp_path_factory) -> Path:
    """One folder of expected outputs for all tests."""
    return tmp_path_factory.mktemp("references")


def loaded(name: str, full: bool = False) -> tuple[Benchmark, list[Problem]]:
    """Return a benchmark and one file's problems; strategies and kinds share solutions, so one of each is taken."""
    benchmark = base.get(name.split(":")[0])
    problems = benchmark.problems(published(f"bench/{FILES[name]}"))
    if benchmark.name in ("classeval", "canitedit"):
        problems = [problem for problem in problems if problem.variant in ("holistic", "descriptive")]
    if benchmark.name == "ds1000":
        problems = [problem for problem in problems if problem.subset not in ("pytorch", "tensorflow")]
    return benchmark, problems if full else problems[:: EVERY.get(name, 1)]


def judged(benchmark: Benchmark, programs: Mapping[str, tuple[Problem, str]], references: Path) -> dict[str, Outcome]:
    """Judge programs in the environment that the benchmark pins."""
    python = interpreter(benchmark, None)
    if benchmark.island != "evaluate" and python is None:
        missing(f"no interpreter with envs/{benchmark.island}.txt: make test-benchmarks sets up {ROOT}/.venv-…")
    settings = sandbox_settings(benchmark)
    tasks = [Task(name, problem, program) for name, (problem, program) in programs.items()]
    return execute(benchmark, tasks, settings, references)


@pytest.mark.parametrize("name", FILES)
def test_the_authors_solutions_pass_and_empty_ones_do_not(name, references, full, row):
    benchmark, problems = loaded(name, full)
    programs = {f"{problem.id} canonical": (problem, benchmark.canonical(problem)) for problem in problems}
    programs |= {f"{problem.id} empty": (problem, benchmark.empty(problem)) for problem in problems}
    found = judged(benchmark, programs, references)
    passed = {name for name, outcome in found.items() if benchmark.passed(outcome.groups)}
    failed = {
        problem.id: found[f"{problem.id} canonical"].reason
        for problem in problems
        if f"{problem.id} canonical" not in passed
    }
    empty = [name for name in passed if name.endswith(" empty")]
    seconds = sum(outcome.cpu_s for outcome in found.values())
    right = len(problems) - len(failed)
    row(name, len(problems), right, len(empty), f"{seconds:.0f}", ", ".join(failed) or "none")
    known = EXPLAINED.get(benchmark.name, {})
    assert {name: reason for name, reason in failed.items() if not {name, name.split("/")[0]} & set(known)} == {}
    # ClassEval's classes have five unittest classes each, and those are what it counts.
    if benchmark.name == "classeval":
        found_failing = {
            group
            for problem in problems
            for group, status in found[f"{problem.id} canonical"].groups.items()
            if status != PASS
        }
        assert found_failing <= FAILING_CLASSES
    groups = [status == PASS for problem in problems for status in found[f"{problem.id} canonical"].groups.values()]
    assert sum(groups) >= LEAST.get(benchmark.name, 0.99) * len(groups)
    assert empty == []


ANY_OUTPUT = {
    "Mbpp/164": "any output is right",
    "Mbpp/295": "any output may be right",
}


@pytest.mark.parametrize("name", ["humaneval_plus", "mbpp_plus:v0.2.0", "evoeval_creative"])
def test_a_solution_with_changed_outputs_fails(name, references):
    benchmark, problems = loaded(name)
    programs = {}
    for problem in problems[::3]:
        function = problem.record["entry_point"]
        changed = f"_right = {function}\ndef {function}(*values):\n    return [_right(*values), 'changed']\n"
        programs[problem.id] = problem, f"{benchmark.canonical(problem)}\n\n{changed}"
    found = judged(benchmark, programs, references)
    survivors = {name for name, outcome in found.items() if benchmark.passed(outcome.groups)}
    only_presence = {
        p.id for p in problems if p.record["entry_point"] in ("check_str", "text_match_three", "text_starta_endb")
    }
    assert survivors <= set(ANY_OUTPUT) | only_presence


def test_an_edit_that_was_not_made_fails(references, full):
    benchmark, problems = loaded("canitedit")
    problems = [problem for problem in problems if full or problem.id.split("/")[0] not in ENDLESS]
    found = judged(benchmark, {problem.id: (problem, problem.record["before"]) for problem in problems}, references)
    assert [name for name, outcome in found.items() if benchmark.passed(outcome.groups)] == []


def test_verdicts_do_not_depend_on_the_number_of_workers(references):
    benchmark, problems = loaded("humaneval_plus")
    tasks = [Task(problem.id, problem, benchmark.canonical(problem)) for problem in problems[:30]]
    tasks += [Task(f"{problem.id} empty", problem, benchmark.empty(problem)) for problem in problems[:30]]
    one, two = (
        execute(benchmark, tasks, sandbox_settings(benchmark, workers=workers), references) for workers in (1, 2)
    )
    assert {name: outcome.groups for name, outcome in one.items()} == {
        name: outcome.groups for name, outcome in two.items()
    }
