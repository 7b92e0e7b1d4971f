"""Faults of a config that a job would find hours later: each is one sentence before any job, naming file and key."""

import json
import os
from pathlib import Path

import pytest

from selfcodealign import preflight
from selfcodealign.config import load, located, models, raw_shards, read
from selfcodealign.errors import UserError

ROOT = Path(__file__).parent.parent.parent


def check(values):
    """Check a config as the Snakefile does, from the working folder."""
    config = located(load(values), ROOT)
    preflight.check_config(config)
    raw_shards(config)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("data: {content_column: a}\nseed: 1\ndata: {content_column: b}\n", "data", id="top"),
        pytest.param("filter_seeds:\n  min_lines: 1\n  max_lines: 9\n  min_lines: 2\n", "min_lines", id="nested"),
        pytest.param("models: {aligned: {}, other: {}, aligned: {seed: 1}}\n", "aligned", id="entry"),
        pytest.param("engine: {extra_body: {user: {a: 1, a: 2}}}\n", "a", id="deep"),
        pytest.param('mode: fixed\n"mode": reference\n', "mode", id="quoted"),
        pytest.param("tables:\n  - {x: 1}\n  - {y: 1, y: 1}\n", "y", id="in-a-list"),
        pytest.param('{\n\t"seed": 1,\n\t"seed": 2\n}', "seed", id="json"),
        pytest.param("\ufeffseed: 1\nseed: 2\n", "seed", id="byte-order-mark"),
        pytest.param("a: &a {k: 1}\nb: {<<: *a, j: 1, j: 2}\n", "j", id="beside-a-merge"),
    ],
)
def test_a_key_twice_is_refused_with_its_file(tmp_path, text, key):
    file = tmp_path / "preset.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"config file .*preset\.yaml: the key {key} stands twice in one section"):
        read(file)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        pytest.param({"permutations": 250, "ngram": 4}, None, id="fits"),
        pytest.param({"bands": 50, "rows": 10}, "sign_functions: 50 bands of 10 rows need 500", id="too-many"),
    ],
)
def test_bands_must_fit_the_signature_before_any_job(section, sentence):
    values = {"mode": "reference", "model": {"base": "demo/model"}, "sign_functions": section}
    if sentence is None:
        check(values)
        return
    with pytest.raises(UserError, match=sentence):
        check(values)


