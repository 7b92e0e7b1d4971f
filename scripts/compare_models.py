"""Compare models on the same tasks of a benchmark, pair by pair, with a paired test."""

import itertools
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.evaluation.statistics import paired
from selfcodealign.rows_io import write_json
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def compared(first: dict[str, Any], second: dict[str, Any], seed: int) -> dict[str, Any]:
    """Compare two models' scores on the tasks that both have.

    Raises:
        UserError: they share no task, or are scored by different numbers.
    """
    if first["headline"] is None or first["headline"] != second["headline"]:
        raise UserError(
            f"{first['model']} and {second['model']} have no number of {first['benchmark']} in common "
            f"({first['headline']}, {second['headline']}); score both in the same way"
        )
    a, b = (scores["by_task"][first["headline"]] for scores in (first, second))
    shared = [task for task in a if task in b]
    if not shared:
        raise UserError(
            f"{first['model']} and {second['model']} share no task of {first['benchmark']}; score both on one file"
        )
    result = paired([a[task] for task in shared], [b[task] for task in shared], seed)
    return {"first": first["model"], "second": second["model"], "metric": first["headline"], **asdict(result)}


def main(scores: list[Path], comparison: Path, *, run_seed: int) -> None:
    """Compare models on the same tasks of a benchmark.

    Args:
        scores: what `score_benchmark` wrote for each model.
        comparison: the paired tests, as JSON; differences are first − second, in shares of tasks.
        run_seed: seed of the resampling.
    """
    loaded = [json.loads(path.read_text(encoding="utf-8")) for path in scores]
    pairs = [compared(first, second, run_seed) for first, second in itertools.combinations(loaded, 2)]
    write_json(comparison, {"models": [item["model"] for item in loaded], "pairs": pairs})


if __name__ == "__main__":
    run(main)
