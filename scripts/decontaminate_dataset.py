"""Drop rows that overlap with a benchmark, by the same search as the seeds went through.

Seeds without overlap can still lead a model to write down a benchmark problem that it has seen in pretraining.
"""

import functools
import logging
from pathlib import Path
from typing import Any

from selfcodealign.config.dataset import DecontaminateDataset
from selfcodealign.config.section import Mode
from selfcodealign.decontamination import index_for, set_aside
from selfcodealign.rows import SelectedRow
from selfcodealign.rows_io import StageOutput, count_rows, read_rows, write_json
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)


def searched(row: dict[str, Any], mode: str) -> str:
    """Return the text of a row that is searched; the reference leaves the tests out (`find_substrings.py`)."""
    names = ("instruction", "response", "tests")[: 2 if mode == "reference" else 3]
    return "\n\n".join(row[name] for name in names)


def main(
    chosen: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    overlaps: Path,
    *,
    benchmarks: dict[str, str],
    mode: Mode = "fixed",
    settings: DecontaminateDataset,
) -> None:
    """Drop rows that overlap with a benchmark.

    Args:
        chosen: rows of the stage before (SelectedRow).
        rows: the rows without overlap.
        dropped: the others, with benchmark, task and the matching text.
        funnel: how many were dropped for each benchmark.
        overlaps: hits per benchmark, with the matching text (JSON).
        benchmarks: NAME=FILE pairs; NAME:BENCHMARK=FILE where a benchmark stands under another name.
        mode: `reference` looks for the published filter's substrings, in lower case.
        settings: what counts as an overlap.
    """
    index = index_for(benchmarks, mode=mode, stage="dataset", settings=settings)
    with StageOutput("decontaminate_dataset", rows=rows, dropped=dropped, funnel=funnel, schema=SelectedRow) as output:
        found = progress(read_rows(chosen), total=count_rows(chosen))
        report = set_aside(found, functools.partial(searched, mode=mode), index, output)
    write_json(overlaps, report.summary())
    log.info(
        "%d of %d rows kept, %d passages sought", output.kept, output.entered, sum(map(len, index.sought.values()))
    )


if __name__ == "__main__":
    run(main)
