"""Ids and seeds depend on content alone."""

import hashlib
import json
import subprocess
import sys

import pytest

from selfcodealign.ids import content_id, digest, rng_for, seed_for


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


@pytest.mark.parametrize(
    "parts",
    [(), ("a", 1, None, True, 0.1, 1e300), ({"b": [1, "\u00e9\ud800"], "a": {}}, ["x"], '\n"\\'), (float("nan"),)],
)
def test_a_digest_is_that_of_the_parts_as_json(parts):
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    assert digest(*parts) == hashlib.sha256(text.encode()).hexdigest()


def test_parts_that_json_has_no_word_for_are_refused():
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        digest({1})