def test_an_anchor_may_be_laid_under_keys_of_the_same_name(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {k: 1}\nb: {<<: *a, k: 2}\nc: {<<: *a}\n")
    assert read(tmp_path / "a.yaml") == {"a": {"k": 1}, "b": {"k": 2}, "c": {"k": 1}}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        pytest.param(b"seed: '\xe9'\n", "is not UTF-8 text", id="latin-1"),
        pytest.param(b"- 1\n", "must hold keys and values, not list", id="list"),
        pytest.param(b"words\n", "must hold keys and values, not str", id="text"),
        pytest.param(b"0\n", "must hold keys and values, not int", id="number"),
        pytest.param(b"a: [1\n", "is not YAML", id="open-list"),
        pytest.param(b"a: 1\n---\nb: 2\n", "is not YAML", id="two-documents"),
        pytest.param(b"a: !!python/object:os.system x\n", "is not YAML", id="python-object"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, raw, sentence):
    (tmp_path / "a.yaml").write_bytes(raw)
    with pytest.raises(UserError, match=rf"config file .*a\.yaml {sentence}"):
        read(tmp_path / "a.yaml")


ENTRIES = ("generations", "datasets", "other_datasets", "models", "other_models")


@pytest.mark.parametrize("section", ENTRIES)
@pytest.mark.parametrize(
    "ending",
    ["dropped", "funnel", "metrics", "example", "overlaps", "pairs", "labels", "tasks", "parquet", "json", "jsonl"],
)
def test_a_name_that_is_a_file_of_another_entry_is_refused(section, ending):
    entry = {"other_datasets": {"source": "org/name"}, "other_models": {"model": "org/name"}}.get(section, {})
    entries = {"self": {}} if section == "generations" else {"passing": {}} if section == "datasets" else {}
    with pytest.raises(UserError, match=rf"config key {section}\.passing\.{ending}: names of files end in \.{ending}"):
        load({section: {**entries, f"passing.{ending}": entry}})


@pytest.mark.parametrize(
    "name", ["passing", "passing-dropped", "dropped", "v1.5", "a.dropped.b", "starcoder2-15b", "7b.instruct"]
)
def test_other_names_stay(name):
    load({"datasets": {"passing": {}, name: {}}, "models": {name: {}}})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"benchmarks": {"human.eval": {"benchmark": "humaneval"}}}, r"benchmarks\.human\.eval: use lower-case"),
        ({"benchmarks": {"HumanEval": {"benchmark": "humaneval"}}}, r"benchmarks\.HumanEval: use lower-case"),
        ({"benchmarks": {"a/b": {"benchmark": "humaneval"}}}, r"benchmarks\.a/b: use lower-case"),
        ({"data": {"other_benchmarks": {"a=b": "x"}}}, r"other_benchmarks\.a=b: use letters"),
        ({"data": {"other_benchmarks": {"mine:humanevil": "x"}}}, r"mine:humanevil: there is no benchmark 'humanevil'"),
        ({"data": {"other_benchmarks": {"": "x"}}}, r"other_benchmarks\.: use letters"),
        (
            {"data": {"other_benchmarks": {"mbpp_plus": "x"}}},
            r"other_benchmarks\.mbpp_plus: benchmarks has an entry of this name",
        ),
        ({"models": {"": {}}}, r"models\.: use lower-case"),
        ({"datasets": {"passing": {}, "a b": {}}}, r"datasets\.a b: use lower-case"),
        ({"generations": {"self": {}, "../x": {}}}, r"generations\.\.\./x: use lower-case"),
        ({"other_models": {"A": {"model": "org/name"}}}, r"other_models\.A: choose a file name"),
    ],
)
def test_a_name_that_no_file_or_flag_may_have_is_refused(values, sentence):
    with pytest.raises(UserError, match=sentence):
        load(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"filter_seeds": {"min_lines": 10, "max_lines": 5}},
            "filter_seeds.min_lines: 10 is above max_lines, which is 5",
        ),
        ({"filter_seeds": {"min_lines": 151}}, "filter_seeds.min_lines: 151 is above max_lines, which is 150"),
        ({"sample_snippets": {"min_lines": 31}}, "sample_snippets.min_lines: 31 is above max_lines, which is 30"),
        ({"sample_snippets": {"min_file_lines": 9, "max_file_lines": 8}}, "min_file_lines: 9 is above max_file_lines"),
        ({"sample_snippets": {"chunk_lines": 4}}, "sample_snippets.min_lines: 5 is above chunk_lines, which is 4"),
        (
            {"datasets": {"passing": {"min_pass_rate": 0.9, "max_pass_rate": 0.1}}},
            "datasets.passing.min_pass_rate: 0.9 is above max_pass_rate, which is 0.1",
        ),
        ({"seed": -1}, "config key seed: -1 is no seed"),
        ({"generations": {"self": {"seed": -5}}}, "generations.self.seed: -5 is no seed"),
        ({"sign_functions": {"permutation_seed": -1}}, "sign_functions.permutation_seed: -1 is no seed"),
        ({"seed": 2**63}, "is no seed"),
        ({"models": {"aligned": {"seed": -1}}}, "models.aligned.seed: -1 is no seed"),
        ({"train_sft": {"learning_rate": float("inf")}}, "train_sft.learning_rate: inf is no finite number"),
        (
            {"judge_seeds": {"keep_share": 0.3, "threshold": 0.0}},
            "config key judge_seeds.keep_share: threshold is given too, and only one of them can decide; leave one out",
        ),
        (
            {"mode": "reference", "judge_seeds": {"keep_share": 0.3}},
            "config key judge_seeds.keep_share: mode reference keeps what the published code keeps",
        ),
        ({"judge_seeds": {"keep_share": 0.0}}, "judge_seeds.keep_share: Input should be greater than 0"),
        ({"judge_seeds": {"threshold": float("nan")}}, "judge_seeds.threshold: nan is no finite number"),
        ({"verify_responses": {"timeout_s": float("inf")}}, "verify_responses.timeout_s: inf is no finite number"),
        (
            {"models": {"aligned": {"settings": {"learning_rate": float("inf")}}}},
            "models.aligned.settings.learning_rate: inf",
        ),
        (
            {"generations": {"self": {"responses": {"temperature": float("inf")}}}},
            "generations.self.responses.temperature: inf",
        ),
        ({"filter_seeds": {"min_lines": -1}}, "filter_seeds.min_lines: Input should be greater than or equal to 1"),
        ({"write_responses": {"temperature": -0.1}}, "write_responses.temperature: .* greater than or equal to 0"),
        ({"datasets": {"passing": {"pass_threshold": 1.5}}}, "pass_threshold: Input should be less than or equal to 1"),
        ({"gather_seeds": {"limit": 0}}, "gather_seeds.limit: Input should be greater than or equal to 1"),
        ({"train_sft": {"validation_share": 1}}, "validation_share: Input should be less than 1"),
        (
            {"datasets": {"passing": {"selection": "matrix", "pass_threshold": 0.9}}},
            "datasets.passing.pass_threshold: selection matrix goes by pooled assertions",
        ),
        ({"weigh_assertions": {"least_evidence": 1.1}}, "least_evidence: Input should be less than or equal to 1"),
    ],
)
def test_numbers_that_contradict_each_other_or_mean_nothing_are_refused(values, sentence):
    with pytest.raises(UserError, match=sentence):
        load(values)


