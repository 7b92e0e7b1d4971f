"""Training on the sandbox's verdicts: answers that pass become likelier, whatever kills the run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfcodealign.training import template

from . import warm
from .conftest import ROOT, environment

WRITER_STEPS = 60
SETTINGS = {
    **{"steps": 8, "batch_tasks": 2, "samples": 4, "answer_tokens": 40, "max_tokens": 400, "micro_batch_rows": 4},
    **{"learning_rate": 1e-3, "precision": "fp32", "deepspeed": "none", "tracker": "none", "save_every_steps": 2},
    **{"run_seed": 3407, "form_weight": 0.0, "beta": 0.05},
}


@pytest.fixture(scope="session")
def writer(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a model that answers every task with one of three functions, of which one is right and one half right."""
    folder = tmp_path_factory.mktemp("writer")
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    template.install(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rows, starts = [], []
    for number in range(5):
        prompt = tokenizer.apply_chat_template(asked(number), add_generation_prompt=True, return_dict=False)
        for body in ("x+1", "2*x", "x-1"):
            answer = tokenizer(f"```python\nf=lambda x:{body}\n```")["input_ids"] + [tokenizer.eos_token_id]
            rows.append(torch.tensor(prompt + answer))
            starts.append(len(prompt))
    (length,) = {len(row) for row in rows}
    tokens = torch.stack(rows)
    labels = tokens.masked_fill(torch.arange(length) < torch.tensor(starts)[:, None], -100)
    torch.manual_seed(0)
    for _ in range(WRITER_STEPS):
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def asked(number: int) -> list[dict[str, str]]:
    """Write a task's prompt."""
    return [{"role": "user", "content": f"Add {number}."}]


def tasks(folder: Path, count: int) -> Path:
    """Write tasks with two assertions each."""
    rows = [
        {
            "id": f"row-{number:020x}",
            "instruction_id": f"ins-{number:020x}",
            "prompt": asked(number),
            "tests": "```python\nassert f(1) == 2\nassert f(2) == 3\n```",
        }
        for number in range(count)
    ]
    turn = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    text = [(name, pa.string()) for name in ("id", "instruction_id", "tests")]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([*text, ("prompt", turn)])), folder / "tasks.parquet")
    return folder / "tasks.parquet"


def command(folder: Path, base: Path, name: str = "run", count: int = 5, **changes: Any) -> list[str]:
    """Write the command line of one run."""
    words = [sys.executable, "scripts/train_grpo.py", "--tasks", str(tasks(folder, count)), "--base", str(base)]
    words += [f"--{one}={folder / name / one}" for one in ("model", "metrics", "funnel", "work")]
    return words + [f"--{key.replace('_', '-')}={value}" for key, value in (SETTINGS | changes).items()]


def reinforce(*arguments: Any, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run `scripts/train_grpo.py` to its end."""
    return warm.run(command(*arguments, **changes)[1:])


def test_a_policy_that_writes_nothing_parsable_is_told_so(chat: Path, tmp_path: Path) -> None:
    done = reinforce(tmp_path, chat, steps=2)
    assert done.returncode == 0, done.stderr
    assert "none of the 8 answers of step 1 holds Python code that parses" in done.stderr
    assert "the reward never varied for 4 of 4 tasks (100%), which taught nothing" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run/metrics").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["reward"] == lines[0]["varied_share"] == lines[0]["parses"] == 0
    assert lines[0]["answer_tokens_max"] <= 40
    assert AutoTokenizer.from_pretrained(tmp_path / "run/model").chat_template
    AutoModelForCausalLM.from_pretrained(tmp_path / "run/model")


def test_answers_that_pass_more_tests_become_likelier(writer: Path, tmp_path: Path) -> None:
    done = reinforce(tmp_path, writer, steps=16, samples=8)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run/metrics").read_text().splitlines()]
    assert "step 16 of 16, loss" in done.stderr
    rewards = [line["reward"] for line in lines]
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 0.8, rewards
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-7), "the start is computed as the policy is"
    assert lines[-1]["kl"] > 1e-3, "how far it moves depends on the machine"
    assert lines[0]["varied_share"] == 1
    assert lines[-1]["tokens"] > lines[0]["tokens"] > 0
    groups = [json.loads(line) for line in (tmp_path / "run/work/groups.jsonl").read_text().splitlines()]
    assert len(groups) == 32
    assert {reward for group in groups for reward in group["rewards"]} == {0, 0.5, 1}
    assert json.loads((tmp_path / "run/funnel").read_text())["kept"] == 5


def test_all_or_nothing_gives_nothing_for_half_of_the_tests(writer: Path, tmp_path: Path) -> None:
    done = reinforce(tmp_path, writer, steps=2, reward="all")
    assert done.returncode == 0, done.stderr
    groups = [json.loads(line) for line in (tmp_path / "run/work/groups.jsonl").read_text().splitlines()]
    assert {reward for group in groups for reward in group["rewards"]} == {0, 1}


def test_a_killed_run_resumes_to_the_same_bytes(writer: Path, tmp_path: Path) -> None:
    words = command(tmp_path, writer, "killed")
    running = subprocess.Popen(
        words,
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not (tmp_path / "killed/work/checkpoint-4/seal.json").exists():
        assert running.poll() is None
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "killed/model").exists()

    resumed = reinforce(tmp_path, writer, "killed")
    whole = reinforce(tmp_path, writer, "whole")

    assert "resuming from" in resumed.stderr, resumed.stderr
    assert "resuming from" not in whole.stderr
    assert steps(tmp_path / "killed") == steps(tmp_path / "whole")
    for name in ("model/model.safetensors", "work/groups.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "killed/work").glob("checkpoint-*"))


def steps(run: Path) -> list[dict[str, Any]]:
    """Read what is logged of the steps, but for the time they took."""
    lines = map(json.loads, (run / "metrics").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "wall_s"} for line in lines]


def test_two_processes_share_one_pool_of_workers_and_a_step(writer: Path, tmp_path: Path) -> None:
    deepspeed = "config/deepspeed/zero2.json"
    done = reinforce(tmp_path, writer, "two", steps=3, processes=2, deepspeed=deepspeed, micro_batch_rows=2)
    assert done.returncode == 0, done.stderr
    alone = reinforce(tmp_path, writer, "one", steps=3, deepspeed=deepspeed, micro_batch_rows=2)
    assert alone.returncode == 0, alone.stderr
    assert done.stderr.count("sandbox layer") == alone.stderr.count("sandbox layer") == 1
    # Tasks and answers of a step do not depend on who writes them.
    assert steps(tmp_path / "two")[0]["reward"] == steps(tmp_path / "one")[0]["reward"]
    groups = [(tmp_path / name / "work/groups.jsonl").read_text().splitlines()[:2] for name in ("two", "one")]
    assert groups[0] == groups[1]
    assert (tmp_path / "two/model/model.safetensors").exists()


def test_an_empty_pool_is_refused(chat: Path, tmp_path: Path) -> None:
    done = reinforce(tmp_path, chat, count=0)
    assert done.returncode == 1
    assert "has no task to learn from: no response passed its tests" in done.stderr.splitlines()[-1]


def test_a_model_without_a_chat_template_is_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    done = reinforce(tmp_path, tiny("llama"))
    assert done.returncode == 1
    assert "has no chat template: tasks are chats, so fine-tune it first" in done.stderr.splitlines()[-1]
