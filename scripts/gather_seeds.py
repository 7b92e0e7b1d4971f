"""Collect the judged seeds of all shards, ordered by id, and cut them into seed shards of equal size."""

import logging
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path

from selfcodealign.config.section import RUN_SEED
from selfcodealign.config.seeds import GatherSeeds
from selfcodealign.errors import UserError
from selfcodealign.ids import seed_for
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.stage import run

log = logging.getLogger(__name__)

ROWS_IN_MEMORY = 100_000
"""Rows sorted at once; the source files are read again for each such portion, so that memory stays flat."""


def why_dropped(row_id: str, chosen: set[str], seen: set[str]) -> str | None:
    """Name why a seed is left out, or None."""
    if row_id in seen:
        return "duplicate"
    return None if row_id in chosen else "over_limit"


def choose(ids: set[str], limit: int | None, run_seed: int) -> set[str]:
    """Choose at most `limit` seeds by a hash of their ids, so that order and shards do not matter."""
    if limit is None or len(ids) <= limit:
        return ids
    return set(sorted(ids, key=lambda row_id: (seed_for(run_seed, "gather_seeds", row_id), row_id))[:limit])


def parts(ids: list[str], count: int) -> list[str]:
    """Return the first id of each of `count` runs of nearly equal length; a run may be empty."""
    return [
        ids[len(ids) * number // count] if len(ids) * number // count < len(ids) else "~" for number in range(count)
    ]


def place(row_id: str, firsts: list[str]) -> int:
    """Return the number of the run that an id belongs to; ids before the first run belong to it."""
    return max(0, bisect_right(firsts, row_id) - 1)


def gather(
    stage: str,
    seeds: list[Path],
    rows: list[Path],
    dropped: list[Path],
    funnel: list[Path],
    run_seed: int,
    settings: GatherSeeds,
) -> None:
    """Do the work of `main` under the name of a stage.

    Raises:
        UserError: the numbers of output files differ from `shards`.
    """
    shards = settings.shards
    if not len(rows) == len(dropped) == len(funnel) == shards:
        raise UserError(
            f"--shards is {shards}, but --rows, --dropped and --funnel name {len(rows)}, {len(dropped)}, {len(funnel)}"
        )
    ids = [row["id"] for row in read_rows(seeds, ["id"])]
    chosen = choose(set(ids), settings.limit, run_seed)
    firsts = parts(sorted(chosen), shards)
    together = max(1, shards * ROWS_IN_MEMORY // max(1, len(ids)))
    for start in range(0, shards, together):
        portion = range(start, min(start + together, shards))
        members: dict[int, list[dict]] = defaultdict(list)
        for row in read_rows(seeds, list(SeedRow.model_fields)):
            if (number := place(row["id"], firsts)) in portion:
                members[number].append(row)
        for number in portion:
            with StageOutput(
                stage, rows=rows[number], dropped=dropped[number], funnel=funnel[number], schema=SeedRow
            ) as output:
                seen: set[str] = set()
                for row in sorted(members[number], key=lambda row: (row["id"], row["repo"], row["path"], row["line"])):
                    reason = why_dropped(row["id"], chosen, seen)
                    seen.add(row["id"])
                    if reason:
                        output.drop(row, reason)
                    else:
                        output.keep(row)
    log.info("gathered %d of %d seeds in %d shards", len(chosen), len(ids), shards)


def main(
    seeds: list[Path],
    rows: list[Path],
    dropped: list[Path],
    funnel: list[Path],
    *,
    run_seed: int = RUN_SEED,
    settings: GatherSeeds,
) -> None:
    """Collect the judged seeds of all shards, ordered by id, and cut them into seed shards of equal size.

    Args:
        seeds: judged functions (SeedRow), one file per source shard.
        rows: the seed shards, in order.
        dropped: for each seed shard, the seeds of its range of ids that were left out, with the reason.
        funnel: for each seed shard, counts by reason.
        run_seed: seed of the choice when there are too many.
    """
    gather("gather_seeds", seeds, rows, dropped, funnel, run_seed, settings)


if __name__ == "__main__":
    run(main)
