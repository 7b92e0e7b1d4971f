"""What came out of training: loss, benchmark scores, and the arms of an ablation."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.config.tables import BASE, DOES_IT_PAY
from selfcodealign.evaluation.statistics import RESAMPLES, Estimate, difference, mean_over_tasks_and_seeds
from selfcodealign.report import charts
from selfcodealign.report.page import Figure, Section, percent, plural
from selfcodealign.report.results import Run, Score, rank, read_json

PAPER_SELECTIONS = {"passing": "passes_only", "random": "random_subset", "failing": "failures_only"}
"""Selection of a dataset → its row in the paper's table on response selection."""


def training(run: Run) -> Section:
    """Show the loss of every model and one training example with its loss mask."""
    section = Section("training", "Fine-tuning")
    curves, models = [], []
    own = (name for name in run.models if name in run.config["models"])
    trained = {name: records for name in own if (records := run.metrics(name))}
    if not trained:
        section.missing = "No model was trained in this run."
        return section
    arms = {name: run.arm(name) or "data of others" for name in trained}
    grouped = len(trained) > 4
    for name, records in trained.items():
        steps = [record for record in records if "loss" in record]
        if not steps:
            continue
        series = arms[name] if grouped else name
        curves += [{"x": step["step"], "y": step["loss"], "series": series, "line": name} for step in steps]
        for record in records:
            if "validation_loss" in record:
                validation = f"{series}, held out"
                curves.append(
                    {
                        "x": record["step"],
                        "y": record["validation_loss"],
                        "series": validation,
                        "line": validation + name,
                    }
                )
        models.append(
            {
                "name": name,
                "dataset": run.data(name),
                "rows": _rows(run, name),
                "steps": len(steps),
                "first": steps[0]["loss"],
                "last": steps[-1]["loss"],
                "tokens": sum(step.get("response_tokens", 0) for step in steps),
            }
        )
    section.values = {
        "sentence": f"{plural(len(models), 'model')} fine-tuned with the loss on responses only. The curve shows each "
        "optimizer step" + (", coloured by the kind of data the model was trained on." if grouped else "."),
        "models": models,
        "example": _example(run, list(trained)),
    }
    series = list(dict.fromkeys(curve["series"] for curve in curves))
    section.files["loss"] = charts.lines(curves, "step", "loss, nats a token", series)
    section.figures["loss"] = Figure(section.files["loss"], "Training loss by optimizer step.")
    return section


def _rows(run: Run, model: str) -> int:
    """Count the rows that a model was trained on, a repeated one each time; of preferences the pairs."""
    if run.config["models"][model]["objective"] != "sft":
        funnel = run.trained(model, "funnel.json")
        return read_json(funnel)["produced"] if funnel.is_file() else 0
    total = 0.0
    for name, weight in run.weights(model).items():
        stage = "build_dataset" if name in run.config["datasets"] else "import_dataset"
        total += weight * sum(1 for _ in run.rows(stage, ["id"], name))
    return round(total)


def _example(run: Run, models: Sequence[str]) -> dict[str, Any] | None:
    """Read one training row, token by token with its loss mask."""
    for model in models:
        path: Path = run.trained(model, "example.json")
        if path.is_file():
            example = read_json(path)
            return {
                "id": example["row_id"],
                "on": example["loss_tokens"],
                "all": len(example["tokens"]),
                "pieces": merged((text, bool(on)) for text, on in example["tokens"]),
            }
    return None


def merged(tokens: Any) -> list[dict[str, Any]]:
    """Join neighbouring tokens with the same mask."""
    pieces: list[dict[str, Any]] = []
    for text, on in tokens:
        if pieces and pieces[-1]["on"] == on:
            pieces[-1]["text"] += text
        else:
            pieces.append({"text": text, "on": on})
    return pieces


