"""Which rows of several datasets a model is trained on, and how often: by weights, ids and the training seed alone."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.ids import digest_of_file, seed_for
from selfcodealign.rows_io import read_rows


@dataclass(frozen=True)
class Source:
    """One table of a mixture.

    Attributes:
        table: parquet file.
        sha256: of its content.
        weight: how often each of its rows is taken, on average.
        rows: how many it has.
        taken: how many are trained on, repeated ones counted each time.
    """

    table: Path
    sha256: str
    weight: float
    rows: int
    taken: int


@dataclass
class Mixture:
    """Rows to train on; iterate for each with how often it is taken, at least once.

    Attributes:
        sources: the tables, in the order given.
        not_drawn: rows that are not taken at all.
    """

    sources: list[Source] = field(default_factory=list)
    not_drawn: int = 0
    _rows: list[tuple[dict[str, Any], int]] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], int]]:
        return iter(self._rows)

    @property
    def tables(self) -> str:
        """Name the tables, for messages."""
        return ", ".join(str(source.table) for source in self.sources)

    def add(self, table: Path, weight: float, columns: Sequence[str], seed: int) -> None:
        """Add the rows of a table that its weight and the seed take; `columns` must have the id."""
        rows = list(read_rows(table, columns))
        times = copies((row["id"] for row in rows), weight, seed)
        drawn = [(row, times[row["id"]]) for row in rows if times[row["id"]]]
        self._rows += drawn
        self.not_drawn += len(rows) - len(drawn)
        taken = sum(count for _, count in drawn)
        self.sources.append(Source(table, digest_of_file(table), weight, len(rows), taken))


def read(tables: Sequence[Path], weights: Sequence[float] | None, columns: Sequence[str], seed: int) -> Mixture:
    """Read the rows of several tables that their weights take; without weights all rows once.

    Raises:
        UserError: there are not as many weights as tables, or one takes no row.
    """
    if weights and (len(weights) != len(tables) or not all(0 < weight < math.inf for weight in weights)):
        given = ", ".join(f"{weight:g}" for weight in weights)
        raise UserError(f"weights {given} for {len(tables)} table(s): give one number above 0 for each, or none at all")
    found = Mixture()
    for table, weight in zip(tables, weights or [1.0] * len(tables), strict=True):
        found.add(table, weight, columns, seed)
    return found


def copies(ids: Iterable[str], weight: float, seed: int) -> dict[str, int]:
    """Say for each row how often a weight takes it.

    The whole part of the weight takes every row so often, the rest takes that share of the rows once more: those that
    come first in an order drawn from their ids. So 0.5 takes half of the rows, 2 all of them twice and 1.5 all of them
    and half of them again, and what a lower weight takes, a higher one takes too.
    """
    order = sorted(set(ids), key=lambda row_id: (seed_for(seed, "mixture", row_id), row_id))
    whole = math.floor(weight)
    more = round((weight - whole) * len(order))
    return {row_id: whole + (place < more) for place, row_id in enumerate(order)}
