"""A stage of your own: this file as `scripts/count_calls.py`, and the rule of `docs/examples/stage.smk` in `rules/`.

Keep the functions that call few others. A section of the config, a pure decision, a stream over rows, and `main` that
touches files; its keywords are the command line's flags and the rule's names, and `settings` is a flag for each key of
the section. The section stands here so that the example is whole; its place is `selfcodealign/config/seeds.py`.
"""

import ast
from pathlib import Path

from pydantic import Field

from selfcodealign.config.section import Count, Section
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.stage import run


class CountCalls(Section):
    """Keep the functions that call few others."""

    max_calls: Count = Field(default=8, description="most calls in a function that stays")


def why_dropped(code: str, max_calls: int) -> tuple[str, str] | None:
    """Return reason and detail for a function that calls too many others; None to keep it."""
    calls = sum(isinstance(node, ast.Call) for node in ast.walk(ast.parse(code)))
    return ("many_calls", f"{calls} calls") if calls > max_calls else None


def main(seeds: Path, kept: Path, dropped: Path, funnel: Path, *, settings: CountCalls) -> None:
    """Keep the functions that call few others.

    Args:
        seeds: functions.
        kept: the functions that stay.
        dropped: the others, each with its reason.
        funnel: counts by reason.
        settings: the section of the config.
    """
    with StageOutput("count_calls", rows=kept, dropped=dropped, funnel=funnel, schema=SeedRow) as output:
        for row in read_rows(seeds):
            fate = why_dropped(row["content"], settings.max_calls)
            if fate:
                output.drop(row, *fate)
            else:
                output.keep(row)


if __name__ == "__main__":
    run(main)
