"""The paper's tables as a config names them."""

from pydantic import Field

from selfcodealign.config.section import Count, Section

BASE = "base"
"""Name of the untrained base model among the models evaluated."""


class Table(Section):
    """One of the paper's tables, filled with this run's numbers."""

    rows: dict[str, str | dict[str, str]] = Field(
        default={},
        description="row of the paper's table → model of this run, or column → model where each column is a model of "
        "its own (cross_model); the models of `paper_models` if empty",
    )
    parallel_jobs: Count = Field(
        default=4,
        description="jobs of generation that ran side by side, by which their added-up hours are divided (cost; the "
        "paper had four GPUs)",
    )
