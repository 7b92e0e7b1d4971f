"""What the run was: isolation of its programs, time of its jobs, and everything needed to repeat it."""

import json
from collections import Counter
from typing import Any

from selfcodealign.report.page import Notice, Section, count, duration, plural
from selfcodealign.report.results import Run
from selfcodealign.rows_io import column_names, read_rows

LAYERS = {
    "apptainer": "a container of its own, with every layer of the sandbox inside",
    "bubblewrap": "namespaces by bubblewrap: no network, no home, no other processes",
    "none": "NO ISOLATION: programs ran as the user, on the machine itself",
}
DECISIVE = (
    *("torch", "transformers", "tokenizers", "deepspeed", "accelerate", "vllm", "datasets", "pyarrow", "numpy"),
    *("datasketch", "tree-sitter", "tree-sitter-python", "pyright", "snakemake", "selfcodealign"),
)
"""Packages whose version can change a result; provenance.json lists all."""
BAR_REM = 12.0
"""Length of the longest bar of the table of times."""


def layers(run: Run) -> Counter[str]:
    """Count executed programs by the layer they ran in."""
    counted: Counter[str] = Counter()
    responses = [path for dropped in (False, True) for path in run.files("verify_responses", dropped=dropped)]
    solutions = [path for path in run.files("execute_programs") if path.parent.name in run.models]
    for path in [*responses, *solutions]:
        if "isolation" in column_names(path):
            counted.update(row["isolation"] or "not recorded" for row in read_rows(path, ["isolation"]))
    return counted


def isolation(run: Run) -> Section:
    """Say in which layer the model's programs ran."""
    section = Section("isolation", "Isolation")
    counted = layers(run)
    if not counted:
        section.missing = "No program was executed in this run."
        return section
    section.values = {
        "sentence": "Programs written by a model, responses and benchmark solutions, ran in the layer their rows name.",
        "layers": [
            (f"{layer}: {LAYERS.get(layer, 'unknown to this report')}", counted[layer]) for layer in sorted(counted)
        ],
    }
    return section


def notices(run: Run) -> list[Notice]:
    """Return what a reader must know before any number."""
    found = []
    if run.config.get("demo"):
        found.append(
            Notice(
                "note",
                "This run used the embedded toy model. Its domain is tiny and synthetic, and the effect is planted: "
                "the corpus it was pretrained on holds wrong code at a known rate, with right tests. It shows the "
                "mechanism, that keeping what passes its own tests helps, and says nothing about the size of the "
                "effect on real code; these are not the paper's numbers.",
            )
        )
    unprotected = layers(run)["none"]
    if unprotected:
        found.append(
            Notice(
                "warning",
                f"{plural(unprotected, 'program')} written by a model ran WITHOUT isolation (isolation: none). They "
                "could read and change this machine's files and use its network, and their verdicts could be forged.",
            )
        )
    return found


def time(run: Run) -> Section:
    """Show what each rule took, as Snakemake measured it."""
    section = Section("time", "Time and memory")
    rules: dict[str, list[dict[str, Any]]] = {}
    for job in run.jobs:
        if job["s"] is not None:
            rules.setdefault(job["rule"], []).append(job)
    if not rules:
        section.missing = "Snakemake has measured no job of this run."
        return section
    lines = []
    for rule, jobs in rules.items():
        seconds = [job["s"] for job in jobs]
        cpu = [job["cpu_s"] for job in jobs if job["cpu_s"] is not None]
        memory = [job["memory_mb"] for job in jobs if job["memory_mb"] is not None]
        lines.append(
            {
                "rule": rule,
                "jobs": len(jobs),
                "total": sum(seconds),
                "longest": max(seconds),
                "cpu": sum(cpu) if cpu else None,
                "memory": max(memory) if memory else None,
            }
        )
    lines.sort(key=lambda line: (-line["total"], line["rule"]))
    most = max(line["total"] for line in lines) or 1.0
    for line in lines:
        line["width"] = BAR_REM * line["total"] / most
    total = sum(line["total"] for line in lines)
    peaks = [line["memory"] for line in lines if line["memory"] is not None]
    peak = f" The largest job held {count(round(max(peaks)))} MB." if peaks else ""
    section.values = {
        "seconds": total,
        "sentence": f"{plural(sum(line['jobs'] for line in lines), 'job')} took {duration(total)} in all, added up as "
        f"if one after the other.{peak} The last run of each job counts.",
        "rules": lines,
    }
    return section


def provenance(run: Run) -> Section:
    """Show commit, versions, hardware, seeds and revisions, and the config."""
    section = Section("provenance", "Versions and provenance")
    record = run.provenance
    groups = [
        ("Code", record.get("code", {})),
        ("Models", record.get("models", {})),
        ("Datasets", record.get("datasets", {})),
        ("Seeds of randomness", record.get("seeds", {})),
        ("Machine", record.get("hardware", {})),
        ("Packages", {name: version for name, version in record.get("packages", {}).items() if name in DECISIVE}),
    ]
    section.values = {
        "sentence": f"All of this is in provenance.json, whose hash is {record.get('hash', 'not recorded')}.",
        "groups": [{"title": title, "lines": flat(lines)} for title, lines in groups if lines],
        "config": json.dumps(run.config, indent=2, ensure_ascii=False),
    }
    return section


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Lay nested values out as lines of dotted names."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}.")
        else:
            empty = value is None or value == []
            found.append((prefix + name, "none" if empty else str(value)))
    return found
