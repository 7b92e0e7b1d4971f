"""Read an examples file and its layout, and render the prompts of the four modes byte for byte.

A template is data: `prompts/<name>.yaml` says how the examples file beside it is divided and how a prompt is laid out.
The formats are those of the reference pipeline (`self_ossinstruct.py` and its few-shot file), so the paper's own file,
given in place of ours, renders to the paper's own prompts.
"""

import hashlib
import re
import string
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from selfcodealign.errors import UserError

Mode = Literal["S->C", "C->I", "S->I", "I->R"]
"""What a prompt asks for: concepts from a seed, an instruction from concepts or from a seed, a response with tests."""

Kind = TypeVar("Kind", bound=BaseModel)

EXAMPLE_HEADING = re.compile(r"### Example \d+")


class ModeLayout(BaseModel):
    """How one mode's prompt is laid out: an example, the open question at the end, and where an answer ends."""

    model_config = ConfigDict(extra="forbid")

    shot: str = Field(description="one example; placeholders in braces")
    query: str = Field(description="the unanswered example that ends the prompt")
    stop: list[str] = Field(description="an answer ends before the first of these")
    reference_stop: list[str] | None = Field(
        default=None, description="the reference's stop strings, used in mode `reference`; `stop` if absent"
    )
    system: str | None = Field(default=None, description="whose system text to take; the mode's own if absent")
    system_suffix: str = Field(default="", description="sentence added to the system text")


class ExamplesLayout(BaseModel):
    """How an examples file is divided."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(description="examples file, relative to the template")
    count: int = Field(
        description="number of examples that this very file has; another file may have more or fewer", gt=0
    )
    systems: list[Mode] = Field(description="system texts at the top of the file, in their order")
    sections: list[str] = Field(description="sections of an example, in their order")
    properties: list[str] = Field(description="lines of the section Property, in their order")


class Layout(BaseModel):
    """A prompt template as its YAML file describes it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    examples: ExamplesLayout
    modes: dict[Mode, ModeLayout]

    @model_validator(mode="after")
    def _placeholders_exist(self) -> "Layout":
        known = {section.lower() for section in self.examples.sections} | set(self.examples.properties) | {"number"}
        for mode, layout in self.modes.items():
            for part in (layout.shot, layout.query):
                used = {field for _, field, _, _ in string.Formatter().parse(part) if field is not None}
                if unknown := used - known:
                    raise ValueError(
                        f"mode {mode} uses the placeholder {{{sorted(unknown)[0]}}}; known: {', '.join(sorted(known))}"
                    )
            if (layout.system or mode) not in self.examples.systems:
                raise ValueError(f"mode {mode} has no system text among {', '.join(self.examples.systems)}")
        return self


@dataclass(frozen=True)
class Example:
    """One worked example: a snippet, the properties of a task inspired by it, the task, and its solution with tests."""

    number: int
    fields: dict[str, str]
    """Text of each section and property by lower-case name; concepts joined by a comma and a space."""

    @property
    def concepts(self) -> list[str]:
        """Return the example's concepts."""
        return self.fields["concepts"].split(", ")


@dataclass(frozen=True)
class Template:
    """An examples file together with its layout; renders prompts."""

    layout: Layout
    systems: dict[str, str]
    examples: list[Example]
    digest: str
    """First 12 hex digits of the sha256 of layout and examples file."""

    @property
    def label(self) -> str:
        """Name the template and its exact content, as rows record it."""
        return f"{self.layout.name}@{self.digest}"

    @cached_property
    def _shots(self) -> dict[tuple[str, int, int], str]:
        return {}

    def mode(self, mode: Mode) -> ModeLayout:
        """Return a mode's layout.

        Raises:
            UserError: the template has no such mode.
        """
        if mode not in self.layout.modes:
            raise UserError(
                f"prompt template {self.layout.name} has no mode {mode}; it has {', '.join(self.layout.modes)}"
            )
        return self.layout.modes[mode]

    def stop(self, mode: Mode, *, reference: bool = False) -> list[str]:
        """Return the strings that end an answer.

        The reference stops at `## Example` anywhere, which also cuts answers with a heading such as `### Example usage`
        (a defect, kept for mode `reference`); otherwise the heading must begin a line, as the prompt's own do.
        """
        layout = self.mode(mode)
        return list(layout.reference_stop if reference and layout.reference_stop is not None else layout.stop)

    def headings(self, mode: Mode) -> frozenset[str]:
        """Return the lines with which a mode's prompt divides an example; an answer that has one went past its end."""
        layout = self.mode(mode)
        lines = (layout.shot + "\n" + layout.query).splitlines()
        return frozenset(line.strip() for line in lines if line.startswith(("#", "<")) and "{" not in line)

    def prefix(self, mode: Mode, examples: tuple[int, ...]) -> str:
        """Render what all prompts with these examples (numbers from 1, in order) share: system text and examples."""
        layout = self.mode(mode)
        parts = [self.systems[layout.system or mode] + layout.system_suffix]
        parts += [
            f"## Example {place}\n{self._shot(mode, layout, number, place)}"
            for place, number in enumerate(examples, start=1)
        ]
        return "\n\n".join(parts) + "\n\n"

    def _shot(self, mode: Mode, layout: ModeLayout, number: int, place: int) -> str:
        key = (mode, number, place)
        if key not in self._shots:
            self._shots[key] = layout.shot.format(**self.examples[number - 1].fields, number=place)
        return self._shots[key]

    def render(self, mode: Mode, examples: tuple[int, ...], **fields: str) -> str:
        """Render one prompt.

        Args:
            mode: what the prompt asks for.
            examples: numbers of the few-shot examples from 1, in their order in the prompt.
            **fields: text of each placeholder of the mode's query.
        """
        place = len(examples) + 1
        query = self.mode(mode).query.format(**fields, number=place)
        return f"{self.prefix(mode, examples)}## Example {place}\n{query}".rstrip()


