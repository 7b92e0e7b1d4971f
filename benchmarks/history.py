"""What benchmarks found, as dated lines of JSON in `benchmarks/history/`, and the table that the docs show of them.

A line says when, of which commit, on which machine, with which versions and beside how much other work it was measured:
`figures` maps a question to its numbers. Lines are only added; the table shows the last one of each question.
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "history"
PAGE = ROOT / "docs" / "measurements.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
PACKAGES = ("numpy", "pyarrow", "pyright", "snakemake", "tokenizers", "torch", "transformers")

SHOWN: dict[str, list[tuple[str, str, str, str]]] = {
    "seeds": [
        ("extract_functions", "ratio", "extraction, times as fast as the published method", "≥ 7"),
        ("near-deduplication", "ratio", "near-deduplication, the same", "≥ 30"),
        ("infer_imports", "ratio", "imports and names, the same", "≥ 20"),
        ("typecheck_functions", "ratio", "pyright, the same", ""),
        ("filter_seeds, decontaminate_seeds", "ratio", "filters and decontamination, the same", "≥ 20"),
        ("whole chain", "ratio", "whole chain, the same", "≥ 14"),
    ],
    "dataset": [
        ("dedup", "rows_per_cpu_s", "instructions deduplicated per CPU second", "≥ 15,000"),
        ("dedup", "peak_gib", "its memory, GiB", "≤ 2"),
        ("decontaminate", "search_s", "seconds to search the rows", "≤ 60 for 100,000"),
        ("sanitize", "rows_per_cpu_s", "responses checked for their form per CPU second", ""),
    ],
    "generation": [
        ("decode", "ratio_at_equal_batch", "tokens per CPU second, times padded generate", "≥ 2"),
        ("client", "ratio", "answers a second, times a bare load generator", "≥ 0.95"),
        ("rows", "resume_s", "CPU seconds to resume 100,000 rows", "≤ 5"),
    ],
    "sandbox": [
        ("isolated", "per_cpu_s", "isolated samples per CPU second", "≥ 250"),
        ("isolated, numpy, with stub run", "per_cpu_s", "the same with numpy and stub run", "≥ 80"),
        ("fresh interpreter each", "cpu_ratio", "times as fast as a fresh interpreter, by CPU time", "5 was aimed at"),
        ("apptainer exec each", "cpu_ratio", "times as fast as `apptainer exec`, by CPU time", "25 was aimed at"),
        ("warm fork, guards, no isolation", "cpu_ratio", "times as fast as a bare fork, by CPU time", "≥ 0.4"),
        ("endless", "ratio", "3 % endless samples, times their limits", "≤ 1.2"),
    ],
    "training": [
        ("speed demo", "packed_over_one_row", "demo's model, times as fast as the published way", "≥ 2"),
        ("speed wide", "packed_over_one_row", "wide model, the same", "≥ 2"),
        ("trainers", "this_over_the_published", "whole trainers, the same", "≥ 2"),
        ("deepspeed", "deepspeed_overhead.zero0", "DeepSpeed's overhead, ZeRO 0", "≤ 0.15"),
    ],
    "evaluation": [
        ("humaneval_plus", "ratio", "HumanEval+, times as fast as evalplus", "≥ 1.3"),
        ("humaneval_plus", "agreement", "share of samples with the same verdicts", "1"),
    ],
    "workflow": [
        ("demo", "overhead", "share of the demo's wall time that is Snakemake's", "≤ 0.15"),
        ("demo", "dry_run_s", "seconds of a dry run", ""),
    ],
}
"""Benchmark → (question, figure, what it is, goal): the rows of the table. Benchmarks are named as their files."""

Figures = Mapping[str, Mapping[str, Any]]


def add_flag(parser: argparse.ArgumentParser) -> None:
    """Declare the flag that every benchmark understands."""
    parser.add_argument("--history", type=Path, metavar="FOLDER", help="add what is found to FOLDER/<benchmark>.jsonl")


def machine() -> dict[str, Any]:
    """Describe this machine, and how busy it is: its load is the mean number of waiting processes of a minute."""
    processor = platform.processor() or platform.machine()
    for text in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []:
        if text.startswith("model name"):
            processor = text.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return {"processor": processor, "cores": cores, "memory_gib": round(memory), "load": round(os.getloadavg()[0], 1)}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide speed, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write(folder: Path | None, benchmark: str, figures: Figures) -> None:
    """Add a line to a benchmark's history; do nothing without a folder.

    Args:
        folder: where histories lie.
        benchmark: name of the benchmark, as in its file's name.
        figures: question → name of a figure → number.
    """
    if folder is None:
        return
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    line = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": git.stdout.strip() or None,
        "machine": machine(),
        "versions": versions(),
        "figures": {question: rounded(found) for question, found in figures.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{benchmark}.jsonl").open("a") as sink:
        print(json.dumps(line, ensure_ascii=False), file=sink, flush=True)


def rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures with four digits, enough to see what moves; what could not be measured (NaN) is None."""
    return {
        name: value if not isinstance(value, float) else None if math.isnan(value) else float(f"{value:.4g}")
        for name, value in found.items()
    }


def last(lines: list[dict[str, Any]], question: str, figure: str) -> tuple[Any, dict[str, Any]] | None:
    """Return a figure's newest value and its line, or None.

    Args:
        lines: a benchmark's history.
        question: a key of a line's figures.
        figure: a key of the question's figures, or keys of nested objects with dots between.
    """
    for line in reversed(lines):
        value: Any = line["figures"].get(question)
        for key in figure.split("."):
            value = value.get(key) if value else None
        if value is not None:
            return value, line
    return None


def rendered(folder: Path = FOLDER) -> str:
    """Write the table of the newest figures, in the order of `SHOWN`."""
    rows = ["| benchmark | figure | found | goal | when and where |", "|---|---|---|---|---|"]
    for benchmark, shown in SHOWN.items():
        path = folder / f"{benchmark}.jsonl"
        lines = [json.loads(text) for text in path.read_text().splitlines()] if path.is_file() else []
        for question, figure, what, goal in shown:
            if found := last(lines, question, figure):
                value, line = found
                about = line["machine"]
                load = "" if about["load"] is None else f", load {about['load']}"
                where = f"{line['date']}, {about['cores']} cores of {about['processor']}{load}"
                number = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
                rows.append(f"| {benchmark} | {what} | **{number}** | {goal} | {where} |")
    return "\n".join(rows)


def in_page(page: str, table: str) -> str:
    """Return a page with the table between its markers.

    Raises:
        ValueError: the page has no markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
