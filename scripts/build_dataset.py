"""Write a dataset as it is published: a folder of parquet files, one configuration each, and a card made from them.

`datasets.load_dataset(folder, "sft")` reads it. Datasets of one ablation are cut to equal numbers of rows, as far as
possible of the same instructions, so that the selection is all that differs between them.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from selfcodealign import __version__
from selfcodealign.config.section import RUN_SEED
from selfcodealign.dataset import card, trainers
from selfcodealign.dataset.funnels import one_line, read_funnels
from selfcodealign.dataset.rows import turn
from selfcodealign.errors import UserError
from selfcodealign.ids import seed_for
from selfcodealign.pipeline import stage_of
from selfcodealign.rows import DatasetRow, SelectedRow
from selfcodealign.rows_io import StageOutput, count_rows, read_rows, whole_folder, write_text
from selfcodealign.stage import run

log = logging.getLogger(__name__)

SAMPLE_CHARACTERS = 1_500
"""Longest text of a sample row in the card."""


def equal_share(own: dict[str, str], siblings: Iterable[dict[str, str]], *, seed: int) -> set[str]:
    """Choose as many rows as the smallest of the datasets has; all siblings choose by the same order.

    Args:
        own: this dataset's rows, id to instruction id.
        siblings: the same of every other dataset of the ablation.
        seed: run seed of the order.

    Instructions that all datasets have come first, then the others, each group in an order drawn from the instruction's
    id; so the datasets share as many instructions as their sizes allow.
    """
    groups = [own, *siblings]
    size = min(len(group) for group in groups)
    common = set(own.values()).intersection(*(group.values() for group in groups))

    def rank(row_id: str) -> tuple[bool, int, str]:
        instruction_id = own[row_id]
        return instruction_id not in common, seed_for(seed, "build_dataset", instruction_id), row_id

    return set(sorted(own, key=rank)[:size])


def published(row: dict[str, Any], seed_row: dict[str, Any]) -> dict[str, Any]:
    """Make the published row of a chosen response, with its seed's source and licence."""
    return {
        **{name: row[name] for name in DatasetRow.model_fields if name in row},
        "messages": [turn("user", row["instruction"]), turn("assistant", row["response"])],
        **{name: seed_row[name] for name in ("function_id", "repo", "path", "licence")},
    }


def why_dropped(row: dict[str, Any], share: set[str]) -> str | None:
    """Say why a row is not published, or None if it is."""
    return None if row["id"] in share else "equal_rows"


