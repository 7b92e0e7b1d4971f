"""Let a model answer a benchmark's problems, by raw completion or by instructions, greedily or sampled."""

import logging
from dataclasses import replace
from pathlib import Path

from selfcodealign.config.asking import AskedModel
from selfcodealign.config.evaluation import SampleSolutions
from selfcodealign.config.section import RUN_SEED
from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Asking, Sampling
from selfcodealign.evaluation.rows import SampleRow
from selfcodealign.evaluation.sampling import Asked, answers
from selfcodealign.generation.engine import model_revision
from selfcodealign.rows_io import write_rows
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def chosen(paper: Sampling, settings: SampleSolutions) -> Sampling:
    """Return the sampling to use: the paper's, but for what is given."""
    given = settings.model_dump(exclude_none=True, exclude={"tasks"})
    return replace(paper, **{"n" if key == "samples" else key: value for key, value in given.items()})


def main(
    benchmark: str,
    problems: Path,
    rows: Path,
    *,
    style: Asking = "instruct",
    run_seed: int = RUN_SEED,
    asking: AskedModel,
    settings: SampleSolutions,
) -> None:
    """Let a model answer a benchmark's problems.

    Args:
        benchmark: name of the benchmark.
        problems: file of its problems.
        rows: answers (SampleRow), in the order of problems and samples.
        style: raw completion, this project's training layout, or the model's own chat template.
        run_seed: seed from which each answer's seed derives.
    """
    kind = base.get(benchmark)
    kind.reading = asking.mode
    asked = Asked(
        benchmark=kind,
        style=style,
        sampling=chosen(kind.sampling, settings),
        model=asking.given,
        revision=model_revision(asking.given, asking.engine),
        run_seed=run_seed,
        by_server=style == "chat" and asking.engine.backend == "openai" and asking.engine.api == "chat",
    )
    found = answers(asked, kind.problems(problems)[: settings.tasks], asking.engine, asking.work)
    count = write_rows(rows, SampleRow, found)
    log.info("%s: %d answers", kind.title, count)


if __name__ == "__main__":
    run(main)
