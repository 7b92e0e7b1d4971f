"""MBPP (Austin et al., arXiv 2108.07732) with its own assertions: 427 sanitized tasks, or the 500 of the test split."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.evaluation.base import Case, Limits, Passage, Problem, Prompt, Source, Style, prompt_passages
from selfcodealign.evaluation.benchmarks.completion import FunctionCompletion
from selfcodealign.evaluation.data import need, records
from selfcodealign.evaluation.extraction import Piece

TEST_SPLIT = range(11, 511)
"""Task numbers of the published test split; the rest of the full file is for prompts, tuning and validation."""

STOP = ("\nassert ", "\nprint(", '\n"""', "\n# Test", "\nif __name__")


class Mbpp(FunctionCompletion):
    """Short tasks in one sentence with three assertions, one of which is shown."""

    name = "mbpp"
    title = "MBPP"
    groups = ("tests",)
    sources = (
        Source(
            version="sanitized",
            url="https://github.com/google-research/google-research/raw/master/mbpp/sanitized-mbpp.json",
            sha256="8ac32b2799150228e2d745aed09c870b7e4444246d4727d1004576207ef40769",
            records=427,
        ),
        Source(
            version="full",
            url="https://github.com/google-research/google-research/raw/master/mbpp/mbpp.jsonl",
            sha256="ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
            records=974,
        ),
    )

    def problems(self, path: Path) -> list[Problem]:
        """Read the sanitized file whole, the full file's test split; ids are `Mbpp/<number>`."""
        found = self.tasks(path)
        if "text" in found[0].record:
            found = [problem for problem in found if int(problem.record["task_id"]) in TEST_SPLIT]
        return found

    def tasks(self, path: Path) -> list[Problem]:
        """Read all splits of the full file."""
        found = need(records(path), path, "task_id", "code", "test_list")
        return [Problem(id=f"Mbpp/{record['task_id']}", record=record) for record in found]

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out the sentence and the code."""
        yield from prompt_passages(problem.id, problem.record.get("prompt") or problem.record["text"])
        yield Passage(problem.id, "solution", problem.record["code"])

    def task_of(self, record: Mapping[str, Any]) -> str:
        """Accept the number alone, as the authors publish it."""
        task = super().task_of(record)
        return task if task.startswith("Mbpp/") else f"Mbpp/{task}"

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask with the sentence and one assertion: as a docstring, or as an instruction."""
        if earlier:
            return None
        text, assertion = _text(problem), problem.record["test_list"][0].strip()
        if style == "base":
            return Prompt(f'"""\n{text}\n{assertion}\n"""\n', stop=STOP)
        return Prompt(f"{text}\n\n```python\n{assertion}\n```", prefix="```python", stop=("\n```\n",))

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Take the completion, or the code in the answer."""
        (text,) = texts
        return self.completed("", text, STOP) if style == "base" else self.code_in(problem, text)

    def wanted(self, problem: Problem) -> Collection[str]:
        """Return the names that the assertions use."""
        return Piece("\n".join(problem.record["test_list"])).used

    def repaired(self, problem: Problem, code: str) -> str:
        """Return the code alone: a task has no head."""
        return code

    def published(self, problem: Problem, record: Mapping[str, Any]) -> str:
        """Take `solution` or `completion`: both are whole programs here."""
        return super().published(Problem(problem.id, {"prompt": ""}), record)

    def canonical(self, problem: Problem) -> str:
        """Return the published code."""
        return problem.record["code"].replace("\r\n", "\n")

    def empty(self, problem: Problem) -> str:
        """Return a module without the function."""
        return "pass\n"

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Run the three assertions."""
        record = problem.record
        setup = "\n".join([*record.get("test_imports", []), record.get("test_setup_code", "")])
        secret = {"setup": setup, "tests": record["test_list"], "reference": self.canonical(problem)}
        return Case(program, "asserts", {"limit_s": 10.0}, Limits(cpu_s=20.0), secret=secret)


def _text(problem: Problem) -> str:
    text = problem.record.get("prompt") or problem.record["text"]
    return text.strip() if text.strip().endswith(".") else f"{text.strip()}."
