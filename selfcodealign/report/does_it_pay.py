"""Does verification pay? Arms that differ in what a model learns from, compared over tasks and seeds.

An arm is several models of one kind, one for each seed. Scores are means over tasks and seeds; differences are paired
by task; intervals are percentiles over resamples of tasks and of seeds (`evaluation.statistics`).
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.config.tables import BASE
from selfcodealign.evaluation.statistics import RESAMPLES, Estimate, difference, mean, mean_over_tasks_and_seeds
from selfcodealign.report.results import read_json, read_jsonl

UNVERIFIED = "self-distillation"
"""Arm that learns from responses nobody ran: what the others must beat for verification to pay."""
PAPER = "passing"
"""Arm that learns from what passes its own tests, as the paper does."""
QUESTIONS = ((PAPER, BASE), (PAPER, "random"), (PAPER, "failing"), (PAPER, UNVERIFIED), ("matrix", PAPER))
"""Arms whose difference is asked for, first minus second; an arm `X + Y` is asked to beat X, from which it starts."""
EXACT = (
    f"Means over tasks and seeds; 95 % intervals resample both {RESAMPLES:,} times, differences are paired by "
    "task and, of arms with equally many models, by seed. "
    "`+` arms go on from the arm before the sign. Tokens are those under the loss, a mean over seeds."
)
EQUAL = "Fine-tuned arms have equally many rows of each seed, of the same instructions as far as all arms have them."
UNEQUAL = "Fine-tuned arms differ in their rows, which may be what moves a score: see `equal_rows_with`."
TOY = "These are the embedded toy model and toy tasks: they show the mechanism, not the size of an effect on real code."


def table_of(cells: Sequence[Mapping[str, Any]], *, seed: int, demo: bool) -> dict[str, Any]:
    """Compare the arms on every benchmark.

    Args:
        cells: as `planned_tables` has them: `row` (arm), `column` (benchmark), `kind` (score, rows, tokens), `files`
            (one for each seed).
        seed: of the bootstrap.
        demo: the run uses the embedded toy model.

    Returns:
        table, sentences (what the data say, the first one first), unverified_wins (whether `UNVERIFIED` is above an arm
        of verified data anywhere), benchmarks (arms and differences of each, in percent), notes.
    """
    trained = {arm: _training(cells, arm) for arm in dict.fromkeys(cell["row"] for cell in cells)}
    counts = {tuple(_rows(cell["files"])) for cell in cells if cell["kind"] == "rows"}
    parts = []
    for benchmark in dict.fromkeys(cell["column"] for cell in cells if cell["kind"] == "score"):
        scored = {
            cell["row"]: [read_json(Path(file)) for file in cell["files"]]
            for cell in cells
            if (cell["kind"], cell["column"]) == ("score", benchmark)
        }
        parts.append(_part(benchmark, scored, trained, seed))
    wins = [line for part in parts for line in part["differences"] if _unverified_wins(line)]
    return {
        "table": "does_it_pay",
        "title": "Does verification pay?",
        "sentences": list(sentences(parts, wins)),
        "unverified_wins": bool(wins),
        "benchmarks": parts,
        "notes": [TOY] * demo + [EXACT] + [EQUAL if len(counts) == 1 else UNEQUAL] * bool(counts),
    }


def _training(cells: Sequence[Mapping[str, Any]], arm: str) -> dict[str, float | None]:
    """Average over seeds what the models of an arm were fine-tuned on; None for an arm that is not."""
    files = {cell["kind"]: [Path(file) for file in cell["files"]] for cell in cells if cell["row"] == arm}
    tokens = [sum(line.get("response_tokens", 0) for line in read_jsonl(file)) for file in files.get("tokens", [])]
    rows = _rows(files.get("rows", []))
    return {"rows": mean(rows) if rows else None, "tokens": mean(tokens) if tokens else None}


def _rows(funnels: Iterable[str | Path]) -> list[int]:
    """Read how many rows each seed was fine-tuned on."""
    return [read_json(Path(file))["produced"] for file in funnels]


def _part(
    benchmark: str,
    scored: Mapping[str, Sequence[Mapping[str, Any]]],
    trained: Mapping[str, Mapping[str, float | None]],
    seed: int,
) -> dict[str, Any]:
    """Compare the arms on one benchmark, over the tasks on which all were measured."""
    metric = next(iter(scored.values()))[0]["headline"]
    runs = {arm: [scores["by_task"][metric] for scores in each] for arm, each in scored.items()}
    shared = set.intersection(*(set(tasks) for each in runs.values() for tasks in each))
    runs = {arm: [{task: tasks[task] for task in sorted(shared)} for tasks in each] for arm, each in runs.items()}
    arms = [
        {
            "name": arm,
            "seeds": len(each),
            **trained[arm],
            **_percent(mean_over_tasks_and_seeds(each, seed)),
            "each": [round(100 * mean(list(tasks.values())), 2) for tasks in each],
        }
        for arm, each in runs.items()
    ]
    differences = [
        {"first": first, "second": second, **_percent(_paired(runs[first], runs[second], seed))}
        for second, first in itertools.combinations(runs, 2)
    ]
    return {"benchmark": benchmark, "metric": metric, "tasks": len(shared), "arms": arms, "differences": differences}


def _paired(first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]], seed: int) -> Estimate:
    """Compare two arms; equally many models are of the same seeds: they start from, or learn from, the same answers."""
    return difference(first, second, seed, by_seed=len(first) == len(second))


def _percent(found: Estimate) -> dict[str, float]:
    return {key: round(100 * getattr(found, key), 2) for key in ("value", "low", "high")}


def _verified(arm: str) -> bool:
    """Whether execution chose what an arm learns from."""
    return arm.partition(" + ")[0] in (PAPER, "matrix")


def turned(line: Mapping[str, Any], first: str) -> dict[str, Any]:
    """Return a difference the way round that begins with an arm."""
    if line["first"] == first:
        return dict(line)
    return {
        "first": line["second"],
        "second": line["first"],
        "value": -line["value"],
        "low": -line["high"],
        "high": -line["low"],
    }


def _unverified_wins(line: Mapping[str, Any]) -> bool:
    if UNVERIFIED not in (line["first"], line["second"]):
        return False
    own = turned(line, UNVERIFIED)
    return own["value"] > 0 and _verified(own["second"])


def sentences(parts: Sequence[Mapping[str, Any]], wins: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say what the data say: first whether unverified responses win anywhere, then each question with its answer."""
    asked = any(arm["name"] == UNVERIFIED for part in parts for arm in part["arms"])
    if wins:
        told = [
            f"{_points(turned(line, UNVERIFIED))} above {turned(line, UNVERIFIED)['second']} on {part['benchmark']}"
            for part in parts
            for line in part["differences"]
            if line in wins
        ]
        surely = any(turned(line, UNVERIFIED)["low"] > 0 for line in wins)
        verb = "wins" if surely else "lies above, by intervals that hold 0"
        yield f"Self-distillation on responses that nobody verified {verb}: {'; '.join(told)}."
    elif asked:
        yield "Self-distillation on responses that nobody verified lies above no arm of verified ones."
    for part in parts:
        best = max(part["arms"], key=lambda arm: arm["value"])
        yield (
            f"On {part['benchmark']} ({part['tasks']:,} tasks) {best['name']} is the best arm, with "
            f"{best['value']:.1f} % ({best['low']:.1f} to {best['high']:.1f})."
        )
        for first, second in questions([arm["name"] for arm in part["arms"]]):
            (line,) = (one for one in part["differences"] if {one["first"], one["second"]} == {first, second})
            yield answer(turned(line, first))


