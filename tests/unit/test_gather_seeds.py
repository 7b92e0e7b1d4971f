import json
import random

import pytest

from scripts import gather_seeds
from scripts.gather_seeds import choose, main, parts, place, why_dropped
from selfcodealign.config.seeds import GatherSeeds
from selfcodealign.errors import UserError
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import write_rows
from tests.generation_rows import rows_of, seed


def gather(folder, name, shards_in, shards_out, run_seed=3407, **settings):
    """Gather lists of rows and return the files of the seed shards."""
    sources = []
    for number, rows in enumerate(shards_in):
        sources.append(folder / f"{name}-in-{number}.parquet")
        write_rows(sources[-1], SeedRow, rows)
    files = {
        kind: [folder / f"{name}-{number}{suffix}" for number in range(shards_out)]
        for kind, suffix in (("rows", ".parquet"), ("dropped", ".dropped.parquet"), ("funnel", ".funnel.json"))
    }
    main(sources, **files, run_seed=run_seed, settings=GatherSeeds(shards=shards_out, **settings))
    return files


def ids(paths):
    return [[row["id"] for row in rows_of(path)] for path in paths]


def test_all_seeds_come_out_once_in_the_order_of_their_ids_in_equal_shards(tmp_path):
    rows = [seed(number) for number in range(31)]
    files = gather(tmp_path, "a", [rows[:4], [], rows[4:]], 3)
    found = ids(files["rows"])
    assert [row_id for shard in found for row_id in shard] == sorted(row["id"] for row in rows)
    assert sorted(map(len, found)) == [10, 10, 11]


def test_shards_and_order_of_the_sources_change_nothing(tmp_path):
    rows = [seed(number) for number in range(40)]
    shuffled = random.Random(0).sample(rows, len(rows))
    first = gather(tmp_path, "a", [rows[:20], rows[20:]], 4, limit=17)
    second = gather(tmp_path, "b", [shuffled[:3], shuffled[3:9], shuffled[9:]], 4, limit=17)
    assert [path.read_bytes() for path in first["rows"]] == [path.read_bytes() for path in second["rows"]]


def test_little_memory_changes_nothing(tmp_path, monkeypatch):
    rows = [seed(number) for number in range(40)]
    first = gather(tmp_path, "a", [rows], 4, limit=30)
    monkeypatch.setattr(gather_seeds, "ROWS_IN_MEMORY", 1)
    second = gather(tmp_path, "b", [rows], 4, limit=30)
    for kind in ("rows", "dropped", "funnel"):
        assert [path.read_bytes() for path in first[kind]] == [path.read_bytes() for path in second[kind]]


def test_a_limit_chooses_by_hash_and_counts_the_rest(tmp_path):
    rows = [seed(number) for number in range(50)]
    files = gather(tmp_path, "a", [rows], 2, limit=20, run_seed=1)
    assert sum(map(len, ids(files["rows"]))) == 20
    funnels = [json.loads(path.read_text()) for path in files["funnel"]]
    assert sum(funnel["entered"] for funnel in funnels) == 50
    assert sum(funnel["dropped"]["over_limit"] for funnel in funnels) == 30
    everything = {row["id"] for row in rows}
    assert choose(everything, 20, 1) != choose(everything, 20, 2)
    assert choose(everything, 10, 1) < choose(everything, 20, 1)
    assert choose(everything, None, 1) == everything


def test_a_seed_that_comes_twice_is_kept_once(tmp_path):
    rows = [seed(number) for number in range(6)]
    files = gather(tmp_path, "a", [rows, rows[:2]], 1)
    assert len(ids(files["rows"])[0]) == 6
    assert json.loads(files["funnel"][0].read_text())["dropped"] == {"duplicate": 2}


def test_more_shards_than_seeds_leave_some_empty(tmp_path):
    files = gather(tmp_path, "a", [[seed(1), seed(2)]], 5)
    assert sum(map(len, ids(files["rows"]))) == 2
    files = gather(tmp_path, "none", [[]], 2)
    assert ids(files["rows"]) == [[], []]


def test_the_reason_of_a_seed_left_out():
    assert why_dropped("a", {"a"}, set()) is None
    assert why_dropped("b", {"a"}, set()) == "over_limit"
    assert why_dropped("a", {"a"}, {"a"}) == "duplicate"


def test_ids_fall_into_the_run_that_begins_at_or_before_them():
    firsts = parts(["b", "d", "f", "h"], 2)
    assert firsts == ["b", "f"]
    assert [place(name, firsts) for name in ("a", "b", "e", "f", "z")] == [0, 0, 0, 1, 1]


def test_as_many_files_as_shards_must_be_named(tmp_path):
    with pytest.raises(UserError, match="--shards is 2"):
        main([], [tmp_path / "a"], [tmp_path / "b"], [tmp_path / "c"], run_seed=1, settings=GatherSeeds(shards=2))
