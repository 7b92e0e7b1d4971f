"""Compute the MinHash band keys of a shard's functions."""

import logging
from pathlib import Path

from selfcodealign.config.section import Mode
from selfcodealign.config.seeds import SignFunctions
from selfcodealign.seeds import neardup
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def main(
    functions: Path,
    band_keys: Path,
    *,
    mode: Mode = "fixed",
    settings: SignFunctions,
) -> None:
    """Compute the MinHash band keys of a shard's functions."""
    hasher = neardup.hasher_of(mode, settings)
    count = neardup.write_keys(functions, band_keys, hasher)
    log.info("%d functions, %d bands of %d rows", count, hasher.bands, hasher.rows)


if __name__ == "__main__":
    run(main)
