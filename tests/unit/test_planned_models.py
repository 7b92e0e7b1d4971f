"""Models that start from models: where they lie, what they are made from, and what cannot be made."""

import json

import pytest

from selfcodealign.config import check_chats, check_models, load
from selfcodealign.config.training import TrainedModel
from selfcodealign.errors import UserError
from selfcodealign.plan import Plan
from selfcodealign.planned_tables import PlannedTables

SHARDS = ["results/make_demo_shards/00000.parquet", "results/make_demo_shards/00001.parquet"]
CHAIN = {
    "aligned": {},
    "preferring": {"from": "aligned", "objective": "dpo", "seed": 5},
    "passing-tests": {"from": "preferring", "objective": "grpo", "dataset": {"passing": 1, "second": 1}},
    "again": {"from": "passing-tests", "dataset": {"passing": 0.5, "second": 2, "theirs": 1}},
    "other": {"from": "org/model", "revision": "abc", "objective": "dpo"},
}
VALUES = {
    "demo": True,
    "datasets": {"passing": {}, "second": {"selection": "random"}},
    "other_datasets": {"theirs": {"source": "org/theirs"}},
}


def plan(models=CHAIN, **values):
    return Plan(load(VALUES | {"models": models} | values), SHARDS)


def test_the_objective_decides_the_rule_and_so_the_folder():
    made = plan()
    assert made.models.all_tuned() == [
        *("results/train_sft/aligned", "results/train_dpo/preferring", "results/train_grpo/passing-tests"),
        *("results/train_sft/again", "results/train_dpo/other"),
    ]
    assert made.models.tuned("preferring", ".metrics.jsonl") == "results/train_dpo/preferring.metrics.jsonl"


@pytest.mark.parametrize(
    ("model", "start", "revision"),
    [
        ("aligned", "demo/model", "main"),
        ("preferring", "results/train_sft/aligned", "main"),
        ("passing-tests", "results/train_dpo/preferring", "main"),
        ("again", "results/train_grpo/passing-tests", "main"),
        ("other", "org/model", "abc"),
    ],
)
def test_a_training_starts_from_the_base_another_model_or_the_hub(model, start, revision):
    assert plan().models.start(model) == (start, revision)


def test_what_a_training_starts_from_is_its_input():
    made = plan().models
    assert made.files_of_start("preferring") == ["results/train_sft/aligned"]
    assert made.files_of_start("other") == []
    assert "demo/model/config.json" in made.files_of_start("aligned")


def test_each_objective_learns_from_its_own_rows_of_each_dataset():
    made = plan().models
    assert made.datasets("again") == [
        *("results/build_dataset/passing", "results/build_dataset/second", "results/import_dataset/theirs"),
    ]
    assert made.weights("again") == [0.5, 2, 1]
    assert made.pairs("preferring") == ["results/build_preferences/passing.pairs.parquet"]
    assert made.tasks("passing-tests") == [
        *("results/build_preferences/passing.tasks.parquet", "results/build_preferences/second.tasks.parquet"),
    ]
    assert (made.weights("preferring"), made.seed("preferring"), made.seed("aligned")) == ([1], 5, 3407)


def test_a_model_of_any_objective_is_evaluated_and_writes():
    generations = {"self": {}, "next": {"model": "passing-tests"}}
    made = plan(generations=generations)
    assert made.subject("preferring") == ("results/train_dpo/preferring", "main", False, "instruct")
    assert made.subject("other")[3] == "chat", "nothing taught it this project's layout"
    assert set(made.evaluated) == {"base", *CHAIN}
    assert made.writer("next")[0] == "results/train_grpo/passing-tests"
    assert made.writer_files("next") == ["results/train_grpo/passing-tests"]


def test_settings_are_those_of_the_objective():
    models = {"a": {"settings": {"processes": 2}}, "b": {"from": "a", "objective": "dpo", "settings": {"beta": 0.2}}}
    made = plan(models=models)
    assert (made.models.threads("a"), made.models.threads("b")) == (2, 1)
    assert dict(made.config.training_of("b"))["beta"] == 0.2


def test_programs_that_judge_answers_take_cores_as_processes_do():
    grpo = {"from": "a", "objective": "grpo"}
    models = {
        "a": {},
        "b": grpo,
        "c": grpo | {"settings": {"reward_workers": 6}},
        "d": grpo | {"settings": {"processes": 4}},
    }
    made = plan(models=models).models
    assert [made.threads(name) for name in models] == [1, 2, 6, 4]


