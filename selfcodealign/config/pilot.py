"""Settings of the pilot."""

from pydantic import Field

from selfcodealign.config.section import Count, Section


class RunPilot(Section):
    """Try the run on a few seeds, in a run of its own: what each stage keeps, what it takes, and what looks wrong."""

    seeds: Count = Field(default=32, description="seeds that every generation writes about")
    judged: Count = Field(
        default=4,
        description="as many times more seeds are judged, which is cheap, so that the judge's share is known; fewer "
        "where `judge_seeds.keep_share` gives that share",
    )
    tasks: Count = Field(default=5, description="tasks of each benchmark that the base model is asked")
    train: bool = Field(
        default=True, description="train one model on the pilot's rows, to see that it fits and how fast"
    )
