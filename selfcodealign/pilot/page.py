"""The pilot's page: what it saw, what the run will leave and take, and what looks wrong."""

import re
from collections.abc import Iterator
from typing import Any

SHOWN_CHARACTERS = 1_500
"""Of a text that is longer, only its beginning is shown."""


def page(pilot: dict[str, Any]) -> str:
    """Write a pilot's record (`record`) as Markdown."""
    return "\n".join([*_head(pilot), *_findings(pilot), *_forecast(pilot), *_stages(pilot), *_texts(pilot)])


def _head(pilot: dict[str, Any]) -> Iterator[str]:
    seeds = pilot["seeds"]
    yield f"# Pilot of {pilot['model']}"
    yield ""
    if pilot["judged"]:
        yield (
            f"{seeds['shown']:,} of {seeds['before_judge']:,} seeds were judged, and {seeds['kept']:,} of them would "
            f"stay. {seeds['written_about']:,} were written about."
        )
    else:
        yield f"{seeds['written_about']:,} of {seeds['before_judge']:,} seeds were written about."
    yield ""


def _findings(pilot: dict[str, Any]) -> Iterator[str]:
    yield "## What looks wrong"
    yield ""
    for sentence in pilot["failed"]:
        yield f"* **A job failed.** {sentence}"
    for one in pilot["findings"]:
        yield f"* {one['sentence']} ({', '.join(f'`{key}`' for key in one['keys'])})"
    if not pilot["failed"] and not pilot["findings"]:
        yield "Nothing that this page looks for."
    yield ""


def _forecast(pilot: dict[str, Any]) -> Iterator[str]:
    whole = pilot["forecast"]
    yield "## What the whole run will leave and take"
    yield ""
    yield f"{whole['seeds']:,} seeds, and of rows:"
    yield ""
    for name, (rows, low, high) in whole["rows"].items():
        yield f"* `{name}`: about {rows:,} rows ({low:,} to {high:,})"
    yield ""
    gpu = f"{short(whole['gpu_hours'])} GPU-hours, " if whole["gpu_hours"] else ""
    yield f"{gpu}{short(whole['cpu_hours'])} hours of CPU jobs and {short(whole['gb'])} GB, from the judge to the last"
    yield "verdict. What comes before the judge is done already."
    yield ""
    yield "| stage | of | rows in | tokens out | GPU-h | CPU-job h | GB |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for one in whole["stages"]:
        hours = short(one["hours"] * (one["gpus"] or 1))
        cells = [
            f"`{one['stage']}`",
            one["branch"],
            f"{one['rows']:,}",
            f"{one['tokens_out']:,}" if one["tokens_out"] else "",
            *([hours, ""] if one["gpus"] else ["", hours]),
            short(one["gb"]),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield from whole["notes"]
    yield "More near-duplicates are found among more rows than in a pilot. Programs that define the same names are"
    yield "foreseen; for the others the rows are an upper bound."
    yield ""


def _stages(pilot: dict[str, Any]) -> Iterator[str]:
    yield "## What each stage did"
    yield ""
    yield "| stage | entered | kept | made | dropped, verdicts | tokens/s | seconds |"
    yield "|---|--:|--:|--:|---|--:|--:|"
    for one in pilot["stages"]:
        cells = [
            f"`{one['stage']}` {one['branch']}",
            *(f"{one[key]:,}" for key in ("entered", "kept", "produced")),
            ", ".join(f"{reason} {count}" for reason, count in (one["dropped"] | one["verdicts"]).items()),
            f"{one['tokens_per_s']:.0f}" if one["tokens_per_s"] else "",
            f"{one['seconds']:.1f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _texts(pilot: dict[str, Any]) -> Iterator[str]:
    yield "## One text of each stage"
    for one in pilot["texts"]:
        text = one["text"]
        more = f"\n… {len(text) - SHOWN_CHARACTERS:,} characters more" if len(text) > SHOWN_CHARACTERS else ""
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        yield f"\n`{one['stage']}`, {one['id']}\n\n{fence}text\n{text[:SHOWN_CHARACTERS]}{more}\n{fence}"
    yield ""


def short(value: float) -> str:
    """Write a number with as many digits as an estimate has: two, or one decimal."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
