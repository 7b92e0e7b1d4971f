"""Stream source files out of raw shards: parquet or JSONL, local or on the Hub, one batch in memory at a time."""

import gzip
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfcodealign.errors import UserError
from selfcodealign.ids import content_id
from selfcodealign.rows_io import first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

log = logging.getLogger(__name__)

FILES_PER_BATCH = 256
"""Files read at a time: with The Stack's files of at most 1 MB, a few hundred megabytes at the very worst."""


@dataclass(frozen=True)
class Columns:
    """Names of a shard's columns; only `content` must exist."""

    content: str = "content"
    repo: str = "max_stars_repo_name"
    path: str = "max_stars_repo_path"
    licence: str = "max_stars_repo_licenses"


@dataclass(frozen=True)
class SourceFile:
    """One row of a raw shard. `content` is None, and `problem` says why, if the row could not be read."""

    content: bytes | None
    repo: str
    path: str
    licence: str
    problem: str = ""

    def row(self) -> dict[str, Any]:
        """Return a row (FunctionRow) that stands for the whole file set aside: where it is, without its text."""
        digest = hashlib.sha256(self.content or b"").hexdigest()
        return {
            "id": content_id("fn", self.repo, self.path, 0, digest),
            "content": "",
            "repo": self.repo,
            "path": self.path,
            "line": 0,
            "licence": self.licence,
            "bindings": [],
        }


def read_files(shard: str, columns: Columns) -> Iterator[SourceFile]:
    """Yield the source files of one shard in order.

    Args:
        shard: a path ending in .parquet, .jsonl, .json or .jsonl.gz, or hf://datasets/ORG/NAME@REVISION/PATH.
        columns: names of the columns.

    Raises:
        UserError: the shard is missing, empty, broken, of another format, without the content column, or gated.
    """
    empty = True
    for file in _files(shard, columns):
        empty = False
        yield file
    if empty:
        raise UserError(f"raw shard {shard} has no rows; take it out of data.raw_shards, or fetch it again")


def _files(shard: str, columns: Columns) -> Iterator[SourceFile]:
    """Yield the source files of one shard by its format."""
    name = shard.lower()
    with _opened(shard) as stream:
        if name.endswith((".jsonl", ".json", ".ndjson")):
            yield from _from_jsonl(stream, shard, columns)
        elif name.endswith((".jsonl.gz", ".json.gz", ".ndjson.gz")):
            with gzip.open(stream) as unzipped:
                yield from _from_jsonl(unzipped, shard, columns)
        else:
            yield from _from_parquet(stream, shard, columns)


def _opened(shard: str) -> Any:
    """Open a shard where it lies; Hub files are read by range, not downloaded."""
    try:
        if not shard.startswith("hf://"):
            return open(shard, "rb")
        kept = _in_cache(shard)
        if kept is not None:
            return kept.open("rb")
        from huggingface_hub import HfFileSystem

        return HfFileSystem(token=os.environ.get("HF_TOKEN")).open(shard.removeprefix("hf://"), "rb")
    except FileNotFoundError as error:
        if shard.startswith("hf://"):
            raise UserError(
                f"{shard} is not on the Hub or not visible to you: correct data.raw_shards; if the dataset is gated, "
                "as bigcode/the-stack-dedup is, accept its terms on its page and set HF_TOKEN to your access token"
            ) from error
        raise UserError(f"raw shard {shard} does not exist; correct data.raw_shards in the config") from error
    except OSError as error:
        raise _access_error(shard, error) from error
    except Exception as error:
        if shard.startswith("hf://") and type(error).__module__.startswith(("huggingface_hub", "httpx", "requests")):
            raise _access_error(shard, error) from error
        raise


def hub_file(shard: str) -> tuple[str, str, str]:
    """Split hf://datasets/ORG/NAME@REVISION/PATH into ORG/NAME, REVISION and PATH."""
    found = re.fullmatch(r"hf://datasets/([^/]+/[^/@]+)(?:@([^/]+))?/(.+)", shard)
    if found is None:
        raise UserError(f"raw shard {shard} is no address of a file: write hf://datasets/ORG/NAME@REVISION/PATH")
    return found[1], found[2] or "main", found[3]


