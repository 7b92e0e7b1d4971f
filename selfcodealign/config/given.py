"""Where rows lie that nobody here wrote: files, or a dataset of the Hub."""

from typing import Literal

from pydantic import Field

from selfcodealign.config.section import Count, Section

GivenTests = Literal["join", "replace"]


class Given(Section):
    """Rows of others, in files or on the Hub."""

    source: str | list[str] = Field(
        description="local files (parquet, JSON, JSON Lines), files hf://datasets/ORG/NAME@REVISION/PATH, or a Hub id"
    )
    revision: str = Field(default="main", description="revision, if the source is a Hub id")
    split: str = Field(default="train", description="split, if the source is a Hub id")

    @property
    def sources(self) -> list[str]:
        """Every source, where one is written alone too."""
        return [self.source] if isinstance(self.source, str) else self.source


class TaskColumns(Given):
    """Tasks of others, which a generation answers in place of tasks that a model writes."""

    instruction: str = Field(default="instruction", description="column of the task")
    tests: str | None = Field(
        default=None,
        description="column of a task's own tests, in Python; a task may have none; no column if empty",
    )
    licence: str | None = Field(default=None, description="column of a task's licence; `unknown` if empty")
    limit: Count | None = Field(
        default=None, description="number of tasks to answer, drawn by a hash of their content; all if empty"
    )


class GivenTasks(TaskColumns):
    """Tasks of others, and what their tests are for."""

    given_tests: GivenTests = Field(
        default="join",
        description="run a task's own tests after the tests of the response, or instead of them",
    )
