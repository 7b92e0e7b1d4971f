"""Errors that a person caused and a person can mend, in the standard library alone."""

import errno
import os
import sys
from pathlib import Path

ERROR_FILE = "SELFCODEALIGN_ERROR_FILE"
"""Environment variable: a file to which a process also writes its sentence, for the launcher that started it."""

NOT_READ = {
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"FEA1": "a Feather file of version 1; write it as parquet",
    b"ORC": "an ORC file; write it as parquet",
    b"Obj\x01": "an Avro file; write it as parquet",
    b"SQLite format 3": "a SQLite database; write its table as parquet",
    b"\x89HDF": "an HDF5 file; write its table as parquet",
    b"\x80\x04\x95": "a pickle, which is never loaded; write it as parquet",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file; run git lfs pull",
    b"<": "a page of HTML or XML, not data; check its address and fetch it again",
}
"""How files begin that are not read, and what to do with them."""


class UserError(Exception):
    """Say in one sentence which file, key or row is wrong and what to do about it.

    Command lines print the sentence without a traceback and exit with status 1.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, for use inside a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class one_line_errors:
    """Turn a `UserError`, or a full disk, inside the block into one sentence on stderr and exit status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            error = UserError(f"no space is left on the disk of {error.filename or Path.cwd()}; make room")
        if isinstance(error, UserError):
            if told := os.environ.get(ERROR_FILE):
                Path(told).write_text(str(error))
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
