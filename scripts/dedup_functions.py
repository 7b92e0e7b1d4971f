"""Keep one function of each cluster of near-duplicates."""

import logging
from pathlib import Path

from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.seeds import neardup
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)


def why_dropped(number: int, lost: dict[int, tuple[bool, str]], short: set[int]) -> tuple[str, str] | None:
    """Return (reason, detail) for a function that goes, None for one that stays.

    Args:
        number: the function's number over all shards.
        lost: for each function that loses against another: whether their texts are equal, and the other's id bits.
        short: numbers of the functions deleted for their shortness (`reference` mode).
    """
    if number in short:
        return "too_few_tokens", ""
    if number not in lost:
        return None
    copy, survivor = lost[number]
    return ("exact_duplicate" if copy else "near_duplicate"), f"of fn-{survivor}"


def main(
    functions: Path,
    shard: int,
    band_keys: list[Path],
    clusters: Path,
    short: Path,
    kept: Path,
    dropped: Path,
    funnel: Path,
) -> None:
    """Keep one function of each cluster of near-duplicates.

    Args:
        functions: one shard's functions.
        shard: its place among the key files.
        band_keys: key files of all shards, in order.
        clusters: functions that lose against another, from cluster_functions.
        short: functions that are deleted for their shortness, from cluster_functions.
        kept: the functions that stay.
        dropped: the others; `detail` names the function each loses against.
        funnel: counts by reason.
    """
    first, lost = neardup.lost_in_shard(shard, band_keys, clusters)
    too_short = set(neardup.load(short).tolist())
    with StageOutput("dedup_functions", rows=kept, dropped=dropped, funnel=funnel, schema=FunctionRow) as output:
        for number, row in enumerate(progress(read_rows(functions), unit="functions", label="dedup_functions"), first):
            fate = why_dropped(number, lost, too_short)
            if fate:
                output.drop(row, *fate)
            else:
                output.keep(row)
    log.info("%d of %d functions kept", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
