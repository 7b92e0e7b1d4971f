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
        default=None, description="examples file to use instead of the template's own, for example the paper's"
    )


class Judging(Section):
    """Which judgements keep a seed."""

    threshold: float | None = Field(
        default=None,
        description=(
            "minimum of log P(yes) - log P(no), in nats, for a seed to be kept; 0 if this and "
            "`keep_share` are empty; unused in mode `reference`"
        ),
    )
    keep_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=(
            "share of each shard's seeds to keep, those with the highest scores, instead of a "
            "threshold: for a judge that answers yes or no to nearly all; not in mode `reference`"
        ),
    )
    keep_at_least: int = Field(
        default=0,
        ge=0,
        description="minimum number of seeds that a shard keeps, for trials: if fewer pass, those with the "
        "highest scores are added",
    )
    reference_seed: int = Field(
        default=0,
        description="random seed of the chained shuffles in mode `reference`; 0 is the most likely value of "
        "the published run",
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
    """Let a model judge whether a docstring describes its function (paper B.2)."""

    model: str | None = Field(
        default=None,
        description="model that judges: a local folder or Hub id; the base model if empty (paper: starcoder2-15b)",
    )
    revision: str | None = Field(default=None, description="revision of the judge on the Hub")
    prompts: str = Field(default="prompts/judge.yaml", description="layout of the judge's prompt")
    examples: str | None = Field(default=None, description="examples file to use instead of the layout's own")


class Sampled(Section):
    """How the prompts of a stage are made and its answers sampled."""

    few_shots: int = Field(default=8, ge=0, description="examples in a prompt")
    example_sets: int = Field(
        default=64,
        ge=0,
        description="number of different ordered sets of examples; rows with the same set share a prompt "
        "prefix, which a model then encodes once; with 0 each row has its own set; unused in mode "
        "`reference`",
    )
    temperature: float = Field(default=0.7, ge=0, description="0 is greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus sampling: probability mass from which to sample")
    max_tokens: Count = Field(
        default=1536, description="maximum number of new tokens; an answer that reaches it is dropped"
    )


class ExtractConcepts(Sampled):
    """Extract the programming concepts of each seed (S→C)."""


class WriteInstructions(Sampled):
    """Write a task from each list of concepts (C→I), or from each seed (S→I)."""

    language: Literal["Python"] = Field(
        default="Python",
        description="programming language of the tasks; only Python programs can be read and run",
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

    samples: Count = Field(default=10, description="responses per task; the maximum if `enough` is set")
    enough: Count | None = Field(
        default=None,
        description=(
            "number of passing responses after which a task gets no more, in rounds of whole shards; "
            "if empty, every task gets all samples; not in mode `reference`"
        ),
    )
    samples_per_round: Count | None = Field(
        default=None,
        description=(
            "responses per task in a round, if `enough` is set; if empty, each round doubles the "
            "number of responses: 1, 1, 2, 4, ..."
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
    """Write several responses to each task, each with its own tests (I→R)."""

    few_shots: int = Field(default=1, ge=0, description="examples in a prompt")


class Generation(Section):
    """One way of writing data: which model writes, from which seeds, by which path."""

    model: str | None = Field(
        default=None,
        description="model that writes: a local folder or Hub id, or the name of an entry of `models`; the "
        "base model if empty",
    )
    revision: str = Field(default="main", description="revision of this model on the Hub")
    seeds: SeedKind = Field(
        default="functions",
        description="kind of seeds: filtered functions, or random snippets (ablation, paper table 10)",
    )
    path: WritingPath = Field(
        default="concepts", description="seed → concepts → instruction, or seed → instruction (ablation)"
    )
    seed: int | None = Field(default=None, description="random seed of this generation; that of the run if empty")
    trust_remote_code: bool = Field(default=False, description="run Python code of this model")
    answers: str | None = Field(
        default=None,
        description="another generation, whose tasks this one answers instead of writing its own "
        "(distillation, paper table 11)",
    )
    tasks: GivenTasks | None = Field(
        default=None, description="your own tasks to answer, instead of tasks written from seeds: a file, or a dataset"
    )
    engine: Changes = Field(
        default={}, description="keys of `engine` that differ for this model, for example a teacher's server"
    )
    template: str | None = Field(
        default=None, description="layout of this generation's prompts, instead of `prompts.template`"
    )
    responses: dict[str, str | int | float | bool | None] = Field(
        default={}, description="keys of `write_responses` that differ for this generation, for example temperature"
    )
