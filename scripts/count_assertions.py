"""Run every assertion of a failing response by itself, and count those that hold.

Tests end at the first assertion that fails, so a verdict alone cannot tell a response that fails one assertion of ten
from one that fails all. Later work finds that all-or-nothing discards useful rows; a dataset with `pass_threshold`
below 1 needs these counts. A response costs as many executions as its tests have assertions.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from selfcodealign.config.execution import RunResponses
from selfcodealign.dataset.assertions import separate
from selfcodealign.dataset.fences import unfenced
from selfcodealign.rows import Row
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.stage import run
from selfcodealign.verification import ONCE, Item, judged, settings_of, whether_passed

log = logging.getLogger(__name__)

STAGE = "count_assertions"
COLUMNS = ("id", "instruction_id", "response", "tests", "verdict")


class AssertionRow(Row):
    """How many of a failing response's assertions hold; the id is the response's."""

    instruction_id: str
    held: int = Field(description="assertions that hold when run by themselves")
    total: int = Field(description="assertions, test functions and test classes in the tests")


def checks_of(row: dict[str, Any]) -> list[Item]:
    """Name each check of a response, with the code and the program of the check."""
    code = unfenced(row["response"])
    return [(f"{row['id']}|{number}", (code, test)) for number, test in enumerate(separate(unfenced(row["tests"])))]


def check(code: str, test: str) -> dict[str, str]:
    """Make the sandbox's case of one check."""
    return {"code": code, "test": test}


def counted(rows: Iterable[dict[str, Any]], held: dict[str, bool]) -> list[dict[str, Any]]:
    """Count each response's checks and those that held, in the order of ids."""
    totals: dict[str, list[bool]] = defaultdict(list)
    for name, outcome in held.items():
        totals[name.partition("|")[0]].append(outcome)
    return [
        {
            "id": row["id"],
            "instruction_id": row["instruction_id"],
            "held": sum(totals[row["id"]]),
            "total": len(totals[row["id"]]),
        }
        for row in sorted(rows, key=lambda row: row["id"])
    ]


def main(
    verdicts: Path,
    rows: Path,
    work: Path,
    *,
    workers: int = 1,
    settings: RunResponses,
) -> None:
    """Run every assertion of a failing response by itself, and count those that hold.

    Args:
        verdicts: a shard of executed responses (VerdictRow).
        rows: counts for each response whose verdict is `fail` (AssertionRow).
        work: folder of the ledger that lets a killed run continue.
        workers: programs that run at the same time.
    """
    failing = [row for row in read_rows(verdicts, COLUMNS) if row["verdict"] == "fail"]
    sandbox = settings_of(settings, workers, work, **ONCE)
    checks = [item for row in failing for item in checks_of(row)]
    with judged(STAGE, lambda: checks, check, sandbox, work, kept=whether_passed, unit="assertions") as verdict_of:
        held = {name: verdict_of(name)["passed"] for name, _ in checks}
    count = write_rows(rows, AssertionRow, counted(failing, held))
    log.info("counted the assertions of %d failing responses", count)


if __name__ == "__main__":
    run(main)
