"""`python -m selfcodealign status`: how far a run is, stage by stage, while it runs or after it has stopped."""

import argparse
import json
import sys
import time
from pathlib import Path

from selfcodealign.report.page import duration
from selfcodealign.status import Reader, StageStatus, as_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the tool understands."""
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path(),
        help="folder in which snakemake was started (default: the current one)",
    )
    parser.add_argument("--results", type=Path, help="folder of the run's results (default: results in that folder)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--watch", type=float, metavar="SECONDS", help="print again after this time, until no job is running"
    )


def main(arguments: argparse.Namespace) -> None:
    """Print finished, running and waiting jobs, rows, rate, time left and failures of every stage."""
    reader = Reader(arguments.folder, arguments.results)
    while True:
        stages = reader.stages()
        clear = "\x1b[H\x1b[2J" if arguments.watch and sys.stdout.isatty() else ""
        shown = json.dumps(as_json(stages)) if arguments.json else table(stages)
        print(clear + shown, flush=True)
        if not arguments.watch or not (reader.is_held or any(stage.running for stage in stages)):
            return
        try:
            time.sleep(arguments.watch)
        except KeyboardInterrupt:
            return


def table(stages: list[StageStatus]) -> str:
    """Write one line for each stage, below it its failures, and the sum of jobs at the end."""
    wide = max([len("stage"), *(len(stage.stage) for stage in stages)])
    lines = [f"{'stage':{wide}} finished running waiting failed {'rows':>19} {'rows/s':>9}  left"]
    for stage in stages:
        rate = f"{stage.rows_per_s:.3g}" if stage.rows_per_s else "–"
        lines.append(
            f"{stage.stage:{wide}} {stage.finished:8} {stage.running:7} {stage.waiting:7} {stage.failed:6} "
            f"{_rows(stage):>19} {rate:>9}  {_left(stage)}"
        )
        lines += [f"  failed: {one['log']}: {one['said'] or 'no word'}" for one in stage.failures]
        if stage.stopped:
            lines.append(f"  stopped: {stage.stopped} without an end; snakemake goes on with them when started again")
        lines += [f"  silent for {duration(one['seconds'])}: {one['log']}" for one in stage.silent]
    jobs = as_json(stages)["jobs"]
    return "\n".join([*lines, "jobs: " + ", ".join(f"{count} {state}" for state, count in jobs.items() if count)])


def _rows(stage: StageStatus) -> str:
    if stage.rows_done is None and stage.rows_expected is None:
        return "–"
    if stage.rows_expected is None:
        return f"{stage.rows_done or 0:,} of ?"
    return f"{stage.rows_done or 0:,} of {'~' if stage.estimated else ''}{stage.rows_expected:,}"


def _left(stage: StageStatus) -> str:
    if stage.left_s is None:
        return "?"
    return duration(stage.left_s) if stage.left_s else "–"
