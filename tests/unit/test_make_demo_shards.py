"""The demo's raw shards hold what the pipeline should find and what each filter should reject."""

import random
from collections import Counter

import pyarrow.parquet as pq
import pytest

from demo import domain
from scripts import make_demo_shards as shards
from selfcodealign.config.demo import MakeDemoShards
from selfcodealign.config.seeds import FilterSeeds
from selfcodealign.errors import UserError
from selfcodealign.rows_io import read_rows
from selfcodealign.seeds.filters import why_dropped
from tests.published import material

TASK = domain.Task(((domain.BY_NAME["first"], 2), (domain.BY_NAME["reverse"], "")), "first_reverse")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    paths = [folder / "00000.parquet", folder / "00001.parquet"]
    shards.main(paths, settings=MakeDemoShards(functions=100, library_files=20))
    return paths


def test_the_columns_are_those_of_the_stack(written):
    theirs = pq.read_schema(material("data/stack-small/data-00000-of-00001.parquet"))
    ours = pq.read_schema(written[0])
    assert {field.name: str(field.type).replace("element", "item") for field in ours}.items() <= {
        field.name: str(field.type).replace("element", "item") for field in theirs
    }.items()


def test_files_are_spread_evenly_and_none_is_written_twice(written):
    rows = list(read_rows(written))
    assert abs(pq.read_metadata(written[0]).num_rows - pq.read_metadata(written[1]).num_rows) <= 1
    assert Counter((row["max_stars_repo_name"], row["max_stars_repo_path"]) for row in rows).most_common(1)[0][1] == 1
    assert sum(row["max_stars_repo_name"] == "python/cpython" for row in rows) == 20


def test_sizes_and_hashes_describe_the_content(written):
    for row in read_rows(written):
        assert row["size"] == len((row["content"] or "").encode())
        assert len(row["hexsha"]) == 40


def test_shards_depend_on_the_seed_alone(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        shards.main([tmp_path / name], settings=MakeDemoShards(seed=seed, functions=20, library_files=3))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_good_functions_are_right_and_different_and_not_held_out():
    rng = random.Random(0)
    functions = shards.toy_functions(rng, 80)
    good = [code for code in functions if why_dropped(code, FilterSeeds()) is None]
    assert len(good) >= 80
    names = {code.split("(")[0].removeprefix("def ").split("_", 1)[-1] for code in good}
    held_out = {f"{a.name}_{b.name}" for split in ("dev", "test") for a, b in domain.compositions(split)}
    assert not names & held_out


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        (shards.undocumented, "no_docstring"),
        (shards.without_value, "returns_nothing"),
        (shards.without_argument, "no_arguments"),
        (shards.unfinished, "unfinished"),
        (shards.tied_to_system, "banned_import"),
    ],
)
def test_a_flawed_function_is_rejected_for_its_flaw(flaw, reason):
    code = flaw(random.Random(0), TASK)
    fate = why_dropped(code, FilterSeeds())
    assert fate is not None, code
    assert fate[0] == reason


@pytest.mark.parametrize("flaw", [shards.vague, shards.misdescribed, shards.ill_typed])
def test_other_flaws_are_left_to_the_judge_and_the_type_checker(flaw):
    code = flaw(random.Random(0), TASK)
    assert why_dropped(code, FilterSeeds()) is None
    assert domain.docstring_of(TASK) not in code or flaw is shards.ill_typed


def test_everyday_functions_are_well_formed():
    for code in shards.EVERYDAY:
        compile(code, "everyday", "exec")
        assert why_dropped(code, FilterSeeds()) is None


def test_no_parser_reads_the_broken_files():
    broken = dict(shards.BROKEN)
    for path in ("legacy/report.py", "legacy/reader.py", "drafts/half.py", "drafts/merge.py", "data/blob.py"):
        with pytest.raises((SyntaxError, ValueError)):
            compile(broken[path], path, "exec")
    assert broken["data/lost.py"] is None


def test_the_sample_of_the_library_does_not_grow_with_what_is_installed(tmp_path):
    for name in ("a.py", "b/c.py", "site-packages/d.py", "test/e.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x = 1\n" * 200)
    (tmp_path / "small.py").write_text("x = 1\n")
    assert [file.path for file in shards.library_sample(2, tmp_path)] == ["Lib/a.py", "Lib/b/c.py"]
    with pytest.raises(UserError, match="has 2 modules of a fitting size, not 3"):
        shards.library_sample(3, tmp_path)


def test_seeds_leave_out_what_the_model_computes_wrongly():
    rng = random.Random(1)
    drawn = {name for _ in range(3_000) for name in shards.computable_task(rng).composition}
    assert drawn == set(domain.BY_NAME) - domain.MISCOMPUTED
