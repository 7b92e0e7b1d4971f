"""Read benchmark files, name their version by content hash, and fetch them from their official source."""

import codecs
import hashlib
import io
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfcodealign.compression import TORN, kind_of, unzipped
from selfcodealign.errors import NOT_READ, UserError, first_line
from selfcodealign.evaluation.base import Benchmark, Passage, Source, find, get, names, prompt_passages

log = logging.getLogger(__name__)


def content(path: Path) -> bytes:
    """Read a file, decompressing gzip, bzip2, xz, zstd and lz4 by its first bytes rather than by its name.

    Raises:
        UserError: the file does not exist or is torn.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; fetch the benchmark or correct the path")
    raw = path.read_bytes()
    kind = kind_of(raw)
    if kind is None:
        return raw
    try:
        return unzipped(io.BytesIO(raw), kind).read()
    except TORN as error:
        raise UserError(f"{path} is a damaged {kind} file ({error}); fetch it again") from error


def sha256(path: Path) -> str:
    """Hash the uncompressed content, so that one version has one name whatever its compression."""
    return hashlib.sha256(content(path)).hexdigest()


def records(path: Path) -> list[dict[str, Any]]:
    """Read JSON Lines, one JSON list, one JSON object of records, parquet or Arrow, compressed or not, in file order.

    Text is UTF-8, or UTF-16 or UTF-32 behind a byte order mark.

    Raises:
        UserError: the file is broken, no text, or holds something else than records; the sentence names the line.
    """
    raw = content(path)
    if raw.startswith(TABLES):
        import pyarrow as pa
        import pyarrow.parquet as pq

        source = pa.BufferReader(raw)
        kind = "parquet" if raw.startswith(b"PAR1") else "Arrow"
        try:
            if kind == "parquet":
                return pq.read_table(source).to_pylist()
            reader = pa.ipc.open_file(source) if raw.startswith(b"ARROW1") else pa.ipc.open_stream(source)
            return reader.read_all().to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is a damaged {kind} file ({first_line(error)}); fetch it again") from error
    for magic, what in NOT_READ.items():
        if raw.removeprefix(codecs.BOM_UTF8).lstrip().startswith(magic):
            raise UserError(f"{path} is {what}")
    text = decoded(path, raw)
    try:
        whole = json.loads(text)
    except ValueError:
        return _lines(path, text)
    # One object is either a file of a single record or a mapping from task id to record.
    if isinstance(whole, dict):
        whole = list(whole.values()) if whole and all(isinstance(it, dict) for it in whole.values()) else [whole]
    if not isinstance(whole, list):
        raise UserError(f"{path} holds {type(whole).__name__}, not records; name a file of JSON Lines, JSON or parquet")
    for number, record in enumerate(whole, start=1):
        if not isinstance(record, dict):
            raise UserError(f"{path}, record {number} is {type(record).__name__}, not an object; name the right file")
    return whole


TABLES = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
"""How parquet, Arrow files and Arrow streams begin."""


def decoded(path: Path, raw: bytes) -> str:
    """Decode a text file, without its byte order mark.

    Raises:
        UserError: the bytes are no text of the encoding that they claim.
    """
    encoding = next((name for mark, name in MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is neither parquet nor UTF-8 text (byte {error.start}); name a file of JSON Lines, JSON or parquet"
        ) from error


MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; that of UTF-16 begins that of UTF-32."""


def _lines(path: Path, text: str) -> list[dict[str, Any]]:
    found = []
    # Not splitlines(): JSON strings may hold U+2028 and other characters that it takes for line ends.
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
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


def kept_out(name: str, path: Path) -> list[Passage]:
    """Return what training data must not hold of a benchmark's file.

    Args:
        name: a benchmark; or any other name, and then every text of a record counts, also inside its lists and
            objects, if it has 20 characters and few records share it; or `<any name>:<benchmark>`.
        path: file of its problems, in any version.

    Raises:
        UserError: the file cannot be read, is not of that benchmark, or holds no text.
    """
    name, _, kind = name.partition(":")
    benchmark = get(kind) if kind else find(name)
    try:
        if benchmark is None:
            passages = _all_texts(records(path))
        else:
            passages = [passage for problem in benchmark.tasks(path) for passage in benchmark.passages(problem)]
    except UserError as error:
        raise UserError(f"benchmark {name}: {error}") from error
    except KeyError as error:
        raise UserError(f"benchmark {name}: a record of {path} has no field {error}; name the right file") from error
    # Variants of a problem share texts.
    found = [passage for passage in dict.fromkeys(passages) if passage.text.strip()]
    if not found:
        raise UserError(f"benchmark {name}: {path} holds no texts that could be kept out; name the right file")
    return found


LEAST_CHARACTERS = 20
MANY_TASKS = 3
MANY_SHARE = 0.02
TASK_NAMES = ("task_id", "question_id", "full_name", "name", "id")
"""Where a record of an unknown benchmark may name its task; its number does otherwise."""


def shared_by_many(tasks: int) -> float:
    """Return the number of tasks above which what they share is a benchmark's boilerplate and belongs to none."""
    return max(MANY_TASKS, MANY_SHARE * tasks)


def _all_texts(found: list[dict[str, Any]]) -> list[Passage]:
    texts = [list(dict.fromkeys(_texts_in(record))) for record in found]
    users = Counter(text for of_one in texts for text in of_one)
    return [
        passage
        for number, (record, of_one) in enumerate(zip(found, texts, strict=True))
        for text in of_one
        if users[text] <= shared_by_many(len(found))
        for passage in prompt_passages(
            next((str(record[key]) for key in TASK_NAMES if key in record), str(number)), text, kind="text"
        )
    ]


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) >= LEAST_CHARACTERS:
            yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(inner)


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


BRING = (
    "give the file by the config key benchmarks.<name>.file, or by data.other_benchmarks.<name> if it is only kept out"
)


def fetch(source: Source, target: Path) -> None:
    """Download one published version and check it before it takes its place.

    Raises:
        UserError: the download fails, or its content is not the pinned version.
    """
    import urllib.error
    import urllib.request

    if not source.url:
        raise UserError(f"version {source.version} is not published as one file; {BRING}")

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with urllib.request.urlopen(source.url, timeout=60) as response, part.open("wb") as sink:
            while chunk := response.read(1 << 20):
                sink.write(chunk)
    except (urllib.error.URLError, OSError) as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{source.url} could not be fetched ({error}); on a machine without internet, {BRING}"
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
