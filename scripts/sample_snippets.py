"""Cut random runs of lines out of raw source files: seeds for an ablation."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from selfcodealign.config.section import RUN_SEED
from selfcodealign.config.seeds import Columns, SampleSnippets
from selfcodealign.ids import content_id
from selfcodealign.rows import FunctionRow, SeedRow
from selfcodealign.rows_io import StageOutput
from selfcodealign.seeds.extraction import Found
from selfcodealign.seeds.raw import SourceFile, read_files
from selfcodealign.seeds.snippets import fingerprint, snippets, why_unfit
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)


def snippets_of(file: SourceFile, *, run_seed: int, limits: SampleSnippets) -> tuple[list[Found], str]:
    """Return a file's snippets and, where there are none, the reason.

    Reasons: broken_row, no_content, nul_bytes, invalid_utf8, too_few_lines, too_many_lines, no_words.
    """
    if file.content is None:
        return [], file.problem
    if b"\0" in file.content:
        return [], "nul_bytes"
    try:
        text = file.content.decode()
    except UnicodeDecodeError:
        return [], "invalid_utf8"
    unfit = why_unfit(text, limits)
    if unfit:
        return [], unfit
    name = f"{file.repo}/{file.path}/{hashlib.sha256(file.content).hexdigest()}"
    found = list(snippets(text, name, run_seed=run_seed, limits=limits))
    return found, "" if found else "no_words"


def seed_row(file: SourceFile, snippet: Found) -> dict[str, Any]:
    """Make a seed of a snippet; snippets that differ in white space only get one id, and gathering keeps one."""
    name = content_id("snip", fingerprint(snippet.content))
    return {
        "id": name,
        "function_id": name,
        "content": snippet.content,
        "imports": [],
        "repo": file.repo,
        "path": file.path,
        "line": snippet.line,
        "licence": file.licence,
        "judge_score": None,
    }


def main(
    shard: str,
    seeds: Path,
    dropped: Path,
    funnel: Path,
    *,
    run_seed: int = RUN_SEED,
    columns: Columns,
    settings: SampleSnippets,
) -> None:
    """Cut random runs of lines out of raw source files: seeds for an ablation (paper, table 10)."""
    with StageOutput(
        "sample_snippets", rows=seeds, dropped=dropped, funnel=funnel, schema=SeedRow, dropped_schema=FunctionRow
    ) as output:
        for file in progress(read_files(shard, columns), unit="files", label="sample_snippets"):
            found, reason = snippets_of(file, run_seed=run_seed, limits=settings)
            if reason:
                output.drop(file.row(), reason)
                continue
            output.count_kept()
            for snippet in found:
                output.produce(seed_row(file, snippet))
    log.info("%d files with %d snippets of %d files", output.kept, output.produced, output.entered)


if __name__ == "__main__":
    run(main)