def test_a_training_is_timed_under_its_rule():
    models = {"a": {}, "b": {"from": "a", "objective": "dpo"}}
    made = plan(models=models, tables={"cost": {"rows": {"CodeQwen1.5-7B": "b"}}})
    (hours,) = [cell for cell in PlannedTables(made).cells("cost") if cell["kind"] == "finetune_h"]
    assert hours["files"] == ["timings/train_dpo/b.jsonl"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"models": {"a": {"base": "org/x"}}}, "config key models.a.base has a new name: write from in its place"),
        (
            {"models": {"a": {"from": "b"}, "b": {"from": "a"}}},
            "models.a comes from models.b, which comes from models.a: nothing can be made first",
        ),
        (
            {"models": {"a": {}}, "generations": {"self": {"model": "a"}}},
            "models.a comes from datasets.passing, which comes from generations.self, which comes from models.a",
        ),
        (
            {
                "generations": {"self": {}, "next": {"model": "a"}},
                "datasets": {"passing": {"equal_rows_with": ["next"]}, "next": {"generation": "next"}},
                "models": {"a": {}},
            },
            "models.a comes from datasets.passing, which comes from generations.next, which comes from models.a",
        ),
        ({"models": {"a": {"dataset": {"nothing": 1}}}}, "models.a.dataset: no entry named 'nothing'"),
        ({"models": {"a": {"dataset": {}}}}, "models.a.dataset: names no dataset"),
        ({"models": {"a": {"dataset": {"passing": 0}}}}, "models.a.dataset.passing: 0.0 is no weight"),
        ({"models": {"a": {"dataset": {"passing": float("inf")}}}}, "models.a.dataset.passing: inf is no weight"),
        (
            VALUES | {"models": {"a": {"objective": "dpo", "dataset": {"passing": 1, "theirs": 1}}}},
            "models.a.dataset: dpo learns from preference pairs, and theirs is no entry of datasets",
        ),
        (
            VALUES | {"models": {"a": {"objective": "grpo", "dataset": "theirs"}}},
            "models.a.dataset: grpo learns from tasks with tests, and theirs is no entry of datasets",
        ),
        ({"models": {"a": {"objective": "kto"}}}, "models.a.objective: Input should be 'sft', 'dpo' or 'grpo'"),
        ({"models": {"a": {"objective": "dpo", "settings": {"loss": "token"}}}}, "models.a.settings: no entry named"),
        ({"models": {"a": {"objective": "dpo", "settings": {"nodes": 2}}}}, "set train_dpo.nodes"),
    ],
    ids=[
        *("old-key", "circle", "own-writer", "equal-rows", "unknown", "none", "zero", "infinite"),
        *("pairs-of-others", "tasks-of-others", "objective", "settings", "nodes"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(values, sentence):
    with pytest.raises(UserError, match=sentence):
        load(values)


def test_a_start_that_is_nothing_is_named():
    with pytest.raises(UserError, match=r"models\.a\.from: there is no folder aligend in .*; name an entry of models"):
        check_models(load({"models": {"a": {"from": "aligend", "objective": "dpo"}, "aligned": {}}}))


def test_preferences_need_a_start_that_knows_chats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "base"
    base.mkdir()
    config = load({"model": {"base": "base"}, "models": {"a": {"objective": "dpo"}}})
    for content in ("{}", '{"chat_template": null}', "{"):
        (base / "tokenizer_config.json").write_text(content)
        with pytest.raises(UserError, match="models.a.from: base has no chat template, and dpo learns from chats"):
            check_chats(config)
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x"}))
    check_chats(config)
    (base / "tokenizer_config.json").write_text("{}")
    (base / "chat_template.jinja").touch()
    check_chats(config)


def test_a_dumped_config_reads_as_it_was():
    config = load(VALUES | {"models": CHAIN})
    assert config.model_dump()["models"]["preferring"]["from"] == "aligned"
    assert load(config.model_dump()) == config
    assert TrainedModel.model_validate({"from": "x"}).start == "x"


# ---- rounds ----


def test_rounds_learn_from_the_last_or_from_all():
    last, every = (load({"rounds": 3, "rounds_learn_from": kind}) for kind in ("last", "all"))
    assert last.models["aligned-round3"].weights == {"aligned-round3": 1}
    assert every.models["aligned-round2"].weights == {"passing": 1, "aligned-round2": 1}
    assert every.models["aligned-round3"].weights == {"passing": 1, "aligned-round2": 1, "aligned-round3": 1}
    assert {one.start for one in every.models.values()} == {"base"}
    assert load(every.model_dump()) == every, "an expanded config expands no further"


def test_rounds_of_preferences_go_on_from_the_round_before():
    config = load({"rounds": 3, "models": {"aligned": {}, "preferring": {"from": "aligned", "objective": "dpo"}}})
    starts = [config.models[name].start for name in ("preferring", "preferring-round2", "preferring-round3")]
    assert starts == ["aligned", "preferring", "preferring-round2"]
    assert config.generations["preferring-round3"].model == "preferring-round2"


@pytest.mark.parametrize(
    ("dataset", "folders"),
    [({"round1": 1, "round2": 1}, ["round1", "round2"]), ("round2", ["round2"])],
    ids=["accumulate", "replace"],
)
def test_a_second_round_by_hand_accumulates_or_replaces(dataset, folders):
    made = plan(
        generations={"self": {}, "second": {"model": "first"}},
        datasets={"round1": {}, "round2": {"generation": "second"}},
        models={"first": {"dataset": "round1"}, "second": {"dataset": dataset}},
    )
    assert made.models.datasets("second") == [f"results/build_dataset/{name}" for name in folders]
    assert made.models.start("second")[0] == "demo/model"
    assert made.writer("second")[0] == "results/train_sft/first"
