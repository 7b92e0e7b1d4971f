"""Fill one of the paper's tables: this run's number, the paper's, their difference and its interval.

An interval is of this run, over tasks or rows; the published number is taken as exact, for the paper gives none.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.config.section import RUN_SEED
from selfcodealign.config.tables import DOES_IT_PAY
from selfcodealign.errors import UserError
from selfcodealign.evaluation.statistics import Estimate, mean_over_benchmarks, wilson
from selfcodealign.paper import COLUMNS, published, rows_of
from selfcodealign.report import does_it_pay
from selfcodealign.report.layout import page_of
from selfcodealign.report.results import number, read_json, read_jsonl
from selfcodealign.rows_io import read_rows, write_json, write_text
from selfcodealign.stage import run

log = logging.getLogger(__name__)

EXACT = "Intervals are 95 % intervals over this run's tasks or rows; the published number is taken as exact."
TOY = "The numbers of this run are those of the embedded toy model and toy tasks: they show that the table can be made."


def measured(cell: Mapping[str, Any], seed: int) -> tuple[float, float | None, float | None] | None:
    """Return a cell's value with its interval, in the unit of the paper; None where the run has nothing to measure.

    Args:
        cell: `kind`, `files`, `metric`, and `divide` by which hours are divided.
        seed: of the bootstrap.
    """
    files = [Path(name) for name in cell["files"]]
    match cell["kind"]:
        case "score" if len(files) == 1:
            return scored(files[0], cell["metric"])
        case "score":
            return in_percent(mean_over_benchmarks([by_task(path) for path in files], seed))
        case "wins":
            rates = win_rates(by_task(files[0]), [by_task(path) for path in files[1:]])
            return in_percent(mean_over_benchmarks([rates], seed)) if rates else None
        case "pass_rate":
            passed = [row["passed"] for path in files for row in read_rows(path, ["passed"])]
            return in_percent(wilson(sum(passed), len(passed))) if passed else None
        case "seeds" | "rows":
            return float(sum(read_json(path)["produced"] for path in files)), None, None
        case "generation_h" | "finetune_h":
            seconds = [number(record.get("s")) for path in files if path.is_file() for record in read_jsonl(path)]
            known = [one for one in seconds if one is not None]
            return (sum(known) / 3600 / cell["divide"], None, None) if known else None
    raise UserError(f"build_table knows no number of kind {cell['kind']!r}")


def in_percent(estimate: Estimate) -> tuple[float, float, float]:
    """Return value, low and high of a share in percent."""
    return 100 * estimate.value, 100 * estimate.low, 100 * estimate.high


def scored(path: Path, metric: str) -> tuple[float, float, float] | None:
    """Read a metric of a model's scores, the headline if not named; None if no task of it was scored."""
    scores = read_json(path)
    found = scores["metrics"].get(metric or scores["headline"])
    return (found["value"], found["low"], found["high"]) if found and found["tasks"] else None


def by_task(path: Path) -> dict[str, float]:
    """Read the headline metric of a model's scores, task by task."""
    scores = read_json(path)
    return scores["by_task"].get(scores["headline"], {})


def win_rates(own: Mapping[str, float], others: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return for each task the share of other models on which this one wins; a draw is half a win.

    Only tasks that both models were measured on count. The paper does not define its win rate: this is our reading.
    """
    games: dict[str, list[float]] = {}
    for other in others:
        for task in own.keys() & other.keys():
            games.setdefault(task, []).append((1 + (own[task] > other[task]) - (own[task] < other[task])) / 2)
    return {task: sum(points) / len(points) for task, points in sorted(games.items())}


def beside(own: tuple[float, float | None, float | None] | None, paper: float | None) -> dict[str, Any]:
    """Lay a number of this run beside the paper's."""
    found: dict[str, Any] = {"ours": None, "paper": paper, "difference": None}
    if own is not None:
        value, low, high = own
        found["ours"] = {"value": round(value, 4), "low": _rounded(low), "high": _rounded(high)}
        if paper is not None:
            shifted = [None if bound is None else round(bound - paper, 4) for bound in (low, high)]
            found["difference"] = {"value": round(value - paper, 4), "low": shifted[0], "high": shifted[1]}
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def table_of(name: str, cells: Sequence[Mapping[str, Any]], *, seed: int, demo: bool) -> dict[str, Any]:
    """Return the table: its rows in the paper's order, each with a cell for each column, and notes."""
    columns = COLUMNS[name]
    planned = {(cell["row"], cell["column"]): cell for cell in cells}
    rows = []
    for row, numbers in rows_of(name).items():
        line: dict[str, Any] = {"name": row, "cells": []}
        for column in columns:
            cell = planned.get((row, column))
            own = measured(cell, seed) if cell else None
            about = {"column": column, "model": cell["model"] if cell else None}
            line["cells"].append(about | beside(own, numbers[column]))
        rows.append(line)
    title = published()["tables"][name]
    notes = [TOY] * demo + [EXACT] + warnings_of(cells)
    if any(column.kind == "generation_h" for column in columns.values()):
        divide = max(cell["divide"] for cell in cells)
        notes.append(
            f"Hours are those of this run's jobs: generation's added up and divided by {divide} that ran side by side; "
            "the paper's were measured on four A100."
        )
    return {
        "table": name,
        "number": title["number"],
        "title": title["title"],
        "source": published()["source"],
        "columns": list(columns),
        "rows": rows,
        "notes": notes,
    }


def warnings_of(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Collect what the scorer says about the scores, each sentence once, with the models it is about."""
    about: dict[str, dict[str, None]] = {}
    for cell in cells:
        for path in cell["files"][:1] if cell["kind"] == "score" else ():
            for text in read_json(Path(path))["warnings"]:
                about.setdefault(text, {})[cell["model"]] = None
    return [f"{', '.join(models)}: {text}." for text, models in about.items()]


def main(table: str, cells: str, numbers: Path, page: Path, *, run_seed: int = RUN_SEED, demo: bool) -> None:
    """Fill one of the paper's tables, or compare the arms of `does_it_pay`.

    Args:
        table: its name.
        cells: what this run can fill, as JSON: a list of objects with row, column, model, kind, files, metric, divide.
        numbers: the table as JSON.
        page: the table as Markdown.
        run_seed: seed of the bootstrap.
        demo: the run uses the embedded toy model; the table says so.

    Raises:
        UserError: a score is missing or damaged; the sentence names it.
    """
    if table == DOES_IT_PAY:
        found = does_it_pay.table_of(json.loads(cells), seed=run_seed, demo=demo)
        write_json(numbers, found)
        write_text(page, does_it_pay.page_of(found))
        log.info("%s", found["sentences"][0])
        return
    found = table_of(table, json.loads(cells), seed=run_seed, demo=demo)
    write_json(numbers, found)
    write_text(page, page_of(found))
    filled = sum(cell["ours"] is not None for row in found["rows"] for cell in row["cells"])
    log.info("%s: %d numbers of this run", found["number"], filled)


if __name__ == "__main__":
    run(main)
