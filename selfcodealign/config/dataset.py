"""Settings of the stages from a response to a published dataset."""

from typing import Annotated, Literal

from pydantic import Field

from selfcodealign.config.section import Count, Section, Share
from selfcodealign.config.seeds import DecontaminateSeeds

Selection = Literal["passing", "highest_mutation", "shortest", "consensus", "random", "failing"]


class SelectResponses(Section):
    """Choose the responses that a dataset is made of."""

    selection: Selection = Field(
        default="passing", description="which responses of an instruction may be chosen, and how"
    )
    per_instruction: Count = Field(default=1, description="most responses of one instruction (mode fixed)")
    pass_threshold: Share = Field(
        default=1.0, description="share of a response's assertions that must hold for it to count as passing"
    )
    min_pass_rate: Share = Field(
        default=0.0, description="lowest share of an instruction's responses that pass: leaves out tasks too hard"
    )
    max_pass_rate: Share = Field(
        default=1.0, description="highest share of an instruction's responses that pass: leaves out tasks too easy"
    )


class Dataset(SelectResponses):
    """One training set: a selection of a generation's responses."""

    generation: str = Field(default="self", description="name of an entry of `generations`")
    equal_rows_with: list[str] = Field(
        default=[], description="datasets to cut to the same number of rows, for fair ablations"
    )
    seed_shards: Count | None = Field(
        default=None,
        description="use only so many seed shards, the first ones: a smaller run that shares a larger one's files",
    )
    augment_share: Share | None = Field(default=None, description="this dataset's `augment_dataset.share`, if not that")


class SanitizeResponses(Section):
    """Split generations into response and tests, and drop those that break a rule of form."""

    max_words: Count = Field(default=200, description="longest instruction, in words")


class VerifyResponses(Section):
    """Run every response with its tests in the sandbox, and keep every row with its verdict."""

    timeout_s: float = Field(default=4.0, gt=0, description="CPU seconds a program may use; mode reference has 10")
    memory_mb: Count = Field(default=1024, description="memory of a program and its children; mode reference has 4096")
    reruns: int = Field(
        default=0, ge=0, description="further runs of each passing response; a changed verdict is flaky"
    )
    mutants: int = Field(
        default=0,
        ge=0,
        description="mutants of each passing response that its tests should reject; 0: no mutation_score",
    )
    isolation: Literal["auto", "apptainer", "bubblewrap", "none"] = Field(
        default="auto",
        description="the layer that keeps programs apart from the machine: the first that works, or this one",
    )
    i_understand: bool = Field(
        default=False, description="allow isolation none: model-written code may then do anything"
    )
    image: str | None = Field(
        default=None, description="image folder or SIF whose Python runs the programs; the sandbox image if empty"
    )


class DecontaminateDataset(DecontaminateSeeds):
    """Drop rows that overlap with one of the benchmarks that seeds are compared with, by the same search."""


class DedupDataset(Section):
    """Drop rows that say again what another row says."""

    columns: list[Literal["instruction", "response", "code_representation"]] = Field(
        default=["instruction", "response", "code_representation"],
        description="texts compared for near-duplicates, in this order; none switches the comparison off",
    )
    names: bool = Field(
        default=True, description="drop a row that defines exactly the names another defines (mode fixed)"
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.7, description="least Jaccard index of a near-duplicate; also decides the bands of the MinHash search"
    )
    permutations: Count = Field(default=250, description="values in a MinHash signature")
    ngram: Count = Field(default=5, description="tokens in a shingle")
    min_tokens: Count = Field(
        default=5, description="shorter texts have no near-duplicates; mode reference deletes them"
    )


class AugmentDataset(Section):
    """Show some of the tests in the instruction, as the paper's main run does."""

    share: Share = Field(default=0.5, description="share of the eligible instructions that are augmented; 0 for none")
    max_lines: Count = Field(default=5, description="most lines of tests to show (mode fixed)")


class BuildPreferences(Section):
    """Turn passing and failing responses into preference pairs, labelled responses and tasks with tests."""

    labels_per_class: Count = Field(
        default=2, description="most passing, and most failing, labelled responses of an instruction"
    )


class BuildViewer(Section):
    """Write a page in which a dataset's responses, kept and dropped, can be searched."""

    max_rows: Count = Field(
        default=50_000, description="rows on the page; all kept rows first, then a sample of the rest"
    )
