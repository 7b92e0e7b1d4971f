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
        default="passing", description="which responses of an instruction can be chosen, and how"
    )
    per_instruction: Count = Field(default=1, description="maximum number of responses of one instruction (mode fixed)")
    pass_threshold: Share = Field(
        default=1.0, description="share of a response's assertions that must pass for it to count as passing"
    )
    min_pass_rate: Share = Field(
        default=0.0,
        description="minimum share of an instruction's responses that pass, to exclude tasks that are too hard",
    )
    max_pass_rate: Share = Field(
        default=1.0,
        description="maximum share of an instruction's responses that pass, to exclude tasks that are too easy",
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
    """Weight the responses to a task and all their single assertions by each other."""

    mutants: int = Field(
        default=10,
        ge=0,
        description="mutants of a task's best response; the pool keeps only assertions that reject mutants or "
        "wrong responses; 0: only wrong responses are used",
    )
    rejections: Count = Field(
        default=3,
        description="number of assertions in the pool that reject each wrong response and mutant, if so many do",
    )
    least_evidence: float = Field(
        default=0.27,
        ge=-1,
        le=1,
        description="minimum evidence, from -0.5 to 1, for which a task's best responses are believed",
    )


class Dataset(SelectResponses):
    """One training set: a selection of a generation's responses."""

    generation: str = Field(default="self", description="name of an entry of `generations`")
    equal_rows_with: list[str] = Field(
        default=[], description="datasets to reduce to the same number of rows, for fair ablations"
    )
    seed_shards: Count | None = Field(
        default=None,
        description="number of seed shards to use, the first ones, for a smaller run that shares files of a larger one",
    )
    augment_share: Share | None = Field(
        default=None, description="`augment_dataset.share` of this dataset, if it differs"
    )


class SanitizeResponses(Section):
    """Split samples into response and tests, and drop those that violate a rule of form."""

    max_words: Count = Field(default=200, description="maximum length of an instruction, in words")


class DecontaminateDataset(DecontaminateSeeds):
    """Drop rows that overlap with a benchmark; same benchmarks and same search as for seeds."""


class DedupDataset(Section):
    """Drop rows that repeat another row."""

    columns: list[Literal["instruction", "response", "code_representation"]] = Field(
        default=["instruction", "response", "code_representation"],
        description="texts compared for near-duplicates, in this order; an empty list switches the comparison off",
    )
    names: bool = Field(
        default=True, description="drop a row that defines exactly the same names as another row (mode fixed)"
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.7,
        description="minimum Jaccard index of a near-duplicate; also decides the bands of the MinHash search",
    )
    permutations: Count = Field(default=250, description="values in a MinHash signature")
    ngram: Count = Field(default=5, description="tokens in a shingle")
    min_tokens: Count = Field(
        default=5, description="shorter texts have no near-duplicates; mode reference deletes them"
    )


class AugmentDataset(Section):
    """Show some of the tests in the instruction, as the paper's main run does."""

    share: Share = Field(default=0.5, description="share of the eligible instructions to augment; 0 for none")
    max_lines: Count = Field(default=5, description="maximum lines of tests to show (mode fixed)")


class BuildPreferences(Section):
    """Turn passing and failing responses into preference pairs, labelled responses and tasks with tests."""

    labels_per_class: Count = Field(
        default=2, description="maximum number of passing, and of failing, labelled responses of an instruction"
    )


class BuildViewer(Section):
    """Write a page to search a dataset's responses, kept and dropped."""

    max_rows: Count = Field(
        default=50_000, description="rows on the page; all kept rows first, then a sample of the rest"
    )
