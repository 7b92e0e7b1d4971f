"""BigCodeBench (arXiv 2406.15877), beyond the paper: practical functions over 139 libraries, tested by unittest."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.evaluation.base import (
    Case,
    Limits,
    Passage,
    Problem,
    Prompt,
    Sampling,
    Source,
    Style,
    prompt_passages,
)
from selfcodealign.evaluation.benchmarks.completion import FunctionCompletion
from selfcodealign.evaluation.data import need, records

STOP = ("\ndef ", "\nclass ", "\nassert ", "\nif __name__", "\nprint(")


class BigCodeBench(FunctionCompletion):
    """1140 tasks: `complete` for base models (head and docstring), `instruct` for the others (natural language)."""

    name = "bigcodebench"
    title = "BigCodeBench"
    groups = ("tests",)
    island = "evaluate-bigcodebench"
    preload = ("numpy", "pandas", "scipy", "sklearn", "matplotlib")
    sampling = Sampling(n=1, temperature=0.0, max_tokens=1280)
    calibrated = True
    """Put the stub of the function before a solution that lacks its imports, as the authors' calibrated scores do."""

    sources = (
        Source(
            version="v0.1.0",
            url="",
            sha256="33baf4f414eb34507f1a8fd55ef9bcd79c1f9b4c3e8e2544f023edac1b20afec",
            records=1140,
        ),
    )

    def problems(self, path: Path) -> list[Problem]:
        """Read tasks with their unittest class."""
        fields = ("task_id", "complete_prompt", "instruct_prompt", "canonical_solution", "code_prompt", "test")
        return [Problem(record["task_id"], record) for record in need(records(path), path, *fields)]

    def tasks(self, path: Path) -> list[Problem]:
        """Read them all: none lacks its tests."""
        return self.problems(path)

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out head, instruction and solution."""
        yield from prompt_passages(problem.id, problem.record["complete_prompt"], problem.record["instruct_prompt"])
        yield Passage(problem.id, "solution", problem.record["canonical_solution"])

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask to complete the head, or with the published instruction."""
        if earlier:
            return None
        if style == "base":
            return Prompt(problem.record["complete_prompt"], stop=STOP)
        return Prompt(problem.record["instruct_prompt"], prefix="```python", stop=("\n```\n",))

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Head and completion, or the stub and the code in the answer."""
        if style == "base":
            return self.completed(problem.record["complete_prompt"], texts[0], STOP)
        code = self.code_in(problem, texts[0])
        return self.repaired(problem, code) if code.strip() else ""

    def published(self, problem: Problem, record: Mapping[str, Any]) -> str:
        """Take `solution`, with the stub before it when scores are calibrated, or the head and a `completion`."""
        if "solution" in record and isinstance(record["solution"], str):
            return self.repaired(problem, record["solution"])
        head = Problem(problem.id, {"prompt": problem.record["complete_prompt"]})
        return super().published(head, record)

    def repaired(self, problem: Problem, code: str) -> str:
        """Return code with the stub before it when scores are calibrated."""
        return f"{problem.record['code_prompt']}\n    pass\n{code}" if self.calibrated else code

    def canonical(self, problem: Problem) -> str:
        """Head and published solution."""
        return problem.record["complete_prompt"] + problem.record["canonical_solution"]

    def empty(self, problem: Problem) -> str:
        """Return the function with an empty body."""
        return problem.record["code_prompt"] + "\n    pass\n"

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Run the task's test class; 240 s as the authors allow."""
        data = {"tests": problem.record["test"], "classes": ["TestCases"], "groups": ["tests"], "limit_s": 240}
        return Case(program, "unittests", data, Limits(cpu_s=250.0, memory_mb=6_144))


class BigCodeBenchHard(BigCodeBench):
    """148 tasks of it that are closer to what users ask."""

    name = "bigcodebench_hard"
    title = "BigCodeBench Hard"

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out also the question of a forum that the authors chose the task by."""
        yield from super().passages(problem)
        yield from prompt_passages(problem.id, problem.record.get("question") or "")

    sources = (
        Source(
            version="v0.1.0",
            url="",
            sha256="5e7a87ff1085eafb13b2d570277bcb53dba68201717b4fc987a3f2b86a23869c",
            records=148,
        ),
    )
