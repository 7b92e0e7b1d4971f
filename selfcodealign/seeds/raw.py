"""Stream source files out of raw shards, local or on the Hub, one batch in memory at a time.

The first bytes of a shard say what it is, never its name: parquet, Arrow (files, streams, Feather), JSON Lines or a
JSON array, plain or compressed by gzip, bzip2, xz, zstd or lz4. Only a JSON array is held whole.
"""

import codecs
import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from selfcodealign.compression import TORN, kind_of, unzipped
from selfcodealign.config.seeds import Columns
from selfcodealign.errors import NOT_READ, UserError
from selfcodealign.ids import content_id
from selfcodealign.rows_io import first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

log = logging.getLogger(__name__)

FILES_PER_BATCH = 256
"""Files read at a time: with The Stack's files of at most 1 MB, a few hundred megabytes at the very worst."""


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
        shard: a path, or hf://datasets/ORG/NAME@REVISION/PATH.
        columns: names of the columns.

    Raises:
        UserError: the shard is missing, empty, broken, of another format, without a content column of text, without
            one row that can be read, or gated.
    """
    rows = 0
    problems: dict[str, int] = {}
    for file in _files(shard, columns):
        rows += 1
        if file.content is None:
            problems[file.problem] = problems.get(file.problem, 0) + 1
        yield file
    if not rows:
        raise UserError(f"raw shard {shard} has no rows; take it out of data.raw_shards, or fetch it again")
    if sum(problems.values()) == rows:
        reasons = ", ".join(f"{count} {problem}" for problem, count in sorted(problems.items()))
        raise UserError(
            f"raw shard {shard} has nothing that can be read ({reasons} of {rows} rows): JSON Lines have one object a "
            f"line, and the column {columns.content_column!r} (data.content_column) must hold text"
        )


def _files(shard: str, columns: Columns) -> Iterator[SourceFile]:
    """Yield the source files of one shard by its format."""
    import pyarrow as pa

    with _opened(shard) as stream:
        start = _start(stream, shard)
        stream.seek(0)
        kind = kind_of(start)
        if kind is None:
            yield from _from_plain(stream, start, shard, columns)
            return
        with unzipped(stream, kind) as inside:
            try:
                start = inside.peek(512)[:512]
            except (*TORN, pa.ArrowException) as error:
                raise _broken(shard, error) from error
            if start.startswith((b"PAR1", b"ARROW1")):
                raise UserError(f"raw shard {shard} is a {kind} of a binary table, which is not read; decompress it")
            yield from _from_plain(inside, start, shard, columns)


def _start(stream: Any, shard: str) -> bytes:
    """Return the first bytes of an open shard."""
    try:
        return stream.read(512)
    except OSError as error:
        raise _access_error(shard, error) from error


def _from_plain(stream: Any, start: bytes, shard: str, columns: Columns) -> Iterator[SourceFile]:
    """Yield the source files of a stream that is not compressed and starts with some bytes."""
    name = shard.lower()
    if start.startswith(b"PAR1"):
        yield from _from_parquet(stream, shard, columns)
        return
    if start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        yield from _from_arrow(stream, shard, columns, file=start.startswith(b"ARROW1"))
        return
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    for magic, what in NOT_READ.items():
        if text.startswith(magic):
            raise UserError(f"raw shard {shard} is {what}")
    if start[257:262] == b"ustar":
        raise UserError(f"raw shard {shard} is a tar archive; unpack it")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        stream = io.TextIOWrapper(stream, encoding="utf-16", errors="replace")
        text = start.decode("utf-16", "replace").lstrip().encode("utf-8", "replace")
    elif start and not text.startswith((b"{", b"[")) and not name.endswith(_JSON):
        raise UserError(
            f"raw shard {shard} is broken, or of a format that is not read (parquet, Arrow, JSON Lines and JSON arrays "
            "are, also compressed); fetch it again, write it as one of these, or take it out of data.raw_shards"
        )
    if text.startswith(b"["):
        yield from _from_array(stream, shard, columns)
    else:
        yield from _from_jsonl(stream, shard, columns)


_JSON = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz")


def _opened(shard: str) -> Any:
    """Open a shard where it lies; Hub files are read by range, not downloaded."""
    try:
        if not shard.startswith("hf://"):
            return open(os.path.expanduser(shard), "rb")
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
    found = re.fullmatch(r"hf://datasets/([^/]+/[^/@]+)(?:@(refs/(?:convert|pr)/[^/]+|[^/]+))?/(.+)", shard)
    if found is None:
        raise UserError(f"raw shard {shard} is no address of a file: write hf://datasets/ORG/NAME@REVISION/PATH")
    return found[1], unquote(found[2] or "main"), found[3]


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


def _broken(shard: str, error: BaseException) -> UserError:
    return UserError(
        f"raw shard {shard} is broken ({first_line(error)}); fetch it again or take it out of data.raw_shards"
    )


def _from_parquet(stream: Any, shard: str, columns: Columns) -> Iterator[SourceFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(stream)
        _demand_text(columns.content_column, file.schema_arrow, shard)
        wanted = [column for column in columns.names if column in file.schema_arrow.names]
        for batch in _batches(file, wanted):
            yield from _from_batch(batch, columns)
    except (pa.ArrowException, OSError) as error:
        raise _broken(shard, error) from error


def _from_arrow(stream: Any, shard: str, columns: Columns, *, file: bool) -> Iterator[SourceFile]:
    """Yield the source files of an Arrow file or stream, as `datasets` saves them."""
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(stream) if file else pa.ipc.open_stream(stream)
        _demand_text(columns.content_column, reader.schema, shard)
        batches = (reader.get_batch(n) for n in range(reader.num_record_batches)) if file else reader
        for batch in batches:
            for start in range(0, batch.num_rows, FILES_PER_BATCH):
                yield from _from_batch(batch.slice(start, FILES_PER_BATCH), columns)
    except (pa.ArrowException, OSError) as error:
        raise _broken(shard, error) from error


def _batches(file: "pq.ParquetFile", wanted: list[str]) -> Iterator["pa.RecordBatch"]:
    return file.iter_batches(batch_size=FILES_PER_BATCH, columns=wanted, use_threads=False)


def _from_batch(batch: "pa.RecordBatch", columns: Columns) -> Iterator[SourceFile]:
    """Yield a batch's files; text columns are taken as bytes, because a shard may hold invalid UTF-8."""
    names = batch.schema.names

    def column(name: str) -> list[Any]:
        if name not in names:
            return [None] * batch.num_rows
        values = batch.column(names.index(name))
        return values.cast(_as_bytes(values.type)).to_pylist()

    for content, repo, path, licence in zip(*map(column, columns.names), strict=True):
        yield _file(content, repo, path, licence)


