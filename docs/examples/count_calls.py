"""A stage of your own: this file as `scripts/count_calls.py`, and the rule of `docs/examples/stage.smk` in `rules/`.

Keep the functions that call few others. A pure decision, a stream over rows, and `main` that touches files; its
keywords are the command line's flags, the rule's names and the keys of the stage's section in the config.
"""

import ast
from pathlib import Path

from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.stage import run


def why_dropped(code: str, most_calls: int) -> tuple[str, str] | None:
    """Return reason and detail for a function that calls too many others; None to keep it."""
    calls = sum(isinstance(node, ast.Call) for node in ast.walk(ast.parse(code)))
    return ("many_calls", f"{calls} calls") if calls > most_calls else None


def main(seeds: Path, kept: Path, dropped: Path, funnel: Path, *, most_calls: int = 8) -> None:
    """Keep the functions that call few others.

    Args:
        seeds: functions.
        kept: the functions that stay.
        dropped: the others, each with its reason.
        funnel: counts by reason.
        most_calls: most calls in a function that stays.
    """
    with StageOutput("count_calls", rows=kept, dropped=dropped, funnel=funnel, schema=SeedRow) as output:
        for row in read_rows(seeds):
            fate = why_dropped(row["content"], most_calls)
            if fate:
                output.drop(row, *fate)
            else:
                output.keep(row)


if __name__ == "__main__":
    run(main)
