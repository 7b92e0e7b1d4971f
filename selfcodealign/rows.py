"""The rows of every stage: typed, documented, and leading back to the function they came from.

Each class is one kind of row; `arrow_schema` turns it into the parquet schema. Ids chain:
function → seed → concepts → instruction → response (and its verdict) → dataset row.
Prompts are not stored: model, template, example numbers and seed are, and render the prompt again.
"""

import types
import typing
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import pyarrow as pa


class Row(BaseModel):
    """One row of a stage; unknown columns are an error."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="content-hash id of this row")
    parents: ClassVar[tuple[str, ...]] = ()
    """Columns that hold the ids of the rows this one was made from, nearest first."""


class FunctionRow(Row):
    """A top-level function with a docstring, exactly as its file has it (paper B.1)."""

    content: str = Field(description="source text of the function")
    repo: str = Field(description="repository the file came from, empty if unknown")
    path: str = Field(description="path of the file in its repository")
    line: int = Field(description="first line of the function in its file, from 1")
    licence: str = Field(description="SPDX names of the file's licences, joined by a comma")
    bindings: list[str] = Field(
        default_factory=list,
        description=(
            "what the file binds the function's words to: imports, literal constants, and bare names that are defined "
            "in another way; empty in mode `reference`"
        ),
    )


class SeedRow(Row):
    """A function on its way to becoming a seed: imports added, then checked and judged (paper B.2)."""

    parents: ClassVar[tuple[str, ...]] = ("function_id",)

    function_id: str = Field(description="id of the function (or snippet) it was made from")
    content: str = Field(description="source text shown to the model, missing imports added")
    imports: list[str] = Field(description="statements that were added: imports, and constants of the file")
    repo: str
    path: str
    line: int
    licence: str
    judge_score: float | None = Field(default=None, description="log P(yes) - log P(no), in nats; empty before judging")


class SampledRow(Row):
    """Columns that say how a model's text was sampled."""

    model: str = Field(description="Hub id or local name of the generating model")
    revision: str = Field(description="commit or content hash of the generating model")
    template: str = Field(description="name and hash of the prompt file and layout")
    examples: list[int] = Field(description="numbers of the few-shot examples in the prompt, in order, from 1")
    temperature: float
    top_p: float
    max_tokens: int = Field(description="most new tokens allowed")
    seed: int = Field(description="sampling seed of this row, 63 bit")
    tokens_in: int = Field(description="tokens of the prompt")
    tokens_out: int = Field(description="tokens generated, end token not counted")
    reasoning: str = Field(
        default="", description="what a model that thinks wrote before its answer; never part of any other column"
    )


class ConceptRow(SampledRow):
    """Concepts read off a seed (S→C, paper 3.2)."""

    parents: ClassVar[tuple[str, ...]] = ("seed_id",)

    seed_id: str
    concepts: list[str]


class InstructionRow(SampledRow):
    """A task written from concepts (C→I) or, in the ablation, from the seed itself (S→I)."""

    parents: ClassVar[tuple[str, ...]] = ("concept_id", "seed_id")

    concept_id: str | None = Field(description="empty on the direct path (S→I)")
    seed_id: str
    instruction: str
    concepts: list[str]
    category: str = Field(description="kind of task asked for, drawn by weight; empty on the direct path")
    difficulty: str = Field(description="difficulty asked for; empty on the direct path")
    language: str


class TaskRow(InstructionRow):
    """A task that was given, with what there is to know of it; it stands where a written one would, its own seed."""

    function_id: str = Field(description="id of the task itself: no function is behind it")
    repo: str = Field(description="the source that it was read from")
    path: str = Field(description="its row there, from 1")
    licence: str
    given_tests: str = Field(description="tests that came with it, in Python; empty if none did")


class ResponseRow(SampledRow):
    """One of n responses with tests to an instruction (I→R, paper 3.3)."""

    parents: ClassVar[tuple[str, ...]] = ("instruction_id",)

    instruction_id: str
    seed_id: str
    concept_id: str | None
    instruction: str
    concepts: list[str]
    category: str
    difficulty: str
    language: str
    sample: int = Field(description="number of this sample among the instruction's n, from 0")
    raw: str = Field(description="the generation as it came")
    response: str | None = Field(default=None, description="the response part, after sanitize_responses")
    tests: str | None = Field(default=None, description="the tests part, after sanitize_responses")
    finish_reason: str


class VerdictRow(ResponseRow):
    """A response with the sandbox's verdict on it (paper 3.4); the id stays the response's."""

    verdict: str = Field(description="pass, fail, error, timeout, memory, vacuous, crashed or flaky")
    passed: bool
    reason: str = Field(description="what decided the verdict, empty for a plain pass")
    stdout: str
    stderr: str
    cpu_s: float
    wall_s: float
    memory_mb: float
    isolation: str = Field(description="layer the program ran in: apptainer, bubblewrap or none")
    assertions_held: int | None = Field(default=None, description="assertions that ran and held, where counted")
    assertions_run: int | None = Field(default=None, description="assertions that ran, where counted")
    mutation_score: float | None = Field(
        default=None, description="share of mutated responses that the tests reject, where measured"
    )


class SelectedRow(Row):
    """A response chosen for a dataset, before it becomes a training row."""

    parents: ClassVar[tuple[str, ...]] = ("response_id",)

    instruction: str
    response: str
    tests: str
    code_representation: str = Field(description="top-level definitions without docstrings, for deduplication")
    response_id: str
    instruction_id: str
    concept_id: str | None
    seed_id: str
    category: str
    difficulty: str
    concepts: list[str]
    model: str
    revision: str
    passed: bool
    verdict: str
    pass_rate: float = Field(
        description="share of the instruction's responses that passed; estimated where they were asked for in rounds"
    )
    mutation_score: float | None = None


class Message(BaseModel):
    """One turn of a chat."""

    role: str
    content: str


class GivenRow(Row):
    """A training row of a dataset of others."""

    instruction: str
    response: str


class DatasetRow(Row):
    """A training row as it is published."""

    parents: ClassVar[tuple[str, ...]] = ("response_id",)

    instruction: str
    response: str
    messages: list[Message]
    tests: str
    response_id: str
    instruction_id: str
    concept_id: str | None
    seed_id: str
    function_id: str
    category: str
    difficulty: str
    concepts: list[str]
    model: str
    revision: str
    verdict: str
    passed: bool
    pass_rate: float
    mutation_score: float | None = None
    repo: str
    path: str
    licence: str


@cache
def arrow_schema(row: type[BaseModel], *extra: str) -> "pa.Schema":
    """Return the parquet schema of a kind of row; `extra` names string columns to add at the end."""
    import pyarrow as pa

    fields = [pa.field(name, _arrow_type(info.annotation)) for name, info in row.model_fields.items()]
    return pa.schema(fields + [pa.field(name, pa.string()) for name in extra])


def _arrow_type(kind: Any) -> "pa.DataType":
    import pyarrow as pa

    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if kind in plain:
        return plain[kind]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        (rest,) = (item for item in typing.get_args(kind) if item is not type(None))
        return _arrow_type(rest)
    if typing.get_origin(kind) is list:
        return pa.list_(_arrow_type(typing.get_args(kind)[0]))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return pa.struct([pa.field(name, _arrow_type(info.annotation)) for name, info in kind.model_fields.items()])
    raise TypeError(f"no parquet type for {kind!r}")
