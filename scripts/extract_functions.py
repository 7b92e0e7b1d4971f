"""Cut documented top-level functions out of raw source files.

Every file that yields nothing is set aside with its reason; the file's text is not copied.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfcodealign.config.section import Mode
from selfcodealign.config.seeds import Columns, ExtractFunctions
from selfcodealign.ids import content_id
from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import StageOutput
from selfcodealign.seeds.bindings import bindings, used
from selfcodealign.seeds.extraction import Found, extract, plain, statements
from selfcodealign.seeds.raw import SourceFile, read_files
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)


def functions_of(file: SourceFile, *, reference: bool, max_file_mb: float) -> tuple[list[Found], str]:
    """Return a file's documented functions and, where there are none, the reason.

    `fixed` mode reads a file as Python does, see `extraction.plain`.

    Reasons: broken_row, no_content, too_large, nul_bytes, invalid_utf8, no_documented_function. The published
    extraction knows no size limit and lets NUL bytes through; its mode does too.
    """
    if file.content is None:
        return [], file.problem
    if not reference:
        if len(file.content) > max_file_mb * 1e6:
            return [], "too_large"
        if b"\0" in file.content:
            return [], "nul_bytes"
    try:
        if not file.content.isascii():
            file.content.decode()
        found = list(extract(file.content if reference else plain(file.content), reference=reference))
    except UnicodeDecodeError:
        return [], "invalid_utf8"
    return found, "" if found else "no_documented_function"


def rows_of(file: SourceFile, found: list[Found], *, reference: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each function of a file, under an id that says what it is and where it stands.

    The published code never asks what the file binds, so that its mode has no bindings.
    """
    source = plain(file.content or b"")
    bound = {} if reference or not found else bindings(source, statements(source))
    for function in found:
        yield {
            "id": content_id("fn", file.repo, file.path, function.line, function.content),
            "content": function.content,
            "repo": file.repo,
            "path": file.path,
            "line": function.line,
            "licence": file.licence,
            "bindings": used(function.content, bound),
        }


def main(
    shard: str,
    functions: Path,
    dropped: Path,
    funnel: Path,
    *,
    mode: Mode = "fixed",
    columns: Columns,
    settings: ExtractFunctions,
) -> None:
    """Cut documented top-level functions out of raw source files (paper B.1)."""
    with StageOutput(
        "extract_functions",
        rows=functions,
        dropped=dropped,
        funnel=funnel,
        schema=FunctionRow,
        dropped_schema=FunctionRow,
    ) as output:
        for file in progress(read_files(shard, columns), unit="files", label="extract_functions"):
            found, reason = functions_of(file, reference=mode == "reference", max_file_mb=settings.max_file_mb)
            if reason:
                output.drop(file.row(), reason, f"{len(file.content or b'')} bytes")
                continue
            output.count_kept()
            for row in rows_of(file, found, reference=mode == "reference"):
                output.produce(row)
    log.info("%d files with %d functions of %d files", output.kept, output.produced, output.entered)


if __name__ == "__main__":
    run(main)
