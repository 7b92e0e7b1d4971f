"""`python -m selfcodealign sandbox`: cases in, verdicts out, one JSON object a line, without Snakemake."""

import argparse
import codecs
import hashlib
import io
import json
import logging
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from selfcodealign.compression import LONGEST, TORN, kind_of, unzipped
from selfcodealign.errors import NOT_READ, UserError
from selfcodealign.sandbox.selftest import choose_layer
from selfcodealign.sandbox.settings import VERDICTS, Settings
from selfcodealign.sandbox.supervisor import run_cases

SYNC_EVERY_S = 1.0
MOST_NAMED = 8
EXAMPLE = '{"id": "1", "code": "def f(x): ...", "test": "assert f(1) == 2"}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this tool's flags."""
    default = Settings()
    parser.add_argument("--input", type=Path, help=f"cases, one JSON object a line, such as {EXAMPLE}; - is stdin")
    parser.add_argument(
        "--output", type=Path, help="verdicts, appended as they finish; an unfinished file is continued"
    )
    parser.add_argument(
        "--timeout-s", type=float, default=default.timeout_s, help="CPU time limit of a program, in seconds"
    )
    parser.add_argument(
        "--memory-mb", type=int, default=default.memory_mb, help="memory limit of a program and its children"
    )
    parser.add_argument(
        "--scratch-mb", type=int, default=default.scratch_mb, help="limit for files that a program writes"
    )
    parser.add_argument(
        "--processes", type=int, default=default.processes, help="limit for processes and threads of a program"
    )
    parser.add_argument(
        "--output-kb", type=int, default=default.output_kb, help="how much of stdout, and of stderr, is kept"
    )
    parser.add_argument(
        "--isolation",
        choices=("auto", "apptainer", "bubblewrap", "none"),
        default="auto",
        help="layer of the sandbox; auto takes the first that works (docs/sandbox.md)",
    )
    parser.add_argument(
        "--i-understand",
        nargs="?",
        const="true",
        default="false",
        choices=("true", "false"),
        help="allow --isolation none: programs may then do anything to this machine",
    )
    parser.add_argument("--workers", type=int, default=default.workers, help="programs that run at once (all cores)")
    parser.add_argument(
        "--reruns",
        type=int,
        default=0,
        help="additional runs of each passing case; if the verdict changes, it is flaky",
    )
    parser.add_argument("--mutants", type=int, default=0, help="mutants of each passing case, for mutation_score")
    parser.add_argument("--no-vacuous", action="store_true", help="do not check whether the tests could have failed")
    parser.add_argument(
        "--mode", choices=("fixed", "reference"), default="fixed", help="reference: exit status 0 is a pass"
    )
    parser.add_argument("--image", type=Path, help="image folder or SIF for Apptainer")
    parser.add_argument("--python", help="interpreter that runs the programs")
    parser.add_argument("--cache", type=Path, help="SQLite file of finished verdicts, shared between runs")
    parser.add_argument(
        "--self-test", action="store_true", help="only test the layers, and print which one would be used"
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
    if arguments.output.exists() and not arguments.output.is_file():
        raise UserError(f"{arguments.output} is no file; name a file of verdicts under --output")
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
    log = logging.getLogger(__name__)
    if finished.other_content:
        log.warning(
            "%d rows were not run, because a row before them has their id and other content (%s); give each its own id",
            finished.other_content,
            ", ".join(finished.named),
        )
    log.info(
        "%d verdicts: %s", counts.total(), ", ".join(f"{name} {number}" for name, number in counts.most_common()) or "-"
    )


def cases(path: Path, finished: "Finished") -> Iterator[dict[str, Any]]:
    """Read the cases that have no verdict yet; an id that comes again is not run again.

    Raises:
        UserError: a line is no case, or the file is no text; the sentence names the line.
    """
    with opened(path) as file:
        lines = enumerate(file, 1)
        while True:
            number = 0
            try:
                number, line = next(lines)
                case = json.loads(line) if line.strip() else None
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                raise UserError(f"{path} is no UTF-8 text ({error.reason}); convert it to UTF-8") from None
            except TORN as error:
                raise UserError(f"{path} cannot be read to its end ({error}); make it again") from None
            except ValueError as error:
                raise UserError(f"{path} line {number} is not JSON ({error}); expected {EXAMPLE}") from None
            if case is None:
                continue
            if not isinstance(case, dict) or not isinstance(case.get("id"), str):
                raise UserError(f"{path} line {number} has no string under the key id; expected {EXAMPLE}")
            if finished.add(case["id"], case, number):
                yield case


def opened(path: Path) -> IO[str]:
    """Open a file of cases, or stdin: UTF-8, or UTF-16 behind its mark; compressed or not."""
    raw: Any = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    raw = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    if kind := kind_of(raw.peek(LONGEST)):
        raw = unzipped(raw, kind)
    try:
        start = raw.peek(16)
    except TORN as error:
        raise UserError(f"{path} cannot be read to its end ({error}); make it again") from None
    for magic, what in NOT_READ.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {what}")
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return io.TextIOWrapper(raw, encoding=encoding)


class Finished:
    """The ids that need no run: those with a whole line in the output, and those read already.

    They lie in a temporary file of SQLite's, so that memory does not grow with the number of rows.

    Raises:
        UserError: the output holds anything but verdicts; it is left as it is.
    """

    def __init__(self, output: Path) -> None:
        self.table = sqlite3.connect("", isolation_level=None)
        self.table.execute("CREATE TABLE ids (digest BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID")
        self.table.execute("BEGIN")
        self.other_content = 0
        self.named: list[str] = []
        if not output.exists():
            return
        whole = 0
        with output.open("rb") as file:
            for number, line in enumerate(file, 1):
                name = verdict_id(line)
                if name is not None and line.endswith(b"\n"):
                    self.add(name)
                    whole += len(line)
                elif line.endswith(b"\n") or not torn(line):
                    raise UserError(
                        f"{output} line {number} is no verdict of this command: nothing was changed; name a new file "
                        "under --output, or one that it began"
                    )
        if whole < output.stat().st_size:
            os.truncate(output, whole)

    def add(self, name: str, case: dict[str, Any] | None = None, number: int = 0) -> bool:
        """Note an id; False if it is there already. Rows with the id of another, and other content, are counted."""
        digest = _digest(name)
        content = None if case is None else _digest(json.dumps(case, sort_keys=True))
        if self.table.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (digest, content)).rowcount == 1:
            return True
        if case is not None:
            (before,) = self.table.execute("SELECT content FROM ids WHERE digest = ?", (digest,)).fetchone()
            if before is None:  # its verdict is of an earlier run
                self.table.execute("UPDATE ids SET content = ? WHERE digest = ?", (content, digest))
            elif before != content:
                self.other_content += 1
                if len(self.named) < MOST_NAMED:
                    self.named.append(f"{name} in line {number}")
        return False


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def verdict_id(line: bytes) -> str | None:
    """Return the id of a line of the output; None if it is no verdict."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    known = isinstance(row, dict) and row.get("verdict") in VERDICTS and "isolation" in row
    return row["id"] if known and isinstance(row.get("id"), str) else None


def torn(line: bytes) -> bool:
    """Whether a last line without its end may be what a stopped run left of a verdict."""
    return line[:7] == b'{"id": '[: len(line)] or not line.strip(b"\0")
