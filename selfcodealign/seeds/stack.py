"""Write raw shards in the columns of The Stack, as the rules do that make shards here instead of fetching them."""

import hashlib
import platform
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StackFile:
    """A file of a repository; `content` is None where the crawl lost it."""

    repo: str
    path: str
    licence: str
    content: str | None


def stack_row(file: StackFile) -> dict[str, Any]:
    """Return a file as a row of The Stack."""
    content = file.content or ""
    lines = content.split("\n")
    return {
        "hexsha": hashlib.sha1(content.encode()).hexdigest(),
        "size": len(content.encode()),
        "ext": "py",
        "lang": "Python",
        "max_stars_repo_path": file.path,
        "max_stars_repo_name": file.repo,
        "max_stars_repo_licenses": [file.licence],
        "max_stars_count": None,
        "content": file.content,
        "avg_line_length": sum(map(len, lines)) / len(lines),
        "max_line_length": max(map(len, lines)),
        "alphanum_fraction": sum(map(str.isalnum, content)) / max(1, len(content)),
    }


def write_shard(path: Path, files: list[StackFile]) -> None:
    """Write files to a parquet shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number, share = pa.string(), pa.int64(), pa.float64()
    columns = {
        "hexsha": text, "size": number, "ext": text, "lang": text, "max_stars_repo_path": text,
        "max_stars_repo_name": text, "max_stars_repo_licenses": pa.list_(text), "max_stars_count": number,
        "content": text, "avg_line_length": share, "max_line_length": number, "alphanum_fraction": share,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(map(stack_row, files)), pa.schema(columns)), path, compression="zstd")


def installed() -> str:
    """Name the code that the running interpreter has: a hash of its version and of its packages' names and versions."""
    roots = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    found = {path.name for root in roots for path in Path(root).glob("*.dist-info")}
    return hashlib.sha256("\n".join([platform.python_version(), *sorted(found)]).encode()).hexdigest()[:16]
