"""Finished verdicts by the hash of what was run, in one SQLite file, so that nothing runs twice."""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError

COMMIT_EVERY_S = 1.0
MOST_KEPT = 1 << 28
"""Characters of results after which a cache without a file forgets all: it must not fill the disk under a server."""


class Cache:
    """A table hash → result; without a path it lives in a temporary file and only spares duplicates of one run.

    Args:
        path: the SQLite file.
        made_by: names what makes the results; those made by anything else are not found.
    """

    def __init__(self, path: Path | None, made_by: str = "") -> None:
        self.made_by = made_by
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.table = sqlite3.connect(str(path) if path is not None else "", isolation_level=None, timeout=60)
            self.table.execute("PRAGMA synchronous = NORMAL")
            self.table.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, result TEXT) WITHOUT ROWID")
        except sqlite3.DatabaseError as error:
            raise UserError(f"sandbox cache {path} cannot be used ({error}); delete it or name another file") from None
        self.forgets = path is None
        self.kept = 0
        self.open = False
        self.committed = time.monotonic()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a finished result, or None."""
        row = self.table.execute("SELECT result FROM verdicts WHERE key = ?", (self._name(key),)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, result: dict[str, Any]) -> None:
        """Keep a finished result; it is on disk after the next commit, at most a second later."""
        if not self.open:
            self.table.execute("BEGIN")
            self.open = True
        text = json.dumps(result)
        self.kept += len(text)
        if self.forgets and self.kept > MOST_KEPT:
            self.table.execute("DELETE FROM verdicts")
            self.kept = len(text)
        self.table.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", (self._name(key), text))
        if time.monotonic() - self.committed > COMMIT_EVERY_S:
            self.commit()

    def _name(self, key: str) -> str:
        return f"{self.made_by} {key}" if self.made_by else key

    def commit(self) -> None:
        """Write what was put."""
        if self.open:
            self.table.execute("COMMIT")
            self.open = False
        self.committed = time.monotonic()

    def close(self) -> None:
        """Write what was put and close the file."""
        self.commit()
        self.table.close()
