"""Judge each program in the sandbox, by the benchmark's tests and limits."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfcodealign import plugins
from selfcodealign.config.execution import ExecutePrograms
from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Benchmark, Outcome, Problem
from selfcodealign.evaluation.execution import Task, execute, sandbox_settings
from selfcodealign.evaluation.rows import ExecutedRow, ProgramRow
from selfcodealign.ids import digest
from selfcodealign.ledger import Ledger, mark_of
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.sandbox import Settings
from selfcodealign.sandbox.runner import environment
from selfcodealign.sandbox.settings import described
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)

STAGE = "execute_programs"


def row(benchmark: Benchmark, program: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Return a program's verdict as it is kept."""
    return {
        "id": program["id"],
        "task_id": program["task_id"],
        "sample": program["sample"],
        "passed": benchmark.passed(outcome.groups),
        "groups": [{"name": name, "status": status} for name, status in outcome.groups.items()],
        "reason": outcome.reason,
        "measures": json.dumps(dict(outcome.measures), sort_keys=True),
        "note": program["note"],
        "cpu_s": outcome.cpu_s,
        "wall_s": outcome.wall_s,
        "memory_mb": outcome.memory_mb,
        "isolation": outcome.isolation,
    }


def _plain(problem: Problem) -> str:
    """Write all that a file says of a problem as one text."""
    told = [dict(problem.record), problem.subset, problem.variant]
    return json.dumps(told, sort_keys=True, ensure_ascii=True, default=str)


def judged(
    benchmark: Benchmark,
    problems: Mapping[str, Problem],
    programs: Iterable[Mapping[str, Any]],
    settings: Settings,
    work: Path,
    references: Path,
) -> list[dict[str, Any]]:
    """Return a verdict for every program, in order; finished ones are taken from the ledger."""
    programs = list(programs)
    records = {name: digest(_plain(problem)) for name, problem in problems.items()}
    depends = {"benchmark": benchmark.name, "environment": environment(settings), **described(settings)}
    depends |= plugins.content("benchmarks", benchmark.name, base.BENCHMARKS)
    if benchmark.measures_programs:
        # Which programs are measured depends on all of a task's samples.
        depends["programs"] = digest([[row["id"], row["program"]] for row in programs])
    with Ledger(work, depends, decided_by=STAGE) as ledger:
        known = {
            row["id"] for row in programs if ledger.holds(row["id"], mark_of(records[row["task_id"]], row["program"]))
        }
        if benchmark.measures_programs and len(known) < len(programs):
            known = set()
        waiting = [
            Task(row["id"], problems[row["task_id"]], row["program"]) for row in programs if row["id"] not in known
        ]
        shown = progress(range(len(waiting)), total=len(waiting), unit="programs", label=benchmark.name)

        def keep(name: str, outcome: Outcome) -> None:
            ledger.append(name, asdict(outcome))
            next(shown, None)

        execute(benchmark, waiting, settings, references, keep)
        next(shown, None)  # The end, at which it says what all took.
        return [row(benchmark, program, Outcome(**ledger.get(program["id"]))) for program in programs]


def main(
    benchmark: str,
    problems: Path,
    programs: Path,
    rows: Path,
    work: Path,
    references: Path,
    *,
    workers: int = 2,
    settings: ExecutePrograms,
) -> None:
    """Judge each program in the sandbox.

    Args:
        benchmark: name of the benchmark.
        problems: file of its problems.
        programs: programs (ProgramRow).
        rows: verdicts (ExecutedRow), in the order of programs.
        work: folder of the ledger that lets a killed run continue.
        references: folder of expected outputs, shared by models.
        workers: programs that run at once.
    """
    kind = base.get(benchmark)
    by_id = {problem.id: problem for problem in kind.problems(problems)}
    sandbox = sandbox_settings(kind, workers=workers, **settings.model_dump())
    found = judged(kind, by_id, read_rows(programs, list(ProgramRow.model_fields)), sandbox, work, references)
    write_rows(rows, ExecutedRow, found)
    log.info("%s: %d of %d programs pass", kind.title, sum(verdict["passed"] for verdict in found), len(found))


if __name__ == "__main__":
    run(main)
