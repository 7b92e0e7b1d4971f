"""Every wrong value in a config gets one good sentence."""

import re
from pathlib import Path

import pytest

from selfcodealign.config import (
    Config,
    check_benchmarks,
    check_models,
    extended,
    load,
    located,
    merged,
    raw_shards,
)
from selfcodealign.errors import UserError

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"modle": {}}, r"config key modle is unknown; known keys there: .*model"),
        ({"model": {"bse": "x"}}, r"config key model\.bse is unknown; known keys there: base"),
        ({"write_instructions": {"language": "Rust"}}, r"instructions\.language: .*should be 'Python', not 'Rust'"),
        ({"seed": "many"}, r"config key seed: .*integer.*'many'"),
        ({"mode": "paper"}, r"config key mode: .*'fixed' or 'reference'.*'paper'"),
        ({"rounds": 0}, r"config key rounds: .*greater than or equal to 1"),
        ({"datasets": {"mine": {"generation": "other"}}}, r"datasets\.mine\.generation: no entry named 'other'"),
        ({"models": {"mine": {"dataset": "nothing"}}}, r"models\.mine\.dataset: no entry named 'nothing'"),
        ({"models": {"base": {}}}, r"models\.base: 'base' names the untrained base model"),
        ({"models": {"My Model": {}}}, r"models\.My Model: use lower-case"),
        ({"datasets": {"passing": {"equal_rows_with": ["x"]}}}, r"equal_rows_with: no entry named 'x'"),
    ],
)
def test_a_wrong_value_is_named(values, sentence):
    with pytest.raises(UserError, match=sentence):
        load(values)


def test_every_key_is_explained():
    for name, info in Config.model_fields.items():
        section = info.annotation
        assert info.description or getattr(section, "__doc__", None), f"config key {name} is not explained"
        for key, inner in getattr(section, "model_fields", {}).items():
            assert inner.description, f"config key {name}.{key} is not explained"


def test_rounds_chain_models_and_generations():
    config = load({"rounds": 3})
    assert config.generations["aligned-round2"].model == "aligned"
    assert config.generations["aligned-round3"].model == "aligned-round2"
    assert config.models["aligned-round3"].dataset == "aligned-round3"
    assert load(config.model_dump()) == config, "an expanded config expands no further"


def test_a_hub_pattern_with_a_count_needs_no_network():
    config = load({"data": {"raw_shards": "hf://datasets/org/name@abc/data-*-of-00144.parquet"}})
    shards = raw_shards(config)
    assert len(shards) == 144
    assert shards[7] == "hf://datasets/org/name@abc/data-00007-of-00144.parquet"


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("nowhere/*.parquet", "no file matches nowhere/*.parquet"),
        (["nowhere.parquet"], "nowhere.parquet does not exist"),
        ("hf://datasets/org/name/*.parquet", "with its count"),
        (["results/a.parquet", "results/a.parquet"], "same file twice"),
    ],
)
def test_missing_shards_are_named(wanted, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        raw_shards(load({"data": {"raw_shards": wanted}}))


@pytest.mark.parametrize("model", ["./nowhere", "/no/such/model", "a/b/c", "model"])
def test_a_model_that_is_no_folder_and_no_hub_id_is_named(model):
    with pytest.raises(UserError, match="config key model.base: there is no folder"):
        check_models(load({"model": {"base": model}}))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(UserError, match="has no config.json"):
        check_models(load({"models": {"mine": {"from": str(tmp_path)}}}))


def test_hub_ids_and_models_of_this_run_need_no_folder():
    check_models(load({"model": {"base": "org/name"}, "generations": {"self": {}, "next": {"model": "aligned"}}}))


def test_a_preset_lies_over_what_it_extends(tmp_path):
    (tmp_path / "bottom.yaml").write_text("seed: 1\nmodel: {base: org/bottom, revision: abc}\nmodels: {one: {}}\n")
    (tmp_path / "middle.yaml").write_text("extends: bottom.yaml\nmodel: {base: org/middle}\nmodels: {two: {}}\n")
    values = extended({"extends": "middle.yaml", "rounds": 2}, (tmp_path,))
    assert values == {
        "seed": 1,
        "model": {"base": "org/middle", "revision": "abc"},
        "models": {"two": {}},
        "rounds": 2,
    }


def test_a_preset_that_extends_nothing_or_itself_is_named(tmp_path):
    (tmp_path / "self.yaml").write_text("extends: self.yaml\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    for name, sentence in (
        ("nowhere.yaml", "does not exist"),
        ("self.yaml", "extends itself"),
        ("broken.yaml", "YAML"),
    ):
        with pytest.raises(UserError, match=sentence):
            extended({"extends": name}, (tmp_path,))


def test_models_that_come_with_the_pipeline_are_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load(
        {
            "generations": {"self": {"model": "demo/model"}},
            "models": {"aligned": {"from": "demo/model", "settings": {"deepspeed": "config/deepspeed/zero3.json"}}},
            "other_models": {"other": {"model": "demo/model"}},
        }
    )
    found = located(config, ROOT)
    paths = (found.generations["self"].model, found.models["aligned"].start, found.other_models["other"].model)
    assert all((tmp_path / path / "config.json").is_file() for path in paths)
    assert (tmp_path / found.models["aligned"].settings["deepspeed"]).is_file()


def test_entries_of_a_preset_replace_those_of_the_one_it_extends():
    values = merged({"other_models": {"a": {}}, "paper_models": {"a": "A"}}, {"other_models": {}, "paper_models": {}})
    assert values == {"other_models": {}, "paper_models": {}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"models": {"aligned": {"settings": {"rank": 1}}}}, "models.aligned.settings: no entry named 'rank'"),
        ({"models": {"aligned": {"settings": {"epochs": 0}}}}, "models.aligned.settings.epochs: Input should be"),
        ({"models": {"aligned": {"settings": {"nodes": 2}}}}, "nodes are the same for all models; set train_sft.nodes"),
        ({"generations": {"self": {"responses": {"samples": 0}}}}, "generations.self.responses.samples: Input should"),
        ({"datasets": {"passing": {"seed_shards": 3}}}, r"datasets.passing.seed_shards: there are 2 \(gather_seeds.sh"),
        ({"models": {"aligned": {"benchmarks": ["x"]}}}, "models.aligned.benchmarks: no entry named 'x'; there are hu"),
        ({"data": {"kept_out": ["x"]}}, "data.kept_out: no entry named 'x'; there are bigcodebench"),
    ],
)
def test_what_differs_for_one_entry_is_checked_like_the_section_itself(values, sentence):
    with pytest.raises(UserError, match=sentence):
        load(values)


def test_a_benchmark_whose_problems_cannot_be_had_is_refused_before_any_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"benchmarks\.canitedit\.file: there is no data/x\.parquet"):
        check_benchmarks(load({"benchmarks": {"canitedit": {"file": "data/x.parquet"}}}))
    with pytest.raises(UserError, match=r"benchmarks\.canitedit\.file: CanItEdit is not published as one file"):
        check_benchmarks(load({"benchmarks": {"canitedit": {}}}))


def test_naming_one_image_leaves_the_others():
    images = load({"containers": {"data": "images/data.sif"}}).containers
    assert images["data"] == "images/data.sif"
    assert images["train"] == "containers/train.sif"
