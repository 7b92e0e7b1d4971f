"""Settings of the pilot."""

from pydantic import Field

from selfcodealign.config.section import Count, Section


class RunPilot(Section):
    """Try the run on a few seeds, separately: rows and cost of each stage, and problems."""

    seeds: Count = Field(default=32, description="seeds that every generation uses")
    judged: Count = Field(
        default=4,
        description="seeds to judge, as a multiple of `seeds`, to estimate the share that the judge keeps; "
        "fewer if `judge_seeds.keep_share` sets this share",
    )
    tasks: Count = Field(default=5, description="tasks of each benchmark for the base model")
    train: bool = Field(default=True, description="train one model on the pilot's rows, to test memory and speed")