def _in_cache(shard: str) -> Path | None:
    """Return a Hub file that `prefetch` has fetched; None if it has not."""
    from huggingface_hub import try_to_load_from_cache

    name, revision, path = hub_file(shard)
    kept = try_to_load_from_cache(name, path, revision=revision, repo_type="dataset")
    return Path(kept) if isinstance(kept, str) else None


def fetched_shard(shard: str) -> Path:
    """Fetch a whole shard from the Hub into its cache, where later readers find it; returns its path.

    Raises:
        UserError: the shard is gated, does not exist, or cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    name, revision, path = hub_file(shard)
    try:
        return Path(hf_hub_download(name, path, revision=revision, repo_type="dataset"))
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.startswith(("huggingface_hub", "httpx")):
            raise _access_error(shard, error) from error
        raise


def _access_error(shard: str, error: BaseException) -> UserError:
    """Explain why a shard cannot be opened, and what the person can do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403) or "gated" in str(error).lower():
        return UserError(
            f"{shard} is gated: accept the dataset's terms on its Hub page, then set HF_TOKEN to an access token of "
            "that account"
        )
    return UserError(f"raw shard {shard} cannot be opened: {first_line(error)}")


def _from_parquet(stream: Any, shard: str, columns: Columns) -> Iterator[SourceFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(stream)
        _demand(columns.content, file.schema_arrow.names, shard)
        wanted = [column for column in vars(columns).values() if column in file.schema_arrow.names]
        for batch in _batches(file, wanted):
            yield from _from_batch(batch, columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"raw shard {shard} is broken ({first_line(error)}); fetch it again or take it out of data.raw_shards"
        ) from error


def _batches(file: "pq.ParquetFile", wanted: list[str]) -> Iterator["pa.RecordBatch"]:
    return file.iter_batches(batch_size=FILES_PER_BATCH, columns=wanted, use_threads=False)


def _from_batch(batch: "pa.RecordBatch", columns: Columns) -> Iterator[SourceFile]:
    """Yield a batch's files; text columns are taken as bytes, because a shard may hold invalid UTF-8."""
    import pyarrow as pa

    names = batch.schema.names

    def column(name: str) -> list[Any]:
        if name not in names:
            return [None] * batch.num_rows
        values = batch.column(names.index(name))
        if pa.types.is_string(values.type):
            values = values.cast(pa.binary())
        elif pa.types.is_large_string(values.type):
            values = values.cast(pa.large_binary())
        return values.to_pylist()

    for content, repo, path, licence in zip(
        column(columns.content), column(columns.repo), column(columns.path), column(columns.licence), strict=True
    ):
        yield _file(content, repo, path, licence)


def _from_jsonl(stream: Any, shard: str, columns: Columns) -> Iterator[SourceFile]:
    seen = False
    try:
        for line in stream:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                yield SourceFile(None, "", "", "", "broken_row")
                continue
            if not isinstance(row, dict):
                yield SourceFile(None, "", "", "", "broken_row")
                continue
            if not seen:
                _demand(columns.content, list(row), shard)
                seen = True
            yield _file(row.get(columns.content), *(row.get(c) for c in (columns.repo, columns.path, columns.licence)))
    except (OSError, EOFError) as error:
        raise UserError(
            f"raw shard {shard} is broken ({first_line(error)}); fetch it again or take it out of data.raw_shards"
        ) from error


def _demand(column: str, names: list[str], shard: str) -> None:
    if column not in names:
        raise UserError(
            f"raw shard {shard} has no column {column!r}; it has {', '.join(sorted(names))}: "
            "name the right one in data.content_column"
        )


def _file(content: Any, repo: Any, path: Any, licence: Any) -> SourceFile:
    """Make a source file of whatever types a shard uses."""
    problem = ""
    if isinstance(content, str):
        # JSON can spell lone surrogates, which have no UTF-8; they are found out as invalid later.
        content = content.encode("utf-8", "surrogatepass")
    elif not isinstance(content, bytes):
        content, problem = None, "no_content"
    return SourceFile(content, _text(repo), _text(path), _text(licence), problem)


def _text(value: Any) -> str:
    """Render a provenance value as text: lists joined by a comma, bytes decoded, nothing as an empty string."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)
