"""Keep the functions worth learning from, and say why the others went."""

import logging
from pathlib import Path
from typing import Literal

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
    mode: Literal["fixed", "reference"] = "fixed",
    min_lines: int = 1,
    max_lines: int = 150,
    banned_modules: list[str] = list(filters.BANNED_MODULES),  # noqa: B006
) -> None:
    """Keep the functions worth learning from, and say why the others went (paper B.2).

    Args:
        seeds: functions with their imports.
        kept: the functions that stay.
        dropped: the others, each with its reason.
        funnel: counts by reason.
        mode: `reference` takes the published lists of substrings and ignores the keys below.
        min_lines: fewest lines, imports counted.
        max_lines: most lines, imports counted.
        banned_modules: a function that imports one of these goes.
    """
    with StageOutput("filter_seeds", rows=kept, dropped=dropped, funnel=funnel, schema=SeedRow) as output:
        for row in progress(read_rows(seeds), unit="functions", label="filter_seeds"):
            if mode == "reference":
                fate = filters.why_dropped_reference(row["content"])
            else:
                fate = filters.why_dropped(
                    row["content"],
                    min_lines=min_lines,
                    max_lines=max_lines,
                    banned_modules=banned_modules,
                )
            if fate:
                output.drop(row, *fate)
            else:
                output.keep(row)
    log.info("%d of %d functions kept", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
