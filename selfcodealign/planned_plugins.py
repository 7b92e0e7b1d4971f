"""Which files of other packages decide what a rule writes: those of the benchmarks and backends that its run uses."""

from pathlib import Path

from selfcodealign import plugins
from selfcodealign.config import link_to
from selfcodealign.evaluation.base import BENCHMARKS
from selfcodealign.generation.settings import BACKENDS
from selfcodealign.pipeline import RULES
from selfcodealign.plan import Plan

BY_BENCHMARKS = "evaluation/benchmarks"
BY_BACKENDS = "generation/engine.py"
"""Modules among those that decide a rule, by which it is one that asks a benchmark or a model."""


def files(plan: Plan, rule: str) -> list[str]:
    """List the files of the plug-ins that decide what a rule writes, through links in the folder of the run.

    Raises:
        UserError: two packages use one name.
    """
    decided = RULES[rule].decided_by
    places: dict[str, Path] = {}
    if BY_BENCHMARKS in decided:
        places |= plugins.packages("benchmarks", benchmarks(plan), BENCHMARKS)
    if BY_BACKENDS in decided:
        places |= plugins.packages("backends", (one["backend"] for one in plan.config.engines.values()), BACKENDS)
    found = []
    for name, place in sorted(places.items()):
        link = link_to(place, plugins.LINKS / name)
        found += [str(link / file.relative_to(place)) for file in plugins.files(place)]
    return found


def benchmarks(plan: Plan) -> set[str]:
    """Name the benchmarks that a run measures or keeps out of its data."""
    others = (name.rpartition(":")[2] for name in plan.config.data.other_benchmarks)
    return {*(plan.benchmark(name) for name in plan.fetched), *others}
