"""From verdicts to numbers: pass@k with intervals, per-task tables, the paper's numbers, and warnings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from selfcodealign.evaluation import statistics
from selfcodealign.evaluation.base import Benchmark, Metric, Problem, Sampling
from selfcodealign.paper import published, rows_of

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Samples' rows by problem id: `passed`, `groups` (name → status), `measures`."""


def summary(metric: Metric, seed: int) -> dict[str, Any]:
    """Return a metric's mean with its interval, in the metric's unit (percent unless it says otherwise)."""
    values = list(metric.by_task.values())
    spread = statistics.interval(values, seed)
    return {
        "value": round(metric.scale * statistics.mean(values), 4),
        "low": round(metric.scale * spread.low, 4),
        "high": round(metric.scale * spread.high, 4),
        "interval": spread.method,
        "tasks": len(values),
    }


def score(
    benchmark: Benchmark,
    problems: Sequence[Problem],
    rows: Rows,
    *,
    seed: int = 0,
    missing: str = "exclude",
) -> dict[str, Any]:
    """Score one model's verdicts.

    Args:
        benchmark: whose rules count.
        problems: all problems of the file.
        rows: verdicts by problem id; problems without any are missing.
        seed: of the bootstrap.
        missing: `exclude` missing tasks from the means, or `fail` to count each as a failure; named either way.

    Returns:
        metrics, headline, tasks, groups' status counts, warnings.
    """
    absent = [problem.id for problem in problems if not rows.get(problem.id)]
    warnings = []
    if absent:
        named = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        fate = "counted as failures" if missing == "fail" else "left out of the means"
        warnings.append(f"{len(absent)} of {len(problems)} tasks have no sample and are {fate}: {named}")
    counts = Counter(len(rows[problem.id]) for problem in problems if rows.get(problem.id))
    if len(counts) > 1:
        warnings.append(f"tasks have unequal numbers of samples, from {min(counts)} to {max(counts)}")
    complete = dict(rows)
    if missing == "fail":
        for problem in problems:
            if problem.id in absent:
                groups = dict.fromkeys(benchmark.groups_of(problem), "missing")
                complete[problem.id] = [{"passed": False, "groups": groups, "measures": {}}] * max(counts, default=1)
    present = [problem for problem in problems if complete.get(problem.id)]
    metrics = benchmark.metrics(present, complete)
    headline = next((metric.name for metric in metrics if metric.headline), None)
    statuses: dict[str, Counter[str]] = {name: Counter() for name in benchmark.groups}
    for problem in present:
        for row in complete[problem.id]:
            for name, status in row["groups"].items():
                statuses.setdefault(name, Counter())[status] += 1
    crashed = sum(count["crashed"] for count in statuses.values())
    if crashed:
        warnings.append(f"{crashed} groups of tests were not judged because the sandbox itself failed; run them again")
    return {
        "metrics": {metric.name: summary(metric, seed) for metric in metrics},
        "headline": headline,
        "by_task": {metric.name: dict(metric.by_task) for metric in metrics if metric.headline},
        "tasks": {problem.id: _task(complete[problem.id]) for problem in present},
        "statuses": {name: dict(sorted(count.items())) for name, count in statuses.items()},
        "missing": absent,
        "warnings": warnings,
    }


def _task(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "n": len(samples),
        "passed": sum(bool(row["passed"]) for row in samples),
        "verdicts": [dict(row["groups"]) for row in samples],
    }


def settings_warnings(benchmark: Benchmark, version: str | None, sampling: Sampling | None) -> list[str]:
    """Name what differs from the paper's settings, so that its number is not taken for comparable."""
    if benchmark.paper is None:
        return []
    found = []
    wanted = benchmark.sources[0].version if benchmark.sources else None
    if wanted and version != wanted:
        found.append(
            f"the paper used version {wanted} of {benchmark.title}, this is {version or 'an unpublished file'}"
        )
    if sampling is not None:
        for key, value in asdict(benchmark.sampling).items():
            used = getattr(sampling, key)
            if used != value:
                found.append(f"the paper sampled {benchmark.title} with {key} {value}, here it is {used}")
    return found


def paper_number(benchmark: Benchmark, model: str | None) -> dict[str, Any] | None:
    """Return the paper's number for this benchmark: its own model's, and the named model's where it has one."""
    if benchmark.paper is None:
        return None
    table, column = benchmark.paper
    rows, ours = rows_of(table), published()["aligned"]
    found: dict[str, Any] = {
        "source": published()["source"],
        "table": table,
        "column": column,
        "ours": {"model": ours, "value": rows[ours][column]},
    }
    if model in rows:
        found["same_model"] = {"model": model, "value": rows[model][column]}
    return found
