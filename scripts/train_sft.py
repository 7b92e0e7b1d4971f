"""Fine-tune a base model on a dataset with DeepSpeed; resumes from its last checkpoint."""

from pathlib import Path
from typing import Literal

from selfcodealign.config import TrainSft
from selfcodealign.stage import run
from selfcodealign.training.processes import leave, relaunch_if_needed
from selfcodealign.training.sft import Base, Paths, fine_tune


def main(
    dataset: Path,
    model: Path,
    metrics: Path,
    example: Path,
    funnel: Path,
    work: Path,
    *,
    mode: Literal["fixed", "reference"] = "fixed",
    base: str,
    revision: str = "main",
    trust_remote_code: bool = False,
    seed: int = 3407,
    epochs: int = 4,
    learning_rate: float = 1e-5,
    optimizer: Literal["adamw", "adafactor"] = "adamw",
    schedule: Literal["linear", "cosine", "constant"] = "linear",
    warmup_share: float = 0.05,
    batch_rows: int = 64,
    max_tokens: int = 1_280,
    truncation: Literal["drop", "cut", "cut_without_end"] = "drop",
    loss: Literal["reference", "token"] = "token",
    packing: bool = True,
    micro_batch_tokens: int = 5_120,
    precision: Literal["fp32", "bf16", "bf16_pure"] = "bf16",
    attention: str = "auto",
    max_grad_norm: float = 0.0,
    weight_decay: float = 0.0,
    activation_checkpointing: bool = False,
    deepspeed: str = "config/deepspeed/zero0.json",
    lora_rank: int = 0,
    lora_alpha: int = 32,
    validation_share: float = 0.0,
    keep: Literal["last", "best"] = "last",
    save_every_steps: int = 100,
    checkpoints_kept: int = 2,
    stored_precision: Literal["base", "fp32", "bf16"] = "base",
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = "tensorboard",
    processes: int = 1,
    nodes: int = 1,
    container: str = "",
) -> None:
    """Fine-tune a base model on a dataset with DeepSpeed; resumes from its last checkpoint.

    With more than one process or node the script starts a launcher that runs it again, once for each process.
    """
    given = locals()
    settings = TrainSft(**{key: given[key] for key in TrainSft.model_fields})
    relaunch_if_needed(processes, nodes, container, str(work))
    fine_tune(
        Paths(dataset=dataset, model=model, metrics=metrics, example=example, funnel=funnel, work=work),
        Base(base, revision, trust_remote_code),
        settings,
        seed,
        mode,
    )
    leave()


if __name__ == "__main__":
    run(main)
