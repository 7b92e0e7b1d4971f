"""The judge of docstrings: prompts of our own layout, and of the published one with its chained shuffles."""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from pydantic import BaseModel, ConfigDict, Field

from selfcodealign.errors import UserError
from selfcodealign.generation.prompts import EXAMPLE_HEADING, load_layout, read_text

SECTIONS = re.compile(r"\[(Function|Answer|Reason)\]\n")
DUMMY = 'def dummy():\n    """Return nothing; this function stands for none."""\n    return None'
"""Judged first in mode `reference`; its verdict also decides functions that are too long for a prompt (a defect of the
published code, `filter_dataset.py:342-346`)."""


class ReferenceLayout(BaseModel):
    """The published judge's prompt: an issue thread for each example, and how its answer is sampled."""

    model_config = ConfigDict(extra="forbid")

    shot: str
    query: str
    max_tokens: int = Field(gt=0)
    stop: list[str]


class JudgeExamples(BaseModel):
    """Where the judge's examples are."""

    model_config = ConfigDict(extra="forbid")

    file: str
    count: int = Field(gt=0)


class JudgeLayout(BaseModel):
    """A judge's prompt as its YAML file describes it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    examples: JudgeExamples
    shot: str
    query: str
    candidates: tuple[str, str] = Field(description="continuations that mean yes and no")
    reference: ReferenceLayout


@dataclass(frozen=True)
class JudgeExample:
    """A function with a verdict on its docstring; the reason is shown in the published layout only."""

    function: str
    answer: str
    reason: str


@dataclass(frozen=True)
class Judge:
    """Renders the judge's prompts."""

    layout: JudgeLayout
    system: str
    examples: list[JudgeExample]
    digest: str

    @property
    def label(self) -> str:
        """Name the layout and its exact content."""
        return f"{self.layout.name}@{self.digest}"

    def prompt(self, function: str) -> str:
        """Render the question about one function; it is answered by one of the layout's candidates."""
        parts = [self.system]
        for place, example in enumerate(self.examples, start=1):
            shot = self.layout.shot.format(function=example.function, answer=example.answer)
            parts.append(f"## Example {place}\n{shot}")
        parts.append(f"## Example {len(self.examples) + 1}\n{self.layout.query.format(function=function)}")
        return "\n\n".join(parts)

    def reference_prompt(self, function: str, order: tuple[int, ...]) -> str:
        """Render the published layout's question with the examples in this order (indices from 0)."""
        layout = self.layout.reference
        shots = []
        for number in order:
            example = self.examples[number]
            code, description = split_docstring(example.function)
            shots.append(
                layout.shot.format(function=code, description=description, answer=example.answer, reason=example.reason)
            )
        code, description = split_docstring(function)
        return "".join(shots) + layout.query.format(function=code, description=description)


def load_judge(path: Path, examples: Path | None = None) -> Judge:
    """Read a judge's layout and examples.

    Raises:
        UserError: a file is missing or malformed.
    """
    layout = load_layout(path, JudgeLayout)
    own = path.parent / layout.examples.file
    source = examples or own
    text = read_text(source)
    head, *bodies = EXAMPLE_HEADING.split(text.strip())
    if not head.startswith("### System\n") or not head.removeprefix("### System\n").strip():
        raise UserError(f"{source} must begin with the heading ### System and a text under it")
    if not bodies or (source.resolve() == own.resolve() and len(bodies) != layout.examples.count):
        raise UserError(f"{source} has {len(bodies)} examples; {path} says {layout.examples.count}")
    parsed = [_parse(number, body, source) for number, body in enumerate(bodies, start=1)]
    digest = hashlib.sha256(path.read_bytes() + b"\0" + text.encode()).hexdigest()[:12]
    return Judge(layout, head.removeprefix("### System\n").strip(), parsed, digest)


def _parse(number: int, body: str, source: Path) -> JudgeExample:
    before, *rest = SECTIONS.split(body.strip() + "\n")
    fields = dict(zip(rest[::2], rest[1::2], strict=True))
    if before or list(fields) not in (["Function", "Answer"], ["Function", "Answer", "Reason"]):
        raise UserError(
            f"{source}: example {number} must have the sections [Function] and [Answer], then maybe [Reason]"
        )
    answer = fields["Answer"].strip()
    if answer not in ("Yes", "No"):
        raise UserError(f"{source}: example {number}: the answer must be Yes or No, not {answer!r}")
    return JudgeExample(fields["Function"].rstrip(), answer, fields.get("Reason", "").strip())


def split_docstring(function: str) -> tuple[str, str]:
    """Return a function without its docstring, and the docstring's text, as the published code cuts them.

    The docstring is what stands between the first pair of triple quotes (`filter_dataset.py:319-329`).
    """
    start = function.find('"""')
    end = function.find('"""', start + 1)
    if start < 0 or end < 0:
        return function, ""
    first, _, rest = function[start + 3 : end].partition("\n")
    description = (first.strip() + "\n" + dedent(rest)).strip()
    return function[:start] + function[end + 3 :], description


def shuffled_orders(examples: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Yield the order of examples in the dummy's prompt, then in each row's, as the published code shuffles them.

    It shuffles one list in place for every prompt, so that each order depends on all before (`filter_dataset.py:184`).
    """
    rng = random.Random(seed)
    order = list(range(examples))
    while True:
        rng.shuffle(order)
        yield tuple(order)
