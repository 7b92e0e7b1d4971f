"""pass@k without bias, intervals around it, and a paired test between two models. Pure Python, deterministic."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

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


def mean(values: Sequence[float]) -> float:
    """Average without loss of precision; 0 for nothing."""
    return math.fsum(values) / len(values) if values else 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval and how it was found."""

    low: float
    high: float
    method: str


def wilson(successes: int, n: int, z: float = 1.959963984540054) -> Interval:
    """Return Wilson's score interval of a proportion: the right one for one greedy sample a task."""
    if n == 0:
        return Interval(0.0, 1.0, "wilson")
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding must not push the bound past the estimate itself at 0 and 1.
    return Interval(max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)), "wilson")


def bootstrap(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the percentile interval of the mean over tasks, resampling tasks with replacement.

    Args:
        values: one number a task, for example its pass@1.
        seed: of the resampling; equal seeds and values give equal intervals.
        resamples: number of resampled means.
    """
    if len(values) < 2:
        low, high = (values[0], values[0]) if values else (0.0, 1.0)
        return Interval(low, high, "bootstrap")
    draws = _resampled_means(values, seed, resamples)
    tail = (1 - CONFIDENCE) / 2
    return Interval(quantile(draws, tail), quantile(draws, 1 - tail), "bootstrap")


def _resampled_means(values: Sequence[float], seed: int, resamples: int) -> list[float]:
    """Means of resampled tasks, in ascending order."""
    rng = random.Random(seed)
    return sorted(math.fsum(rng.choices(values, k=len(values))) / len(values) for _ in range(resamples))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Read a quantile off ascending values, interpolating linearly."""
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Return Wilson's interval when every task is 0 or 1 (greedy), else the bootstrap's."""
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
    n, fewer = better + worse, min(better, worse)
    tail = sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n
    return min(1.0, 2 * tail)


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
