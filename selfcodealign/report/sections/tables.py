"""The paper's tables with this run's numbers."""

from typing import Any

from selfcodealign.report.layout import lines_of
from selfcodealign.report.page import Section
from selfcodealign.report.results import Run, read_json


def filled(run: Run) -> Section:
    """Show every table that the run names: its numbers, the paper's, and the differences."""
    section = Section("tables", "The paper's tables")
    if not run.config["tables"]:
        section.missing = "This run names no table of the paper; config/paper-tables.yaml names all twelve."
        return section
    shown: list[dict[str, Any]] = []
    for name in run.config["tables"]:
        table = read_json(run.results / "build_table" / f"{name}.json")
        lines = [
            {"name": row["name"] if number == 0 else "", "label": label, "texts": texts}
            for row in table["rows"]
            for number, (label, texts) in enumerate(lines_of(name, row))
        ]
        shown.append(table | {"lines": lines})
    section.values = {"tables": shown}
    return section
