"""Finished work that survives kill -9: an append-only file of records keyed by id.

Long stages append to `work/<rule>/…` and move everything into their declared output at the end, because Snakemake
deletes the declared outputs of a job that failed.
"""

import ast
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from selfcodealign.ids import digest, digest_of_file
from selfcodealign.pipeline import decided_by as modules_of

log = logging.getLogger(__name__)

ENTRY = re.compile(rb'\{"id": ("(?:[^"\\]|\\.)*"), (?:"of": "([0-9a-f]+)", )?"record": [ -~]*\}\n')
"""A whole line. What is in the record is parsed only when it is asked for: most of it never is when a run resumes."""


class Ledger:
    """Remember finished records across interruptions.

    Args:
        folder: where the ledger lives, for example `work/write_responses/self/00000`.
        settings: what all records depend on, without paths, which change when a run moves.
        inputs: files that all records depend on, by their content.
        decided_by: the rule whose script and modules (`pipeline.decided_by`) decide what a record says, or these
            modules themselves. An edit of comments, docstrings or layout is none.

    A ledger made under other settings, from other files or by other code is set aside, never mixed in. What a single
    record was made of is for `holds` to compare, so that a changed row costs that row. A record appended before a crash
    is either whole or ignored: a torn last line is cut off at the next start.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        *,
        inputs: Sequence[Path] = (),
        decided_by: str | Iterable[Path] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "ledger.jsonl"
        self._offsets: dict[str, int] = {}
        self._made_of: dict[str, str] = {}
        header = {"settings": digest(settings)}
        if inputs:
            header["inputs"] = digest([digest_of_file(path) for path in inputs])
        if modules := modules_of(decided_by) if isinstance(decided_by, str) else list(decided_by):
            header["code"] = code_of(*modules)
        if self.path.exists() and not self._adopt(header):
            log.info("%s was made under other settings, from other files or by other code: it is set aside", self.path)
            os.replace(self.path, folder / "ledger.outdated.jsonl")
            self._offsets, self._made_of = {}, {}
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
                    written = found[1]
                    name = json.loads(written) if b"\\" in written else written[1:-1].decode()
                    self._offsets[name] = whole
                    if found[2]:
                        self._made_of[name] = found[2].decode()
                    else:
                        self._made_of.pop(name, None)
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

    def holds(self, row_id: str, mark: str) -> bool:
        """Tell whether a record is finished, and was made of what has this mark (`mark_of`).

        One made of anything else is forgotten; what is appended under this id from now on counts as made of it.
        """
        if self._made_of.get(row_id) != mark:
            self._offsets.pop(row_id, None)
            self._made_of[row_id] = mark
        return row_id in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def get(self, row_id: str) -> dict[str, Any]:
        """Read one finished record; KeyError if it is not finished."""
        self._reader.seek(self._offsets[row_id])
        return json.loads(self._reader.readline().decode())["record"]

    def append(self, row_id: str, record: dict[str, Any]) -> None:
        """Record one finished piece of work; call `sync` to force it to disk."""
        mark = self._made_of.get(row_id)
        self._offsets[row_id] = self._write({"id": row_id, **({"of": mark} if mark else {}), "record": record})

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


def mark_of(*texts: str) -> str:
    """Hash the texts that a record is made of to 20 hex digits; where one ends and the next begins counts."""
    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    return hashlib.sha256(b"".join([b"%d %b" % (len(part), part) for part in data])).hexdigest()[:20]


@cache
def code_of(*modules: Path) -> str:
    """Hash what modules do: their syntax without comments, docstrings and layout, and no word of where they lie."""
    return digest([[path.name, _meaning(path.read_text(encoding="utf-8"))] for path in modules])


@cache
def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A text that stands alone explains; a body must not become empty.
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
