"""Drop rows that say again what another row says: equal texts, equal names, and near-duplicates by MinHash.

The mended rules compare rows in the order of their ids, verify every near-duplicate by its exact Jaccard index, and
keep the row with the lowest id. The reference does not verify, keeps the root of a union by rank, deletes texts of
fewer than five tokens, and moves rows without code representation to the front.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from selfcodealign.clusters import TOO_SHORT, survivors
from selfcodealign.config.dataset import DedupDataset
from selfcodealign.config.section import Mode
from selfcodealign.dataset import code
from selfcodealign.minhash import MinHasher, best_bands
from selfcodealign.rows import SelectedRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.stage import run
from selfcodealign.word_runs import apart

log = logging.getLogger(__name__)

Row = dict[str, Any]
Fates = dict[str, tuple[str, str]]
"""Reason and detail by id of a dropped row."""


def same_instruction(rows: list[Row]) -> Fates:
    """Drop rows whose instruction, white space aside, is that of an earlier row of another instruction id."""
    return _of_other_instruction(rows, lambda row: code.squeezed(row["instruction"]), "same_instruction")


def same_response(rows: list[Row]) -> Fates:
    """Drop rows whose response, white space aside, is that of an earlier row."""
    first: dict[str, str] = {}
    fates: Fates = {}
    for row in rows:
        owner = first.setdefault(code.squeezed(row["response"]), row["id"])
        if owner != row["id"]:
            fates[row["id"]] = ("same_response", f"of {owner}")
    return fates


def same_names(rows: list[Row]) -> Fates:
    """Drop rows that define exactly the functions, classes and methods of an earlier row of another instruction."""
    return _of_other_instruction(rows, lambda row: code.defined_names(row["response"]), "same_names")


def _of_other_instruction(rows: list[Row], key: Callable[[Row], Any], reason: str) -> Fates:
    """Drop rows whose key an earlier row of another instruction has; empty keys tell nothing."""
    first: dict[Any, Row] = {}
    fates: Fates = {}
    for row in rows:
        value = key(row)
        owner = first.setdefault(value, row) if value else row
        if owner["instruction_id"] != row["instruction_id"]:
            fates[row["id"]] = (reason, f"of {owner['id']}")
    return fates


def near_duplicates(rows: list[Row], column: str, hasher: MinHasher, threshold: float) -> Fates:
    """Drop rows whose text in a column is nearly that of an earlier row; equal instructions of one id are one text.

    Where a script has no spaces between words, characters are compared.
    """
    places: list[int] = []
    seen: dict[str, int] = {}
    slots: list[int | None] = []
    for place, row in enumerate(rows):
        if not row[column]:
            slots.append(None)
            continue
        key = row["instruction_id"] if column == "instruction" else row["id"]
        if key not in seen:
            seen[key] = len(places)
            places.append(place)
        slots.append(seen[key])
    kept = survivors([apart(rows[place][column]) for place in places], hasher, threshold=threshold).tolist()
    fates: Fates = {}
    for row, slot in zip(rows, slots, strict=True):
        if slot is not None and kept[slot] != slot:
            fates[row["id"]] = (f"near_{column}", f"of {rows[places[kept[slot]]]['id']}")
    return fates


def deduplicated(
    rows: Iterable[Row], *, columns: Iterable[str], names: bool, hasher: MinHasher, threshold: float
) -> tuple[list[Row], Fates]:
    """Apply the mended rules, cheapest first; each sees what the one before left.

    Returns:
        (kept rows in the order of ids, reason and detail of the others).
    """
    left = sorted(rows, key=lambda row: row["id"])
    fates: Fates = {}
    rules: list[Callable[[list[Row]], Fates]] = [same_instruction, same_response]
    rules += [same_names] if names else []
    rules += [lambda rows, column=column: near_duplicates(rows, column, hasher, threshold) for column in columns]
    for rule in rules:
        gone = rule(left)
        fates |= gone
        left = [row for row in left if row["id"] not in gone]
    return left, fates


def reference_deduplicated(
    rows: Iterable[Row], *, columns: Iterable[str], hasher: MinHasher
) -> tuple[list[Row], Fates]:
    """Apply the reference's passes (`minhash_dedup.py`), in the order in which rows come.

    Only the pass over code representations leaves empty texts alone (`--ignore_empty`), and puts them in front.
    """
    left = list(rows)
    fates: Fates = {}
    for column in columns:
        aside = [row for row in left if not row[column]] if column == "code_representation" else []
        compared = [row for row in left if row[column]] if column == "code_representation" else left
        roots = survivors([row[column] for row in compared], hasher, threshold=0.0, rule="reference").tolist()
        kept = []
        for place, (row, root) in enumerate(zip(compared, roots, strict=True)):
            if root == place:
                kept.append(row)
            elif root == TOO_SHORT:
                fates[row["id"]] = (f"short_{column}", f"fewer than {hasher.min_tokens} tokens")
            else:
                fates[row["id"]] = (f"near_{column}", f"of {compared[root]['id']}")
        left = aside + kept
    return left, fates


def main(
    chosen: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
    mode: Mode = "fixed",
    settings: DedupDataset,
) -> None:
    """Drop rows that say again what another row says.

    Args:
        chosen: rows of the stage before (SelectedRow).
        rows: the rows that are kept.
        dropped: the others, with the reason and the row that they repeat.
        funnel: how many were dropped for each reason.
        mode: `reference` applies the published passes, quirks included; `fixed` the mended rules.
        settings: what is compared, and from when on texts are alike.
    """
    bands, band_rows = best_bands(settings.threshold, settings.permutations)
    hasher = MinHasher(
        permutations=settings.permutations,
        bands=bands,
        rows=band_rows,
        ngram=settings.ngram,
        min_tokens=settings.min_tokens,
        scheme="reference" if mode == "reference" else "fast",
    )
    entered = list(read_rows(chosen))
    if mode == "reference":
        kept, fates = reference_deduplicated(entered, columns=settings.columns, hasher=hasher)
    else:
        kept, fates = deduplicated(
            entered, columns=settings.columns, names=settings.names, hasher=hasher, threshold=settings.threshold
        )
    with StageOutput("dedup_dataset", rows=rows, dropped=dropped, funnel=funnel, schema=SelectedRow) as output:
        for row in kept:
            output.keep(row)
        for row in sorted((row for row in entered if row["id"] in fates), key=lambda row: row["id"]):
            output.drop(row, *fates[row["id"]])
    log.info("kept %d of %d rows", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
