"""Compute the MinHash band keys of a shard's functions."""

import logging
from pathlib import Path
from typing import Literal

from selfcodealign.seeds import neardup
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def main(
    functions: Path,
    band_keys: Path,
    *,
    mode: Literal["fixed", "reference"] = "fixed",
    bands: int | None = None,
    rows: int | None = None,
    ngram: int = 5,
    min_tokens: int = 5,
    permutations: int | None = None,
    permutation_seed: int = 42,
) -> None:
    """Compute the MinHash band keys of a shard's functions."""
    hasher = neardup.hasher_of(mode, bands, rows, ngram, min_tokens, permutations, permutation_seed)
    count = neardup.write_keys(functions, band_keys, hasher)
    log.info("%d functions, %d bands of %d rows", count, hasher.bands, hasher.rows)


if __name__ == "__main__":
    run(main)
