"""Settings of the stages that run programs which a model wrote."""

from pydantic import Field

from selfcodealign.config.section import Count, Section
from selfcodealign.sandbox.settings import Isolation


class Isolated(Section):
    """How programs are kept apart from the machine."""

    isolation: Isolation = Field(
        default="auto",
        description="the layer that keeps programs apart from the machine: the first that works, or this one",
    )
    i_understand: bool = Field(
        default=False, description="allow isolation none: model-written code may then do anything"
    )


class RunResponses(Isolated):
    """How every rule runs responses with their tests."""

    timeout_s: float = Field(default=4.0, gt=0, description="CPU seconds a program may use; mode reference has 10")
    memory_mb: Count = Field(default=1024, description="memory of a program and its children; mode reference has 4096")
    image: str | None = Field(
        default=None, description="image folder or SIF whose Python runs the programs; the sandbox image if empty"
    )


class VerifyResponses(RunResponses):
    """Run every response with its tests in the sandbox, and keep every row with its verdict."""

    reruns: int = Field(
        default=0, ge=0, description="further runs of each passing response; a changed verdict is flaky"
    )
    mutants: int = Field(
        default=0,
        ge=0,
        description="mutants of each passing response that its tests should reject; 0: no mutation_score",
    )


class ExecutePrograms(Isolated):
    """Judge the programs in the sandbox."""

    python: str | None = Field(
        default=None,
        description="interpreter that runs the programs; the job's own if empty (an island's image has its own)",
    )
