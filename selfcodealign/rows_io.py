"""Read and write the parquet rows of a stage, with a funnel in which every row's fate is counted."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from selfcodealign.errors import UserError, first_line
from selfcodealign.rows import arrow_schema

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROWS_PER_GROUP = 2_000
"""Rows in a parquet row group: constant, so that equal rows give equal bytes, and small, so that memory stays flat."""


def read_rows(
    paths: Path | str | Iterable[Path | str], columns: Sequence[str] | None = None, first: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one or several parquet files in order, from number `first` on, one row group in memory at once.

    Raises:
        UserError: a file is missing, is not parquet or lacks a column; the sentence names it.
    """
    for path in [paths] if isinstance(paths, str | Path) else paths:
        file = _open(Path(path), columns)
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if first < rows:
                table = file.read_row_group(group, columns=list(columns) if columns else None)
                yield from table.slice(first).to_pylist()
            first = max(first - rows, 0)


def count_rows(paths: Path | str | Iterable[Path | str]) -> int:
    """Count the rows of parquet files from their footers."""
    return sum(_open(Path(path)).metadata.num_rows for path in ([paths] if isinstance(paths, str | Path) else paths))


def column_names(path: Path) -> list[str]:
    """List the columns of a parquet file.

    Raises:
        UserError: it is missing, or is not parquet.
    """
    return _open(path).schema_arrow.names


def _open(path: Path, columns: Sequence[str] | None = None) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{path} does not exist; run the stage that makes it, or correct the path")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as parquet ({first_line(error)}); make it again") from error
    absent = [column for column in columns or () if column not in file.schema_arrow.names]
    if absent:
        raise UserError(
            f"{path} has no column {', '.join(absent)}; it has {', '.join(file.schema_arrow.names)}: "
            "name the right column in the config"
        )
    return file


class StageOutput:
    """Write a stage's kept rows, dropped rows and funnel, all or nothing.

    Use as a context manager. One-to-one stages call `keep` or `drop` once per row that enters. One-to-many stages call
    `produce` for each row made, and `count_kept` or `drop` once per row that enters. On a clean exit the three files
    appear together; after an exception none does. The funnel satisfies entered = kept + Σ dropped.

    Args:
        stage: name of the rule, recorded in the funnel.
        rows, dropped, funnel: files to write (parquet, parquet, JSON).
        schema: kind of the rows kept or produced.
        dropped_schema: kind of the rows dropped; `reason` and `detail` columns are added. Defaults to `schema`.
    """

    def __init__(
        self,
        stage: str,
        *,
        rows: Path,
        dropped: Path,
        funnel: Path,
        schema: type[BaseModel],
        dropped_schema: type[BaseModel] | None = None,
    ) -> None:
        self.stage = stage
        self.funnel = funnel
        self.dropped_schema = dropped_schema or schema
        self.kept = 0
        self.produced = 0
        self.reasons: Counter[str] = Counter()
        self.extra: dict[str, Any] = {}
        self._rows = RowWriter(rows, schema)
        self._dropped = RowWriter(dropped, self.dropped_schema, "reason", "detail")

    @property
    def entered(self) -> int:
        """Rows whose fate is decided so far."""
        return self.kept + self.reasons.total()

    def keep(self, row: dict[str, Any]) -> None:
        """Pass one row on."""
        self.count_kept()
        self.produce(row)

    def produce(self, row: dict[str, Any]) -> None:
        """Write one row made from a row that entered, without deciding the latter's fate."""
        self.produced += 1
        self._rows.write(row)

    def count_kept(self) -> None:
        """Count one entering row as kept; its products are written with `produce`."""
        self.kept += 1

    def drop(self, row: dict[str, Any], reason: str, detail: str = "") -> None:
        """Set one entering row aside, with the reason (a short name) and, where it helps, a detail."""
        self.reasons[reason] += 1
        self._dropped.write({**row, "reason": reason, "detail": detail})

    def __enter__(self) -> "StageOutput":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._rows.discard()
            self._dropped.discard()
            return
        self._rows.close()
        self._dropped.close()
        write_json(
            self.funnel,
            {
                "stage": self.stage,
                "entered": self.entered,
                "kept": self.kept,
                "dropped": dict(sorted(self.reasons.items())),
                "produced": self.produced,
                **self.extra,
            },
        )


class RowWriter:
    """Stream rows into a parquet file that appears only when `close` is called; `extra` names added string columns."""

    def __init__(self, path: Path, schema: type[BaseModel], *extra: str) -> None:
        import pyarrow.parquet as pq

        self.path = path
        self.schema = arrow_schema(schema, *extra)
        self._names = frozenset(self.schema.names)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._buffer: list[dict[str, Any]] = []
        self._writer = pq.ParquetWriter(self._part, self.schema, compression="zstd")

    def write(self, row: dict[str, Any]) -> None:
        """Add one row; absent columns become null, unknown ones are a programming error."""
        if not row.keys() <= self._names:
            raise KeyError(f"{self.path.name}: unknown columns {sorted(row.keys() - self._names)}")
        self._buffer.append(row)
        if len(self._buffer) == ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._buffer:
            self._writer.write_table(pa.Table.from_pylist(self._buffer, self.schema))
            self._buffer = []

    def close(self) -> None:
        """Finish the file and move it into place."""
        self._flush()
        self._writer.close()
        os.replace(self._part, self.path)

    def discard(self) -> None:
        """Throw the unfinished file away."""
        self._writer.close()
        self._part.unlink(missing_ok=True)


def write_rows(path: Path, schema: type[BaseModel], rows: Iterable[dict[str, Any]]) -> int:
    """Write rows to one parquet file atomically and return how many there were."""
    writer = RowWriter(path, schema)
    count = 0
    try:
        for row in rows:
            writer.write(row)
            count += 1
    except BaseException:
        writer.discard()
        raise
    writer.close()
    return count


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `folder` once everything is in it."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    yield part
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def write_json(path: Path, value: object) -> None:
    """Write one JSON object atomically, keys in order, so that equal objects give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
