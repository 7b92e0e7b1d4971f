"""Let a model answer a benchmark's problems, by raw completion or by instructions, greedily or sampled."""

import logging
from pathlib import Path
from typing import Literal

from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Sampling
from selfcodealign.evaluation.rows import SampleRow
from selfcodealign.evaluation.sampling import Asked, answers
from selfcodealign.generation.engine import model_revision
from selfcodealign.generation.settings import EngineSettings, ModelSettings, read_settings
from selfcodealign.rows_io import write_rows
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def chosen(
    paper: Sampling, samples: int | None, temperature: float | None, top_p: float | None, max_tokens: int | None
) -> Sampling:
    """Return the sampling to use: the paper's, but for what is given."""
    return Sampling(
        n=paper.n if samples is None else samples,
        temperature=paper.temperature if temperature is None else temperature,
        top_p=paper.top_p if top_p is None else top_p,
        max_tokens=paper.max_tokens if max_tokens is None else max_tokens,
    )


def main(
    benchmark: str,
    problems: Path,
    rows: Path,
    work: Path,
    *,
    model: str,
    revision: str = "main",
    trust_remote_code: bool = False,
    style: Literal["base", "instruct", "chat"] = "instruct",
    run_seed: int = 3407,
    engine: dict[str, str] | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    mode: Literal["fixed", "reference"] = "fixed",
) -> None:
    """Let a model answer a benchmark's problems.

    Args:
        benchmark: name of the benchmark.
        problems: file of its problems.
        rows: answers (SampleRow), in the order of problems and samples.
        work: folder of the ledger that lets a killed run continue.
        model: Hub id or local folder, or its name on a server.
        revision: commit of a Hub model.
        trust_remote_code: run code that comes with the model.
        style: raw completion, this project's training layout, or the model's own chat template.
        run_seed: seed from which each answer's seed derives.
        engine: how the model is run, as NAME=VALUE (`selfcodealign.generation.settings.EngineSettings`).
        samples: answers per problem; the paper's number if not given, as are the following.
        temperature: 0 is greedy.
        top_p: nucleus.
        max_tokens: most new tokens of a turn.
        mode: `reference` stops a base model at any comment at the margin.
    """
    kind = base.get(benchmark)
    kind.reading = mode
    running = read_settings(EngineSettings, "--engine", engine or {})
    settings = ModelSettings(name=model, revision=revision, trust_remote_code=trust_remote_code)
    asked = Asked(
        benchmark=kind,
        style=style,
        sampling=chosen(kind.sampling, samples, temperature, top_p, max_tokens),
        model=settings,
        revision=model_revision(settings, running),
        run_seed=run_seed,
    )
    found = answers(asked, kind.problems(problems), running, work)
    count = write_rows(rows, SampleRow, found)
    log.info("%s: %d answers", kind.title, count)


if __name__ == "__main__":
    run(main)
