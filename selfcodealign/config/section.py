"""What every section of the config shares: strictness, the kinds of numbers, and the words that several sections use.

Parameters that many scripts have beside their section (`mode`, `run_seed`) have their type here too.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

Mode = Annotated[
    Literal["fixed", "reference"],
    Field(description="fixed: this project's rules; reference: the published code's, defects included"),
]
RunSeed = Annotated[int, Field(description="run seed; every random choice derives from it")]
RUN_SEED = 3407
Isolation = Annotated[
    Literal["auto", "apptainer", "bubblewrap", "none"],
    Field(description="the layer that keeps programs apart from the machine: the first that works, or this one"),
]
BASE = "base"
"""Name of the untrained base model among the models evaluated."""


class Section(BaseModel):
    """A part of the config; unknown keys are an error, so that a misspelt key cannot pass silently."""

    model_config = ConfigDict(extra="forbid")
