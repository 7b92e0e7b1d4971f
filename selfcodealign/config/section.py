"""What every section of the config shares: strictness, and the kinds of numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the config; unknown keys are an error, so that a misspelt key cannot pass silently."""

    model_config = ConfigDict(extra="forbid")
