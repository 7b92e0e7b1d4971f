"""The rows of the published configurations besides the training set: preferences and reinforcement learning."""

from typing import ClassVar

from pydantic import Field

from selfcodealign.rows import Message, Row


class PairRow(Row):
    """A passing and a failing response to one instruction, in the conversational layout that DPO trainers read."""

    parents: ClassVar[tuple[str, ...]] = ("chosen_id", "rejected_id")

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    chosen_id: str = Field(description="id of the passing response")
    rejected_id: str = Field(description="id of the failing response")
    rejected_verdict: str
    instruction_id: str
    pass_rate: float


class LabelRow(Row):
    """One response with a label, true if it passed, in the layout that KTO trainers read."""

    parents: ClassVar[tuple[str, ...]] = ("response_id",)

    prompt: list[Message]
    completion: list[Message]
    label: bool
    response_id: str
    verdict: str
    instruction_id: str


class TaskRow(Row):
    """An instruction with tests and the share of responses that passed theirs, for reinforcement learning."""

    parents: ClassVar[tuple[str, ...]] = ("response_id",)

    prompt: list[Message]
    instruction: str
    tests: str
    pass_rate: float
    category: str
    difficulty: str
    response_id: str = Field(description="id of the response that the tests were written with")
    instruction_id: str


def turn(role: str, content: str) -> dict[str, str]:
    """Make one turn of a chat."""
    return {"role": role, "content": content}
