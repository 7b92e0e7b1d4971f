"""Fine-tune a base model on a dataset with DeepSpeed; resumes from its last checkpoint."""

from pathlib import Path

from selfcodealign.config.section import RUN_SEED, Mode
from selfcodealign.config.training import Start, TrainSft
from selfcodealign.stage import run
from selfcodealign.training.processes import leave, relaunch_if_needed
from selfcodealign.training.sft import Paths, fine_tune


def main(
    dataset: list[Path],
    model: Path,
    metrics: Path,
    example: Path,
    funnel: Path,
    work: Path,
    *,
    mode: Mode = "fixed",
    base: Start,
    weights: list[float] | None = None,
    run_seed: int = RUN_SEED,
    settings: TrainSft,
    container: str = "",
) -> None:
    """Fine-tune a base model on a dataset with DeepSpeed; resumes from its last checkpoint.

    With more than one process or node the script starts a launcher that runs it again, once for each process.

    Args:
        dataset: folders of the datasets.
        weights: how often each dataset's rows are taken, in their order; once if empty.
    """
    relaunch_if_needed(settings.processes, settings.nodes, container, str(work))
    fine_tune(
        Paths(datasets=dataset, model=model, metrics=metrics, example=example, funnel=funnel, work=work),
        base,
        settings,
        run_seed,
        mode,
        weights,
    )
    leave()


if __name__ == "__main__":
    run(main)
