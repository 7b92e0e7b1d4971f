"""Run every response to an instruction against the tests of every other, and score agreement.

A response and its tests come from one mind and may share its misunderstanding. Responses that pass the same tests of
others are likely to solve the same problem, and the larger their group and the more tests they pass, the likelier it is
the right one (dual execution agreement, CodeT, arXiv 2207.10397). n responses cost n² - n executions.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

from pydantic import Field

from selfcodealign.config.execution import RunResponses
from selfcodealign.rows import Row
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.stage import run
from selfcodealign.verification import ONCE, UNUSABLE_TESTS, Item, case_of, grouped, judged, settings_of, whether_passed

log = logging.getLogger(__name__)

STAGE = "cross_verify_responses"
COLUMNS = ("id", "instruction_id", "response", "tests", "verdict", "passed")


class AgreementRow(Row):
    """How far a response agrees with the others to its instruction; the id is the response's."""

    instruction_id: str
    tests_passed: int = Field(description="test suites of the instruction that the response passes, its own included")
    agreeing: int = Field(description="responses that pass exactly the same suites, itself included")
    score: float = Field(description="tests_passed × agreeing, as a share of the most possible")


def pairs(group: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (response, other whose tests to run) for all pairs whose outcome is not known."""
    for one, other in permutations(sorted(group, key=lambda row: row["id"]), 2):
        if other["verdict"] not in UNUSABLE_TESTS:
            yield one, other


def pair_id(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Name the run of a response against another's tests."""
    return f"{one['id']}|{other['id']}"


def agreement(group: list[dict[str, Any]], outcomes: dict[str, bool]) -> Iterator[dict[str, Any]]:
    """Score the responses to one instruction.

    Args:
        group: the responses with their own verdicts.
        outcomes: whether a response passed another's tests, by `pair_id`.
    """
    suites = [row for row in group if row["verdict"] not in UNUSABLE_TESTS]
    signatures = {
        row["id"]: frozenset(
            suite["id"]
            for suite in suites
            if (row["passed"] if suite is row else outcomes.get(pair_id(row, suite), False))
        )
        for row in group
    }
    alike: dict[frozenset[str], int] = defaultdict(int)
    for signature in signatures.values():
        alike[signature] += 1
    most = len(group) * max(1, len(suites))
    for row in group:
        signature = signatures[row["id"]]
        yield {
            "id": row["id"],
            "instruction_id": row["instruction_id"],
            "tests_passed": len(signature),
            "agreeing": alike[signature],
            "score": len(signature) * alike[signature] / most,
        }


def main(
    verdicts: Path,
    rows: Path,
    work: Path,
    *,
    workers: int = 1,
    settings: RunResponses,
) -> None:
    """Run every response to an instruction against the tests of every other, and score agreement.

    Args:
        verdicts: a shard of executed responses (VerdictRow).
        rows: a score for each response (AgreementRow).
        work: folder of the ledger that lets a killed run continue.
        workers: programs that run at the same time.
    """
    groups = grouped(read_rows(verdicts, COLUMNS))
    sandbox = settings_of(settings, workers, work, **ONCE)

    def items() -> Iterator[Item]:
        for group in groups.values():
            for one, other in pairs(group):
                yield pair_id(one, other), (one["response"], other["tests"])

    with judged(STAGE, items, case_of, sandbox, work, kept=whether_passed, unit="pairs") as verdict_of:
        outcomes = {name: verdict_of(name)["passed"] for name, _ in items()}
    count = write_rows(rows, AgreementRow, (row for group in groups.values() for row in agreement(group, outcomes)))
    log.info("scored %d responses to %d instructions", count, len(groups))


if __name__ == "__main__":
    run(main)
