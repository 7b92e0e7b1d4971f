"""Settings of benchmarks and of models that are only evaluated."""

from typing import Literal

from pydantic import Field

from selfcodealign.config.section import Changes, Count, Section
from selfcodealign.evaluation.base import Asking


class FetchBenchmark(Section):
    """Where a benchmark's problems come from."""

    file: str | list[str] | None = Field(
        default=None,
        description="local file of problems, in place of the authors' published one; several are joined (evalperf)",
    )
    version: str | None = Field(default=None, description="published version to fetch; the paper's if empty")

    @property
    def files(self) -> list[str]:
        """The local files; none if the problems are fetched."""
        return [self.file] if isinstance(self.file, str) else self.file or []


class SampleSolutions(Section):
    """How a benchmark's problems are answered. Empty keys take what the paper used."""

    samples: Count | None = Field(default=None, description="samples of each task")
    temperature: float | None = Field(default=None, ge=0, description="0 is greedy")
    top_p: float | None = Field(default=None, gt=0, le=1, description="nucleus: least probability mass sampled from")
    max_tokens: Count | None = Field(default=None, description="most new tokens of a turn")
    tasks: Count | None = Field(default=None, description="ask only so many tasks, the first ones; all if empty")


class BenchmarkRun(FetchBenchmark, SampleSolutions):
    """One benchmark as this run uses it. Empty sampling keys take what the paper used."""

    benchmark: str | None = Field(
        default=None,
        description="which benchmark; the entry's own name if empty, so that one may be run in several ways",
    )


class GivenModel(Section):
    """A model that is evaluated beside the ones trained here, for example the one the paper compares with."""

    model: str = Field(description="local folder or Hub id, or the name that its server knows it by")
    revision: str = Field(default="main", description="revision of a model from the Hub")
    style: Asking = Field(
        default="chat",
        description="asked by raw completion, in this project's training layout, or in its own chat template",
    )
    benchmarks: list[str] | None = Field(
        default=None, description="entries of `benchmarks` that it is evaluated on; all if empty"
    )
    engine: Changes = Field(
        default={},
        description="keys of `engine` that differ for it, for example its provider's server; with style `chat` and "
        "`api: chat` the server's own template asks it",
    )


class ScoreBenchmark(Section):
    """Turn verdicts into pass@k with intervals."""

    missing: Literal["exclude", "fail"] = Field(
        default="exclude", description="leave tasks without samples out of the means, or count them as failures"
    )
