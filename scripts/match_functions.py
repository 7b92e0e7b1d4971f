"""Merge the band keys of all shards: functions that agree on a band are candidates."""

import logging
from pathlib import Path

from selfcodealign.config.seeds import MatchFunctions
from selfcodealign.seeds import neardup
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def rows_of(group: int, groups: int, rows: int) -> list[int]:
    """Return the rows of the key files that a group merges: every `groups`-th band, counted from the first band."""
    return list(range(neardup.FIRST_BAND + group, rows, groups))


def main(band_keys: list[Path], copies: Path, matches: Path, *, group: int, settings: MatchFunctions) -> None:
    """Merge the band keys of all shards: functions that agree on a band are candidates.

    The first group also merges the hashes of whole texts, so `copies` of the other groups are empty.
    """
    rows = neardup.load(band_keys[0]).shape[0]
    copied = neardup.write_buckets(copies, band_keys, [neardup.CONTENT] if group == 0 else [])
    matched = neardup.write_buckets(matches, band_keys, rows_of(group, settings.groups, rows))
    log.info("%d functions have copies, %d places in buckets of candidates", copied, matched)


if __name__ == "__main__":
    run(main)
