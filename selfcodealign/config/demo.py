"""Settings of the embedded demo: its shards, its benchmark and the recipe of its model."""

from typing import Literal

from pydantic import Field

from selfcodealign.config.section import Count, Section


class MakeDemoShards(Section):
    """Write the demo's raw shards (toy functions and modules of the standard library)."""

    seed: int = Field(default=0, description="random seed of the toy functions")
    functions: Count = Field(default=560, description="valid functions of the toy domain, before any filter")
    library_files: int = Field(default=150, ge=0, description="modules of the running interpreter's standard library")


class MakeDemoBenchmark(Section):
    """Write the demo's benchmark of held-out toy tasks."""

    split: Literal["test", "dev"] = Field(
        default="test", description="dev is for the choice of settings, test for reporting"
    )
    count: Count = Field(default=200, description="tasks")
    seed: int = Field(default=0, description="random seed of parameters and order")


class MakeRehearsalFile(Section):
    """Write toy tasks in the formats of the paper's benchmarks, to test its tables."""

    count: Count = Field(default=12, description="records in a file")
    seed: int = Field(default=0, description="random seed of the tasks")


class PretrainDemoModel(Section):
    """Train the toy model from scratch; no other target needs this."""

    seed: int = Field(default=0, description="random seed of weights and corpus")
    steps: Count = Field(default=4_200, description="optimizer steps; about 3,500 tokens each")
