"""The loss of every step is what thirty lines of plain torch compute, however the work is spread."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfcodealign.config import TrainSft
from selfcodealign.rows_io import read_rows
from selfcodealign.training import documents as rows
from selfcodealign.training import schedule

from .conftest import ROOT, SETTINGS, environment

SEED = 5
VARIANTS = [
    {"packing": False, "deepspeed": "config/deepspeed/zero0.json"},
    {"packing": True, "deepspeed": "config/deepspeed/zero0.json"},
    {"packing": True, "deepspeed": "config/deepspeed/zero1.json"},
    {"packing": False, "deepspeed": "config/deepspeed/zero2.json"},
    {"packing": True, "deepspeed": "config/deepspeed/zero3.json"},
    {"packing": True, "deepspeed": "none"},
    {"packing": True, "deepspeed": "config/deepspeed/zero1.json", "attention": "sdpa"},
]
"""Unpacked rows are one micro-batch each, so those runs accumulate over six."""


def plain(folder: Path, dataset: Path, loss: str, settings: TrainSft) -> list[tuple[float, float]]:
    """Compute loss and gradient norm of each step with a loop over single rows and torch's own AdamW."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    encoded = [
        rows.encode(tokenizer, row["id"], row["instruction"], row["response"])
        for row in read_rows(dataset / "train.parquet")
    ]
    order = schedule.ordered(encoded, epochs=settings.epochs, seed=SEED)
    batches = [order[at : at + settings.batch_rows] for at in range(0, len(order), settings.batch_rows)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    warm = math.ceil(settings.warmup_share * len(batches))
    figures = []
    for step, batch in enumerate(batches):
        totals, counts = [], []
        for number in batch:
            ids = torch.tensor([encoded[number].tokens])
            labels = ids[0, encoded[number].prompt_tokens :]
            logits = model(input_ids=ids).logits[0, encoded[number].prompt_tokens - 1 : -1]
            totals.append(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            counts.append(len(labels))
        if loss == "token":
            value = torch.stack(totals).sum() / sum(counts)
        else:
            value = torch.stack([total / count for total, count in zip(totals, counts, strict=True)]).mean()
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        # Mode `reference` has the schedule of the paper's trainer; `fixed` has it one step ahead.
        at, end = (step, len(batches)) if loss == "reference" else (step + 1, len(batches) + 1)
        rate = at / warm if at < warm else (end - at) / (end - warm)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * rate
        optimizer.step()
        optimizer.zero_grad()
        figures.append((value.item(), norm.item()))
    return figures


@pytest.mark.parametrize("processes", [1, 2])
def test_every_step_has_the_loss_of_a_plain_torch_loop(
    processes: int, tiny: Callable[[str], Path], dataset: Path, tmp_path: Path
) -> None:
    folder = tiny("llama")
    variants = VARIANTS if processes > 1 else [VARIANTS[number] for number in (0, 2, 5)]
    modes = {"reference": "reference", "token": "fixed"}
    runs = [{**variant, "loss": loss, "mode": mode} for loss, mode in modes.items() for variant in variants]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    worker = Path(__file__).with_name("worker.py")
    job = {
        "dataset": str(dataset),
        "base": str(folder),
        "out": str(tmp_path),
        "seed": SEED,
        "runs": [{**SETTINGS, **run, "processes": processes} for run in runs],
    }
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), str(worker), json.dumps(job)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    settings = TrainSft(**SETTINGS)
    expected = {loss: plain(folder, dataset, loss, settings) for loss in ("reference", "token")}
    for number, run in enumerate(runs):
        lines = [json.loads(line) for line in (tmp_path / str(number) / "metrics.jsonl").read_text().splitlines()]
        assert len(lines) == len(expected[run["loss"]])
        for line, (loss, norm) in zip(lines, expected[run["loss"]], strict=True):
            assert line["loss"] == pytest.approx(loss, rel=1e-5), (run, line)
            if line.get("grad_norm"):
                assert line["grad_norm"] == pytest.approx(norm, rel=1e-4), (run, line)