def asking(**keys):
    return {"write_responses": {"samples": 10, **keys}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        pytest.param(
            {"mode": "reference", **asking(enough=1)},
            "write_responses.enough: mode reference asks for all samples at once; leave it out",
            id="reference",
        ),
        pytest.param(asking(enough=10), "write_responses.enough: 10 of 10 samples saves none", id="all"),
        pytest.param(asking(enough=1, samples=1), "write_responses.enough: 1 of 1 samples saves none", id="one"),
        pytest.param(
            asking(enough=1, samples_per_round=10),
            "write_responses.samples_per_round: 10 of 10 samples make one round",
            id="one-round",
        ),
        pytest.param(
            {**asking(enough=1), "engine": {"samples_per_request": 2}},
            "write_responses.enough: a round of 1 samples cuts requests of 2",
            id="requests",
        ),
        pytest.param(
            {**asking(), "generations": {"self": {"responses": {"enough": 12}}}},
            "generations.self.responses.enough: 12 of 10 samples saves none",
            id="one-writer",
        ),
        *(
            pytest.param(
                {**asking(enough=enough), "datasets": {"passing": dataset}}, f"datasets.passing.{said}", id=said
            )
            for enough, dataset, said in (
                (1, {"selection": "random"}, "selection: write_responses.enough stops at a pass"),
                (1, {"selection": "shortest"}, "selection: shortest ranks passing responses"),
                (2, {"per_instruction": 3}, "per_instruction: 3 are wanted"),
                (1, {"min_pass_rate": 0.2}, "min_pass_rate: write_responses.enough stops at too few"),
                (1, {"max_pass_rate": 0.8}, "max_pass_rate: write_responses.enough stops at too few"),
                (1, {"pass_threshold": 0.9}, "pass_threshold: write_responses.enough stops at responses whose"),
                (2, {"selection": "matrix"}, "selection: write_responses.enough stops at a pass of own tests"),
            )
        ),
    ],
)
def test_what_does_not_go_with_responses_that_stop_early_is_refused(values, sentence):
    with pytest.raises(UserError, match=f"^config key {sentence}"):
        load(values)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(asking(enough=1), id="plain"),
        pytest.param({**asking(enough=2), "datasets": {"passing": {"selection": "consensus"}}}, id="best-of-two"),
        pytest.param({**asking(enough=1), "datasets": {"passing": {"selection": "failing"}}}, id="failing"),
        pytest.param(
            {**asking(enough=1, samples_per_round=4), "engine": {"samples_per_request": 2}}, id="whole-requests"
        ),
        pytest.param(
            {
                **asking(enough=1),
                "generations": {"self": {}, "whole": {"responses": {"enough": None}}},
                "datasets": {"passing": {}, "random": {"generation": "whole", "selection": "random"}},
            },
            id="another-writer",
        ),
        pytest.param({"mode": "reference", **asking(samples_per_round=2)}, id="size-alone"),
    ],
)
def test_what_goes_with_responses_that_stop_early(values):
    load(values)


