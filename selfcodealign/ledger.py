"""Finished work that survives kill -9: an append-only file of records keyed by id.

Long stages append to `work/<rule>/…` and move everything into their declared output at the end, because Snakemake
deletes the declared outputs of a job that failed.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfcodealign.ids import digest


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
        fresh = not self.path.exists()
        self._file = self.path.open("ab")
        if fresh:
            self._write(header)

    def _adopt(self, header: dict[str, Any]) -> bool:
        """Index an earlier run's ledger; False if it belongs to other settings."""
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = json.loads(line)
                except ValueError:
                    break
                if number == 0:
                    if record != header:
                        return False
                else:
                    self._offsets[record["id"]] = whole
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
        self._file.flush()
        with self.path.open("rb") as file:
            file.seek(self._offsets[row_id])
            return json.loads(file.readline())["record"]

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (id, record) of everything finished, in the order of appending."""
        self._file.flush()
        with self.path.open("rb") as file:
            next(file, None)
            for line in file:
                entry = json.loads(line)
                yield entry["id"], entry["record"]

    def append(self, row_id: str, record: dict[str, Any]) -> None:
        """Record one finished piece of work; call `sync` to force it to disk."""
        self._offsets[row_id] = self._write({"id": row_id, "record": record})

    def _write(self, entry: dict[str, Any]) -> int:
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(entry, ensure_ascii=True).encode() + b"\n")
        return offset

    def sync(self) -> None:
        """Force what was appended to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the file."""
        self.sync()
        self._file.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
