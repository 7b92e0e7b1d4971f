"""Which benchmarks a run measures and which it only keeps out of its data."""

from typing import TYPE_CHECKING

from selfcodealign.config.evaluation import BenchmarkRun
from selfcodealign.evaluation.base import WHOLE

if TYPE_CHECKING:
    from selfcodealign.config.config import Config

PAPER = (
    *("humaneval", "humaneval_plus", "mbpp", "mbpp_plus"),
    *("evoeval_difficult", "evoeval_creative", "evoeval_subtle", "evoeval_combine", "evoeval_tool_use"),
    *("livecodebench", "classeval", "ds1000", "canitedit", "evalperf"),
)
"""Benchmarks of the paper's tables, and those that they extend."""


def default_benchmarks(demo: bool) -> dict[str, BenchmarkRun]:
    """Return what is measured when a config names no `benchmarks`."""
    if demo:
        return {"demo": BenchmarkRun(file="results/make_demo_benchmark/tasks.jsonl")}
    return {"humaneval_plus": BenchmarkRun(), "mbpp_plus": BenchmarkRun()}


def only_kept_out(config: "Config") -> dict[str, BenchmarkRun]:
    """Return the benchmarks that are fetched only to be kept out of the data.

    Those that the run measures are kept out anyway, and of those in `data.other_benchmarks` there is a file.
    """
    wanted = config.data.kept_out
    names = (() if config.demo else PAPER) if wanted is None else PAPER if wanted == "paper" else wanted
    there = {*config.benchmarks, *config.data.other_benchmarks}
    there |= {one.benchmark for one in config.benchmarks.values() if one.benchmark}
    return {name: BenchmarkRun(version=WHOLE) for name in names if name not in there}