def benchmarks(run: Run, paper: Mapping[str, Any]) -> Section:
    """Show every model's score on every benchmark with its interval, beside the paper's."""
    section = Section("benchmarks", "Benchmarks")
    if not run.scores:
        section.missing = "No model was evaluated in this run."
        return section
    scores = {(score.model, score.benchmark): score for score in run.scores}
    first = {score.benchmark: score for score in reversed(run.scores)}
    names = list(dict.fromkeys(score.benchmark for score in run.scores))
    models = [model for model in run.models if any((model, name) in scores for name in names)]
    table = [
        {
            "name": model,
            "note": _made_from(run, model),
            "paper": False,
            "cells": [_cell(scores.get((model, name))) for name in names],
        }
        for model in models
    ]
    compared = any(score.paper for score in first.values())
    for key, role in (("base", "paper, base model"), ("aligned", "paper, aligned model")) if compared else ():
        cells = [{"value": _published(paper, first[name], key), "interval": ""} for name in names]
        table.append({"name": paper[key], "note": role, "paper": True, "cells": cells})
    tasks = ", ".join(f"{first[name].title}: {plural(len(first[name].by_task), 'task')}" for name in names)
    section.values = {
        "sentence": f"{tasks}. Scores in percent, each with its 95 % interval over tasks. "
        + ("" if compared else "The paper has no such benchmark, so no published number stands beside them. ")
        + _against_base(run),
        "columns": [{"title": first[name].title, "metric": first[name].metric} for name in names],
        "table": table,
        "notes": list(dict.fromkeys(f"{score.title}: {text}." for score in run.scores for text in score.warnings)),
    }
    rows = [
        {"name": score.model, "value": score.value / 100, "low": score.low / 100, "high": score.high / 100}
        for score in run.scores
    ]
    for name in names:
        drawn = [row for row, score in zip(rows, run.scores, strict=True) if score.benchmark == name]
        section.figures[name] = Figure(
            charts.intervals(drawn, first[name].metric, [row["name"] for row in drawn]),
            f"{first[name].title}: {first[name].metric} with 95 % intervals over tasks.",
        )
    if len(names) > 1:
        rows = [
            row | {"name": f"{score.benchmark}, {score.model}"} for row, score in zip(rows, run.scores, strict=True)
        ]
    section.files["scores"] = charts.intervals(rows, first[names[0]].metric, [row["name"] for row in rows])
    return section


def _cell(score: Score | None) -> dict[str, str]:
    if score is None:
        return {"value": "–", "interval": ""}
    return {"value": f"{score.value:.1f}", "interval": f"{score.low:.1f} – {score.high:.1f}"}


def _published(paper: Mapping[str, Any], score: Score, key: str) -> str:
    """Look one number of the paper up: of its base or of its aligned model."""
    if score.paper is None:
        return "–"
    table, column = score.paper
    rows, columns = paper["tables"][table]["rows"], paper["tables"][table]["columns"]
    value = rows[paper[key]][columns.index(column)] if paper[key] in rows else None
    return "–" if value is None else f"{value:.1f}"


def _made_from(run: Run, model: str) -> str:
    if model == BASE:
        return run.config["model"]["base"]
    if model in run.config["other_models"]:
        return run.config["other_models"][model]["model"]
    facts = run.config["models"][model]
    seed = facts["seed"] if facts["seed"] is not None else run.seed
    plain = (facts["objective"], facts["from"]) == ("sft", BASE)
    how = "" if plain else f", {facts['objective']} from {facts['from']}"
    return f"dataset {run.data(model)}{how}, seed {seed}"


def _against_base(run: Run) -> str:
    """Say how far the trained model is from the base model; with several, the comparison of arms says it."""
    told = []
    if len(run.config["models"]) != 1:
        return ""
    for base in [score for score in run.scores if score.model == BASE]:
        for score in run.scores:
            if score.benchmark == base.benchmark and score.model in run.config["models"]:
                try:
                    gap = difference([score.by_task], [base.by_task], run.seed)
                except ValueError:
                    continue
                side = "above" if gap.value >= 0 else "below"
                told.append(
                    f"On {score.title}, {score.model} is {abs(100 * gap.value):.1f} points {side} the base model "
                    f"(95 % interval of the difference {100 * gap.low:+.1f} to {100 * gap.high:+.1f}, paired by task)."
                )
    return " ".join(told)


