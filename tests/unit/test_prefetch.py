"""What a run takes from the Hub is fetched once; afterwards no job needs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hub_server import COMMIT, Hub, serving

pytestmark = pytest.mark.slow

MODEL = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"twice"}
SHARD = {"data/train-00000-of-00001.jsonl": b'{"content": "x = 1"}\n'}
READ = """
from huggingface_hub import hf_hub_download
from selfcodealign.seeds.raw import Columns, read_files
print(open(hf_hub_download("org/base", "model.safetensors", revision="main")).read())
print(next(iter(read_files("hf://datasets/org/code@main/data/train-00000-of-00001.jsonl", Columns()))).content.decode())
"""


def prefetch(folder: Path, hub: Hub, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a process of its own, because the Hub's library reads its settings when it is imported."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    settings |= {"HF_HOME": str(folder / "hub-home"), "HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, *(words or ("-c", READ))]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False, timeout=120)


def asked(*words: str) -> list[str]:
    return [str(ROOT / "scripts/prefetch.py"), "--fetched", "fetched.json", *words]


def test_what_was_fetched_is_read_without_the_hub(tmp_path):
    with serving({"org/base": MODEL, "org/code": SHARD}) as hub:
        shard = "hf://datasets/org/code@main/data/train-00000-of-00001.jsonl"
        done = prefetch(tmp_path, hub, *asked("--models", "org/base@main", "--shards", shard))
        assert done.returncode == 0, done.stderr
        assert not any("pytorch_model.bin" in path for path in hub.asked)
    fetched = json.loads((tmp_path / "fetched.json").read_text())
    assert fetched["models"] == [{"name": "org/base", "revision": "main", "commit": COMMIT}]
    read = prefetch(tmp_path, hub, HF_HUB_OFFLINE="1")
    assert read.returncode == 0, read.stderr
    assert read.stdout.splitlines() == ["weights", "x = 1"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("org/gated", "error: org/gated is gated: accept its terms"),
        ("org/none", "error: the Hub has no model org/none"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(tmp_path, name, sentence):
    with serving({"org/gated": MODEL}, gated=("org/gated",)) as hub:
        done = prefetch(tmp_path, hub, *asked("--models", f"{name}@main"))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_opens_a_gated_model(tmp_path):
    with serving({"org/gated": MODEL}, gated=("org/gated",)) as hub:
        done = prefetch(tmp_path, hub, *asked("--models", "org/gated@main"), HF_TOKEN="hf_good")
    assert done.returncode == 0, done.stderr
