"""The tables of a run as a config names them: the paper's, and the one on whether verification pays."""

from pydantic import Field

from selfcodealign.config.section import Count, Section

BASE = "base"
"""Name of the untrained base model among the models evaluated."""
DOES_IT_PAY = "does_it_pay"
"""Table that is none of the paper's: ways to choose what a model learns from, beside each other."""


class Table(Section):
    """One of the paper's tables with this run's numbers, or `does_it_pay`, which compares arms of this run."""

    rows: dict[str, str | dict[str, str]] = Field(
        default={},
        description="row of the paper's table → model of this run, or column → model if each column is a "
        "different model (cross_model); the models of `paper_models` if empty",
    )
    parallel_jobs: Count = Field(
        default=4,
        description="generation jobs that ran in parallel; the sum of their hours is divided by this number "
        "(cost; the paper had four GPUs)",
    )
    arms: dict[str, list[str]] = Field(
        default={}, description="does_it_pay: name of an arm → its models, one for each seed, in the order of the table"
    )