@pytest.mark.parametrize("key", ["categories", "difficulties"])
@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        pytest.param({}, ": is empty", id="none"),
        pytest.param({"a": 0, "b": 0}, ": all weights are 0", id="zeros"),
        pytest.param({"a": -1, "b": 2}, r"\.a: -1\.0 is no weight", id="negative"),
        pytest.param({"a": float("nan")}, r"\.a: nan is no weight", id="nan"),
        pytest.param({"a": float("inf")}, r"\.a: inf is no weight", id="infinite"),
        pytest.param({" ": 1}, ": a name is empty", id="nameless"),
        pytest.param({"a": "much"}, r"\.a: Input should be a valid number", id="text"),
    ],
)
def test_weights_that_no_draw_can_follow_are_refused(key, weights, sentence):
    with pytest.raises(UserError, match=rf"config key write_instructions\.{key}{sentence}"):
        load({"write_instructions": {key: weights}})


def test_mode_reference_draws_by_whole_numbers_only():
    values = {"write_instructions": {"categories": {"a": 1.5}}}
    load(values)
    with pytest.raises(UserError, match=r"categories\.a: mode reference takes whole numbers only, not 1\.5"):
        load({**values, "mode": "reference"})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"data": {"seeds": []}}, "data.seeds: names no file"),
        ({"data": {"seeds": " "}}, "data.seeds: names no file"),
        (
            {"data": {"seeds": "a.parquet"}, "generations": {"self": {"seeds": "snippets"}}},
            "generations.self.seeds: snippets are cut out of raw files, but data.seeds gives functions",
        ),
        ({"data": {"raw_shards": []}}, "data.raw_shards: names no file"),
        ({"data": {"raw_shards": ""}}, "data.raw_shards: names no file"),
        ({"data": {"raw_shards": ["a.parquet", " "]}}, "data.raw_shards: names no file"),
        ({"data": {"content_column": ""}}, "data.content_column: is empty"),
        ({"model": {"base": ""}}, "model.base: is empty"),
        ({"benchmarks": {"demo": {"file": []}}}, "benchmarks.demo.file: names no file"),
        ({"benchmarks": {"demo": {"file": ""}}}, "benchmarks.demo.file: names no file"),
        ({"other_datasets": {"mine": {"source": []}}}, "other_datasets.mine.source: is empty"),
        (
            {"other_datasets": {"mine": {"source": "org/a", "instruction": []}}},
            "other_datasets.mine.instruction: is empty",
        ),
        ({"datasets": {"passing": {"equal_rows_with": ["passing"]}}}, "equal_rows_with: names passing itself"),
    ],
)
def test_nothing_where_something_is_needed_is_refused(values, sentence):
    with pytest.raises(UserError, match=f"config key .*{sentence}"):
        load(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"data": {"raw_shards": "folder"}},
            "data.raw_shards: folder is a folder; name its files, as in folder/*.parquet",
        ),
        ({"data": {"raw_shards": ["folder/"]}}, "data.raw_shards: folder/ is a folder"),
        ({"data": {"seeds": "folder/*"}}, "config key data.seeds: no file matches folder/*"),
        ({"data": {"seeds": "nowhere.parquet"}}, "config key data.seeds: nowhere.parquet does not exist"),
        ({"data": {"seeds": "hf://datasets/a/b/c.parquet"}}, "data.seeds: hf://datasets/a/b/c.parquet lies on the Hub"),
        ({"data": {"raw_shards": "folder/*"}}, "data.raw_shards: no file matches folder/*"),
        ({"data": {"raw_shards": "~/nowhere.parquet"}}, "does not exist"),
        ({"train_sft": {"deepspeed": "nope.json"}}, "train_sft.deepspeed names nope.json, which does not exist"),
        ({"train_dpo": {"deepspeed": "nope.json"}}, "train_dpo.deepspeed names nope.json, which does not exist"),
        ({"train_sft": {"deepspeed": "folder"}}, "train_sft.deepspeed names folder, which does not exist"),
        ({"train_sft": {"deepspeed": "broken.json"}}, "broken.json is not valid JSON"),
        ({"train_sft": {"deepspeed": "list.json"}}, "list.json must hold a JSON object"),
        (
            {"models": {"aligned": {"settings": {"deepspeed": "nope.json"}}}},
            "models.aligned.settings: config key train_sft.dee",
        ),
        (
            {"train_sft": {"max_tokens": 9_000}},
            "train_sft.micro_batch_tokens (5120) is below train_sft.max_tokens (9000)",
        ),
        ({"train_sft": {"keep": "best"}}, "train_sft.keep is best, but nothing is held out"),
        (
            {"train_sft": {"optimizer": "adafactor", "deepspeed": "config/deepspeed/zero3.json"}},
            "train_sft.optimizer is adafactor, but",
        ),
        ({"engine": {"backend": "openai"}}, "engine.base_url: is empty"),
        ({"generations": {"self": {"engine": {"backend": "openai"}}}}, "generations.self.engine: base_url: is empty"),
        ({"engine": {"backend": "openai", "base_url": "localhost:8000"}}, "engine.base_url: is no address of a server"),
        ({"engine": {"backend": "ollama"}}, "engine.backend: should be one of transformers, openai, vllm"),
        ({"engine": {"min_p": 0.5}}, "engine.min_p: only servers take it"),
        ({"prompts": {"template": "nope.yaml"}}, "prompts.template: there is no nope.yaml"),
        ({"prompts": {"template": "folder"}}, "prompts.template: folder is a folder; name one file"),
        ({"prompts": {"template": "broken.json"}}, "broken.json is not valid YAML"),
        ({"prompts": {"examples": "nope.txt"}}, "prompts.examples: there is no nope.txt"),
        ({"prompts": {"examples": "list.json"}}, "list.json must begin with the headings"),
        ({"judge_seeds": {"prompts": "nope.yaml"}}, "judge_seeds.prompts: there is no nope.yaml"),
        ({"judge_seeds": {"examples": "nope.txt"}}, "judge_seeds.examples: there is no nope.txt"),
        ({"generations": {"self": {"template": "nope.yaml"}}}, "generations.self.template: there is no nope.yaml"),
        ({"extract_concepts": {"few_shots": 99}}, "extract_concepts.few_shots: is 99, but"),
        (
            {"generations": {"self": {"responses": {"few_shots": 99}}}},
            "generations.self.responses.few_shots: is 99, but",
        ),
        ({"benchmarks": {"humaneval": {"file": "nope.jsonl"}}}, "benchmarks.humaneval.file: there is no nope.jsonl"),
        ({"benchmarks": {"humaneval": {"file": "folder"}}}, "benchmarks.humaneval.file: folder is a folder"),
        ({"data": {"other_benchmarks": {"mine": "nope.jsonl"}}}, "data.other_benchmarks.mine: there is no nope.jsonl"),
        ({"data": {"other_benchmarks": {"mine": "folder"}}}, "data.other_benchmarks.mine: folder is a folder"),
        (
            {"other_datasets": {"mine": {"source": "nope.jsonl"}}},
            "other_datasets.mine.source: there is no file 'nope.jsonl'",
        ),
        ({"model": {"base": "folder"}}, "model.base: folder has no config.json"),
        ({"model": {"base": "weightless"}}, "model.base: weightless has a config.json but no weights"),
        ({"judge_seeds": {"model": "./nowhere"}}, "judge_seeds.model: there is no folder ./nowhere"),
        ({"other_models": {"a": {"model": "folder"}}}, "other_models.a.model: folder has no config.json"),
        ({"generations": {"self": {"model": "folder"}}}, "generations.self.model: folder has no config.json"),
        (
            {"models": {"aligned": {"from": "results/train_sft/nobody"}}},
            "no rule makes the model results/train_sft/nobody",
        ),
        ({"verify_responses": {"image": "nope.sif"}}, "verify_responses.image: there is no nope.sif"),
        ({"sign_functions": {"bands": 100, "rows": 9}}, "config section sign_functions:"),
    ],
)
def test_what_a_late_job_would_miss_is_named_at_the_start(tmp_path, values, sentence):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "broken.json").write_text('{"a": [')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "weightless").mkdir()
    (tmp_path / "weightless" / "config.json").write_text("{}")
    with pytest.raises(UserError) as raised:
        check(values)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_defaults_and_files_under_results_pass(tmp_path):
    check({})
    check({"prompts": {"examples": "results/fetch_reference_prompts/a.txt"}, "extract_concepts": {"few_shots": 99}})
    check({"train_sft": {"deepspeed": "none"}, "train_dpo": {"deepspeed": "none"}})
    check({"generations": {"self": {"path": "direct"}}, "extract_concepts": {"few_shots": 99}})


