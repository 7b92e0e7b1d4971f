"""Train a model on tasks with tests: of its answers to a task, those that pass more tests become more likely."""

from pathlib import Path

from selfcodealign.config.execution import RunResponses
from selfcodealign.config.section import RUN_SEED
from selfcodealign.config.training import Start, TrainGrpo
from selfcodealign.stage import run
from selfcodealign.training.grpo import Paths, reinforce
from selfcodealign.training.processes import leave, relaunch_if_needed


def main(
    tasks: list[Path],
    model: Path,
    metrics: Path,
    funnel: Path,
    work: Path,
    *,
    base: Start,
    weights: list[float] | None = None,
    run_seed: int = RUN_SEED,
    settings: TrainGrpo,
    sandbox: RunResponses,
    container: str = "",
) -> None:
    """Train a model on tasks with tests: of its answers to a task, those that pass more tests become more likely.

    Args:
        tasks: files of tasks, one of each dataset.
        weights: how often each file's tasks are taken, in their order; once if empty.
        sandbox: how the answers run.
    """
    relaunch_if_needed(settings.processes, settings.nodes, container, str(work))
    reinforce(
        Paths(tasks=tasks, model=model, metrics=metrics, funnel=funnel, work=work),
        base,
        weights,
        settings,
        sandbox,
        run_seed,
    )
    leave()


if __name__ == "__main__":
    run(main)
