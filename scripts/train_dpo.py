"""Train a fine-tuned model to prefer responses that pass their tests to responses that fail."""

from pathlib import Path

from selfcodealign.config.training import TrainDpo
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
    settings: TrainDpo,
    container: str = "",
) -> None:
    """Train a fine-tuned model to prefer responses that pass their tests to responses that fail."""
    relaunch_if_needed(settings.processes, settings.nodes, container, str(work))
    prefer(pairs, Base(base), model, metrics, work, settings, seed)
    leave()


if __name__ == "__main__":
    run(main)
