"""Score a model on a benchmark: pass@k with intervals, per-task results, warnings, and the paper's number beside."""

import json
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfcodealign.config.evaluation import ScoreBenchmark
from selfcodealign.config.section import RUN_SEED
from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Sampling
from selfcodealign.evaluation.rows import ExecutedRow, SampleRow
from selfcodealign.evaluation.scoring import paper_number, score, settings_warnings
from selfcodealign.rows_io import read_rows, write_json
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def grouped(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return verdicts by task, in the order of samples."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups = {group["name"]: group["status"] for group in row["groups"]}
        verdict = {"passed": row["passed"], "groups": groups, "measures": json.loads(row["measures"])}
        found.setdefault(row["task_id"], []).append(verdict)
    return found


def described(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], Sampling]:
    """Return how the answers were sampled: the columns all of them share, and the sampling proper."""
    settings: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    tokens = Counter()
    for row in rows:
        settings = {name: row[name] for name in ("style", "model", "revision", "temperature", "top_p", "max_tokens")}
        counts[row["task_id"]] += 1
        tokens["tokens_in"] += row["tokens_in"]
        tokens["tokens_out"] += row["tokens_out"]
    n = max(counts.values(), default=0)
    sampling = Sampling(n, settings["temperature"], settings["top_p"], settings["max_tokens"])
    return {**settings, "samples": n, **tokens}, sampling


def main(
    benchmark: str,
    problems: Path,
    about: Path,
    samples: Path,
    verdicts: Path,
    scores: Path,
    *,
    name: str,
    run_seed: int = RUN_SEED,
    paper_model: str = "",
    settings: ScoreBenchmark,
) -> None:
    """Score a model on a benchmark.

    Args:
        benchmark: name of the benchmark.
        problems: file of its problems.
        about: what `fetch_benchmark` found out about that file.
        samples: answers (SampleRow).
        verdicts: verdicts (ExecutedRow).
        scores: the scores, as JSON.
        name: of the model, as the config has it.
        run_seed: seed of the bootstrap, recorded with the scores.
        paper_model: the model's name in the paper's tables.
    """
    kind = base.get(benchmark)
    known = json.loads(about.read_text(encoding="utf-8"))
    sampled, sampling = described(read_rows(samples, list(SampleRow.model_fields)))
    rows = list(read_rows(verdicts, list(ExecutedRow.model_fields)))
    found = score(kind, kind.problems(problems), grouped(rows), seed=run_seed, missing=settings.missing)
    notes = Counter(row["note"] for row in rows if row["note"])
    found["warnings"] += settings_warnings(kind, known["version"], sampling)
    if notes["not_answered"]:
        found["warnings"].append(f"{notes['not_answered']} of {len(rows)} prompts got no answer and count as failures")
    if notes["no_code"]:
        found["warnings"].append(f"{notes['no_code']} of {len(rows)} answers hold no code")
    if notes["cut_off"]:
        found["warnings"].append(f"{notes['cut_off']} of {len(rows)} answers were cut off at max_tokens")
    layers = sorted({row["isolation"] for row in rows if row["isolation"]})
    found |= {
        "benchmark": kind.name,
        "title": kind.title,
        "model": name,
        "problems": known,
        "settings": {**sampled, "run_seed": run_seed, "isolation": layers},
        "paper": paper_number(kind, paper_model),
    }
    write_json(scores, found)
    headline = found["metrics"].get(found["headline"] or "")
    if headline:
        log.info(
            "%s %s: %.1f (%.1f–%.1f)",
            kind.title,
            found["headline"],
            *(headline[key] for key in ("value", "low", "high")),
        )


if __name__ == "__main__":
    run(main)
