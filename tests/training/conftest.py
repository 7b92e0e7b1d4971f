"""Tiny models, a byte tokenizer, a small dataset and a way to train on them as the workflow does."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from selfcodealign.training import template

from . import warm

ROOT = Path(__file__).parents[2]

# Tiny models are faster on one thread, and much faster where other tests run beside them.
torch.set_num_threads(1)

ARCHITECTURES = ("llama", "qwen2", "starcoder2")
SETTINGS = {
    "epochs": 2,
    "batch_rows": 6,
    "max_tokens": 400,
    "micro_batch_tokens": 700,
    "learning_rate": 3e-3,
    "precision": "fp32",
    "tracker": "none",
    "stored_precision": "fp32",
    "save_every_steps": 2,
}


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and one that begins and ends sequences."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|end|>": 0, "<|pad|>": 1} | {letter: number + 2 for number, letter in enumerate(alphabet)}
    raw = Tokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|end|>", eos_token="<|end|>", pad_token="<|pad|>")


def network(architecture: str, attention: str = "sdpa", **changes: Any) -> PreTrainedModel:
    """A randomly initialised model of two layers whose outputs vary enough for errors to show."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=258,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        **changes,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make the folder of a tiny model of an architecture, with its tokenizer."""
    root = tmp_path_factory.mktemp("models")

    def make(architecture: str) -> Path:
        folder = root / architecture
        if not folder.exists():
            network(architecture, tie_word_embeddings=architecture != "qwen2").save_pretrained(folder)
            tokenizer().save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def chat(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """Make a model with a chat template, as fine-tuning leaves it."""
    folder = tmp_path / "chat"
    AutoModelForCausalLM.from_pretrained(tiny("llama")).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    template.install(tokenizer)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a dataset folder of 20 rows of very different lengths."""
    folder = tmp_path_factory.mktemp("dataset")
    rng = random.Random(1)
    rows = [
        {
            "id": f"row-{number:020x}",
            "instruction": f"Return x plus {number}.",
            "response": f"```python\ndef f{number}(x):\n    return x + {number}\n```" + " ok" * rng.randrange(30),
        }
        for number in range(20)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    return folder


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `scripts/train_sft.py` the way the rule does; outputs go to `tmp_path/<name>`."""

    def run(
        dataset: Path, base: Path, name: str = "run", *, check: bool = True, **changes: Any
    ) -> subprocess.CompletedProcess[str]:
        done = warm.run(command(tmp_path, dataset, base, name, **changes)[1:])
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def command(folder: Path, dataset: Path, base: Path, name: str, **changes: Any) -> list[str]:
    """Write the command line of one training run."""
    outputs = {
        "model": folder / name / "model",
        "metrics": folder / name / "metrics.jsonl",
        "example": folder / name / "example.json",
        "funnel": folder / name / "funnel.json",
        "work": folder / name / "work",
    }
    words = [sys.executable, "scripts/train_sft.py", "--dataset", str(dataset), "--base", str(base)]
    words += ["--mode", "fixed", "--run-seed", "3407"]
    for key, value in (outputs | SETTINGS | changes).items():
        words += [f"--{key.replace('_', '-')}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words


def environment() -> dict[str, str]:
    """What the workflow sets for every job."""
    return os.environ | warm.ENVIRONMENT


def losses(metrics: Path) -> list[float]:
    """Read the loss of each step."""
    lines = map(json.loads, metrics.read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]
