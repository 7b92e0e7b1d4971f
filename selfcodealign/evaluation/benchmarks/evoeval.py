"""EvoEval (arXiv 2403.19114): HumanEval's problems changed by a model in seven ways, five of which the paper uses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from selfcodealign.evaluation.base import Case, Limits, Problem, Source
from selfcodealign.evaluation.benchmarks.completion import FunctionCompletion
from selfcodealign.evaluation.benchmarks.evalplus import GROUP_S, LIMITS
from selfcodealign.evaluation.data import need, records

RELEASE = "https://github.com/evo-eval/evoeval_release/releases/download/v0.1.0"


class EvoEval(FunctionCompletion):
    """What the seven sets share: a reference solution, inputs, and equality by type and value."""

    oracles: ClassVar[Mapping[str, str]] = {}
    """Task id → name of its special check in `oracles/evoeval.py`."""

    def problems(self, path: Path) -> list[Problem]:
        """Read tasks with a reference solution and inputs, as texts or as JSON."""
        found = need(records(path), path, "task_id", "prompt", "entry_point", "canonical_solution")
        need(found, path, "inputs" if self.groups == ("tests",) else "plus_input")
        return [Problem(id=record["task_id"], record=record) for record in found]

    def canonical(self, problem: Problem) -> str:
        """Head and published solution, with the newline between them that the authors add."""
        return f"{problem.record['prompt']}\n{problem.record['canonical_solution']}"

    def reference_case(self, problem: Problem) -> Case | None:
        """Run the reference solution for expected outputs and their times."""
        data = {"entry_point": problem.record["entry_point"], **LIMITS, "groups": self._inputs(problem)}
        return Case(self.canonical(problem), "evoeval", data, Limits(cpu_s=300.0))

    def _inputs(self, problem: Problem) -> dict[str, Any]:
        return {"tests": problem.record["inputs"]}

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Compare a program with the reference on all inputs."""
        assert reference is not None
        data = {"entry_point": problem.record["entry_point"]}
        secret = {
            **data,
            "oracle": self.oracles.get(problem.id, ""),
            "reference": self.canonical(problem),
            "expected": reference["expected"],
        }
        limits = Limits(cpu_s=len(self.groups) * GROUP_S + 8)
        return Case(program, "evoeval", data, limits, {"inputs": reference["inputs"]}, secret)


def _source(name: str, sha256: str, records: int = 100) -> tuple[Source, ...]:
    return (Source("v0.1.0", f"{RELEASE}/EvoEval_{name}.jsonl.gz", sha256, records),)


class Difficult(EvoEval):
    """More constraints and cases."""

    name = "evoeval_difficult"
    title = "EvoEval difficult"
    paper = ("evoeval", "difficult")
    sources = _source("difficult", "e725912ed7b5f1756142ab132365c0220681301ea4254f51f4350c4dd354bd73")
    oracles: ClassVar[Mapping[str, str]] = {"EvoEval/10": "palindrome", "EvoEval/32": "zero_in_interval"}


class Creative(EvoEval):
    """Told as a story."""

    name = "evoeval_creative"
    title = "EvoEval creative"
    paper = ("evoeval", "creative")
    sources = _source("creative", "abdda0f006b988d03e724525fec24b52f181ec8a26ff8b4b77ce4c09a6e87f69")
    oracles: ClassVar[Mapping[str, str]] = {
        "EvoEval/26": "maze_moves",
        "EvoEval/30": "maze_path",
        "EvoEval/69": "product_pair",
    }


class Subtle(EvoEval):
    """Changed in a detail."""

    name = "evoeval_subtle"
    title = "EvoEval subtle"
    paper = ("evoeval", "subtle")
    sources = _source("subtle", "19e717d104064dd329d9a1e5f5765179c23adc01e181871a8c580dfc01b14ad6")
    oracles: ClassVar[Mapping[str, str]] = {"EvoEval/32": "sparse_zero"}


class Combine(EvoEval):
    """Two problems in one."""

    name = "evoeval_combine"
    title = "EvoEval combine"
    paper = ("evoeval", "combine")
    sources = _source("combine", "01d6d7ca20589f35f60f24855944d82ae5edc617f7e5611d91f3b7bc31e55413")


class ToolUse(EvoEval):
    """With helper functions given."""

    name = "evoeval_tool_use"
    title = "EvoEval tool use"
    paper = ("evoeval", "tool_use")
    sources = _source("tool_use", "e33452b34ada9b7e5e49e5aa2b54ca6130c01d7cfe91a21d10584cb38756dab2")


class Rephrased(EvoEval):
    """HumanEval's own problems in other words: judged on HumanEval+'s base and plus inputs."""

    groups = ("base", "plus")
    oracles: ClassVar[Mapping[str, str]] = {"HumanEval/32": "zero"}

    def _inputs(self, problem: Problem) -> dict[str, Any]:
        return {"base": problem.record["base_input"], "plus": problem.record["plus_input"]}


class Verbose(Rephrased):
    """More words; not in the paper."""

    name = "evoeval_verbose"
    title = "EvoEval verbose"
    sources = _source("verbose", "c9659fd42950a2d167b1b8a4fde8315512b1283ac0a260e78f0c36902adee295", 164)


class Concise(Rephrased):
    """Fewer words; not in the paper."""

    name = "evoeval_concise"
    title = "EvoEval concise"
    sources = _source("concise", "0857c2985a63aaf8460fadc4b43536f7d4e00d459053b7a198ca955505428f2e", 164)
