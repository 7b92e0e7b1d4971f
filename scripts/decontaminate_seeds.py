"""Drop functions that overlap with a benchmark."""

import logging
import operator
from pathlib import Path
from typing import Literal

from selfcodealign.config.seeds import DecontaminateSeeds
from selfcodealign.decontamination import index_for, set_aside
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import StageOutput, read_rows, write_json
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)


def main(
    seeds: Path,
    kept: Path,
    dropped: Path,
    funnel: Path,
    overlaps: Path,
    *,
    benchmarks: dict[str, str],
    mode: Literal["fixed", "reference"] = "fixed",
    ngram: int = 10,
    overlap: float = 0.5,
    min_tokens: int = 8,
) -> None:
    """Drop functions that overlap with a benchmark.

    Args:
        seeds: functions with their imports.
        kept: functions without overlap.
        dropped: the others; `detail` names the task and the matching text.
        funnel: counts by benchmark.
        overlaps: hits per benchmark, with the matching text (JSON).
        benchmarks: NAME=FILE pairs; NAME:BENCHMARK=FILE where a benchmark stands under another name.
        mode: `reference` looks for the published filter's substrings only.
        ngram: words in a run that is compared.
        overlap: share of a task's runs that makes an overlap.
        min_tokens: fewest words of a prompt or solution that is looked for exactly.
    """
    settings = DecontaminateSeeds(ngram=ngram, overlap=overlap, min_tokens=min_tokens)
    index = index_for(benchmarks, mode=mode, stage="seeds", settings=settings)
    with StageOutput("decontaminate_seeds", rows=kept, dropped=dropped, funnel=funnel, schema=SeedRow) as output:
        rows = progress(read_rows(seeds), unit="functions", label="decontaminate_seeds")
        report = set_aside(rows, operator.itemgetter("content"), index, output)
    write_json(overlaps, report.summary())
    log.info(
        "%d of %d functions kept, %d passages sought", output.kept, output.entered, sum(map(len, index.sought.values()))
    )


if __name__ == "__main__":
    run(main)
