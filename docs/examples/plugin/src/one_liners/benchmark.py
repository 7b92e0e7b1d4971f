r"""A benchmark of your own: one class, and one line in the pyproject.toml of its package.

    [project.entry-points."selfcodealign.benchmarks"]
    one_liners = "one_liners.benchmark:OneLiners"

Sampling, execution in the sandbox, pass@k with intervals and the command line come with the interface. A record here is
`{"task_id": "abs/1", "prompt": "def absolute(x):\n", "solution": "    return abs(x)\n", "tests": ["assert …"]}`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from selfcodealign.evaluation.base import Case, Limits, Passage, Problem, prompt_passages
from selfcodealign.evaluation.benchmarks.completion import FunctionCompletion
from selfcodealign.evaluation.data import need, records


class OneLiners(FunctionCompletion):
    """Functions asked for by their head and judged by assertions, one group of tests a task."""

    name = "one_liners"
    title = "One-liners"
    groups = ("tests",)

    def problems(self, path: Path) -> list[Problem]:
        """Read the file; a record without one of the fields is an error that names it."""
        found = need(records(path), path, "task_id", "prompt", "solution", "tests")
        return [Problem(id=record["task_id"], record=record) for record in found]

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep head and solution out of every training set: what `decontaminate_seeds` and `…_dataset` look for."""
        yield from prompt_passages(problem.id, problem.record["prompt"])
        yield Passage(problem.id, "solution", problem.record["solution"])

    def canonical(self, problem: Problem) -> str:
        """Head and solution: what `evaluate --canonical` scores."""
        return problem.record["prompt"] + problem.record["solution"]

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Run the assertions by a judge of `selfcodealign/evaluation/oracles/`, outside the program; 3 CPU seconds."""
        secret = {"setup": "", "tests": problem.record["tests"], "reference": self.canonical(problem)}
        return Case(program, "asserts", {"limit_s": 3.0}, Limits(cpu_s=10.0), secret=secret)