def test_a_folder_beside_the_files_of_a_pattern_is_passed_over(tmp_path):
    (tmp_path / "code" / "inner").mkdir(parents=True)
    (tmp_path / "code" / "a.parquet").write_bytes(b"")
    assert raw_shards(load({"data": {"raw_shards": "code/*"}})) == ["code/a.parquet"]


def test_what_a_server_calls_its_model_is_no_folder_and_no_hub_id():
    teacher = {
        "model": "gpt-4o",
        "answers": "self",
        "engine": {"backend": "openai", "base_url": "http://localhost:1/v1"},
    }
    values = {"generations": {"self": {}, "teacher": teacher}}
    check(values)
    assert list(models(load(values))) == ["model.base"]


@pytest.mark.parametrize(
    "values",
    [
        {"data": {"other_benchmarks": {"mine": "~/tasks.jsonl"}}},
        {"benchmarks": {"humaneval": {"file": "~/tasks.jsonl"}}},
        {"benchmarks": {"humaneval": {"file": ["~/tasks.jsonl"]}}},
        {"other_datasets": {"mine": {"source": "~/tasks.jsonl"}}},
        {"train_sft": {"deepspeed": "~/zero.json"}},
        {"models": {"aligned": {"settings": {"deepspeed": "~/zero.json"}}}},
        {"verify_responses": {"image": "~/zero.json"}},
    ],
    ids=lambda values: "-".join(values),
)
def test_a_home_folder_is_found_wherever_a_file_may_be_named(tmp_path, monkeypatch, values):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "tasks.jsonl").write_text("{}")
    (tmp_path / "home" / "zero.json").write_text("{}")
    check(values)
    assert "~" not in json.dumps(located(load(values), ROOT).model_dump(mode="json"))


