"""What the benchmarks share that ask for one Python function by its signature and docstring."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from selfcodealign.evaluation.base import (
    FUNCTION_END,
    NEXT_STATEMENT,
    Benchmark,
    Passage,
    Problem,
    Prompt,
    Sampling,
    Style,
    prompt_passages,
)
from selfcodealign.evaluation.data import need, records


class FunctionCompletion(Benchmark):
    """One function, completed from its head: HumanEval, HumanEval+, EvoEval and the demo's own tasks."""

    sampling: ClassVar[Sampling] = Sampling(n=1, temperature=0.0, max_tokens=1024)
    header: ClassVar[str] = "Write a Python function to solve the following task:"
    """First line of the paper's instruction; older runs of the reference said "the given task"."""

    def tasks(self, path: Path) -> list[Problem]:
        """Read tasks whether they can be judged or not: some of the Hub's files leave the inputs out."""
        found = need(records(path), path, "task_id", "prompt")
        return [Problem(id=record["task_id"], record=record) for record in found]

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out the head, its docstrings, and what follows the head in the authors' solution."""
        head = problem.record["prompt"]
        yield from prompt_passages(problem.id, head)
        yield Passage(problem.id, "solution", self.canonical(problem).removeprefix(head))

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask with the bare head, or with the paper's instruction around it and a response that opens a fence."""
        if earlier:
            return None
        head = problem.record["prompt"]
        if style == "base":
            return Prompt(head, stop=FUNCTION_END if self.reading == "reference" else NEXT_STATEMENT)
        return Prompt(f"{self.header}\n```python\n{head.strip()}\n```", prefix="```python", stop=("\n```\n",))

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Put the head before the completion, or before the code in an instruct model's answer.

        The head stays even where the answer repeats it, because it carries imports and helper functions.
        """
        (text,) = texts
        head = problem.record["prompt"]
        if style == "base":
            return self.completed(head, text, FUNCTION_END)
        code = self.code_in(problem, text)
        return f"{head}\n{code}" if code.strip() else ""

    def published(self, problem: Problem, record: Mapping[str, Any]) -> str:
        """Take a whole `solution`, or the head and a `completion`, uncut: as EvalPlus's harness does."""
        if "solution" not in record and isinstance(record.get("completion"), str):
            return problem.record["prompt"] + record["completion"]
        return super().published(problem, record)

    def repaired(self, problem: Problem, code: str) -> str:
        """Put the head before code from a fence: it carries imports."""
        return f"{problem.record['prompt']}\n{code}"

    def canonical(self, problem: Problem) -> str:
        """Head and published solution."""
        return problem.record["prompt"] + problem.record["canonical_solution"]

    def empty(self, problem: Problem) -> str:
        """Return a head whose body does nothing."""
        return problem.record["prompt"] + "\n    pass\n"
