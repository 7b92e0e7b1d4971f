"""Train a model to prefer responses that pass their tests to responses that fail."""

from pathlib import Path

from selfcodealign.config.section import RUN_SEED
from selfcodealign.config.training import Start, TrainDpo
from selfcodealign.stage import run
from selfcodealign.training.dpo import Paths, prefer
from selfcodealign.training.processes import leave, relaunch_if_needed


def main(
    pairs: list[Path],
    model: Path,
    metrics: Path,
    funnel: Path,
    work: Path,
    *,
    base: Start,
    weights: list[float] | None = None,
    run_seed: int = RUN_SEED,
    settings: TrainDpo,
    container: str = "",
) -> None:
    """Train a model to prefer responses that pass their tests to responses that fail.

    Args:
        pairs: files of preference pairs, one of each dataset.
        weights: how often each file's pairs are taken, in their order; once if empty.
    """
    relaunch_if_needed(settings.processes, settings.nodes, container, str(work))
    prefer(
        Paths(pairs=pairs, model=model, metrics=metrics, funnel=funnel, work=work), base, weights, settings, run_seed
    )
    leave()


if __name__ == "__main__":
    run(main)
