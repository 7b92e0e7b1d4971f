"""Keep functions in which pyright finds no error."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfcodealign.config.seeds import TypecheckFunctions
from selfcodealign.ledger import Ledger, mark_of
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import StageOutput, count_rows, read_rows, write_json
from selfcodealign.seeds.typecheck import Pyright, Verdict, default_python, environment
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)

Check = Callable[[Mapping[str, str]], dict[str, Verdict]]


def why_dropped(verdict: Verdict) -> tuple[str, str] | None:
    """Return (reason, detail) for a function that goes, None for one without errors.

    Reasons: type_error, with the names of pyright's rules and its first message; checker_crashed, checker_timed_out.
    """
    if verdict.passed:
        return None
    if verdict.rules[0].startswith("checker_"):
        return verdict.rules[0], ""
    return "type_error", f"{' '.join(verdict.rules)}: {verdict.message}"


def checked(
    rows: Iterable[dict[str, Any]], check: Check, ledger: Ledger, batch_size: int
) -> Iterator[tuple[dict[str, Any], Verdict]]:
    """Yield each row with its verdict, in order; what the ledger knows is not checked again."""
    for batch in iter(lambda: list(itertools.islice(rows, batch_size)), []):
        todo = {row["id"]: row["content"] for row in batch if not ledger.holds(row["id"], mark_of(row["content"]))}
        for row_id, verdict in check(todo).items():
            ledger.append(row_id, {"rules": verdict.rules, "message": verdict.message})
        ledger.sync()
        for row in batch:
            record = ledger.get(row["id"])
            yield row, Verdict(tuple(record["rules"]), record["message"])


def main(
    seeds: Path,
    kept: Path,
    dropped: Path,
    funnel: Path,
    versions: Path,
    work: Path,
    *,
    settings: TypecheckFunctions,
) -> None:
    """Keep functions in which pyright finds no error.

    Args:
        seeds: functions with their imports.
        kept: the functions that stay.
        dropped: the others, each with its reason.
        funnel: counts by reason.
        versions: pyright, Python and every package that verdicts depend on (JSON).
        work: folder of the ledger; an interrupted run goes on after its last whole batch.
    """
    python = settings.python or default_python()
    seen = environment(python)
    checker = Pyright(python, start_s=settings.start_s, function_s=settings.function_s, heap_mb=settings.heap_mb)
    with (
        Ledger(work, seen, decided_by="typecheck_functions") as ledger,
        StageOutput("typecheck_functions", rows=kept, dropped=dropped, funnel=funnel, schema=SeedRow) as output,
    ):
        rows = iter(progress(read_rows(seeds), total=count_rows(seeds), unit="functions", label="typecheck_functions"))
        for row, verdict in checked(rows, checker.check, ledger, settings.batch_size):
            fate = why_dropped(verdict)
            if fate:
                output.drop(row, *fate)
            else:
                output.keep(row)
    write_json(versions, seen)
    log.info("%d of %d functions pass pyright %s", output.kept, output.entered, seen["pyright"])


if __name__ == "__main__":
    run(main)
