"""Run every response with its tests in the sandbox, and keep every row with its verdict.

No row is dropped here: the training sets of the ablations need the failing ones too, so the selection decides. In
`fixed` mode a pass needs tests that finish and could have failed. In `reference` mode it is what the reference
(`execution_filter.py:134-152`) counts: all code blocks of the generation joined, exit status 0 within 10 s and 4 GiB.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfcodealign.config.execution import VerifyResponses
from selfcodealign.config.section import Mode
from selfcodealign.dataset.fences import reference_blocks
from selfcodealign.rows import ResponseRow, VerdictRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.stage import run
from selfcodealign.verification import Item, case_of, judged, settings_of

log = logging.getLogger(__name__)

STAGE = "verify_responses"
COLUMNS = (
    *("verdict", "passed", "reason", "stdout", "stderr", "cpu_s", "wall_s", "memory_mb", "isolation"),
    *("assertions_held", "assertions_run", "mutation_score"),
)
MAIN_GUARD = re.compile(r"if __name__ == (\"__main__\"|'__main__'):")
REFERENCE = {
    **{"timeout_s": 10.0, "memory_mb": 4096, "exit_status_only": True},
    **{"vacuous": False, "mutants": 0, "reruns": 0},
}
"""What the reference does, whatever the config says."""


def reference_program(raw: str) -> str:
    """Join all fenced blocks of a generation, whatever their language, as the reference extracts its program.

    A block that contains `input` anywhere loses everything from its main guard on.
    """
    parts = []
    for block in reference_blocks(raw):
        text = block.code
        if "input" in text:
            text = MAIN_GUARD.split(text, maxsplit=1)[0]
        parts.append(text.strip())
    return "\n\n".join(parts)


def reference_case(raw: str) -> dict[str, str]:
    """Make the sandbox's case of a generation as the reference runs it."""
    return {"program": reference_program(raw)}


def verdict_columns(verdict: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that a verdict adds to its response's row; text is made valid UTF-8."""
    columns = {column: verdict.get(column) for column in COLUMNS}
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in columns.items()
    }


def main(
    responses: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    work: Path,
    *,
    mode: Mode = "fixed",
    workers: int = 1,
    settings: VerifyResponses,
) -> None:
    """Run every response with its tests in the sandbox, and keep every row with its verdict.

    Args:
        responses: sanitized responses (ResponseRow).
        rows: the same rows with verdicts (VerdictRow), in the same order.
        dropped: an empty table, so that every stage has one.
        funnel: how many rows each verdict has.
        work: folder of the ledger that lets a killed run continue.
        workers: programs that run at the same time.
    """
    reference = mode == "reference"
    sandbox = settings_of(settings, workers, work, **(REFERENCE if reference else {}))
    columns = ("raw",) if reference else ("response", "tests")

    def items() -> Iterator[Item]:
        for row in read_rows(responses, ["id", *columns]):
            yield row["id"], [row[column] or "" for column in columns]

    counts: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    case = reference_case if reference else case_of
    with judged(STAGE, items, case, sandbox, work, kept=verdict_columns) as verdict_of:
        files = {"rows": rows, "dropped": dropped, "funnel": funnel}
        # The table of dropped rows has a `reason` of its own; it stays empty.
        with StageOutput(STAGE, **files, schema=VerdictRow, dropped_schema=ResponseRow) as output:
            for row in read_rows(responses):
                verdict = verdict_of(row["id"])
                counts[verdict["verdict"]] += 1
                layers[verdict["isolation"]] += 1
                output.keep({**row, **verdict})
            output.extra = {"verdicts": dict(sorted(counts.items())), "isolation": dict(sorted(layers.items()))}
    if counts["internal"]:
        log.warning("%d responses have no verdict: the sandbox failed on them twice", counts["internal"])
    log.info("%s", ", ".join(f"{name} {number}" for name, number in counts.most_common()) or "no responses")


if __name__ == "__main__":
    run(main)
