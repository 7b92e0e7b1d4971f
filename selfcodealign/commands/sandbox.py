"""`python -m selfcodealign sandbox`: cases in, verdicts out, one JSON object a line, without Snakemake."""

import argparse
import hashlib
import json
import logging
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.sandbox.selftest import choose_layer
from selfcodealign.sandbox.settings import Settings
from selfcodealign.sandbox.supervisor import run_cases

SYNC_EVERY_S = 1.0
EXAMPLE = '{"id": "1", "code": "def f(x): ...", "test": "assert f(1) == 2"}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this tool's flags."""
    default = Settings()
    parser.add_argument("--input", type=Path, help=f"cases, one JSON object a line, such as {EXAMPLE}; - is stdin")
    parser.add_argument(
        "--output", type=Path, help="verdicts, appended as they finish; a file begun earlier is continued"
    )
    parser.add_argument("--timeout-s", type=float, default=default.timeout_s, help="CPU seconds of a program")
    parser.add_argument("--memory-mb", type=int, default=default.memory_mb, help="memory of a program and its children")
    parser.add_argument("--scratch-mb", type=int, default=default.scratch_mb, help="files that a program may write")
    parser.add_argument("--processes", type=int, default=default.processes, help="processes and threads of a program")
    parser.add_argument("--output-kb", type=int, default=default.output_kb, help="kept of stdout, and of stderr")
    parser.add_argument("--isolation", choices=("auto", "apptainer", "bubblewrap", "none"), default="auto")
    parser.add_argument(
        "--i-understand",
        nargs="?",
        const="true",
        default="false",
        choices=("true", "false"),
        help="allow --isolation none: programs may then do anything to this machine",
    )
    parser.add_argument("--workers", type=int, default=default.workers, help="programs that run at the same time")
    parser.add_argument("--reruns", type=int, default=0, help="further runs of each pass; a changed verdict is flaky")
    parser.add_argument("--mutants", type=int, default=0, help="mutants of each passing case, for mutation_score")
    parser.add_argument("--no-vacuous", action="store_true", help="do not ask whether the tests could have failed")
    parser.add_argument(
        "--mode", choices=("fixed", "reference"), default="fixed", help="reference: exit status 0 is a pass"
    )
    parser.add_argument("--image", type=Path, help="image folder or SIF for Apptainer")
    parser.add_argument("--python", help="interpreter that runs the programs")
    parser.add_argument("--cache", type=Path, help="SQLite file of finished verdicts, shared between runs")
    parser.add_argument(
        "--self-test", action="store_true", help="only probe the layers and say which one would be used"
    )


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Turn the flags into settings."""
    same = (
        "timeout_s",
        "memory_mb",
        "scratch_mb",
        "processes",
        "output_kb",
        "isolation",
        "workers",
        "reruns",
        "mutants",
    )
    chosen = {name: getattr(arguments, name) for name in (*same, "image", "python", "cache")}
    reference = arguments.mode == "reference"
    return Settings(
        **chosen,
        i_understand=arguments.i_understand == "true",
        vacuous=not arguments.no_vacuous and not reference,
        exit_status_only=reference,
    )


def main(arguments: argparse.Namespace) -> None:
    """Run the cases of a file that have no verdict yet.

    Raises:
        UserError: a line is no case, or no isolation works here.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = settings_of(arguments)
    if arguments.self_test:
        choose_layer(settings)
        return
    if arguments.input is None or arguments.output is None:
        raise UserError("the sandbox needs --input CASES.jsonl and --output VERDICTS.jsonl")
    if str(arguments.input) != "-" and not arguments.input.is_file():
        raise UserError(f"{arguments.input} does not exist; correct --input")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    finished = Finished(arguments.output)
    counts: Counter[str] = Counter()
    synced = time.monotonic()
    with arguments.output.open("ab") as file:
        for verdict in run_cases(cases(arguments.input, finished), settings):
            file.write(json.dumps(verdict).encode() + b"\n")
            counts[verdict["verdict"]] += 1
            if time.monotonic() - synced > SYNC_EVERY_S:
                file.flush()
                os.fsync(file.fileno())
                synced = time.monotonic()
        file.flush()
        os.fsync(file.fileno())
    logging.getLogger(__name__).info(
        "%d verdicts: %s", counts.total(), ", ".join(f"{name} {number}" for name, number in counts.most_common()) or "-"
    )


def cases(path: Path, finished: "Finished") -> Iterator[dict[str, Any]]:
    """Read the cases that have no verdict yet; an id that comes again is not run again."""
    file = sys.stdin if str(path) == "-" else path.open(encoding="utf-8")
    with file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                case = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path} line {number} is not JSON ({error}); expected {EXAMPLE}") from None
            if not isinstance(case, dict) or not isinstance(case.get("id"), str):
                raise UserError(f"{path} line {number} has no string under the key id; expected {EXAMPLE}")
            if finished.add(case["id"]):
                yield case


class Finished:
    """The ids that need no run: those with a whole line in the output, and those read already.

    They lie in a temporary file of SQLite's, so that memory does not grow with the number of rows.
    """

    def __init__(self, output: Path) -> None:
        self.table = sqlite3.connect("", isolation_level=None)
        self.table.execute("CREATE TABLE ids (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self.table.execute("BEGIN")
        if output.exists():
            whole = 0
            with output.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    try:
                        self.add(json.loads(line)["id"])
                    except (ValueError, KeyError, TypeError):
                        break
                    whole += len(line)
            if whole < output.stat().st_size:
                os.truncate(output, whole)

    def add(self, name: str) -> bool:
        """Note an id; False if it is there already."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return self.table.execute("INSERT OR IGNORE INTO ids VALUES (?)", (digest,)).rowcount == 1
