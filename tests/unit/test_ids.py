"""Ids and seeds depend on content alone."""

import subprocess
import sys

import pytest

from selfcodealign.ids import content_id, rng_for, seed_for


def test_parts_do_not_run_together():
    assert content_id("fn", "ab", "c") != content_id("fn", "a", "bc")


def test_kinds_keep_ids_apart():
    assert content_id("fn", "x").startswith("fn-")
    assert content_id("fn", "x")[3:] != content_id("con", "x")[4:]
    with pytest.raises(ValueError, match="unknown kind of row"):
        content_id("banana", "x")


def test_seeds_differ_by_run_stage_and_row():
    seeds = {seed_for(run, stage, row) for run in (1, 2) for stage in "ab" for row in ("x", "y")}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_randomness_does_not_depend_on_the_hash_seed():
    code = "from selfcodealign.ids import rng_for; print(rng_for(1, 'stage', 'row').random())"
    command = [sys.executable, "-c", code]
    draws = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True).stdout
        for seed in ("0", "7")
    }
    assert draws == {f"{rng_for(1, 'stage', 'row').random()}\n"}
