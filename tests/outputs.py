"""What a run wrote, as figures and as hashes, to see what a change of the code or of a library moves.

    python -m tests.outputs results                                      # compare with the recorded demo
    python -m tests.outputs results --record                             # a wanted change: write what there is now
    python -m tests.outputs work/ablation/results --name ablation
    make traces                                                          # run the demo and compare it; RECORD=1 renews

tests/golden/traces holds figures that a person reads: funnels, verdicts, losses, scores, a hash of each dataset's rows.
tests/golden/outputs holds a hash of every column. What no two runs share is left out: times, measured memory, machines,
revisions of models, versions of packages. Losses count as moved from `--tolerance` on, relative to the recorded one.
"""

import argparse
import hashlib
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

RECORDED = Path(__file__).parent / "golden" / "outputs"
TRACES = Path(__file__).parent / "golden" / "traces"
VOLATILE = {
    *("cpu_s", "wall_s", "memory_mb", "revision", "seconds", "time_s", "peak_memory_mb", "tokens_per_s"),
    *("made", "date", "versions", "version", "settings", "commit", "model"),
    "headlines",  # of the report: figures of other files, and the time of all jobs
    "isolation",  # which sandbox there is
}
NOT_ROWS = {"record_provenance", "provenance.json", "ro-crate-metadata.json", "report.html", "cost.json"}


def stable(value: Any) -> Any:
    """Return a value of JSON without the keys that no two runs share."""
    if isinstance(value, dict):
        return {key: stable(item) for key, item in sorted(value.items()) if key not in VOLATILE}
    return [stable(item) for item in value] if isinstance(value, list) else value


def parts(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield what a file holds: the columns of a table, the keys of an object, or nothing for other files."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        for column in table.column_names:
            if column not in VOLATILE:
                yield column, table[column].to_pylist()
    elif path.suffix == ".json" and not path.name.startswith(("config", "tokenizer", "generation_config")):
        whole = json.loads(path.read_text())
        for key, value in sorted(whole.items()) if isinstance(whole, dict) else [("", whole)]:
            if key not in VOLATILE:
                yield key, stable(value)
    elif path.name.endswith(".metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        yield "loss", [line.get("loss") for line in lines]


def hashes(results: Path) -> dict[str, dict[str, str]]:
    """Return rule → kind of file and column → hash over all its files, in the order of their names."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for path in sorted(results.rglob("*")):
        rule = path.relative_to(results).parts[0]
        if not path.is_file() or {rule, path.name} & NOT_ROWS or ".snakemake" in path.name:
            continue
        kind = "".join(path.suffixes[-2:]) if len(path.suffixes) > 1 else path.suffix
        for name, value in parts(path):
            state = found[rule].setdefault(f"{kind[1:]} {name}".strip(), hashlib.sha256())
            text = json.dumps([str(path.relative_to(results)), value], sort_keys=True, ensure_ascii=True, default=str)
            state.update(text.encode())
    return {rule: {key: state.hexdigest()[:16] for key, state in kinds.items()} for rule, kinds in found.items()}


Figures = dict[str, Any]
"""Name of a figure → a number, a hash, or the list of a training's losses."""


def figures(results: Path) -> Figures:
    """Return the figures of a run; a stage's funnels are added up over shards."""
    found: dict[str, Any] = {}
    for path in sorted(results.rglob("*.funnel.json")):
        rule = path.relative_to(results).parts[0]
        for key, value in json.loads(path.read_text()).items():
            counts = value if isinstance(value, dict) else {"": value}
            for name, count in counts.items():
                if isinstance(count, int) and key not in VOLATILE:
                    figure = f"{rule}: {key} {name}".strip()
                    found[figure] = found.get(figure, 0) + count
    for path in sorted(results.glob("*/*.metrics.jsonl")):
        lines = map(json.loads, path.read_text().splitlines())
        place = f"{path.parent.name}/{path.name.partition('.')[0]}"
        found[f"{place}: loss by step"] = [line["loss"] for line in lines if "loss" in line]
    for path in sorted(results.glob("build_dataset/*/*/train.parquet")):
        text = json.dumps(pq.read_table(path).to_pylist(), sort_keys=True, default=str)
        place = path.parent.relative_to(results)
        found[f"{place}: sha256 of the rows"] = hashlib.sha256(text.encode()).hexdigest()
    for path in sorted(results.glob("score_benchmark/*/*.json")):
        for name, of_tasks in json.loads(path.read_text()).get("by_task", {}).items():
            place = path.relative_to(results).with_suffix("")
            found[f"{place}: {name}"] = round(sum(of_tasks.values()) / len(of_tasks), 6)
    return found


def moved(before: Figures, now: Figures, tolerance: float) -> list[str]:
    """Return a line for each figure that differs: its name, what it was and what it is."""
    lines = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, list) and isinstance(new, list):
            pairs = list(enumerate(zip(old, new, strict=False), 1))
            apart = [(step, *pair) for step, pair in pairs if not math.isclose(*pair, rel_tol=tolerance)]
            if len(old) != len(new):
                lines.append(f"{name}: {len(old)} steps -> {len(new)}")
            if apart:
                step, was, became = apart[0]
                most = max(abs(became - was) / max(abs(was), 1e-12) for _, was, became in apart)
                lines.append(
                    f"{name}: step {step} {was:.6f} -> {became:.6f}; {len(apart)} differ, at most by {most:.2g}"
                )
        elif old != new:
            lines.append(f"{name}: {'nothing' if old is None else old} -> {'nothing' if new is None else new}")
    return lines


def main() -> None:
    """Compare a run with the recorded one, or record it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--name", default="demo", help="which recorded run: demo, ablation or rehearsal")
    parser.add_argument("--record", action="store_true", help="write figures and hashes instead of comparing them")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of losses, relative (default: %(default)s)")
    args = parser.parse_args()
    found, file = hashes(args.results), RECORDED / f"{args.name}.json"
    trace, read = TRACES / f"{args.name}.json", figures(args.results)
    if args.record:
        for target, content in ((file, found), (trace, read)):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        return
    differ = moved(json.loads(trace.read_text()), read, args.tolerance)
    print(*differ or [f"no figure moved: {len(read)} figures"], sep="\n")
    before = json.loads(file.read_text())
    changed = [
        f"{rule}: {key}: {'gone' if key not in found.get(rule, {}) else 'new' if key not in kinds else 'changed'}"
        for rule, kinds in sorted({**found, **before}.items())
        for key in sorted({*kinds, *found.get(rule, {}), *before.get(rule, {})})
        if before.get(rule, {}).get(key) != found.get(rule, {}).get(key)
    ]
    print(*changed or [f"all equal: {sum(map(len, found.values()))} hashes of {len(found)} stages"], sep="\n")
    sys.exit(bool(changed or differ))


if __name__ == "__main__":
    main()
