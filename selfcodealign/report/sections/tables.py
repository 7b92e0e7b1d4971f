"""The paper's tables with this run's numbers, and the arms of this run beside each other."""

from typing import Any

from selfcodealign.config.tables import DOES_IT_PAY
from selfcodealign.report import charts
from selfcodealign.report.layout import lines_of
from selfcodealign.report.page import Figure, Notice, Section
from selfcodealign.report.results import Run, read_json


def filled(run: Run) -> Section:
    """Show every table that the run names: its numbers, the paper's, and the differences."""
    section = Section("tables", "The paper's tables")
    names = [name for name in run.config["tables"] if name != DOES_IT_PAY]
    if not names:
        section.missing = "This run names no table of the paper; config/paper-tables.yaml names all twelve."
        return section
    shown: list[dict[str, Any]] = []
    for name in names:
        table = read_json(run.results / "build_table" / f"{name}.json")
        lines = [
            {"name": row["name"] if number == 0 else "", "label": label, "texts": texts}
            for row in table["rows"]
            for number, (label, texts) in enumerate(lines_of(name, row))
        ]
        shown.append(table | {"lines": lines})
    section.values = {"tables": shown}
    return section


def arms(run: Run) -> Section:
    """Show whether verification pays: the arms of `does_it_pay`, their differences, and what the data say."""
    section = Section("does-it-pay", "Does verification pay?")
    if DOES_IT_PAY not in run.config["tables"]:
        section.missing = (
            "This run does not compare ways to choose what a model learns from; config/does-it-pay.yaml does."
        )
        return section
    table = read_json(run.results / "build_table" / f"{DOES_IT_PAY}.json")
    section.values = table
    for part in table["benchmarks"]:
        rows = [
            {key: arm[key] / 100 for key in ("value", "low", "high")} | {"name": arm["name"]} for arm in part["arms"]
        ]
        section.figures[part["benchmark"]] = Figure(
            charts.intervals(rows, part["metric"], [row["name"] for row in rows]),
            f"{part['benchmark']}: mean over seeds, with 95 % intervals that resample tasks and seeds.",
        )
    return section


def first_lines(run: Run) -> list[Notice]:
    """Say at the head of the page what the arms came to; a lead of what nobody verified as a warning."""
    values = arms(run).values
    kind = "warning" if values.get("unverified_wins") else "note"
    return [Notice(kind, text) for text in values.get("sentences", [])[:1]]
