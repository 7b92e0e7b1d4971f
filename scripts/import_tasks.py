"""Read tasks of others, from files or from the Hub, as tasks that a generation answers in place of written ones."""

import ast
import heapq
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.import_dataset import read
from selfcodealign.config.given import TaskColumns
from selfcodealign.dataset import fences
from selfcodealign.dataset.sanitizing import parsed
from selfcodealign.errors import UserError
from selfcodealign.ids import content_id
from selfcodealign.rows import TaskRow
from selfcodealign.rows_io import StageOutput
from selfcodealign.stage import run

log = logging.getLogger(__name__)

UNWRITTEN = {
    **{"concepts": [], "category": "", "difficulty": "", "language": "Python", "concept_id": None},
    **{"model": "", "revision": "", "template": "", "examples": [], "temperature": 0.0, "top_p": 1.0},
    **{"max_tokens": 0, "seed": 0, "tokens_in": 0, "tokens_out": 0, "reasoning": ""},
}
"""Columns of a written task that a given one has nothing for: no model wrote it."""


def task(original: Mapping[str, Any], number: int, key: str, given: TaskColumns) -> dict[str, Any]:
    """Make the row of one given task (TaskRow).

    Args:
        original: as its authors wrote it.
        number: its place in the source, from 1.
        key: where the config names the source.
        given: its columns.

    Raises:
        UserError: the row lacks a column.
    """
    columns = {"instruction": given.instruction, "tests": given.tests, "licence": given.licence}
    for name, column in columns.items():
        if column is not None and column not in original:
            raise UserError(
                f"row {number} of the tasks has no column {column}; it has {', '.join(original)}: name the right one "
                f"by {key}.{name}"
            )
    instruction = text_of(original, given.instruction)
    tests = fences.unix_line_ends(text_of(original, given.tests))
    if fences.blocks(tests):
        tests = fences.python_code(tests).strip()
    row_id = content_id("ins", "given", instruction, tests)
    return UNWRITTEN | {
        "id": row_id,
        "seed_id": row_id,
        "function_id": row_id,
        "instruction": instruction,
        "given_tests": tests,
        "licence": text_of(original, given.licence) or "unknown",
        "repo": ", ".join(given.sources),
        "path": f"row {number}",
    }


def text_of(original: Mapping[str, Any], column: str | None) -> str:
    """Return a column's text without white space around it; lists, as of assertions, a line each."""
    value = original[column] if column else None
    if isinstance(value, list | tuple):
        value = "\n".join(map(str, value))
    return str(value or "").strip()


def draw(key: str, given: TaskColumns, max_words: int) -> set[str] | None:
    """Choose the ids of the tasks that are answered, the lowest ones, which are as random as hashes; None for all."""
    if given.limit is None:
        return None
    found = (task(original, number, key, given) for number, original in enumerate(read(key, given), start=1))
    return set(
        heapq.nsmallest(given.limit, {row["id"] for row in found if not why_dropped(row, set(), None, max_words)})
    )


def why_dropped(
    row: Mapping[str, Any], seen: set[str], drawn: set[str] | None, max_words: int
) -> tuple[str, str] | None:
    """Say why a task is not answered, with a detail; None if it is."""
    if not row["instruction"]:
        return "no_instruction", row["path"]
    words = len(row["instruction"].split())
    if words > max_words:  # Else its answers would be dropped for it, all paid for.
        return "instruction_too_long", f"{words} words"
    if row["id"] in seen:
        return "duplicate", row["path"]
    tree = parsed(row["given_tests"])
    if not isinstance(tree, ast.Module):
        return "tests_do_not_parse", tree
    return None if drawn is None or row["id"] in drawn else ("not_drawn", row["path"])


def main(
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
    name: str,
    shard: int = 0,
    shards: int = 1,
    max_words: int,
    settings: TaskColumns,
) -> None:
    """Read tasks of others, from files or from the Hub, as tasks that a generation answers in place of written ones.

    A task's shard follows from its id, so that equal tasks meet in one; order and number of rows change no shard.

    Args:
        rows: the tasks of this shard (TaskRow).
        dropped: those that are not answered, with the reason.
        funnel: counts by reason.
        name: name of the generation that answers them.
        shard: number of this shard, from 0.
        shards: how many there are.
        max_words: longest task that sanitize_responses lets through, in words.
        settings: where the tasks are, and in which columns.

    Raises:
        UserError: the source cannot be read, lacks a column, or holds no task at all.
    """
    key = f"generations.{name}.tasks"
    seen: set[str] = set()
    drawn = draw(key, settings, max_words)
    whole = 0
    with StageOutput("import_tasks", rows=rows, dropped=dropped, funnel=funnel, schema=TaskRow) as output:
        for number, original in enumerate(read(key, settings), start=1):
            row = task(original, number, key, settings)
            whole += bool(row["instruction"])
            if int(row["id"].partition("-")[2], 16) % shards != shard:
                continue
            if broken := why_dropped(row, seen, drawn, max_words):
                output.drop(row, *broken)
            else:
                output.keep(row)
            seen.add(row["id"])
        if not whole:
            raise UserError(
                f"{key}.instruction: no row has text in the column {settings.instruction}; name the one with tasks"
            )
    log.info("kept %d of %d tasks of shard %d", output.kept, output.entered, shard)


if __name__ == "__main__":
    run(main)
