"""Settings of the stages in which a model writes: the judge, concepts, instructions and responses."""

from typing import Literal

from pydantic import Field

from selfcodealign.config.given import GivenTasks
from selfcodealign.config.section import Changes, Count, Mode, Section

SeedKind = Literal["functions", "snippets"]
WritingPath = Literal["concepts", "direct"]


class Prompts(Section):
    """The prompt template and the examples shown in every prompt."""

    template: str = Field(
        default="prompts/selfcodealign.yaml", description="layout of the examples file and of the prompts"
    )
    examples: str | None = Field(
        default=None, description="examples file to use in place of the template's own, for example the paper's"
    )


class Judging(Section):
    """Which judgements keep a seed."""

    threshold: float | None = Field(
        default=None,
        description=(
            "least log P(yes) - log P(no), in nats, at which a seed is kept; 0 if this and `keep_share` are empty; "
            "unused in mode `reference`"
        ),
    )
    keep_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=(
            "share of each shard's scored seeds that is kept, the best ones, in place of a threshold: for a judge that "
            "says yes or no to nearly all; not in mode `reference`"
        ),
    )
    keep_at_least: int = Field(
        default=0,
        ge=0,
        description="seeds that a shard keeps in any case: where fewer are kept, the best scored are; for trials",
    )
    reference_seed: int = Field(
        default=0,
        description="seed of the chained shuffles in mode `reference`; 0 is what the published run most likely had",
    )

    def contradiction(self, mode: Mode) -> str | None:
        """Say in one sentence, from a key's name on, why seeds cannot be chosen so; None if they can."""
        if self.keep_share is None:
            return None
        if self.threshold is not None:
            return "keep_share: threshold is given too, and only one of them can decide; leave one out"
        if mode == "reference":
            return "keep_share: mode reference keeps what the published code keeps; leave it out, or use mode fixed"
        return None


class JudgeSeeds(Judging):
    """Let a model judge whether a function's docstring says what it does (paper B.2)."""

    model: str | None = Field(
        default=None,
        description="judging model: a local folder or Hub id; the base model if empty (paper: starcoder2-15b)",
    )
    revision: str | None = Field(default=None, description="revision of a judge from the Hub")
    prompts: str = Field(default="prompts/judge.yaml", description="layout of the judge's prompt")
    examples: str | None = Field(default=None, description="examples file to use in place of the layout's own")


class Sampled(Section):
    """How the prompts of a stage are made and its answers sampled."""

    few_shots: int = Field(default=8, ge=0, description="examples in a prompt")
    example_sets: int = Field(
        default=64,
        ge=0,
        description="different ordered sets of examples; rows that share one share the prompt's beginning, which a "
        "model then encodes once; 0 draws a set for each row; unused in mode `reference`",
    )
    temperature: float = Field(default=0.7, ge=0, description="0 is greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus: least probability mass sampled from")
    max_tokens: Count = Field(default=1536, description="most new tokens; an answer that reaches it is dropped")


class ExtractConcepts(Sampled):
    """Read the programming concepts off each seed (S→C)."""


class WriteInstructions(Sampled):
    """Write a task from each list of concepts (C→I), or from each seed (S→I)."""

    language: Literal["Python"] = Field(
        default="Python",
        description="programming language asked for: the only one whose programs are read and run here",
    )
    categories: dict[str, float] = Field(
        default={"function implementation": 2, "class implementation": 1, "program implementation": 1},
        description="weight of each category of task; whole numbers in mode `reference`",
    )
    difficulties: dict[str, float] = Field(
        default={"easy": 1, "medium": 1, "hard": 1},
        description="weight of each difficulty; whole numbers in mode `reference`",
    )


class Stopping(Section):
    """How often a task is answered."""

    samples: Count = Field(default=10, description="answers per task; the most of them where `enough` is set")
    enough: Count | None = Field(
        default=None,
        description=(
            "passing answers after which a task is not answered again, in rounds of whole shards; if empty, every task "
            "gets all samples; not in mode `reference`"
        ),
    )
    samples_per_round: Count | None = Field(
        default=None,
        description=(
            "answers per task in a round, where `enough` is set; if empty, each round asks for as many as there are by "
            "then: 1, 1, 2, 4, ..."
        ),
    )

    def contradiction(self, mode: Mode, samples_per_request: int) -> str | None:
        """Say in one sentence, from a key's name on, why answers cannot be asked for so; None if they can.

        Args:
            mode: of the run.
            samples_per_request: samples that the writer's engine asks for together, under one seed.
        """
        if self.enough is None:
            return None
        if mode == "reference":
            return "enough: mode reference asks for all samples at once; leave it out, or use mode fixed"
        if self.enough >= self.samples:
            return f"enough: {self.enough} of {self.samples} samples saves none; raise samples, or leave it out"
        size = self.samples_per_round or 1
        if size >= self.samples:
            return f"samples_per_round: {size} of {self.samples} samples make one round, which saves none; lower it"
        if size % samples_per_request:
            return (
                f"enough: a round of {size} samples cuts requests of {samples_per_request} "
                "(engine.samples_per_request), whose samples share a seed; set that to 1, or samples_per_round to a "
                "multiple of it"
            )
        return None


class WriteResponses(Stopping, Sampled):
    """Answer each task several times, each answer with its own tests (I→R)."""

    few_shots: int = Field(default=1, ge=0, description="examples in a prompt")


class Generation(Section):
    """One way of writing data: which model writes, from which seeds, by which path."""

    model: str | None = Field(
        default=None,
        description="writer: a local folder or Hub id, or the name of an entry of `models`; the base model if empty",
    )
    revision: str = Field(default="main", description="revision of a writer from the Hub")
    seeds: SeedKind = Field(
        default="functions",
        description="what seeds are: filtered functions, or random snippets (ablation, paper table 10)",
    )
    path: WritingPath = Field(
        default="concepts", description="seed → concepts → instruction, or seed → instruction (ablation)"
    )
    seed: int | None = Field(default=None, description="run seed of this generation; the global seed if empty")
    trust_remote_code: bool = Field(default=False, description="run Python code that comes with this writer's model")
    answers: str | None = Field(
        default=None,
        description="name of another generation whose tasks this one answers instead of writing its own (distillation, "
        "paper table 11)",
    )
    tasks: GivenTasks | None = Field(
        default=None, description="tasks to answer in place of tasks that are written from seeds: a file, or a dataset"
    )
    engine: Changes = Field(
        default={}, description="keys of `engine` that differ for this writer, for example a teacher's server"
    )
    template: str | None = Field(
        default=None, description="layout of this writer's prompts in place of `prompts.template`"
    )
    responses: dict[str, str | int | float | bool | None] = Field(
        default={}, description="keys of `write_responses` that differ for this writer, for example temperature"
    )
