"""HumanEval (Chen et al., arXiv 2107.03374) with its own tests, and the demo's tasks in the same format."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from selfcodealign.evaluation.base import (
    FUNCTION_END,
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


class HumanEval(FunctionCompletion):
    """164 functions with the authors' tests: about 8 a task, all in one `check`."""

    name = "humaneval"
    title = "HumanEval"
    groups = ("tests",)
    sources = (
        Source(
            version="2021-07",
            url="https://github.com/openai/human-eval/raw/6d43fb980f9fee3c892a914eda09951f772ad10d/data/HumanEval.jsonl.gz",
            sha256="1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2",
            records=164,
        ),
    )

    def problems(self, path: Path) -> list[Problem]:
        """Read tasks with prompt, entry_point, test and canonical_solution."""
        found = need(records(path), path, "task_id", "prompt", "entry_point", "test", "canonical_solution")
        return [Problem(id=record["task_id"], record=record) for record in found]

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Run the published `check` on the function; 3 s as in the authors' harness."""
        data = {"entry_point": problem.record["entry_point"], "limit_s": 3.0}
        secret = {"test": problem.record["test"], "reference": self.canonical(problem)}
        return Case(program, "function", data, Limits(cpu_s=10.0), secret=secret)


class Demo(HumanEval):
    """The embedded demo's own tasks: small functions that a toy model can learn, unlike any paper's benchmark."""

    name = "demo"
    title = "Demo tasks"
    sources = ()
    sampling = Sampling(n=1, temperature=0.0, max_tokens=160)

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out the instruction too."""
        yield from super().passages(problem)
        yield from prompt_passages(problem.id, problem.record.get("instruction") or "")

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask with the head, or with the task's instruction: what the toy model was trained to follow.

        The head ends without its line break: in the toy tokenizer a line break and the next line's indentation are one
        token, which a prompt that ends with the line break alone would make impossible. What the toy model writes
        behind a function are comments at the margin.
        """
        if earlier:
            return None
        if style == "base":
            return Prompt(problem.record["prompt"].rstrip("\n"), stop=FUNCTION_END)
        return Prompt(problem.record["instruction"], prefix="```python", stop=("\n```",))

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Put the head before the completion, as it was asked."""
        if style == "base":
            return self.completed(problem.record["prompt"].rstrip("\n"), texts[0], FUNCTION_END)
        return super().program(problem, texts, style)