def seeds_by_id(seeds: list[Path], wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Read source and licence of the seeds that the dataset came from."""
    columns = ("id", "function_id", "repo", "path", "licence")
    found = {row["id"]: row for row in read_rows(seeds, columns) if row["id"] in wanted}
    if missing := wanted - found.keys():
        raise UserError(
            f"seed {min(missing)} of a dataset row is in none of {len(seeds)} seed files; "
            "the dataset and the seeds are of different runs: make both again"
        )
    return found


def instructions_of(path: Path) -> dict[str, str]:
    """Read which row belongs to which instruction."""
    return {row["id"]: row["instruction_id"] for row in read_rows(path, ("id", "instruction_id"))}


def dropped_examples(files: Iterable[Path]) -> Iterator[card.Dropped]:
    """Read one example of each reason, that with the lowest id, from files of dropped rows."""
    least: dict[tuple[str, str], dict[str, Any]] = {}
    stages = []
    for path in files:
        stage = stage_of(path)
        stages.append(stage)
        for row in read_rows(path):
            if not (text := row.get("raw") or row.get("instruction") or row.get("content")):
                continue
            key = (stage, row["reason"])
            if key not in least or row["id"] < least[key]["id"]:
                least[key] = {"id": row["id"], "detail": row["detail"], "text": text}
    for stage, reason in sorted(least, key=lambda key: (stages.index(key[0]), key[1])):
        example = least[stage, reason]
        yield card.Dropped(stage, reason, example["detail"], shortened(example["text"], 600))


def shortened(value: Any, most: int = SAMPLE_CHARACTERS) -> Any:
    """Cut long texts, also inside lists and objects."""
    if isinstance(value, str):
        return value if len(value) <= most else value[:most].rstrip() + " …"
    if isinstance(value, list):
        return [shortened(item, most) for item in value]
    return {key: shortened(item, most) for key, item in value.items()} if isinstance(value, dict) else value


def add_configuration(facts: card.Facts, name: str, source: Path, folder: Path) -> None:
    """Copy the rows of a further configuration into the folder, unless there are none."""
    facts.rows[name] = count_rows(source)
    if facts.rows[name]:
        (folder / name).mkdir()
        shutil.copyfile(source, folder / name / "train.parquet")
        facts.samples[name] = shortened(next(read_rows(source)))


def main(
    chosen: Path,
    seeds: list[Path],
    folder: Path,
    dropped: Path,
    funnel: Path,
    *,
    name: str,
    siblings: list[Path] | None = None,
    pairs: Path | None = None,
    labels: Path | None = None,
    tasks: Path | None = None,
    funnels: list[Path] | None = None,
    dropped_before: list[Path] | None = None,
    recipe: dict[str, str] | None = None,
    run_seed: int = RUN_SEED,
) -> None:
    """Write a dataset as it is published: parquet files, one configuration each, and a card made from them.

    Args:
        chosen: the dataset's rows (SelectedRow), every filter behind them.
        seeds: seed rows, for source and licence.
        folder: the published folder: `sft/train.parquet` (DatasetRow), further configurations, `README.md`.
        dropped: rows that were cut to equal the siblings.
        funnel: how many were cut.
        name: name of the dataset.
        siblings: rows of the datasets to have equally many rows as.
        pairs: rows of the configuration `dpo`.
        labels: rows of the configuration `kto`.
        tasks: rows of the configuration `rl`; also written in the columns of other trainers.
        funnels: funnels of all stages before, for the card.
        dropped_before: dropped rows of stages before, for examples in the card.
        recipe: settings to print in the card.
        run_seed: seed of the cut.

    Raises:
        UserError: nothing is left to publish; the sentence shows where it went.
    """
    read = read_funnels(funnels or [])
    own = instructions_of(chosen)
    others = [instructions_of(path) for path in siblings or []]
    share = equal_share(own, others, seed=run_seed)
    if not share:
        empty = [str(path) for path, rows in zip(siblings or [], others, strict=True) if not rows]
        where = f" because {', '.join(empty)} is empty and the datasets must have equally many" if own else ""
        raise UserError(
            f"dataset {name} has no rows left{where}; look in the funnel for the rule that drops too much: "
            f"{one_line(read) or 'no funnels were given'}"
        )
    facts = card.Facts(name)
    rows = sorted(read_rows(chosen), key=lambda row: row["id"])
    sources = seeds_by_id(seeds, {row["seed_id"] for row in rows})
    with whole_folder(folder) as part:
        output = StageOutput(
            "build_dataset",
            rows=part / "sft" / "train.parquet",
            dropped=dropped,
            funnel=funnel,
            schema=DatasetRow,
            dropped_schema=SelectedRow,
        )
        with output:
            for row in rows:
                if reason := why_dropped(row, share):
                    output.drop(row, reason)
                    continue
                final = published(row, sources[row["seed_id"]])
                output.keep(final)
                facts.see(final)
                facts.samples.setdefault("sft", shortened(final))
        facts.rows["sft"] = output.kept
        for configuration, source in (("dpo", pairs), ("kto", labels), ("rl", tasks)):
            if source:
                add_configuration(facts, configuration, source, part)
        if tasks and facts.rows["rl"]:
            counts = trainers.write(read_rows(tasks), part / "rl")
            log.info("for trainers of others: %(written)d tasks, %(left_out)d need a test runner", counts)
        examples = dropped_examples(dropped_before or [])
        text = card.render(facts, read.values(), examples, recipe or {}, version=__version__)
        write_text(part / "README.md", text)
    log.info("published %s rows in %s", ", ".join(f"{count} {kind}" for kind, count in facts.rows.items()), folder)


if __name__ == "__main__":
    run(main)
