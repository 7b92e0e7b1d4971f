"""Every function that goes names the one it loses against, and every row is counted."""

import json

import pytest

from scripts.dedup_functions import why_dropped
from selfcodealign.rows_io import read_rows
from tests.seed_rows import DOUBLE, deduplicate, write_shard

LONG = DOUBLE + "\n    # " + " ".join(f"word{k}" for k in range(40))


@pytest.mark.parametrize(
    ("number", "fate"),
    [
        (0, None),
        (1, ("exact_duplicate", "of fn-00ff")),
        (2, ("near_duplicate", "of fn-00ff")),
        (3, ("too_few_tokens", "")),
    ],
)
def test_why_dropped(number, fate):
    assert why_dropped(number, {1: (True, "00ff"), 2: (False, "00ff")}, {3}) == fate


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_copies_and_near_copies_over_shards_leave_one(mode, tmp_path):
    long = f'def f(x):\n    """{" ".join(f"word{k}" for k in range(60))}."""\n    return x'
    near = long.replace("word30", "changed")
    other = f'def g(y):\n    """{" ".join(f"else{k}" for k in range(60))}."""\n    return y'
    shards = [
        write_shard(tmp_path / "raw0.parquet", [("a", "1.py", long), ("a", "2.py", other), ("a", "3.py", near)]),
        write_shard(tmp_path / "raw1.parquet", [("b", "1.py", long), ("b", "2.py", "x = 1\n")]),
    ]
    kept = [row["content"] for path in deduplicate(shards, tmp_path, mode=mode, groups=2) for row in read_rows(path)]
    assert len(kept) == 2
    assert other in kept
    assert kept[0 if kept[1] == other else 1] in (long, near)
    ids = [row["id"][:19] for path in deduplicate(shards, tmp_path, mode=mode) for row in read_rows(path)]
    reasons = []
    for number in range(2):
        base = tmp_path / "dedup_functions" / f"{number:05d}"
        funnel = json.loads(base.with_suffix(".funnel.json").read_text())
        assert funnel["entered"] == funnel["kept"] + sum(funnel["dropped"].values())
        for row in read_rows(base.with_suffix(".dropped.parquet")):
            reasons.append(row["reason"])
            assert row["detail"].removeprefix("of ") in ids
    assert sorted(reasons) in (["exact_duplicate", "near_duplicate"], ["near_duplicate", "near_duplicate"])