KEYED = {"backend": "openai", "base_url": "http://localhost:1/v1", "api_key_env": "KEY_OF_THE_TEST"}


@pytest.mark.parametrize(
    ("values", "rules", "key"),
    [
        ({"engine": KEYED}, {"judge_seeds"}, "engine"),
        ({"engine": KEYED}, {"sample_solutions"}, "engine"),
        ({"generations": {"self": {"engine": KEYED}}}, {"extract_concepts"}, "generations.self.engine"),
        ({"generations": {"self": {"engine": KEYED}}}, {"write_responses"}, "generations.self.engine"),
        ({"engine": KEYED}, {"write_instructions"}, "generations.self.engine"),
    ],
)
def test_an_api_key_that_is_not_set_is_named_before_the_first_job(monkeypatch, values, rules, key):
    config = load(values)
    for empty in (None, "", " \n"):
        monkeypatch.delenv("KEY_OF_THE_TEST", raising=False)
        if empty is not None:
            monkeypatch.setenv("KEY_OF_THE_TEST", empty)
        with pytest.raises(
            UserError, match=rf"{key}\.api_key_env: the environment variable KEY_OF_THE_TEST is not set"
        ):
            preflight.check_keys(config, rules)
    preflight.check_keys(config, {"build_report"})
    # A judge of its own is run as `engine` says, not as the base model is.
    judged = load(values | {"judge_seeds": {"model": "some/judge"}})
    if "engine" not in values:
        preflight.check_keys(judged, {"judge_seeds"})
    monkeypatch.setenv("KEY_OF_THE_TEST", "sk-1")
    preflight.check_keys(config, rules)


@pytest.mark.parametrize(
    "values",
    [
        {"typecheck_functions": {"python": "/no/such/python"}},
        {"execute_programs": {"python": "no-such-python"}},
        {"engine": {"backend": "vllm", "python": "/no/such/python"}},
        {"generations": {"self": {"engine": {"backend": "vllm", "python": "/no/such/python"}}}},
        {"typecheck_functions": {"python": "folder"}},
    ],
)
def test_an_interpreter_that_is_not_there_is_named_before_the_first_job(tmp_path, values):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"python: .* is no program on this machine"):
        preflight.check_interpreters(load(values))
    preflight.check_interpreters(load({"typecheck_functions": {"python": os.path.realpath("/bin/sh")}}))
