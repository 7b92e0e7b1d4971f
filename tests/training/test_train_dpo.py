"""Preference training moves a model towards the responses that passed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfcodealign.training import template

from .conftest import ROOT, environment


@pytest.fixture
def chat(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """Make a model with a chat template, as fine-tuning leaves it."""
    folder = tmp_path / "chat"
    AutoModelForCausalLM.from_pretrained(tiny("llama")).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    template.install(tokenizer)
    tokenizer.save_pretrained(folder)
    return folder


def prefer(folder: Path, base: Path, rows: int) -> subprocess.CompletedProcess[str]:
    """Run `scripts/train_dpo.py` on pairs whose chosen response ends in "yes"."""
    pairs = [
        {
            "id": f"row-{number}",
            "prompt": [{"role": "user", "content": f"Is {number} a number?"}],
            "chosen": [{"role": "assistant", "content": f"{number}: yes"}],
            "rejected": [{"role": "assistant", "content": f"{number}: no"}],
        }
        for number in range(rows)
    ]
    turn = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([("id", pa.string()), ("prompt", turn), ("chosen", turn), ("rejected", turn)])
    pq.write_table(pa.Table.from_pylist(pairs, schema), folder / "pairs.parquet")
    words = [sys.executable, "scripts/train_dpo.py", "--pairs", str(folder / "pairs.parquet"), "--base", str(base)]
    words += ["--model", str(folder / "out"), "--metrics", str(folder / "m.jsonl"), "--work", str(folder / "work/dpo")]
    words += ["--precision", "fp32", "--batch-rows", "4", "--epochs", "3", "--learning-rate", "1e-3"]
    words += ["--run-seed", "3407", "--tracker", "none", "--save-every-steps", "2"]
    return subprocess.run(words, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_margin_between_passing_and_failing_responses_grows(chat: Path, tmp_path: Path) -> None:
    done = prefer(tmp_path, chat, rows=8)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert lines[-1]["rewards/margins"] > 0
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_no_pairs_are_refused(chat: Path, tmp_path: Path) -> None:
    done = prefer(tmp_path, chat, rows=0)
    assert done.returncode == 1
    assert "has no pair to learn from" in done.stderr.splitlines()[-1]
