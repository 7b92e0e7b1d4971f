"""Read benchmark files, name their version by content hash, and fetch them from their official source."""

import gzip
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.evaluation.base import Benchmark, Source, get, names

log = logging.getLogger(__name__)


def content(path: Path) -> bytes:
    """Read a file, decompressing gzip by its first bytes rather than by its name.

    Raises:
        UserError: the file does not exist or is torn.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; fetch the benchmark or correct the path")
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}); fetch it again") from error


def sha256(path: Path) -> str:
    """Hash the uncompressed content, so that one version has one name whatever its compression."""
    return hashlib.sha256(content(path)).hexdigest()


def records(path: Path) -> list[dict[str, Any]]:
    """Read JSON Lines, one JSON list, one JSON object of records, or parquet, compressed or not, in file order.

    Raises:
        UserError: a line is not JSON; the sentence names it.
    """
    raw = content(path)
    if raw[:4] == b"PAR1":
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pq.read_table(pa.BufferReader(raw)).to_pylist()
    text = raw.decode("utf-8")
    try:
        whole = json.loads(text)
    except ValueError:
        return _lines(path, text)
    if isinstance(whole, list):
        return whole
    # One object is either a file of a single record or a mapping from task id to record.
    return list(whole.values()) if whole and all(isinstance(value, dict) for value in whole.values()) else [whole]


def _lines(path: Path, text: str) -> list[dict[str, Any]]:
    found = []
    # Not splitlines(): JSON strings may hold U+2028 and other characters that it takes for line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON ({error}); correct or remove the line") from error
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number} holds {type(record).__name__}, not an object; correct the line")
        found.append(record)
    return found


def version_of(benchmark: Benchmark, path: Path) -> Source | None:
    """Say which published version a file is, or None if it is none of those known."""
    found = sha256(path)
    return next((source for source in benchmark.sources if source.sha256 == found), None)


def refuse_other_benchmark(benchmark: Benchmark, path: Path) -> None:
    """Refuse a file that is known to be another benchmark's.

    Raises:
        UserError: its hash is that of a published file of another benchmark.
    """
    found = sha256(path)
    for name in names():
        other = get(name)
        if other.name != benchmark.name and any(source.sha256 == found for source in other.sources):
            if any(source.sha256 == found for source in benchmark.sources):
                return
            raise UserError(f"{path} is the file of {other.title}, not of {benchmark.title}; name the right file")


def need(records: list[dict[str, Any]], path: Path, *fields: str) -> list[dict[str, Any]]:
    """Check that records have the fields of a benchmark.

    Raises:
        UserError: the file holds nothing, or something else; the sentence names the first record and field.
    """
    if not records:
        raise UserError(f"{path} holds no records; fetch the benchmark again")
    for number, record in enumerate(records, start=1):
        absent = [field for field in fields if field not in record]
        if absent:
            raise UserError(
                f"{path}, record {number} has no field {', '.join(absent)}: this is not a file of this benchmark; "
                "name the right file"
            )
    return records


def fetch(source: Source, target: Path) -> None:
    """Download one published version and check it before it takes its place.

    Raises:
        UserError: the download fails, or its content is not the pinned version.
    """
    import urllib.error
    import urllib.request

    if not source.url:
        raise UserError(
            f"version {source.version} is not published as one file; give one by the config key benchmarks.<name>.file"
        )

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with urllib.request.urlopen(source.url, timeout=60) as response, part.open("wb") as sink:
            while chunk := response.read(1 << 20):
                sink.write(chunk)
    except (urllib.error.URLError, OSError) as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{source.url} could not be fetched ({error}); on a machine without internet, give the file by the config "
            "key benchmarks.<name>.file"
        ) from error
    found = sha256(part)
    if not source.sha256:
        log.warning("no sha256 is pinned for %s; what came has %s", source.url, found)
    elif found != source.sha256:
        part.unlink()
        raise UserError(
            f"{source.url} has sha256 {found}, not the pinned {source.sha256}: the source has changed; "
            "look at it before using it"
        )
    part.replace(target)