def arms(run: Run, paper: Mapping[str, Any]) -> Section:
    """Compare models by what they were trained on, over tasks and seeds."""
    section = Section("arms", "What the training data's selection does")
    if not run.scores:
        section.missing = "No model was evaluated in this run."
        return section
    if DOES_IT_PAY in run.config["tables"]:
        section.missing = "The arms of this run are compared in the section above."
        return section
    if run.config["tables"]:
        section.missing = "Models of several bases and writers are compared in the tables above, row by row."
        return section
    parts = []
    for benchmark in dict.fromkeys(score.benchmark for score in run.scores):
        scores = [score for score in run.scores if score.benchmark == benchmark]
        groups = grouped(run, scores)
        if len(groups) - (BASE in groups) < 2:
            continue
        if len({frozenset(score.by_task) for score in scores}) > 1:
            continue  # Scores over different tasks, of a benchmark that some models answered in part.
        parts.append(_part(run, scores[0], groups, paper))
        rows = [
            {"name": arm["name"], "value": arm["value"], "low": arm["low"], "high": arm["high"]}
            for arm in parts[-1]["arms"]
        ]
        section.figures[benchmark] = Figure(
            charts.intervals(rows, scores[0].metric, [row["name"] for row in rows]),
            f"{scores[0].title}: mean over seeds, with 95 % intervals that resample tasks and seeds.",
        )
    if not parts:
        section.missing = (
            "All models of this run were trained on the same kind of selection, so there is nothing to compare; "
            "config/demo-ablation.yaml trains on passing, random and failing responses."
        )
        return section
    section.values = {
        "sentence": "The same responses, selected differently, the same number of rows, the same training. Intervals "
        f"are percentiles of {RESAMPLES:,} bootstrap resamples of tasks and of seeds; differences are paired by task. "
        f"The paper's column is HumanEval+ of {paper['base']} ({paper['source']}).",
        "parts": parts,
    }
    return section


def grouped(run: Run, scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Group a benchmark's scores by arm: passing first, the base model last, models of others left out."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        if score.model in run.config["models"]:
            if arm := run.arm(score.model):
                groups.setdefault(arm, []).append(score)
        elif score.model == BASE:
            groups[BASE] = [score]
    return dict(sorted(groups.items(), key=lambda item: (item[0] == BASE, rank(item[0]))))


def _part(run: Run, one: Score, groups: Mapping[str, Sequence[Score]], paper: Mapping[str, Any]) -> dict[str, Any]:
    by_task = {name: [score.by_task for score in scores] for name, scores in groups.items()}
    means = {name: mean_over_tasks_and_seeds(runs, run.seed) for name, runs in by_task.items()}
    names = list(groups)
    selected = paper["tables"]["response_selection"]["rows"]
    published = {name: selected[row][-1] for name, row in PAPER_SELECTIONS.items()}
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    return {
        "benchmark": one.benchmark,
        "title": one.title,
        "metric": one.metric,
        "verdict": verdict({name: mean for name, mean in means.items() if name != BASE}, means.get(BASE)),
        "arms": [
            {
                "name": name,
                "value": means[name].value,
                "low": means[name].low,
                "high": means[name].high,
                "each": ", ".join(f"{score.value:.1f}" for score in groups[name]),
                "paper": f"{published[name]:.1f}" if name in published else "–",
            }
            for name in names
        ],
        "differences": [
            {"name": f"{a} − {b}", "value": found.value, "low": found.low, "high": found.high}
            for a, b in pairs
            for found in [difference(by_task[a], by_task[b], run.seed)]
        ],
    }


def verdict(means: Mapping[str, Estimate], base: Estimate | None) -> str:
    """Say in one or two sentences how the arms lie to each other and to the base model, whatever the outcome."""
    ordered = sorted(means, key=lambda name: -means[name].value)
    text = " > ".join(f"{name} {percent(means[name].value)}" for name in ordered)
    neighbours = itertools.pairwise(ordered)
    touching = [f"{a} and {b}" for a, b in neighbours if not means[a].apart(means[b])]
    if not touching:
        text += "; the 95 % intervals do not touch."
    else:
        text += f"; the 95 % intervals of {', of '.join(touching)} overlap."
    if base is not None and "passing" in means:
        best = means["passing"]
        side = "above" if best.value > base.value else "below" if best.value < base.value else "level with"
        apart = "without overlap" if best.apart(base) else "with overlapping intervals"
        text += f" Passing is {side} the base model ({percent(base.value)}), {apart}."
    return text


def best_known(run: Run) -> list[tuple[str, str, str]]:
    """Return (benchmark's title, value, note) of base and trained models for the head of the page."""
    found = []
    for benchmark in dict.fromkeys(score.benchmark for score in run.scores):
        shown = [score for score in run.scores if score.benchmark == benchmark]
        if set(run.config["tables"]) - {DOES_IT_PAY}:
            # Models of several bases and writers are no arms of one comparison.
            shown = [score for score in shown if score.model in run.config["paper_models"]]
        groups = grouped(run, shown)
        for name, scores in groups.items():
            mean = sum(score.value for score in scores) / len(scores)
            one = scores[0]
            note = f"mean of {plural(len(scores), 'seed')}" if len(scores) > 1 else f"{one.low:.1f} to {one.high:.1f}"
            label = "base model" if name == BASE else f"trained on {name}"
            found.append((f"{one.title}, {label}", f"{mean:.1f} %", note))
    return found