def _as_bytes(kind: "pa.DataType") -> "pa.DataType":
    """Return a type with bytes in place of text, at any depth."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _as_bytes(kind.value_type)
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.binary()
    if pa.types.is_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_as_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(kind.field(n).name, _as_bytes(kind.field(n).type)) for n in range(kind.num_fields)])
    return kind


def _from_array(stream: Any, shard: str, columns: Columns) -> Iterator[SourceFile]:
    """Yield the source files of one JSON array of objects, however it is laid out."""
    try:
        text = stream.read()
        rows = json.loads(text if isinstance(text, str) else text.decode("utf-8-sig", "replace"))
    except (*TORN, ValueError, RecursionError) as error:
        raise _broken(shard, error) from error
    yield from _from_rows(rows, shard, columns)


def _from_jsonl(stream: Any, shard: str, columns: Columns) -> Iterator[SourceFile]:
    import pyarrow as pa

    def rows() -> Iterator[Any]:
        for number, line in enumerate(stream):
            if number == 0:
                line = line.removeprefix("\ufeff" if isinstance(line, str) else codecs.BOM_UTF8)
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    yield None

    try:
        yield from _from_rows(rows(), shard, columns)
    except (*TORN, pa.ArrowException) as error:
        raise _broken(shard, error) from error


def _from_rows(rows: Iterable[Any], shard: str, columns: Columns) -> Iterator[SourceFile]:
    """Yield the source files of JSON objects; keys may be absent from any of them, as writers leave null keys out."""
    keys: set[str] = set()
    for row in rows:
        if isinstance(row, dict):
            keys.update(row)
            yield _file(*map(row.get, columns.names))
        else:
            yield SourceFile(None, "", "", "", "broken_row")
    if keys:
        _demand(columns.content_column, sorted(keys), shard)


def _demand_text(column: str, schema: "pa.Schema", shard: str) -> None:
    """Raise UserError unless a table has a column of text."""
    import pyarrow as pa

    _demand(column, schema.names, shard)
    kind = schema.field(column).type
    plain = _as_bytes(kind)
    if not (pa.types.is_binary(plain) or pa.types.is_large_binary(plain) or pa.types.is_null(plain)):
        raise UserError(
            f"column {column!r} of raw shard {shard} holds {str(kind)[:80]}, not text: name a column of text in "
            "data.content_column"
        )


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
    """Render a provenance value as text: lists and objects joined by a comma, bytes decoded, nothing as no text."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)
