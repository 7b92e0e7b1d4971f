"""Preference training moves a model towards the responses that passed."""

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from . import warm


def prefer(folder: Path, base: Path, rows: int, *more: str) -> subprocess.CompletedProcess[str]:
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
    words = ["scripts/train_dpo.py", "--pairs", str(folder / "pairs.parquet"), "--base", str(base)]
    for flag, name in (("model", "out"), ("metrics", "m.jsonl"), ("funnel", "f.json"), ("work", "work/dpo")):
        words += [f"--{flag}", str(folder / name)]
    words += ["--precision", "fp32", "--batch-rows", "4", "--epochs", "3", "--learning-rate", "1e-3"]
    words += ["--run-seed", "3407", "--tracker", "none", "--save-every-steps", "2", *more]
    return warm.run(words)


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
    assert json.loads((tmp_path / "f.json").read_text())["produced"] == 8
    card = (tmp_path / "out/README.md").read_text()
    assert "| pairs | 8 trained on, 0 with too long a prompt left out |" in card
    assert "\ntrain_dpo:\n  epochs: 3\n" in card


def test_weights_take_a_share_of_the_pairs(chat: Path, tmp_path: Path) -> None:
    done = prefer(tmp_path, chat, 8, "--weights", "0.5")
    assert done.returncode == 0, done.stderr
    funnel = json.loads((tmp_path / "f.json").read_text())
    assert (funnel["entered"], funnel["kept"], funnel["dropped"]) == (8, 4, {"not_drawn": 4})
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 3
    assert "weight 0.5: 4 of 8 rows" in (tmp_path / "out/README.md").read_text()


def test_no_pairs_are_refused(chat: Path, tmp_path: Path) -> None:
    done = prefer(tmp_path, chat, rows=0)
    assert done.returncode == 1
    assert "has no pair to learn from" in done.stderr.splitlines()[-1]
