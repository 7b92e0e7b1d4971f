"""Clusters are the connected components of exact similarity, whoever shares a shard with whom."""

import itertools
import json
import random

import numpy as np
import pytest

from scripts import cluster_functions, match_functions, sign_functions
from selfcodealign.config.seeds import ClusterFunctions, MatchFunctions, Shingles, SignFunctions
from selfcodealign.minhash import jaccard
from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import write_rows
from tests.seed_rows import function_row


def corpus() -> list[dict]:
    """Make functions of which many are alike, some equal, and some too short for a shingle."""
    draw = random.Random(5)
    rows = []
    for family in range(12):
        base = [f"name{family}_{k}" for k in range(100)]
        for copy in range(draw.randint(1, 5)):
            words = [word if draw.random() > 0.015 else f"other{draw.random()}" for word in base]
            rows.append(function_row(" ".join(words), path=f"{family}/{copy}.py"))
    rows += [function_row(rows[number]["content"], path=f"copy/{number}.py") for number in (0, 3, 3, 9)]
    rows += [function_row("x = 1", path=f"short/{number}.py") for number in range(3)]
    draw.shuffle(rows)
    return rows


def clusters(folder, parts: list[list[dict]], mode: str = "fixed") -> tuple[np.ndarray, dict, np.ndarray]:
    functions, keys = [], []
    for number, rows in enumerate(parts):
        functions.append(folder / f"{number}.parquet")
        keys.append(folder / f"{number}.npy")
        write_rows(functions[-1], FunctionRow, rows)
        sign_functions.main(functions[-1], keys[-1], mode=mode, settings=SignFunctions())
    match_functions.main(keys, folder / "c.npy", folder / "m.npy", group=0, settings=MatchFunctions())
    outputs = folder / "clusters.npy", folder / "short.npy", folder / "counts.json"
    settings = {"shingles": Shingles(), "settings": ClusterFunctions()}
    cluster_functions.main(functions, keys, [folder / "c.npy"], [folder / "m.npy"], *outputs, mode=mode, **settings)
    return np.load(outputs[0]), json.loads(outputs[2].read_text()), np.load(outputs[1])


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_the_smallest_id_of_each_component_survives(shards, tmp_path):
    rows = corpus()
    size = -(-len(rows) // shards)
    dropped, counts, short = clusters(tmp_path, [rows[k : k + size] for k in range(0, len(rows), size)])
    component = list(range(len(rows)))
    for i, j in itertools.combinations(range(len(rows)), 2):
        one, other = rows[i]["content"], rows[j]["content"]
        if one == other or jaccard(one, other) >= 0.5:
            a, b = component[i], component[j]
            component = [a if c == b else c for c in component]
    expected = {}
    for i in range(len(rows)):
        winner = min((j for j in range(len(rows)) if component[j] == component[i]), key=lambda j: (rows[j]["id"], j))
        if winner != i:
            expected[i] = winner
    assert dict(zip(dropped[0].tolist(), dropped[1].tolist(), strict=True)) == expected
    assert dropped[0].tolist() == sorted(expected)
    assert not len(short)
    assert [f"{bits:016x}" for bits in dropped[2].tolist()] == [rows[expected[i]]["id"][3:19] for i in sorted(expected)]
    assert counts["functions"] == len(rows)
    assert counts["dropped"] == len(expected) > 10


def test_nothing_alike_drops_nothing(tmp_path):
    rows = [function_row(" ".join(f"w{n}_{k}" for k in range(20)), path=f"{n}.py") for n in range(5)]
    dropped, counts, _ = clusters(tmp_path, [rows, []])
    assert dropped.shape == (3, 0)
    assert counts["candidates"] == 0


def test_reference_mode_deletes_short_functions_and_verifies_nothing(tmp_path):
    rows = corpus()
    dropped, _, short = clusters(tmp_path, [rows[:10], rows[10:]], mode="reference")
    lengths = {n for n, row in enumerate(rows) if row["content"] == "x = 1"}
    assert set(short.tolist()) <= lengths
    assert lengths <= set(short.tolist()) | set(dropped[0].tolist())
    assert len(short) == 1, "copies go first, the one that is left is too short"
    assert len(dropped[0]) > 10
