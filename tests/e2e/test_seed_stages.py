"""From raw shards to seeds: the same rows for any sharding, the same bytes for any hash seed, and nothing lost."""

import itertools
import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from selfcodealign.rows_io import read_rows
from tests.published import material
from tests.seed_rows import gather, write_shard

SMALL = "data/stack-small/data-00000-of-00001.parquet"
STAGES = ("extract_functions", "dedup_functions", "infer_imports", "filter_seeds", "decontaminate_seeds")


def resharded(small, folder, shards: int) -> list:
    """Cut the small corpus into some shards, in order."""
    rows = pq.read_table(small, columns=["max_stars_repo_name", "max_stars_repo_path", "content"]).to_pylist()
    rows.append({"max_stars_repo_name": "copy", "max_stars_repo_path": "x.py", "content": rows[5]["content"]})
    files = [tuple(row.values()) for row in rows]
    size = -(-len(files) // shards)
    return [
        write_shard(folder / f"raw{number}.parquet", files[number * size : (number + 1) * size])
        for number in range(shards)
    ]


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_one_two_and_eight_shards_give_the_same_rows(mode, tmp_path):
    humaneval = {"humaneval": str(material("bench/HumanEval.jsonl.gz"))}
    found = []
    for shards in (1, 2, 8):
        folder = tmp_path / str(shards)
        gather(resharded(material(SMALL), folder, shards), folder, humaneval, mode=mode)
        rows = {
            (stage, kind): [
                json.dumps(row, sort_keys=True)
                for number in range(shards)
                for row in read_rows(folder / stage / f"{number:05d}{kind}.parquet")
            ]
            for stage in STAGES
            for kind in ("", ".dropped")
        }
        found.append(rows)
        assert_conserved(folder, shards)
    assert found[0] == found[1] == found[2]
    assert len(found[0]["decontaminate_seeds", ""]) > 20


def assert_conserved(folder, shards):
    """Assert that each row is kept or dropped with a reason, and that a stage starts with what the last one made."""
    for number in range(shards):
        funnels = [json.loads((folder / stage / f"{number:05d}.funnel.json").read_text()) for stage in STAGES]
        for funnel in funnels:
            assert funnel["entered"] == funnel["kept"] + sum(funnel["dropped"].values())
        for before, after in itertools.pairwise(funnels):
            assert before["produced"] == after["entered"]


def test_bytes_do_not_depend_on_the_hash_seed(root, tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.seed_rows import gather\n"
        "gather([Path(sys.argv[1])], Path(sys.argv[2]), {'h': sys.argv[3]}, mode=sys.argv[4])"
    )
    raw = resharded(material(SMALL), tmp_path, 1)[0]
    humaneval = material("bench/HumanEval.jsonl.gz")
    for mode in ("fixed", "reference"):
        folders = []
        for seed in ("0", "1"):
            folders.append(tmp_path / mode / seed)
            subprocess.run(
                [sys.executable, "-c", code, raw, folders[-1], humaneval, mode],
                cwd=root,
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
                check=True,
                capture_output=True,
            )
        trees = [
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in folders
        ]
        assert trees[0] == trees[1]
        assert len(trees[0]) > 15
