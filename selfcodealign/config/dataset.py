"""Settings of the stages from a response to a published dataset."""

from typing import Annotated, Literal

from pydantic import Field

from selfcodealign.config.section import Count, Section, Share
from selfcodealign.config.seeds import DecontaminateSeeds

Selection = Literal["passing", "highest_mutation", "shortest", "consensus", "matrix", "random", "failing"]

RANKED = ("highest_mutation", "shortest", "consensus", "matrix")
"""Selections that choose among an instruction's passing responses by what they are like."""


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

    def contradiction(self, enough: int | None) -> str | None:
        """Say in one sentence, from a key's name on, why responses cannot be chosen so; None if they can.

        Args:
            enough: passing responses after which their task was not answered again.
        """
        if self.selection == "matrix" and self.pass_threshold < 1:
            return "pass_threshold: selection matrix goes by pooled assertions, not by a response's own; leave it out"
        if enough is None:
            return None
        stops = "write_responses.enough stops at"
        if self.selection == "random":
            return f"selection: {stops} a pass, so that a random response would pass too often; leave one of them out"
        if self.selection == "matrix":
            return f"selection: {stops} a pass of own tests, and matrix goes by everyone's; leave one of them out"
        if self.selection in RANKED and enough == 1:
            return f"selection: {self.selection} ranks passing responses, and {stops} the first; set it to 2 or more"
        if self.selection != "failing" and self.per_instruction > enough:
            return f"per_instruction: {self.per_instruction} are wanted, and {stops} {enough}; raise that"
        if (self.min_pass_rate, self.max_pass_rate) != (0.0, 1.0):
            key = "min_pass_rate" if self.min_pass_rate else "max_pass_rate"
            return f"{key}: {stops} too few responses to tell a task's pass rate; leave one of them out"
        if self.pass_threshold < 1:
            return f"pass_threshold: {stops} responses whose assertions all hold; set it to 1, or leave that out"
        return None


class WeighAssertions(Section):
    """Weigh the responses to a task and the single assertions of all of them by each other."""

    mutants: int = Field(
        default=10,
        ge=0,
        description="mutants of a task's best response, by which its pool is cut to the assertions that reject some; "
        "0: by wrong responses alone",
    )
    rejections: Count = Field(
        default=3, description="assertions of the pool that reject each wrong response and mutant, where so many do"
    )
    least_evidence: float = Field(
        default=0.27,
        ge=-1,
        le=1,
        description="least evidence, from -0.5 to 1, at which a task's best responses are believed",
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
