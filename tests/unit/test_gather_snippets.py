import json

from scripts.gather_snippets import main
from selfcodealign.config.seeds import GatherSeeds
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import write_rows
from tests.generation_rows import rows_of, seed


def test_snippets_are_gathered_like_seeds_under_their_own_name(tmp_path):
    write_rows(tmp_path / "in.parquet", SeedRow, [seed(number) for number in range(9)])
    names = [[tmp_path / f"{number}.{kind}" for number in range(2)] for kind in ("parquet", "dropped", "json")]
    main([tmp_path / "in.parquet"], *names, run_seed=1, settings=GatherSeeds(shards=2, limit=7))
    assert sum(len(rows_of(path)) for path in names[0]) == 7
    funnels = [json.loads(path.read_text()) for path in names[2]]
    assert {funnel["stage"] for funnel in funnels} == {"gather_snippets"}
    assert sum(funnel["entered"] for funnel in funnels) == 9
