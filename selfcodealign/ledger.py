"""Finished work that survives kill -9: an append-only file of records keyed by id.

Long stages append to `work/<rule>/…` and move everything into their declared output at the end, because Snakemake
deletes the declared outputs of a job that failed.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfcodealign.ids import digest

ENTRY = re.compile(rb'\{"id": ("(?:[^"\\]|\\.)*"), "record": [ -~]*\}\n')
"""A whole line. What is in the record is parsed only when it is asked for: most of it never is when a run resumes."""


class Ledger:
    """Remember finished records across interruptions.

    Args:
        folder: where the ledger lives, for example `work/write_responses/self/00000`.
        settings: everything the records depend on. A ledger made under other settings is set aside, never mixed in.

    A record appended before a crash is either whole or ignored: a torn last line is cut off at the next start.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "ledger.jsonl"
        self._offsets: dict[str, int] = {}
        header = {"settings": digest(settings)}
        if self.path.exists() and not self._adopt(header):
            os.replace(self.path, folder / "ledger.outdated.jsonl")
            self._offsets = {}
        # Unbuffered: every record is handed to the operating system at once, so that a kill loses none of them.
        self._file = self.path.open("ab", buffering=0)
        self._reader = self.path.open("rb")
        self._end = self.path.stat().st_size
        if not self._end:
            self._write(header)

    def _adopt(self, header: dict[str, Any]) -> bool:
        """Index an earlier run's ledger; False if it belongs to other settings."""
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if number == 0:
                    if line != _line(header):
                        return False
                elif found := ENTRY.fullmatch(line):
                    name = found[1]
                    self._offsets[json.loads(name) if b"\\" in name else name[1:-1].decode()] = whole
                else:
                    break
                whole += len(line)
        if whole == 0:
            return False
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)
        return True

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def get(self, row_id: str) -> dict[str, Any]:
        """Read one finished record; KeyError if it is not finished."""
        self._reader.seek(self._offsets[row_id])
        return json.loads(self._reader.readline().decode())["record"]

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (id, record) of everything finished, in the order of appending."""
        with self.path.open("rb") as file:
            next(file, None)
            for line in file:
                entry = json.loads(line)
                yield entry["id"], entry["record"]

    def append(self, row_id: str, record: dict[str, Any]) -> None:
        """Record one finished piece of work; call `sync` to force it to disk."""
        self._offsets[row_id] = self._write({"id": row_id, "record": record})

    def _write(self, entry: dict[str, Any]) -> int:
        line = _line(entry)
        offset = self._end
        self._end += len(line)
        # A nearly full disk may take a part; the rest then says why it does not fit.
        while line:
            line = line[self._file.write(line) :]
        return offset

    def sync(self) -> None:
        """Force what was appended to disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close the file."""
        self.sync()
        self._file.close()
        self._reader.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=True).encode() + b"\n"
