"""What would stop a run after hours stops it at once, with a sentence that says what to do."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from selfcodealign import images, preflight
from selfcodealign.config import Config, load
from selfcodealign.config.paths import has_chat_template
from selfcodealign.errors import UserError
from tests.generation_rows import write_seeds
from tests.hub_server import serving


@pytest.fixture
def sinfo(tmp_path, monkeypatch):
    """A cluster with a partition of CPUs and one of GPUs, as its sinfo prints it."""
    program = tmp_path / "bin/sinfo"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf 'main (null)\\nfast gpu:a100:4(S:0-1)\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


@pytest.mark.usefixtures("sinfo")
def test_partitions_that_exist_pass():
    preflight.check_partitions({"main": ["sign_functions"], "fast": ["train_sft"], "": ["all"]}, ["fast"])


@pytest.mark.usefixtures("sinfo")
def test_a_partition_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(UserError, match=r"no partition gpus, where the profile sends train_sft: it has fast, main"):
        preflight.check_partitions({"gpus": ["train_sft"]}, [])


@pytest.mark.usefixtures("sinfo")
def test_a_gpu_asked_for_where_there_is_none_is_named():
    with pytest.raises(UserError, match="jobs of train_sft ask for a GPU, but no node of partition main has one"):
        preflight.check_partitions({"main": ["train_sft"]}, ["main"])


def test_a_machine_without_slurm_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="start on a login node"):
        preflight.check_partitions({"main": []}, [])


def test_an_engine_on_a_gpu_needs_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    preflight.check_gpu(Config())
    with pytest.raises(UserError, match=r"engine\.device is cuda, but this machine has no NVIDIA GPU"):
        preflight.check_gpu(Config.model_validate({"engine": {"device": "cuda"}}))


@pytest.fixture
def no_token(monkeypatch):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_token")
def test_a_gated_model_needs_a_token(tmp_path, monkeypatch):
    models = {"model.base": ("org/gated", "main")}
    with serving({"org/gated": {"config.json": b"{}"}}, gated=("org/gated",)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(UserError, match=r"model\.base: org/gated is gated: accept its terms .* set HF_TOKEN"):
            preflight.check_hub(models, tmp_path)
        monkeypatch.setenv("HF_TOKEN", "hf_bad")
        with pytest.raises(UserError, match="is gated"):
            preflight.check_hub(models, tmp_path)
        monkeypatch.setenv("HF_TOKEN", "hf_good")
        preflight.check_hub(models, tmp_path)
        with pytest.raises(UserError, match=r"models\.one\.base: the Hub has no org/none"):
            preflight.check_hub({"models.one.base": ("org/none", "main")}, tmp_path)


@pytest.mark.usefixtures("no_token")
def test_a_hub_that_cannot_be_reached_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    preflight.check_hub({"model.base": ("org/name", "main")}, tmp_path)


@pytest.mark.usefixtures("no_token")
def test_an_offline_run_needs_what_prefetch_fetches(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="run `snakemake --cores 1 prefetch`"):
        preflight.check_hub({"model.base": ("org/name", "main")}, tmp_path)
    fetched(tmp_path / "hub", "main")
    preflight.check_hub({"model.base": ("org/name", "main")}, tmp_path)


def fetched(cache, revision):
    """Lay a model into a cache of the Hub as the library does."""
    folder = cache / "models--org--name"
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "snapshots/abc/config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / revision).write_text("abc")


@pytest.mark.usefixtures("no_token")
def test_the_cache_is_looked_up_where_the_library_looks_and_at_the_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    fetched(tmp_path / "elsewhere", "v1")
    for revision in ("v1", "abc"):
        preflight.check_hub({"model.base": ("org/name", revision)}, tmp_path)
    for revision in ("main", "v2", "abd"):
        with pytest.raises(UserError, match=f"org/name at revision {revision} is not in .*elsewhere"):
            preflight.check_hub({"model.base": ("org/name", revision)}, tmp_path)


def test_given_seeds_have_the_columns_of_a_seed(tmp_path):
    whole = write_seeds(tmp_path / "whole.parquet", 2)
    preflight.check_seeds([str(whole)])
    part = tmp_path / "part.parquet"
    pq.write_table(pq.read_table(whole).drop(["function_id", "licence"]), part)
    with pytest.raises(UserError, match=r"data.seeds: \S+part.parquet has no column function_id, licence; give"):
        preflight.check_seeds([str(whole), str(part)])
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match=r"text.parquet cannot be read as parquet"):
        preflight.check_seeds([str(tmp_path / "text.parquet")])


def test_the_judge_is_a_model_of_the_hub_too():
    config = load({"model": {"base": "org/base"}, "judge_seeds": {"model": "org/judge", "revision": "v2"}})
    assert preflight.hub_models(config)["judge_seeds.model"] == ("org/judge", "v2")


def test_every_model_of_the_hub_is_found_and_no_other(tmp_path):
    given = {"model": {"base": "org/base", "revision": "abc"}, "other_models": {"other": {"model": str(tmp_path)}}}
    given |= {"generations": {"self": {}, "teacher": {"model": "org/teacher"}}}
    found = preflight.hub_models(Config.model_validate(given))
    assert found == {"model.base": ("org/base", "abc"), "generations.teacher.model": ("org/teacher", "main")}


def answering(monkeypatch, answers):
    """Let benchmarks lie where a test says: name → an address, or why there is none."""
    monkeypatch.setattr(preflight, "_absent", lambda url: next((why for end, why in answers.items() if end in url), ""))


def test_files_that_cannot_be_fetched_are_one_sentence_with_what_to_do(monkeypatch):
    config = load({"benchmarks": {"humaneval_plus": {}, "mine": {"benchmark": "mbpp", "file": "x.jsonl"}}})
    names = ["canitedit", "humaneval_plus", "mine", "ds1000", "classeval"]
    answering(monkeypatch, {"Plus": "no route", "DS-1000": "no route", "CanItEdit": "x answers 404"})
    with pytest.raises(UserError) as told:
        preflight.check_fetches(config, names)
    assert str(told.value) == (
        "the tasks of 3 benchmarks cannot be fetched from here (no route; x answers 404): bring humaneval_plus with "
        "benchmarks.<name>.file, and bring ds1000, canitedit, which are kept out of the data, with "
        "data.other_benchmarks.<name>, or name in data.kept_out only what shall be kept out ([] waives all)"
    )
    answering(monkeypatch, {})
    preflight.check_fetches(config, names)


def test_a_file_that_its_server_has_can_be_fetched(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving({"org/name": {"file": b"x"}}) as hub:
        assert preflight._absent(f"{hub.url}/org/name/resolve/main/file") == ""
        absent = f"{hub.url}/org/name/resolve/main/none"
        assert preflight._absent(absent) == f"{absent} answers 404"
    assert "refused" in preflight._absent("http://127.0.0.1:9/file")
    assert preflight._absent("") == "not published as one file"


@pytest.mark.parametrize(
    ("file", "content"),
    [("chat_template.jinja", "x"), ("tokenizer_config.json", '{"chat_template": "x"}')],
)
def test_a_base_model_with_a_chat_template_is_warned_about_until_the_key_is_set(tmp_path, monkeypatch, file, content):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    fetched(tmp_path / "hub", "main")
    (tmp_path / "hub/models--org--name/snapshots/abc" / file).write_text(content)
    local = tmp_path / "hub/models--org--name/snapshots/abc"
    for base in ("org/name", str(local)):
        warned = preflight.style_warning(load({"model": {"base": base}}), tmp_path)
        assert warned.startswith(f"{base} has a chat template")
        assert "set model.style to chat" in warned
        for silent in ({"model": {"base": base, "style": "base"}}, {"model": {"base": base}, "evaluate_base": False}):
            assert preflight.style_warning(load(silent), tmp_path) == ""


@pytest.mark.parametrize("content", ['{"chat_template": null}', "[]", "{"], ids=["none", "list", "broken"])
def test_a_model_without_a_chat_template_is_no_reason_to_warn(tmp_path, content):
    assert not has_chat_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    assert not has_chat_template(tmp_path)


@pytest.fixture
def image(tmp_path, monkeypatch) -> Path:
    """A folder of images with one in it, found by the name that the config gives it."""
    monkeypatch.setenv("SELFCODEALIGN_IMAGES", str(tmp_path))
    (tmp_path / "train/bin").mkdir(parents=True)
    (tmp_path / "train/bin/sh").write_bytes(b"shell")
    (tmp_path / "train/sh").symlink_to("bin/sh")
    return tmp_path / "train"


def test_an_image_is_found_in_the_folder_of_images(image):
    assert images.locate("containers/train.sif") == str(image)
    assert images.locate("docker://org/image@sha256:12") == "docker://org/image@sha256:12"


def test_a_missing_image_is_named_with_what_makes_it(image):
    with pytest.raises(UserError, match=r"no image containers/data.sif of the island data.*make images"):
        images.check({"data": "containers/data.sif", "train": "containers/train.sif"}, {})


def test_an_image_with_another_digest_stops_the_run(image):
    found = images.check({"train": "containers/train.sif"}, {})["train"]
    assert found.startswith("sha256:")
    images.check({"train": "containers/train.sif"}, {"train": found})
    with pytest.raises(UserError, match=r"has the digest sha256:.*container_digests\.train wants sha256:00"):
        images.check({"train": "containers/train.sif"}, {"train": "sha256:00"})


def test_a_digest_covers_names_links_and_contents(image):
    found = [images.digest(str(image))]
    for change in (
        lambda: (image / "bin/sh").write_bytes(b"shall"),
        lambda: (image / "bin/sh").rename(image / "bin/ash"),
        lambda: ((image / "sh").unlink(), (image / "sh").symlink_to("bin/ash")),
    ):
        change()
        image.with_name("train.sha256.json").unlink()
        found.append(images.digest(str(image)))
    assert len(set(found)) == 4


def test_a_digest_is_kept_and_made_anew_for_another_file(tmp_path):
    sif = tmp_path / "one.sif"
    sif.write_bytes(b"one")
    first = images.digest(str(sif))
    assert images.digest(str(sif)) == first
    sif.write_bytes(b"another")
    assert images.digest(str(sif)) != first


def test_an_address_carries_its_own_digest():
    assert images.digest("docker://org/image@sha256:12") == "sha256:12"
    assert images.digest("docker://org/image:latest") == ""
