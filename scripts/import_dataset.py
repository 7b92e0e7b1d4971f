"""Read an instruction dataset of others, from files or from the Hub, as rows that a model can be trained on."""

import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.config.given import Given
from selfcodealign.config.section import RUN_SEED
from selfcodealign.config.training import GivenDataset
from selfcodealign.errors import UserError
from selfcodealign.evaluation.data import records
from selfcodealign.ids import content_id, seed_for
from selfcodealign.rows import GivenRow
from selfcodealign.rows_io import StageOutput, first_line, whole_folder
from selfcodealign.stage import run

log = logging.getLogger(__name__)

SPEAKERS = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
"""Who speaks, as chat datasets name them: those of OpenAI's layout, and those of ShareGPT's."""


def read(key: str, given: Given) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a dataset as its authors wrote them.

    Args:
        key: where the config names them, for messages.
        given: where they are.

    Raises:
        UserError: a source cannot be read.
    """
    sources = given.sources
    if not sources[0].startswith("hf://") and (len(sources) > 1 or Path(sources[0]).is_file()):
        for source in sources:
            yield from records(Path(source))
        return
    # Only here: it takes a second to import.
    from datasets import load_dataset

    token = os.environ.get("HF_TOKEN")
    try:
        if sources[0].startswith("hf://"):
            kind = "parquet" if sources[0].endswith(".parquet") else "json"
            yield from load_dataset(kind, data_files=sources, split="train", streaming=True, token=token)
        else:
            yield from load_dataset(sources[0], revision=given.revision, split=given.split, streaming=True, token=token)
    except Exception as error:
        # The library has many kinds of error for one thing: it is not there, not visible, or of another layout.
        raise UserError(
            f"dataset {sources[0]} cannot be read ({first_line(error)}); correct {key}.source, or "
            "download its file and name that; a gated dataset needs HF_TOKEN"
        ) from error


def exchange(row: Mapping[str, Any], number: int, given: GivenDataset) -> tuple[str, str]:
    """Return instruction and response of one row; empty where it has none.

    Args:
        row: as its authors wrote it.
        number: its place, from 1, for messages.
        given: its columns.

    Raises:
        UserError: the row lacks a column.
    """
    if absent := [column for column in given.columns if column not in row]:
        raise UserError(
            f"row {number} of the dataset has no column {', '.join(absent)}; it has {', '.join(row)}: name the right "
            "ones by the keys instruction and response, or messages, of its entry in other_datasets"
        )
    if given.messages:
        return first_exchange(row[given.messages])
    parts = [str(row[column]).strip() for column in given.columns[:-1] if row[column]]
    return "\n\n".join(part for part in parts if part), str(row[given.response] or "").strip()


def first_exchange(turns: Sequence[Mapping[str, Any]] | None) -> tuple[str, str]:
    """Return the first user turn and the assistant's answer to it; the layout of training has one of each."""
    spoken = [
        (SPEAKERS.get(turn.get("role") or turn.get("from") or ""), turn.get("content") or turn.get("value") or "")
        for turn in turns or ()
    ]
    for (speaker, text), (other, answer) in itertools.pairwise(spoken):
        if (speaker, other) == ("user", "assistant"):
            return text.strip(), answer.strip()
    return "", ""


def why_dropped(row: Mapping[str, str], seen: set[str], drawn: set[str] | None) -> str | None:
    """Say why a row is not trained on, or None if it is."""
    if not row["instruction"]:
        return "no_instruction"
    if not row["response"]:
        return "no_response"
    if row["id"] in seen:
        return "duplicate"
    return None if drawn is None or row["id"] in drawn else "not_drawn"


def draw(rows: Sequence[Mapping[str, str]], most: int, seed: int) -> set[str]:
    """Choose the ids of `most` rows with an instruction and a response, by an order drawn from the ids."""
    ids = {row["id"] for row in rows if row["instruction"] and row["response"]}
    return set(sorted(ids, key=lambda row_id: (seed_for(seed, "import_dataset", row_id), row_id))[:most])


def main(
    folder: Path,
    dropped: Path,
    funnel: Path,
    *,
    name: str,
    run_seed: int = RUN_SEED,
    settings: GivenDataset,
) -> None:
    """Read an instruction dataset of others, from files or from the Hub, as rows that a model can be trained on.

    Args:
        folder: where `train.parquet` (GivenRow) is written.
        dropped: rows that are not trained on, with the reason.
        funnel: counts by reason.
        name: name of the dataset in the config.
        run_seed: seed of the draw of rows.
        settings: where its rows are, and in which columns.

    Raises:
        UserError: a source cannot be read, lacks a column or leaves no row.
    """
    found = []
    for number, original in enumerate(read(f"other_datasets.{name}", settings), start=1):
        asked, answered = exchange(original, number, settings)
        found.append({"id": content_id("row", name, asked, answered), "instruction": asked, "response": answered})
    drawn = None if settings.rows is None else draw(found, settings.rows, run_seed)
    with whole_folder(folder) as part:
        output = StageOutput(
            "import_dataset", rows=part / "train.parquet", dropped=dropped, funnel=funnel, schema=GivenRow
        )
        seen: set[str] = set()
        with output:
            for row in found:
                if reason := why_dropped(row, seen, drawn):
                    output.drop(row, reason)
                else:
                    output.keep(row)
                seen.add(row["id"])
            if not output.kept:
                raise UserError(
                    f"dataset {name} has no row with an instruction and a response ({len(found)} rows, "
                    f"{dict(output.reasons)}); correct the columns named in other_datasets.{name}"
                )
    log.info("%d of %d rows of %s", output.kept, len(found), ", ".join(settings.sources))


if __name__ == "__main__":
    run(main)
