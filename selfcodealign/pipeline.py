"""The order of the data path, for everything that shows it to a person."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that reads rows and writes rows.

    Args:
        done: what has happened to the rows after it, in a few words.
        noun: what one row that it leaves is.
        per: the part of a run it works on; `results/<rule>/` has a folder or file for each.
    """

    done: str
    noun: str
    per: Literal["shard", "generation", "dataset", "other_dataset", "model"]


STAGES: dict[str, Stage] = {
    "extract_functions": Stage("top-level functions with a docstring found in source files", "function", "shard"),
    "sample_snippets": Stage("random runs of lines taken from source files", "snippet", "shard"),
    "dedup_functions": Stage("near-duplicates removed across all shards", "function", "shard"),
    "infer_imports": Stage("missing imports added", "function", "shard"),
    "typecheck_functions": Stage("functions with type errors removed", "function", "shard"),
    "filter_seeds": Stage("functions too short, too long or not self-contained removed", "function", "shard"),
    "decontaminate_seeds": Stage("functions that overlap with a benchmark removed", "function", "shard"),
    "judge_seeds": Stage("functions kept whose docstring suffices, as the model judges", "seed", "shard"),
    "gather_seeds": Stage("seeds of all shards collected", "seed", "shard"),
    "gather_snippets": Stage("random snippets collected in place of functions", "seed", "shard"),
    "extract_concepts": Stage("concepts read off each seed", "concept list", "generation"),
    "write_instructions": Stage("a task written from the concepts", "instruction", "generation"),
    "write_responses": Stage("responses with tests written for each task", "response", "generation"),
    "sanitize_responses": Stage("malformed responses removed", "response", "generation"),
    "verify_responses": Stage("responses run against their own tests in the sandbox", "response", "generation"),
    "select_responses": Stage("responses chosen for each instruction", "row", "dataset"),
    "decontaminate_dataset": Stage("rows that overlap with a benchmark removed", "row", "dataset"),
    "dedup_dataset": Stage("near-duplicate rows removed", "row", "dataset"),
    "augment_dataset": Stage("an assertion added to some instructions", "row", "dataset"),
    "build_dataset": Stage("rows published", "row", "dataset"),
    "import_dataset": Stage("rows of a dataset of others read", "row", "other_dataset"),
    "train_sft": Stage("rows that fit the model's context trained on", "row", "model"),
}
"""Stages that count rows, from source file to training, in order."""

POSITION = {name: number for number, name in enumerate(STAGES)}


def position(stage: str) -> tuple[int, str]:
    """Return a sort key that puts stages in the order of the data path, unknown ones last."""
    return POSITION.get(stage, len(POSITION)), stage


SANDBOX = ("sandbox/inside/*.py", "sandbox/layers.py", "sandbox/settings.py", "sandbox/supervisor.py")
"""How the sandbox comes to a verdict."""

DECIDED_BY: dict[str, tuple[str, ...]] = {
    "typecheck_functions": ("seeds/typecheck.py",),
    "verify_responses": ("dataset/fences.py", "sandbox/ledgered.py", *SANDBOX),
    "cross_verify_responses": ("dataset/fences.py", "sandbox/ledgered.py", *SANDBOX),
    "count_assertions": ("dataset/fences.py", "sandbox/ledgered.py", *SANDBOX),
    "execute_programs": (
        *("evaluation/base.py", "evaluation/execution.py", "evaluation/benchmarks/*.py", "evaluation/oracles/*.py"),
        *SANDBOX,
    ),
}
"""Modules that decide the rows of a rule, beside its script; what only carries rows, such as parquet I/O, is none."""


def decided_by(rule: str) -> list[Path]:
    """List the script of a rule and the modules that decide its rows, in a fixed order."""
    package = ROOT / "selfcodealign"
    modules = [path for pattern in DECIDED_BY[rule] for path in sorted(package.glob(pattern))]
    return [ROOT / "scripts" / f"{rule}.py", *modules]
