"""Keep the functions worth learning from, and say why the others went."""

import logging
from pathlib import Path

from selfcodealign.config.section import Mode
from selfcodealign.config.seeds import FilterSeeds
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.seeds import filters
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)


def main(
    seeds: Path,
    kept: Path,
    dropped: Path,
    funnel: Path,
    *,
    mode: Mode = "fixed",
    settings: FilterSeeds,
) -> None:
    """Keep the functions worth learning from, and say why the others went (paper B.2).

    Args:
        seeds: functions with their imports.
        kept: the functions that stay.
        dropped: the others, each with its reason.
        funnel: counts by reason.
    """
    with StageOutput("filter_seeds", rows=kept, dropped=dropped, funnel=funnel, schema=SeedRow) as output:
        for row in progress(read_rows(seeds), unit="functions", label="filter_seeds"):
            code = row["content"]
            fate = filters.why_dropped_reference(code) if mode == "reference" else filters.why_dropped(code, settings)
            if fate:
                output.drop(row, *fate)
            else:
                output.keep(row)
    log.info("%d of %d functions kept", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
