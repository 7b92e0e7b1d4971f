"""Train a fine-tuned model to prefer responses that pass their tests to responses that fail."""

from pathlib import Path
from typing import Literal

from selfcodealign.config import TrainDpo
from selfcodealign.stage import run
from selfcodealign.training.dpo import prefer
from selfcodealign.training.processes import leave, relaunch_if_needed
from selfcodealign.training.sft import Base


def main(
    pairs: Path,
    base: str,
    model: Path,
    metrics: Path,
    work: Path,
    *,
    seed: int = 3407,
    epochs: int = 1,
    learning_rate: float = 1e-6,
    beta: float = 0.1,
    warmup_share: float = 0.05,
    batch_rows: int = 32,
    max_tokens: int = 1_280,
    max_grad_norm: float = 1.0,
    precision: Literal["fp32", "bf16"] = "bf16",
    deepspeed: str = "config/deepspeed/zero0.json",
    save_every_steps: int = 100,
    checkpoints_kept: int = 2,
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = "tensorboard",
    processes: int = 1,
    nodes: int = 1,
    container: str = "",
) -> None:
    """Train a fine-tuned model to prefer responses that pass their tests to responses that fail."""
    given = locals()
    settings = TrainDpo(**{key: given[key] for key in TrainDpo.model_fields})
    relaunch_if_needed(processes, nodes, container, str(work))
    prefer(pairs, Base(base), model, metrics, work, settings, seed)
    leave()


if __name__ == "__main__":
    run(main)
