"""What the stages of a pilot did and took, read from its funnels, timings, logs and rows."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfcodealign.config.config import Config
from selfcodealign.dataset.code import defined_names
from selfcodealign.pipeline import RULES, STAGES, WRITING
from selfcodealign.rows_io import read_rows
from selfcodealign.stage import TOOK
from selfcodealign.status import seconds_of

EXECUTION = ("sample_solutions", "extract_programs", "execute_programs")
TEXTS = {
    "judge_seeds": "content",
    "extract_concepts": "concepts",
    "write_instructions": "instruction",
    "write_responses": "raw",
    "build_dataset": "response",
    "sample_solutions": "texts",
}
"""Stages of which a text is shown, and its column."""


@dataclass
class Measured:
    """One stage of one branch, its jobs added up. Times in seconds, sizes in bytes.

    `branch` is the generation, dataset or model, `base/<benchmark>` for an evaluation, empty for one of the run.
    `looped` and `looped_s` are what its log says of rows worked on, without the start of Python and the loading of
    models; 0 where it says nothing. `steps` sums up a training. `same_names` are the sizes of the groups of tasks whose
    programs define the same names, `loops` the rows and seconds of each loop that `looped` and `looped_s` add up.
    """

    stage: str
    branch: str
    jobs: int = 0
    seconds: float = 0.0
    looped: int = 0
    looped_s: float = 0.0
    entered: int = 0
    kept: int = 0
    produced: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    finish_reasons: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    duplicates: int = 0
    size: int = 0
    steps: dict[str, float] = field(default_factory=dict)
    same_names: list[int] = field(default_factory=list)
    loops: list[tuple[int, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Stage and branch."""
        return f"{self.stage}/{self.branch}".rstrip("/")

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens written in a second, the loading of the model aside; None if nothing was written or timed."""
        return self.tokens_out / self.looped_s if self.tokens_out and self.looped_s else None

    def share(self, reasons: dict[str, int], *names: str) -> float:
        """Return the share that some reasons have among all."""
        total = sum(reasons.values())
        return sum(reasons.get(name, 0) for name in names) / total if total else 0.0


def measured(work: Path, config: Config) -> dict[str, Measured]:
    """Measure every stage of a pilot that has finished, by name, in the order of the data path.

    Args:
        work: folder of the pilot's run.
        config: the pilot's own.
    """
    branches: list[tuple[str, str]] = []
    for rule, stage in RULES.items():
        if rule in STAGES or rule in EXECUTION:
            names: Iterable[str] = {
                "generation": config.generations,
                "dataset": config.datasets,
                "model": config.models,
                "evaluation": [f"base/{name}" for name in config.benchmarks],
            }.get(stage.per, [""])
            branches += [(rule, name) for name in names]
    found = [_measured(work, *branch) for branch in branches]
    return {one.name: one for one in found if one.jobs}


def _measured(work: Path, rule: str, branch: str) -> Measured:
    found = Measured(rule, branch)
    place = f"{rule}/{branch}".rstrip("/")
    timings = work / "timings" / f"{place}.jsonl"
    for timing in [timings] if timings.is_file() else sorted((work / "timings" / place).rglob("*.jsonl")):
        job = timing.relative_to(work / "timings").with_suffix("")
        found.jobs += 1
        found.seconds += seconds_of(timing) or 0.0
        for count, _, seconds in TOOK.findall(_text(work / "logs" / f"{job}.log")):
            found.loops.append((int(count), float(seconds)))
            found.looped += int(count)
            found.looped_s += float(seconds)
        results = work / "results" / job
        alone = results.with_name(f"{results.name}.funnel.json")
        if job.parent in (Path(place), Path(place).parent):  # The rows of a round are among those of the last one.
            for funnel in [alone] if alone.is_file() else results.glob("*.funnel.json"):
                _count(found, json.loads(funnel.read_text()))
        files = (results.with_name(f"{results.name}{suffix}") for suffix in ("", ".parquet", ".dropped.parquet"))
        found.size += sum(_size(path) for path in (*files, work / "work" / job))
    if rule == "sample_solutions" and found.jobs:
        rows = list(read_rows(work / "results" / f"{place}.parquet", ["finish_reasons", "tokens_in", "tokens_out"]))
        found.entered = found.kept = found.produced = len(rows)
        found.finish_reasons = dict(Counter(reason for row in rows for reason in row["finish_reasons"]))
        found.tokens_in = sum(row["tokens_in"] for row in rows)
        found.tokens_out = sum(row["tokens_out"] for row in rows)
    elif rule in EXECUTION and found.jobs:
        found.entered = found.kept = found.produced = sum(
            1 for _ in read_rows(work / "results" / f"{place}.parquet", ["id"])
        )
    # What was answered before a pilot was killed and started again took as long for each.
    found.looped_s *= max(1.0, (sum(found.finish_reasons.values()) or found.entered) / max(1, found.looped))
    if rule == "sanitize_responses":
        found.same_names = _same_names(sorted((work / "results" / place).glob("?????.parquet")))
    if rule == "train_sft" and found.jobs:
        found.steps = _steps(work / "results" / f"{place}.metrics.jsonl")
    return found


def _same_names(files: list[Path]) -> list[int]:
    """Count the tasks whose programs define the same names, each task by its first response; largest group first."""
    first: dict[str, dict[str, Any]] = {}
    for row in read_rows(files, ["id", "instruction_id", "response"]):
        if row["id"] <= first.setdefault(row["instruction_id"], row)["id"]:
            first[row["instruction_id"]] = row
    # A program that defines nothing, or only what any may define, is like no other.
    return sorted(Counter(defined_names(row["response"]) or task for task, row in first.items()).values(), reverse=True)


def _count(found: Measured, funnel: dict[str, Any]) -> None:
    """Add a job's funnel."""
    for key in ("entered", "kept", "produced", "tokens_in", "tokens_out", "duplicates"):
        setattr(found, key, getattr(found, key) + funnel.get(key, 0))
    for key in ("dropped", "finish_reasons", "verdicts"):
        setattr(found, key, dict(Counter(getattr(found, key)) + Counter(funnel.get(key, {}))))


