"""Compressed files, known by their first bytes rather than by their names."""

import bz2
import gzip
import io
import lzma
import zlib
from typing import Any

KINDS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
LONGEST = max(map(len, KINDS))
"""Bytes that tell whether a file is compressed."""

TORN = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What reading a damaged file raises."""


def kind_of(start: bytes) -> str | None:
    """Name the compression of a file that begins so; None if it is not compressed."""
    return next((kind for magic, kind in KINDS.items() if start.startswith(magic)), None)


def unzipped(stream: Any, kind: str) -> io.BufferedReader:
    """Open a compressed stream of bytes for reading what is inside."""
    if kind == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=stream))  # pyright: ignore[reportArgumentType]
    if kind == "bz2":
        return io.BufferedReader(bz2.BZ2File(stream))  # pyright: ignore[reportArgumentType]
    if kind == "xz":
        return io.BufferedReader(lzma.LZMAFile(stream))  # pyright: ignore[reportArgumentType]
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), kind))  # pyright: ignore[reportArgumentType]
