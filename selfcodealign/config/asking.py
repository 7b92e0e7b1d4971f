"""What scripts that ask a model have in common beside their section: which model it is, and what it is asked with."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from selfcodealign.config.section import Mode, Section
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from selfcodealign.stage import PAIRS


class AskedModel(Section):
    """Which model a job asks, and how the model is run."""

    model: str = Field(description="Hub id or local folder, or the name that a server knows the model by")
    revision: str = Field(default="main", description="commit of a Hub model")
    trust_remote_code: bool = Field(default=False, description="run code that comes with the model")
    mode: Mode = "fixed"
    engine: Annotated[EngineSettings, PAIRS] = Field(default=EngineSettings(), description="how the model is run")
    work: Path = Field(description="folder of the ledger that lets a killed run continue")

    @property
    def given(self) -> ModelSettings:
        """The model."""
        return ModelSettings(name=self.model, revision=self.revision, trust_remote_code=self.trust_remote_code)

    @property
    def reference(self) -> bool:
        """Whether prompts, draws and rules are those of the published code."""
        return self.mode == "reference"


class Prompting(AskedModel):
    """What a job asks a model with."""

    prompts: Path = Field(description="layout of the prompts (YAML)")
    examples: Path | None = Field(default=None, description="examples file to use instead of the layout's own")
    earlier: list[Path] = Field(default=[], description="the shards before this one (mode `reference`)")
