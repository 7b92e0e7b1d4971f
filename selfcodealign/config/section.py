"""What every section of the config shares: strictness, the kinds of numbers, and the words that several sections use.

A parameter that many scripts have beside their section (`mode`) has its type here too.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

RUN_SEED = 3407
"""Seed of the paper's run."""

Mode = Annotated[
    Literal["fixed", "reference"],
    Field(description="fixed: this project's rules; reference: the rules of the published code with its defects"),
]

Changes = dict[str, str | int | float | bool | dict[str, Any]]
"""Keys of another section that differ for one entry."""


class Section(BaseModel):
    """A part of the config; unknown keys are an error, so that a misspelt key cannot pass silently."""

    model_config = ConfigDict(extra="forbid")
