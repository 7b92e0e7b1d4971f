"""DS-1000 (arXiv 2211.11501) in its new format: data-science problems in seven libraries, with pinned versions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.evaluation.base import (
    Benchmark,
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
from selfcodealign.evaluation.data import need, records
from selfcodealign.evaluation.extraction import compiles, cut

QUESTION_END = "\nBEGIN SOLUTION"
ANSWER_PLACE = re.compile(r"\bBEGIN SOLUTION\b|\bSOLUTION START\b")
"""Where a prompt ends and the answer goes, in the new and the old format."""


class Ds1000(Benchmark):
    """1000 problems; an answer is the code that replaces `[insert]` in a hidden context."""

    name = "ds1000"
    title = "DS-1000"
    groups = ("tests",)
    island = "evaluate-ds1000"
    preload = ("numpy", "pandas", "scipy", "sklearn", "matplotlib")
    paper = ("ds1000", "average")
    sampling = Sampling(n=40, temperature=0.2, top_p=0.95, max_tokens=1024)
    ks = (1, 10)
    sources = (
        Source(
            version="simplified",
            url="https://github.com/xlang-ai/DS-1000/raw/main/data/ds1000.jsonl.gz",
            sha256="cab42ba5034ddecf1ed762eb4f1a5f19299635a0bd6a28bb339a1c8c2a91079f",
            records=1000,
        ),
    )

    def problems(self, path: Path) -> list[Problem]:
        """Read problems; ids are the published numbers, subsets the libraries in lower case."""
        found = need(records(path), path, "prompt", "reference_code", "metadata", "code_context")
        return [
            Problem(str(record["metadata"]["problem_id"]), record, record["metadata"]["library"].lower())
            for record in found
        ]

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out the question, without the place for the answer, and the answer."""
        yield from prompt_passages(problem.id, ANSWER_PLACE.split(problem.record["prompt"])[0])
        yield Passage(problem.id, "solution", problem.record["reference_code"])

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask with the published prompt, which ends inside the answer's block, or with the question before it."""
        if earlier:
            return None
        text = problem.record["prompt"]
        if style == "base":
            return Prompt(text, stop=("</code>", "\nEND SOLUTION", "```"))
        question = text.split(QUESTION_END)[0].replace("<code>", "```python").replace("</code>", "```")
        ask = "Answer with the Python code that completes the solution; do not repeat the code given."
        return Prompt(f"{question.strip()}\n\n{ask}", prefix="```python\n", stop=("```",))

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Take the completion, or the code in the answer, up to the marks that end an answer."""
        return answer(texts[0] if style == "base" else self.code_in(problem, texts[0]))

    def canonical(self, problem: Problem) -> str:
        """Return the published answer."""
        return problem.record["reference_code"]

    def task_of(self, record: Mapping[str, Any]) -> str:
        """Name the problem by `task_id` or, as the authors do, by `id` or inside `metadata`."""
        if "task_id" in record or "id" in record:
            return str(record.get("task_id", record.get("id")))
        return str(record.get("metadata", {}).get("problem_id", super().task_of(record)))

    def published(self, problem: Problem, record: Mapping[str, Any]) -> str:
        """Take the authors' `code` (a text, or a list of one), or `completion` or `solution`."""
        for field in ("code", "completion", "solution"):
            if field in record:
                text = record[field][0] if isinstance(record[field], list) and record[field] else record[field]
                if isinstance(text, str):
                    found = answer(text)
                    return found if compiles(found) else answer(self.code_in(problem, text)) or found
                return text
        raise UserError(f"a sample of {problem.id} has neither `code` nor `completion`; give one of them")

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Run the problem's tests on the answer; 120 s as the authors allow."""
        return Case(program, "ds1000", {"tests": problem.record["code_context"]}, Limits(cpu_s=120.0))


def answer(text: str) -> str:
    """Cut an answer at the first mark that ends it, and take the marks that open it off."""
    text = cut(text, ("</code>",)).replace("```python", "")
    return cut(cut(text, ("```",)), ("\nEND SOLUTION",)).replace("<code>", "")
