"""Settings of the stages that run programs which a model wrote."""

from pydantic import Field

from selfcodealign.config.section import Count, Section
from selfcodealign.sandbox.settings import Isolation


class Isolated(Section):
    """How programs are kept apart from the machine."""

    isolation: Isolation = Field(
        default="auto",
        description="layer that isolates programs from the machine: the first that works, or this one",
    )
    i_understand: bool = Field(
        default=False, description="allow isolation none: code written by a model may then do anything"
    )


class RunResponses(Isolated):
    """How every rule runs responses with their tests."""

    timeout_s: float = Field(
        default=4.0, gt=0, description="CPU time limit of a program in seconds; 10 in mode reference"
    )
    memory_mb: Count = Field(
        default=1024, description="memory limit of a program and its children; 4096 in mode reference"
    )
    image: str | None = Field(
        default=None, description="image folder or SIF whose Python runs the programs; the sandbox image if empty"
    )


class VerifyResponses(RunResponses):
    """Run every response with its tests in the sandbox, and keep every row with its verdict."""

    reruns: int = Field(
        default=0, ge=0, description="additional runs of each passing response; if the verdict changes, it is flaky"
    )
    mutants: int = Field(
        default=0,
        ge=0,
        description="mutants of each passing response, which its tests should reject; 0: no mutation_score",
    )


class ExecutePrograms(Isolated):
    """Judge the programs in the sandbox."""

    python: str | None = Field(
        default=None,
        description="interpreter that runs the programs; the job's own if empty (each image has its own)",
    )
