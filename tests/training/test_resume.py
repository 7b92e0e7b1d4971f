"""A run that was killed ends with the same bytes as one that was not."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ROOT, command, environment, losses

LONG = {"epochs": 20, "save_every_steps": 5}


def start(folder: Path, dataset: Path, base: Path, **changes: object) -> subprocess.Popen[str]:
    """Start a run named `killed` in a process group of its own."""
    return subprocess.Popen(
        command(folder, dataset, base, "killed", **LONG, **changes),
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path: Path, running: subprocess.Popen[str]) -> None:
    """Wait until a file appears."""
    while not path.exists():
        assert running.poll() is None, running.communicate()[1][-3000:]
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("processes", "deepspeed"), [(1, "config/deepspeed/zero0.json"), (2, "config/deepspeed/zero2.json")]
)
def test_a_killed_run_resumes_to_the_same_bytes(
    processes: int,
    deepspeed: str,
    tiny: Callable[[str], Path],
    dataset: Path,
    tmp_path: Path,
    train: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    settings = {"processes": processes, "deepspeed": deepspeed}
    running = start(tmp_path, dataset, tiny("llama"), **settings)
    wait_for(tmp_path / "killed/work/checkpoint-15/seal.json", running)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert not (tmp_path / "killed/model").exists()
    assert len(list((tmp_path / "killed/work").glob("checkpoint-*"))) <= 3

    resumed = train(dataset, tiny("llama"), "killed", **LONG, **settings)
    whole = train(dataset, tiny("llama"), "whole", **LONG, **settings)

    assert "resuming from" in resumed.stderr
    assert "resuming from" not in whole.stderr
    assert losses(tmp_path / "killed/metrics.jsonl") == losses(tmp_path / "whole/metrics.jsonl")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert not list((tmp_path / "killed/work").glob("checkpoint-*"))


def test_a_damaged_checkpoint_is_named_and_an_older_one_is_used(
    tiny: Callable[[str], Path],
    dataset: Path,
    tmp_path: Path,
    train: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    running = start(tmp_path, dataset, tiny("llama"))
    wait_for(tmp_path / "killed/work/checkpoint-15/seal.json", running)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    newest = max(
        (file.parent for file in (tmp_path / "killed/work").glob("checkpoint-*/seal.json")),
        key=lambda folder: int(folder.name.partition("-")[2]),
    )
    record = json.loads((newest / "seal.json").read_text())
    torn = newest / next(name for name in record if name.endswith("model_states.pt"))
    torn.write_bytes(torn.read_bytes()[:-1000])

    resumed = train(dataset, tiny("llama"), "killed", **LONG)
    whole = train(dataset, tiny("llama"), "whole", **LONG)

    assert f"{newest} is damaged: {torn.relative_to(newest)} has changed" in resumed.stderr
    assert f"resuming from {newest.parent}" in resumed.stderr
    assert "resuming from" not in whole.stderr
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_a_request_to_stop_loses_no_step(
    tiny: Callable[[str], Path],
    dataset: Path,
    tmp_path: Path,
    train: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    running = start(tmp_path, dataset, tiny("llama"))
    wait_for(tmp_path / "killed/work/checkpoint-5/seal.json", running)
    running.send_signal(signal.SIGTERM)
    stopped = running.communicate()[1]
    assert running.returncode == 143, stopped
    done = len(losses(tmp_path / "killed/work/metrics.jsonl"))
    assert (tmp_path / f"killed/work/checkpoint-{done}/seal.json").exists()

    resumed = train(dataset, tiny("llama"), "killed", **LONG)
    assert f"checkpoint-{done}" in resumed.stderr


def test_changed_settings_do_not_resume_from_other_settings_checkpoints(
    tiny: Callable[[str], Path],
    dataset: Path,
    tmp_path: Path,
    train: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    running = start(tmp_path, dataset, tiny("llama"))
    wait_for(tmp_path / "killed/work/checkpoint-5/seal.json", running)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()

    changed = train(dataset, tiny("llama"), "killed", learning_rate=1e-3)

    assert "belongs to other settings or data" in changed.stderr
    assert "resuming from" not in changed.stderr


def weights(run: Path) -> bytes:
    """Read the bytes of the exported weights."""
    return (run / "model/model.safetensors").read_bytes()
