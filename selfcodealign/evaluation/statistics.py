"""pass@k without bias, intervals around what a run measured, and a paired test between two models. Deterministic.

Wilson's interval and the exact test are scipy's; the bootstraps draw tasks, and seeds where there are several, by
generators of their own, so that equal seeds give equal numbers whatever else is drawn.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Estimate the chance that at least one of k samples is correct, from n samples of which `correct` are.

    The unbiased estimator of Chen et al. (arXiv 2107.03374, eq. 1): 1 − C(n − c, k) / C(n, k), as a product that cannot
    overflow.

    Raises:
        ValueError: k exceeds n, or correct is not within 0…n.
    """
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} is not defined for {correct} correct of {n} samples")
    if n - correct < k:
        return 1.0
    miss = 1.0
    for i in range(n - correct + 1, n + 1):
        miss *= 1 - k / i
    return 1.0 - miss


def expected_distinct(sizes: Sequence[int], count: int) -> float:
    """Estimate how many kinds a sample of `count` things has, from a sample whose kinds have these sizes.

    Smaller samples by rarefaction, which is exact; larger ones by Chao's estimator of the kinds not seen yet, from
    those seen once and twice (Chao et al. 2014, Ecological Monographs 84, eq. 4 and 9).

    Raises:
        ValueError: a size is not positive, or `count` is negative.
    """
    if any(size < 1 for size in sizes) or count < 0:
        raise ValueError(f"kinds of sizes {list(sizes)} in a sample of {count} things are not defined")
    seen = sum(sizes)
    if count <= seen:
        all_samples = math.comb(seen, count)
        return sum(1 - math.comb(seen - size, count) / all_samples for size in sizes)
    once, twice = sizes.count(1), sizes.count(2)
    unseen = (seen - 1) / max(1, seen) * (once * once / (2 * twice) if twice else once * (once - 1) / 2)
    if not unseen:
        return float(len(sizes))
    return len(sizes) + unseen * (1 - (1 - once / (seen * unseen + once)) ** (count - seen))


def mean(values: Sequence[float]) -> float:
    """Average without loss of precision; 0 for nothing."""
    return math.fsum(values) / len(values) if values else 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, and how that was found."""

    value: float
    low: float
    high: float
    method: str = ""

    def apart(self, other: "Estimate") -> bool:
        """Whether the two intervals do not touch."""
        return self.low > other.high or self.high < other.low


def wilson(successes: int, n: int) -> Estimate:
    """Return a proportion with Wilson's score interval: the right one for one greedy sample a task; 0 to 1 of none."""
    if n == 0:
        return Estimate(0.0, 0.0, 1.0, "wilson")
    from scipy.stats import binomtest

    share = successes / n
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    # Rounding must not push the bound past the estimate itself at 0 and 1.
    return Estimate(share, max(0.0, min(found.low, share)), min(1.0, max(found.high, share)), "wilson")


def _percentile(value: float, draws: "Sequence[float] | np.ndarray") -> Estimate:
    """Return a value with the middle 95 % of its resampled values."""
    import numpy as np

    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), "bootstrap")


