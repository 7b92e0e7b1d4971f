"""Lay a table of the paper out: for each row this run's numbers, the paper's, and the differences."""

from collections.abc import Mapping
from typing import Any

from selfcodealign.paper import COLUMNS

DIGITS = {"seeds": 0, "rows": 0, "generation_h": 2, "finetune_h": 2}
"""Decimals of a kind of number; 1 for percentages."""


def page_of(table: Mapping[str, Any]) -> str:
    """Write the table as Markdown: for each row this run's numbers, the paper's, and the differences."""
    lines = [
        f"# {table['number']}: {table['title']}",
        "",
        "| row | numbers of | " + " | ".join(table["columns"]) + " |",
        "|---|---|" + "---:|" * len(table["columns"]),
    ]
    for row in table["rows"]:
        for label, texts in lines_of(table["table"], row):
            lines.append(f"| {row['name']} | {label} | " + " | ".join(texts) + " |")
    return "\n".join([*lines, "", *(f"* {note}" for note in table["notes"]), ""])


def lines_of(name: str, row: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the lines of a row with their labels: the paper's alone where this run has no number."""
    cells = row["cells"]
    kinds = [COLUMNS[name][cell["column"]].kind for cell in cells]
    models = list(dict.fromkeys(cell["model"] for cell in cells if cell["model"]))
    paper = [text_of(cell["paper"], kind) for cell, kind in zip(cells, kinds, strict=True)]
    if not models:
        return [("paper", paper)]
    own = [spread_of(cell["ours"], kind) for cell, kind in zip(cells, kinds, strict=True)]
    gaps = [spread_of(cell["difference"], kind, sign=True) for cell, kind in zip(cells, kinds, strict=True)]
    label = f"this run ({models[0]})" if len(models) == 1 else "this run"
    return [(label, own), ("paper", paper), ("difference", gaps)]


def text_of(value: float | None, kind: str, *, sign: bool = False) -> str:
    """Write a number with the decimals of its kind; a dash for none."""
    return "–" if value is None else f"{value:{'+' if sign else ''},.{DIGITS.get(kind, 1)}f}"


def spread_of(found: Mapping[str, Any] | None, kind: str, *, sign: bool = False) -> str:
    """Write a number with its interval, where it has one."""
    if found is None:
        return "–"
    value = text_of(found["value"], kind, sign=sign)
    if found["low"] is None:
        return value
    return f"{value} ({text_of(found['low'], kind, sign=sign)} to {text_of(found['high'], kind, sign=sign)})"
