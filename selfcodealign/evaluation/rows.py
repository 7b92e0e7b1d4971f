"""The rows that evaluation keeps between its steps; each id is `<task>#<number of the sample>`."""

from pydantic import BaseModel, Field

from selfcodealign.rows import Row


class SampleRow(Row):
    """What a model wrote for one sample of one task."""

    task_id: str
    sample: int = Field(description="number of the sample among the task's, from 0")
    texts: list[str] = Field(description="what it wrote in each turn, the response prefix included")
    finish_reasons: list[str]
    style: str = Field(description="base, instruct or chat")
    model: str
    revision: str
    temperature: float
    top_p: float
    max_tokens: int
    seed: int = Field(description="sampling seed of the first turn, 63 bit")
    tokens_in: int
    tokens_out: int


class ProgramRow(Row):
    """The program read from a sample."""

    task_id: str
    sample: int
    program: str
    note: str = Field(description="what was done to the text or is wrong with it; empty if nothing")


class GroupVerdict(BaseModel):
    """What became of one group of tests."""

    name: str
    status: str = Field(description="pass, fail, timeout, memory or crashed")


class ExecutedRow(Row):
    """The verdict on a program."""

    task_id: str
    sample: int
    passed: bool = Field(description="every group that counts passed")
    groups: list[GroupVerdict]
    reason: str
    measures: str = Field(description="JSON object of what the judge measured")
    note: str
    cpu_s: float
    wall_s: float
    memory_mb: float
    isolation: str


def sample_id(task_id: str, sample: int) -> str:
    """Name one sample of one task."""
    return f"{task_id}#{sample}"