def questions(arms: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of arms that are asked to differ: first above second."""
    yield from (pair for pair in QUESTIONS if set(pair) <= set(arms))
    for arm in arms:
        start = arm.partition(" + ")[0]
        if start != arm and start in arms:
            yield arm, start


def answer(line: Mapping[str, Any]) -> str:
    """Say how two arms lie to each other, and whether the interval of their difference excludes 0."""
    if line["low"] > 0 or line["high"] < 0:
        side = "above" if line["value"] > 0 else "below"
        return f"{line['first']} is {side} {line['second']}: {_points(line)}."
    return f"{line['first']} and {line['second']} cannot be told apart: {_points(line)}."


def _points(line: Mapping[str, Any]) -> str:
    return f"{line['value']:+.1f} points ({line['low']:+.1f} to {line['high']:+.1f})"


def page_of(table: Mapping[str, Any]) -> str:
    """Write the table as Markdown: what the data say, then arms and differences of each benchmark."""
    lines = [f"# {table['title']}", "", *(f"* {text}" for text in table["sentences"])]
    for part in table["benchmarks"]:
        lines += ["", f"## {part['benchmark']}, {part['metric']} in percent", ""]
        lines += [
            "| arm | seeds | rows | tokens | score | 95 % interval | each seed |",
            "|---|---:|---:|---:|---:|---|---|",
        ]
        for arm in part["arms"]:
            counts = ("–" if arm[key] is None else f"{arm[key]:,.0f}" for key in ("rows", "tokens"))
            each = ", ".join(f"{value:.1f}" for value in arm["each"])
            spread = f"{arm['low']:.1f} to {arm['high']:.1f}"
            texts = (arm["name"], str(arm["seeds"]), *counts, f"{arm['value']:.1f}", spread, each)
            lines.append(f"| {' | '.join(texts)} |")
        lines += ["", "| difference | points | 95 % interval |", "|---|---:|---|"]
        for line in part["differences"]:
            spread = f"{line['low']:+.1f} to {line['high']:+.1f}"
            lines.append(f"| {line['first']} − {line['second']} | {line['value']:+.1f} | {spread} |")
    return "\n".join([*lines, "", *(f"* {note}" for note in table["notes"]), ""])
