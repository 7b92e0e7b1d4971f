"""Read the program out of each answer, by the benchmark's own rules."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfcodealign.config.section import Mode
from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Benchmark, Problem
from selfcodealign.evaluation.extraction import compiles
from selfcodealign.evaluation.rows import ProgramRow, SampleRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def note(program: str, finish_reasons: list[str]) -> str:
    """Say what is wrong with an answer: none came, no code is in it, or it was cut off; empty if nothing is."""
    if "failed" in finish_reasons:
        return "not_answered"
    if not program.strip():
        return "no_code"
    return "cut_off" if "length" in finish_reasons else ""


def programs(
    benchmark: Benchmark, problems: Mapping[str, Problem], rows: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield a program for each sample, empty where the answer has none."""
    for row in rows:
        style = "base" if row["style"] == "base" else "instruct"
        program = benchmark.program(problems[row["task_id"]], row["texts"], style)
        yield {
            "id": row["id"],
            "task_id": row["task_id"],
            "sample": row["sample"],
            "program": program,
            "note": note(program, row["finish_reasons"]),
        }


def main(benchmark: str, problems: Path, samples: Path, rows: Path, *, mode: Mode = "fixed") -> None:
    """Read the program out of each answer.

    Args:
        benchmark: name of the benchmark.
        problems: file of its problems.
        samples: answers (SampleRow).
        rows: programs (ProgramRow).
        mode: `reference` reads an answer as the paper's code does: its last Python fence, whatever that is.
    """
    kind = base.get(benchmark)
    kind.reading = mode
    by_id = {problem.id: problem for problem in kind.problems(problems)}
    notes: Counter[str] = Counter()

    broken = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal broken
        for row in programs(kind, by_id, read_rows(samples, list(SampleRow.model_fields))):
            notes[row["note"] or "fine"] += 1
            broken += bool(row["program"].strip()) and not compiles(row["program"])
            yield row

    count = write_rows(rows, ProgramRow, counted())
    if broken:
        log.warning("%d of %d programs are no Python, and fail", broken, count)
    log.info("%d programs: %s", count, ", ".join(f"{name} {number}" for name, number in sorted(notes.items())))


if __name__ == "__main__":
    run(main)