def load_template(path: Path, examples: Path | None = None) -> Template:
    """Read a template and its examples file.

    Args:
        path: layout (`prompts/<name>.yaml`).
        examples: examples file to use in place of the one that the layout names, for example the paper's own.

    Raises:
        UserError: a file is missing or malformed; the sentence names the file, the example and the section.
    """
    layout = load_layout(path, Layout)
    own = path.parent / layout.examples.file
    source = examples or own
    text = read_text(source)
    systems, parsed = parse_examples(text, layout.examples, source)
    if source.resolve() == own.resolve() and len(parsed) != layout.examples.count:
        raise UserError(f"{source} has {len(parsed)} examples; {path} says {layout.examples.count}")
    digest = hashlib.sha256(path.read_bytes() + b"\0" + text.encode()).hexdigest()[:12]
    return Template(layout, systems, parsed, digest)


def load_layout(path: Path, kind: type[Kind]) -> Kind:
    """Read and check a YAML layout.

    Raises:
        UserError: the file is missing, is not YAML or breaks the schema; the sentence names file and key.
    """
    try:
        data: Any = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise UserError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, its line ends made uniform.

    Raises:
        UserError: it is missing or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"prompt file {path} does not exist; correct the path in the config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"prompt file {path} cannot be read as UTF-8 text: {error}") from error


def parse_examples(text: str, layout: ExamplesLayout, source: Path) -> tuple[dict[str, str], list[Example]]:
    """Divide an examples file into system texts by mode and examples.

    Does what the reference does (`self_ossinstruct.py:327-370`). A snippet keeps its leading indentation; every other
    text is stripped.

    Raises:
        UserError: a heading, section or property is missing, out of order or repeated.
    """
    head, *bodies = EXAMPLE_HEADING.split(text.strip())
    systems = _parse_systems(head, layout, source)
    if not bodies:
        raise UserError(f"{source} has no example; each begins with a line such as ### Example 1")
    return systems, [_parse_example(number, body, layout, source) for number, body in enumerate(bodies, start=1)]


def _parse_systems(head: str, layout: ExamplesLayout, source: Path) -> dict[str, str]:
    headings = [f"### System: {mode}" for mode in layout.systems]
    before, *texts = re.split("|".join(map(re.escape, headings)), head)
    found = re.findall("|".join(map(re.escape, headings)), head)
    if found != headings or before.strip():
        raise UserError(f"{source} must begin with the headings {', '.join(headings)}, once each and in this order")
    systems = {mode: body.strip() for mode, body in zip(layout.systems, texts, strict=True)}
    for mode, body in systems.items():
        if not body:
            raise UserError(f"{source}: the system text under ### System: {mode} is empty")
    return systems


def _parse_example(number: int, body: str, layout: ExamplesLayout, source: Path) -> Example:
    # Only the snippet may begin with blanks, so the body is not stripped before its sections are divided.
    headings = [f"[{section}]" for section in layout.sections]
    pattern = "|".join(re.escape(heading) + r"\n" for heading in headings)
    before, *texts = re.split(pattern, body.strip() + "\n")
    found = [heading.rstrip("\n") for heading in re.findall(pattern, body.strip() + "\n")]
    if found != headings or before:
        raise UserError(
            f"{source}: example {number} must have the sections {', '.join(headings)}, once each and in this order; "
            f"it has {', '.join(found) or 'none of them'}"
        )
    fields: dict[str, str] = {}
    for section, section_text in zip(layout.sections, texts, strict=True):
        fields[section.lower()] = section_text.rstrip() if section == "Code" else section_text.strip()
    empty = [section for section in layout.sections if not fields[section.lower()].strip()]
    if empty:
        raise UserError(f"{source}: example {number}: section [{empty[0]}] is empty")
    fields |= _parse_properties(number, fields.pop("property"), layout, source)
    return Example(number, fields)


def _parse_properties(number: int, text: str, layout: ExamplesLayout, source: Path) -> dict[str, str]:
    lines = text.splitlines()
    names = [line.partition(":")[0].strip() for line in lines]
    if names != layout.properties:
        raise UserError(
            f"{source}: example {number}: [Property] must have the lines {', '.join(layout.properties)} in this order; "
            f"it has {', '.join(names)}"
        )
    values = {name: line.partition(":")[2].strip() for name, line in zip(names, lines, strict=True)}
    if "concepts" in values:
        values["concepts"] = ", ".join(concept.strip() for concept in values["concepts"].split(","))
    return values