def _steps(metrics: Path) -> dict[str, float]:
    """Sum up a training: steps, tokens, rows, seconds of them all, and seconds for a row; empty if there are none.

    The first step warms up, and says nothing of the others unless it is the only one.
    """
    lines = [json.loads(line) for line in _text(metrics).splitlines()]
    if not lines:
        return {}
    begun, later = (lines[0]["wall_s"], lines[1:]) if len(lines) > 1 else (0.0, lines)
    return {
        "row_s": (lines[-1]["wall_s"] - begun) / sum(line["documents"] for line in later),
        "steps": len(lines),
        "tokens": sum(line["tokens"] for line in lines),
        "rows": sum(line["documents"] for line in lines),
        "seconds": lines[-1]["wall_s"],
    }


def judged(work: Path, threshold: float, reference: bool) -> tuple[int, int, int]:
    """Count the seeds that a pilot's judge was shown, those that have a score, and those that the run would keep.

    The pilot keeps some whose score is too low, so its funnel does not say.

    Args:
        work: folder of the pilot's run.
        threshold: least score of the run.
        reference: whether a tie is dropped, as in mode `reference`.
    """
    files = [work / f"results/judge_seeds/00000{kind}.parquet" for kind in ("", ".dropped")]
    scores = [row["judge_score"] for row in read_rows(files, ["judge_score"])]
    found = [score for score in scores if score is not None]
    return len(scores), len(found), sum(score > 0 if reference else score >= threshold for score in found)


def texts(work: Path, config: Config) -> list[dict[str, str]]:
    """Return one text of each stage that a model or a person reads: the stage, the row's id, the text."""
    found = []
    first = next(iter(config.generations))
    places = {
        "judge_seeds": "judge_seeds/00000",
        **{stage: f"{stage}/{first}/00000" for stage in WRITING},
        "build_dataset": f"build_dataset/{next(iter(config.datasets), '')}/sft/train",
        "sample_solutions": f"sample_solutions/base/{next(iter(config.benchmarks), '')}",
    }
    for stage, column in TEXTS.items():
        path = work / "results" / f"{places[stage]}.parquet"
        row = next(read_rows(path, ["id", column]), None) if path.is_file() else None
        if row is not None:
            text = ", ".join(row[column]) if isinstance(row[column], list) else row[column]
            found.append({"stage": stage, "id": row["id"], "text": text})
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 if there is neither."""
    files = [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
    return sum(file.stat().st_size for file in files if file.is_file())
