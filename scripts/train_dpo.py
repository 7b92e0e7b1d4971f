"""Train a fine-tuned model to prefer responses that pass their tests to responses that fail."""

from pathlib import Path

from selfcodealign.config.section import RUN_SEED
from selfcodealign.config.training import Start, TrainDpo
from selfcodealign.stage import run
from selfcodealign.training.dpo import prefer
from selfcodealign.training.processes import leave, relaunch_if_needed


def main(
    pairs: Path,
    base: str,
    model: Path,
    metrics: Path,
    work: Path,
    *,
    run_seed: int = RUN_SEED,
    settings: TrainDpo,
    container: str = "",
) -> None:
    """Train a fine-tuned model to prefer responses that pass their tests to responses that fail."""
    relaunch_if_needed(settings.processes, settings.nodes, container, str(work))
    prefer(pairs, Start(base=base), model, metrics, work, settings, run_seed)
    leave()


if __name__ == "__main__":
    run(main)
