"""Verdicts agree with EvalPlus's own package on correct, wrong and nearly correct programs."""

import ast
import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfcodealign.evaluation import base, data
from selfcodealign.evaluation.base import PASS, Benchmark, Problem
from selfcodealign.evaluation.execution import Task, execute, sandbox_settings
from tests.published import published

FILES = {
    "humaneval_plus": ("HumanEvalPlus-Mini-v0.1.10.jsonl.gz", "humaneval", "HUMANEVAL_OVERRIDE_PATH"),
    "mbpp_plus": ("MbppPlus-v0.2.0.jsonl.gz", "mbpp", "MBPP_OVERRIDE_PATH"),
}


EVERY = {"humaneval_plus": 1, "mbpp_plus": 3}
"""Unless all are wanted, one problem in so many."""

INPUTS = 20
"""Most plus inputs of a task."""


class OffByOne(ast.NodeTransformer):
    """Change the n-th small integer of a program by one."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.seen = -1

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is int and abs(node.value) < 100:
            self.seen += 1
            if self.seen == self.place:
                return ast.copy_location(ast.Constant(node.value + 1), node)
        return node


def mutants(program: str, most: int = 2) -> list[str]:
    """Return programs that differ in one number."""
    tree = ast.parse(program)
    found = []
    for place in range(most):
        changed = ast.unparse(OffByOne(place).visit(copy.deepcopy(tree)))
        if changed != ast.unparse(tree):
            found.append(changed)
    return found


WRAPPED = "{program}\n\n_right = {name}\n_calls = []\ndef {name}(*values):\n{body}\n"
BODIES = {
    "prints": "    print('x' * 100_000)\n    return _right(*values)",
    "changes its arguments": (
        "    found = copy.deepcopy(_right(*values))\n    for value in values:\n"
        "        if isinstance(value, (list, dict, set)):\n            value.clear()\n    return found"
    ),
    "is nearly right": "    found = _right(*values)\n    return found * (1 + 1e-9) if type(found) is float else found",
    "is not quite right": "    found = _right(*values)\n    return found + 1e-4 if isinstance(found, float) else found",
    "has another type": "    found = _right(*values)\n    return tuple(found) if isinstance(found, list) else found",
    "returns a generator": "    found = _right(*values)\n    return iter(found) if isinstance(found, list) else found",
    "returns numbers for truth": "    found = _right(*values)\n    return int(found) if type(found) is bool else found",
    "remembers": "    _calls.append(values)\n    return _right(*values) if len(_calls) < 12 else None",
    "recurses without end": "    return {name}(*values)",
    "takes all memory": "    return [0] * 10**11",
    "leaves": "    sys.exit(0)",
    "asks": "    input()\n    return _right(*values)",
    "raises what is no Exception": "    raise KeyboardInterrupt",
}
"""Functions around the authors' solution: some are right all the same, some only seem so."""

ONCE = {
    "runs on": "    while True:\n        pass",
    "catches everything": (
        "    while True:\n        try:\n            sum(range(10**6))\n        except Exception:\n            pass"
    ),
}
"""Those that take a whole time limit."""


def traps(benchmark: Benchmark, problem: Problem, number: int) -> list[str]:
    """Return programs that a harness may misjudge; which, goes round by the number of the problem."""
    program, name = benchmark.canonical(problem), problem.record["entry_point"]
    head = f"import copy, sys\n{program}"
    bodies = list(BODIES.values())
    chosen = [bodies[number % len(bodies)], bodies[(5 * number + 1) % len(bodies)]]
    chosen += list(ONCE.values()) if number in (3, 60) else []
    found = [WRAPPED.format(program=head, name=name, body=body.format(name=name)) for body in chosen]
    if number % 5 == 0:
        found.append(f"{program}\n\nif __name__ == '__main__':\n    raise SystemExit(1)\n")
        found.append("\n".join(line for line in program.split("\n") if "import" not in line))
        found.append(f"{program}\n\nassert {name} is None\n")
        found.append(f"{program}\n\nthis is no Python\n")
        found.append(program.replace(name, f"{name}_"))
    return found


@pytest.mark.parametrize("name", FILES)
def test_verdicts_agree_with_the_official_package(name, tmp_path, full):
    file, dataset, variable = FILES[name]
    benchmark = base.get(name)
    benchmark.rules = "0.2+broadcasting"  # pyright: ignore[reportAttributeAccessIssue]
    # The first inputs alone: some of MBPP+'s later ones have outputs of hundreds of megabytes, which the official
    # package hands from process to process. (A task without any holds an empty object.)
    with (tmp_path / "problems.jsonl").open("w") as sink:
        for record in data.records(published(f"bench/{file}"))[:: 1 if full else EVERY[name]]:
            print(json.dumps({**record, "plus_input": list(record["plus_input"])[:INPUTS]}), file=sink)
    problems = benchmark.problems(tmp_path / "problems.jsonl")
    samples = []
    for number, problem in enumerate(problems):
        programs = [benchmark.canonical(problem), benchmark.empty(problem)]
        # Every task must have samples for the official harness; mutants of every third keep the test short.
        programs += mutants(benchmark.canonical(problem)) if number % 3 == 0 else []
        programs += traps(benchmark, problem, number) if number % 2 == 0 or number == 3 else []
        samples += [(problem, program) for program in programs]
    with (tmp_path / "samples.jsonl").open("w") as sink:
        for problem, program in samples:
            print(json.dumps({"task_id": problem.id, "solution": program}), file=sink)
    official = official_verdicts(tmp_path, dataset, variable)
    tasks = [Task(str(place), problem, program) for place, (problem, program) in enumerate(samples)]
    ours = execute(benchmark, tasks, sandbox_settings(benchmark), tmp_path / "references")
    differing = []
    places: dict[str, int] = {}
    for place, (problem, _) in enumerate(samples):
        at = places.get(problem.id, 0)
        places[problem.id] = at + 1
        theirs = official[problem.id][at]
        for group in ("base", "plus"):
            if (theirs[f"{group}_status"] == "pass") != (ours[str(place)].groups[group] == PASS):
                differing.append((problem.id, group, theirs[f"{group}_status"], ours[str(place)].reason))
    # EvalPlus takes any output of Mbpp/164, even none; samples of Mbpp/734 get inputs that its reference emptied.
    unexplained = [item for item in differing if item[0] not in ("Mbpp/164", "Mbpp/734")]
    print(f"{name}: {len(samples)} samples, {len(differing)} verdicts differ: {differing}")
    assert len(unexplained) <= 0.01 * len(samples), unexplained


def official_verdicts(folder: Path, dataset: str, variable: str) -> dict:
    """Run EvalPlus's evaluator on the samples in a folder and return what it recorded."""
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", dataset, "--samples", "samples.jsonl"]
    environment = {**os.environ, variable: str(folder / "problems.jsonl"), "XDG_CACHE_HOME": str(folder / "cache")}
    subprocess.run([*command, "--parallel", "2"], cwd=folder, env=environment, check=True, capture_output=True)
    return json.loads((folder / "samples_eval_results.json").read_text())["eval"]
