"""Compare candidates exactly, join near-duplicates over all shards and choose who survives."""

import logging
from pathlib import Path

import numpy as np

from selfcodealign.config.section import Mode
from selfcodealign.config.seeds import ClusterFunctions, Shingles
from selfcodealign.minhash import MinHasher
from selfcodealign.rows_io import write_json
from selfcodealign.seeds import neardup
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def main(
    functions: list[Path],
    band_keys: list[Path],
    copies: list[Path],
    matches: list[Path],
    clusters: Path,
    short: Path,
    counts: Path,
    *,
    mode: Mode = "fixed",
    shingles: Shingles,
    settings: ClusterFunctions,
) -> None:
    """Compare candidates exactly, join near-duplicates over all shards and choose who survives.

    `reference` mode compares nothing, joins every bucket, and lists in `short` the functions it deletes for having
    too few tokens.
    """
    if mode == "reference":
        dropped, too_short = neardup.reference_dropped(band_keys)
        found = {"dropped": dropped.shape[1], "too_short": len(too_short)}
    else:
        hasher = MinHasher(**shingles.model_dump())
        dropped, found = neardup.cluster(
            functions, band_keys, copies, matches, hasher=hasher, threshold=settings.threshold, work=clusters.parent
        )
        too_short = np.empty(0, dtype=np.int64)
    neardup.save(short, too_short)
    neardup.save(clusters, dropped)
    write_json(counts, found)
    log.info("%s", found)


if __name__ == "__main__":
    run(main)
