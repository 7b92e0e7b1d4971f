"""Intervals around what a run measured: shares of counted things, and means over tasks and seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def apart(self, other: "Estimate") -> bool:
        """Whether the two intervals do not touch."""
        return self.low > other.high or self.high < other.low


def share(successes: int, total: int) -> Estimate:
    """Return a proportion with Wilson's score interval; 0 to 1 where nothing was counted."""
    if total == 0:
        return Estimate(0.0, 0.0, 1.0)
    p, z = successes / total, Z95
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def _draws(runs: Sequence[Mapping[str, float]], tasks: Sequence[str], seed: int, arm: int = 0) -> np.ndarray:
    """Resample seeds and tasks with replacement; shape (RESAMPLES,).

    The tasks of draw i depend on `seed` and their number alone, so that two arms on the same tasks share them and their
    difference is a paired one; `arm` tells apart the draws of seeds, which are not shared.
    """
    values = np.array([[run[task] for task in tasks] for run in runs])
    picked = np.random.default_rng((seed, 0)).integers(0, len(tasks), (RESAMPLES, len(tasks)))
    runs_picked = np.random.default_rng((seed, 1, arm)).integers(0, len(runs), (RESAMPLES, len(runs)))
    weights = np.stack([(runs_picked == number).mean(axis=1) for number in range(len(runs))], axis=1)
    return sum(
        (weights[:, number] * values[number][picked].mean(axis=1) for number in range(len(runs))),
        start=np.zeros(RESAMPLES),
    )


def mean_over_tasks_and_seeds(runs: Sequence[Mapping[str, float]], seed: int = 0) -> Estimate:
    """Return the mean of a benchmark over its tasks and over models trained from several seeds.

    Args:
        runs: for each seed, task → value 0…1; all on the same tasks.
        seed: of the bootstrap; 10,000 resamples of seeds and tasks, percentile interval.

    Raises:
        ValueError: the runs are on different tasks.
    """
    tasks = common_tasks(runs)
    draws = _draws(runs, tasks, seed)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(np.mean([[run[task] for task in tasks] for run in runs])), float(low), float(high))


def mean_over_benchmarks(scores: Sequence[Mapping[str, float]], seed: int = 0) -> Estimate:
    """Return the mean of several benchmarks' means, tasks resampled within each; percentile interval.

    Args:
        scores: for each benchmark, task → value 0…1.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng((seed, 2))
    values = [np.array([tasks[name] for name in sorted(tasks)]) for tasks in scores]
    draws = np.mean([one[rng.integers(0, len(one), (RESAMPLES, len(one)))].mean(axis=1) for one in values], axis=0)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(np.mean([one.mean() for one in values])), float(low), float(high))


def difference(first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]], seed: int = 0) -> Estimate:
    """Return mean(first) - mean(second), paired by task, seeds resampled independently."""
    tasks = common_tasks([*first, *second])
    value = mean_over_tasks_and_seeds(first, seed).value - mean_over_tasks_and_seeds(second, seed).value
    draws = _draws(first, tasks, seed) - _draws(second, tasks, seed, arm=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def common_tasks(runs: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the tasks of all runs in order; ValueError if they differ."""
    tasks = sorted(runs[0])
    if any(sorted(run) != tasks for run in runs):
        raise ValueError("scores of different tasks cannot be averaged or compared")
    return tasks
