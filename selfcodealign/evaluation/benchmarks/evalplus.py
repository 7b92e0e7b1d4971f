"""HumanEval+ and MBPP+ (EvalPlus, arXiv 2305.01210): a reference solution's outputs on many inputs, base then plus."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from selfcodealign.evaluation.base import Case, Limits, Problem, Prompt, Source, Style
from selfcodealign.evaluation.benchmarks.completion import FunctionCompletion
from selfcodealign.evaluation.data import need, records
from selfcodealign.evaluation.oracles.common import GROUP_S, LARGE_S

LIMITS = {"min_time_limit_s": 1.0, "factor": 4.0}
"""A sample's CPU limit on one input: max(min_time_limit_s, factor × the reference's time), EvalPlus's defaults."""


class EvalPlus(FunctionCompletion):
    """What HumanEval+ and MBPP+ share."""

    groups = ("base", "plus")
    dataset: ClassVar[str]
    rules: ClassVar[str] = "0.2"
    """Generation of EvalPlus's comparison rules: "0.2" (the paper's), "0.2+broadcasting" or "0.3" (the newest)."""

    def problems(self, path: Path) -> list[Problem]:
        """Read tasks with their base and plus inputs."""
        wanted = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")
        return [Problem(id=record["task_id"], record=record) for record in need(records(path), path, *wanted)]

    def reference_case(self, problem: Problem) -> Case | None:
        """Run the reference solution for expected outputs and their times."""
        groups = {"base": problem.record["base_input"], "plus": problem.record["plus_input"]}
        data = {**self._settings(problem), **LIMITS, "groups": groups}
        return Case(self.canonical(problem), "evalplus", data, Limits(cpu_s=300.0))

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Compare a program with the reference on base and plus inputs in one run."""
        assert reference is not None
        secret = {
            **self._settings(problem),
            "reference": self.canonical(problem),
            "expected": reference["expected"],
            "atol": problem.record["atol"],
            "rules": self.rules,
        }
        data = {"entry_point": problem.record["entry_point"]}
        return Case(
            program, "evalplus", data, Limits(2 * GROUP_S + LARGE_S + 8), {"inputs": reference["inputs"]}, secret
        )

    def _settings(self, problem: Problem) -> dict[str, Any]:
        task = int(problem.id.split("/")[-1]) if self.dataset == "mbpp" else 0
        return {"entry_point": problem.record["entry_point"], "dataset": self.dataset, "task": task}

    @abstractmethod
    def canonical(self, problem: Problem) -> str:
        """Head and published solution."""


class HumanEvalPlus(EvalPlus):
    """HumanEval with 80 times the inputs; "base" are HumanEval's own."""

    name = "humaneval_plus"
    title = "HumanEval+"
    dataset = "humaneval"
    paper = ("evalplus", "humaneval_plus")
    sources = (
        Source(
            version="v0.1.9",
            url="https://github.com/evalplus/humanevalplus_release/releases/download/v0.1.9/HumanEvalPlus.jsonl.gz",
            sha256="50d50fda1ecf4c9168d762456ae29c1d8b8b922e68c66964f7891c98d93a04b7",
            records=164,
        ),
        Source(
            version="v0.1.10",
            url="https://github.com/evalplus/humanevalplus_release/releases/download/v0.1.10/HumanEvalPlus.jsonl.gz",
            sha256="42526ec0e7d5f3ee0b06d6ced98f8c8bae3d76519151bfb3d36f79010645bd7f",
            records=164,
        ),
        Source(
            version="mini-v0.1.10",
            url="https://github.com/evalplus/humanevalplus_release/releases/download/v0.1.10/HumanEvalPlus-Mini.jsonl.gz",
            sha256="78fbba8865b20c5a979cda6e02fd72538e1762e65980af7d1a6e93c3e87e93af",
            records=164,
        ),
    )

    def canonical(self, problem: Problem) -> str:
        """Head and published solution."""
        return problem.record["prompt"] + problem.record["canonical_solution"]


class MbppPlus(EvalPlus):
    """MBPP's cleaned tasks with 35 times the inputs: 399 in v0.1.0, which the paper used, 378 since v0.2.0."""

    name = "mbpp_plus"
    title = "MBPP+"
    dataset = "mbpp"
    paper = ("evalplus", "mbpp_plus")
    sources = (
        Source(
            version="v0.1.0",
            url="https://github.com/evalplus/mbppplus_release/releases/download/v0.1.0/MbppPlus.jsonl.gz",
            sha256="a855b9de667baea8e2f8aa61f898767a7336872208a85222b35622545e819fe9",
            records=399,
        ),
        Source(
            version="v0.2.0",
            url="https://github.com/evalplus/mbppplus_release/releases/download/v0.2.0/MbppPlus.jsonl.gz",
            sha256="b54e762755248ca411b523c917fa9f93c07b5ff2966bf60b3917b853926a3dad",
            records=378,
        ),
    )

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask with the bare docstring, or with its text as the instruction and its one assertion in a fence."""
        if style == "base" or earlier:
            return super().prompt(problem, style, earlier)
        text, assertion = task_and_assertion(problem.record["prompt"])
        return Prompt(f"{text}\n\n```python\n{assertion}\n```", prefix="```python", stop=("\n```\n",))

    def canonical(self, problem: Problem) -> str:
        """Docstring and published solution."""
        return problem.record["prompt"] + problem.record["canonical_solution"]

    def empty(self, problem: Problem) -> str:
        """Return a function of the right name that does nothing."""
        return f"def {problem.record['entry_point']}(*arguments, **keywords):\n    pass\n"


def task_and_assertion(docstring: str) -> tuple[str, str]:
    """Split an MBPP+ prompt, a docstring whose last lines are an assertion, into its text and the assertion."""
    body = docstring.strip().strip('"').strip()
    at = body.find("\nassert")
    text, assertion = (body[:at], body[at + 1 :]) if at >= 0 else (body, "")
    text = text.strip()
    return (text if text.endswith(".") else f"{text}."), assertion.strip()
