"""Settings of benchmarks and of models that are only evaluated."""

from typing import Literal

from pydantic import Field

from selfcodealign.config.section import Changes, Count, Section
from selfcodealign.evaluation.base import Asking


class FetchBenchmark(Section):
    """Where a benchmark's problems come from."""

    file: str | list[str] | None = Field(
        default=None,
        description="local file of problems, instead of the authors' published one; several files are joined "
        "(evalperf)",
    )
    version: str | None = Field(default=None, description="published version to fetch; that of the paper if empty")

    @property
    def files(self) -> list[str]:
        """The local files; none if the problems are fetched."""
        return [self.file] if isinstance(self.file, str) else self.file or []


class SampleSolutions(Section):
    """How a benchmark's problems are answered. Empty keys take what the paper used."""

    samples: Count | None = Field(default=None, description="samples of each task")
    temperature: float | None = Field(default=None, ge=0, description="0 is greedy")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="nucleus sampling: probability mass from which to sample"
    )
    max_tokens: Count | None = Field(default=None, description="maximum number of new tokens of a turn")
    tasks: Count | None = Field(default=None, description="number of tasks to use, the first ones; all if empty")


class BenchmarkRun(FetchBenchmark, SampleSolutions):
    """One benchmark as this run uses it. If sampling keys are empty, the paper's values are used."""

    benchmark: str | None = Field(
        default=None,
        description="which benchmark; the entry's own name if empty, so that several entries can use one benchmark",
    )


class GivenModel(Section):
    """A model that is only evaluated, for example one of the paper's other models."""

    model: str = Field(description="local folder or Hub id, or its name on its server")
    revision: str = Field(default="main", description="revision of the model on the Hub")
    style: Asking = Field(
        default="chat",
        description="prompted by raw completion, in this project's training layout, or in its own chat template",
    )
    benchmarks: list[str] | None = Field(
        default=None, description="entries of `benchmarks` on which it is evaluated; all if empty"
    )
    engine: Changes = Field(
        default={},
        description="keys of `engine` that differ for it, for example its provider's server; with style "
        "`chat` and `api: chat` the server's own template makes the prompt",
    )


class ScoreBenchmark(Section):
    """Turn verdicts into pass@k with intervals."""

    missing: Literal["exclude", "fail"] = Field(
        default="exclude", description="exclude tasks without samples from the means, or count them as failures"
    )
