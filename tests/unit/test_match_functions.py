"""Functions that agree on a band share a bucket, whatever the number of jobs and parts."""

import itertools

import numpy as np
import pytest

from scripts.match_functions import main, rows_of
from selfcodealign.config.seeds import MatchFunctions
from selfcodealign.seeds import neardup

FIRST = neardup.FIRST_BAND


@pytest.fixture
def keys(tmp_path):
    """Two shards of 4 and 3 functions with three bands."""
    one = np.array([[1, 2, 3, 4], [9, 9, 8, 7], [5, 6, 5, 0], [1, 2, 3, 4], [2**64 - 1, 1, 2, 3]], dtype=np.uint64)
    two = np.array([[5, 6, 7], [9, 6, 5], [5, 0, 6], [9, 8, 7], [7, 2**64 - 1, 8]], dtype=np.uint64)
    paths = [tmp_path / "0.npy", tmp_path / "1.npy"]
    for path, matrix in zip(paths, (one, two), strict=True):
        neardup.save(path, matrix)
    return paths


def read(path):
    return sorted(
        tuple(members[low:high].tolist())
        for members, bounds in neardup.read_buckets(path)
        for low, high in itertools.pairwise(bounds)
    )


BUCKETS = [(0, 2, 4), (0, 5), (1, 6)]


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_buckets_hold_all_functions_with_a_key_but_key_0_is_none(keys, tmp_path, at_once, monkeypatch):
    monkeypatch.setattr(neardup, "KEYS_AT_ONCE", at_once)
    main(keys, tmp_path / "c.npy", tmp_path / "m.npy", group=0, settings=MatchFunctions())
    assert read(tmp_path / "m.npy") == BUCKETS
    assert read(tmp_path / "c.npy") == [(0, 1, 4)]


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_groups_share_the_bands_and_only_the_first_finds_copies(keys, tmp_path, groups):
    found = []
    for group in range(groups):
        files = tmp_path / f"{group}.c.npy", tmp_path / f"{group}.m.npy"
        main(keys, *files, group=group, settings=MatchFunctions(groups=groups))
        found += read(tmp_path / f"{group}.m.npy")
        assert bool(read(tmp_path / f"{group}.c.npy")) == (group == 0)
    assert sorted(found) == BUCKETS
    assert sorted(row for group in range(groups) for row in rows_of(group, groups, FIRST + 3)) == [2, 3, 4]


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 100])
def test_buckets_are_read_whole_however_small_the_pieces(keys, tmp_path, at_once, monkeypatch):
    main(keys, tmp_path / "c.npy", tmp_path / "m.npy", group=0, settings=MatchFunctions())
    monkeypatch.setattr(neardup, "MEMBERS_AT_ONCE", at_once)
    assert read(tmp_path / "m.npy") == BUCKETS
