"""A model is what is in its folder, not where the folder lies."""

import os
import shutil

import pytest

from selfcodealign import models
from selfcodealign.config import link_to

FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
FILES += ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "modeling_own.py", "merges.txt")
FILES += ("vocab.json", "chat_template.jinja", "tokenizer.model")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path):
    for name in (*FILES, "README.md", "training.json"):
        (tmp_path / "a/model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a/model" / name).write_bytes(b"content of " + name.encode())
    return tmp_path / "a/model"


@pytest.mark.parametrize("name", FILES)
def test_each_file_that_decides_what_a_model_writes_changes_its_fingerprint(folder, name):
    before = models.fingerprint(str(folder), "main")
    size, times = (folder / name).stat().st_size, (folder / name).stat().st_mtime_ns
    (folder / name).write_bytes(b"x" * size)
    os.utime(folder / name, ns=(times, times))
    assert models.fingerprint(str(folder), "main") != before


@pytest.mark.parametrize("name", ["README.md", "training.json"])
def test_what_only_tells_about_a_model_does_not(folder, name):
    before = models.fingerprint(str(folder), "main")
    (folder / name).write_bytes(b"another text")
    assert models.fingerprint(str(folder), "main") == before


def test_a_model_is_the_same_elsewhere_by_any_path_and_under_any_revision(folder, tmp_path, monkeypatch):
    before = models.fingerprint(str(folder), "main")
    shutil.copytree(folder, tmp_path / "b/deeper/other")
    assert models.fingerprint(str(tmp_path / "b/deeper/other"), "v2") == before
    monkeypatch.chdir(tmp_path / "b")
    assert models.fingerprint("../a/model", "main") == before
    assert models.identity("../a/model", "main") == before


def test_the_hash_of_a_large_file_is_kept_and_dropped_with_its_content(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "LARGE", 8)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    before = models.fingerprint("a/model", "main")
    assert list(models.KEPT.iterdir())
    assert models.fingerprint("a/model", "main") == before
    weights = folder / "model.safetensors"
    times = weights.stat().st_mtime_ns
    (tmp_path / "new").write_bytes(b"x" * weights.stat().st_size)
    os.utime(tmp_path / "new", ns=(times, times))
    os.replace(tmp_path / "new", weights)  # as a copy that keeps its times
    assert models.fingerprint("a/model", "main") != before


@pytest.mark.parametrize("revision", ["main", "v1", "pr/7"])
def test_a_hub_model_is_its_commit_where_the_cache_knows_it(tmp_path, monkeypatch, revision):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert models.fingerprint("org/name", revision) == revision
    (tmp_path / "models--org--name/refs" / revision).parent.mkdir(parents=True)
    (tmp_path / "models--org--name/refs" / revision).write_text(COMMIT)
    assert models.fingerprint("org/name", revision) == COMMIT
    assert models.fingerprint("org/name", "f" * 40) == "f" * 40
    assert models.identity("org/name", revision) == f"org/name@{COMMIT}"


def test_a_published_name_tells_nothing_of_the_machine(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    (run / "results/train_sft/own").mkdir(parents=True)
    monkeypatch.chdir(run)
    assert models.title("results/train_sft/own") == "results/train_sft/own"
    assert models.title(str(run / "results/train_sft/own")) == "results/train_sft/own"
    assert models.title(str(folder)) == models.title("../a/model") == "model"
    assert models.title(os.path.relpath(models.ROOT / "demo/model")) == "demo/model"
    link_to(models.ROOT)
    assert models.title(".snakemake/pipeline/demo/model") == "demo/model"
    assert models.title("org/name") == "org/name"