def bootstrap(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean over tasks with its percentile interval, resampling tasks with replacement.

    Args:
        values: one number a task, for example its pass@1.
        seed: of the resampling; equal seeds and values give equal intervals.
        resamples: number of resampled means.
    """
    if len(values) < 2:
        return Estimate(mean(values), *((values[0], values[0]) if values else (0.0, 1.0)), "bootstrap")
    rng = random.Random(seed)
    draws = [math.fsum(rng.choices(values, k=len(values))) / len(values) for _ in range(resamples)]
    return _percentile(mean(values), draws)


def interval(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the mean with Wilson's interval when every task is 0 or 1 (greedy), else with the bootstrap's."""
    if all(value in (0.0, 1.0) for value in values):
        return wilson(sum(value == 1.0 for value in values), len(values))
    return bootstrap(values, seed)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same tasks: the mean difference (first − second), its interval and a two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float
    method: str
    better: int
    worse: int
    tasks: int


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Compare two models task by task.

    With 0/1 scores the p-value is McNemar's exact test on the tasks where they differ; otherwise it comes from flipping
    the signs of the differences at random. The interval resamples tasks.

    Raises:
        ValueError: the two have different numbers of tasks.
    """
    if len(first) != len(second):
        raise ValueError(f"paired comparison needs the same tasks, got {len(first)} and {len(second)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    better = sum(value > 0 for value in differences)
    worse = sum(value < 0 for value in differences)
    spread = bootstrap(differences, seed, resamples)
    if all(value in (0.0, 1.0) for value in (*first, *second)):
        method, p_value = "mcnemar_exact", _mcnemar(better, worse)
    else:
        method, p_value = "sign_flip", _sign_flip(differences, seed, resamples)
    return Comparison(mean(differences), spread.low, spread.high, p_value, method, better, worse, len(differences))


def _mcnemar(better: int, worse: int) -> float:
    """Two-sided exact binomial test that better and worse are equally likely."""
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _sign_flip(differences: Sequence[float], seed: int, resamples: int) -> float:
    """Share of random sign flips at least as extreme as what was seen, the sample itself included."""
    moving = [value for value in differences if value]
    seen = abs(math.fsum(moving))
    rng = random.Random(seed)
    extreme = 0
    for _ in range(resamples):
        signs = rng.getrandbits(len(moving)) if moving else 0
        total = math.fsum(value if signs >> place & 1 else -value for place, value in enumerate(moving))
        extreme += abs(total) >= seen - 1e-12
    return (extreme + 1) / (resamples + 1)


# ---- over several models, seeds or benchmarks ----


def _draws(runs: Sequence[Mapping[str, float]], tasks: Sequence[str], seed: int, arm: int = 0) -> "np.ndarray":
    """Resample seeds and tasks with replacement; shape (RESAMPLES,).

    The tasks of draw i depend on `seed` and their number alone, so that two arms on the same tasks share them and their
    difference is a paired one; `arm` tells apart the draws of seeds, which are shared by equal ones only.
    """
    import numpy as np

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
    import numpy as np

    tasks = common_tasks(runs)
    value = float(np.mean([[run[task] for task in tasks] for run in runs]))
    return _percentile(value, _draws(runs, tasks, seed))


def mean_over_benchmarks(scores: Sequence[Mapping[str, float]], seed: int = 0) -> Estimate:
    """Return the mean of several benchmarks' means, tasks resampled within each; percentile interval.

    Args:
        scores: for each benchmark, task → value 0…1.
        seed: of the bootstrap.
    """
    import numpy as np

    rng = np.random.default_rng((seed, 2))
    values = [np.array([tasks[name] for name in sorted(tasks)]) for tasks in scores]
    draws = np.mean([one[rng.integers(0, len(one), (RESAMPLES, len(one)))].mean(axis=1) for one in values], axis=0)
    return _percentile(float(np.mean([one.mean() for one in values])), draws)


def difference(
    first: Sequence[Mapping[str, float]],
    second: Sequence[Mapping[str, float]],
    seed: int = 0,
    *,
    by_seed: bool = False,
) -> Estimate:
    """Return mean(first) - mean(second), paired by task.

    Args:
        first: for each seed, task → value 0…1.
        second: the same of the other arm.
        seed: of the bootstrap.
        by_seed: whether runs at the same place are of one seed, so that seeds are paired too; else they are resampled
            independently.

    Raises:
        ValueError: the runs are on different tasks, or seeds are to be paired and their numbers differ.
    """
    if by_seed and len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} runs cannot be paired by seed")
    tasks = common_tasks([*first, *second])
    value = mean_over_tasks_and_seeds(first, seed).value - mean_over_tasks_and_seeds(second, seed).value
    return _percentile(value, _draws(first, tasks, seed) - _draws(second, tasks, seed, arm=0 if by_seed else 1))


def common_tasks(runs: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the tasks of all runs in order; ValueError if they differ."""
    tasks = sorted(runs[0])
    if any(sorted(run) != tasks for run in runs):
        raise ValueError("scores of different tasks cannot be averaged or compared")
    return tasks
