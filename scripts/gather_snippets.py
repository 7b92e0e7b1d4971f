"""Collect the random snippets of all shards, ordered by id, and cut them into seed shards of equal size."""

from pathlib import Path

from scripts.gather_seeds import gather
from selfcodealign.config.section import RUN_SEED
from selfcodealign.config.seeds import GatherSeeds
from selfcodealign.stage import run


def main(
    seeds: list[Path],
    rows: list[Path],
    dropped: list[Path],
    funnel: list[Path],
    *,
    run_seed: int = RUN_SEED,
    settings: GatherSeeds,
) -> None:
    """Collect the random snippets of all shards, ordered by id, and cut them into seed shards of equal size.

    Args:
        seeds: snippets (SeedRow), one file per source shard.
        rows: the seed shards, in order.
        dropped: for each seed shard, the snippets of its range of ids that were left out, with the reason.
        funnel: for each seed shard, counts by reason.
        run_seed: seed of the choice when there are too many.
    """
    gather("gather_snippets", seeds, rows, dropped, funnel, run_seed, settings)


if __name__ == "__main__":
    run(main)
