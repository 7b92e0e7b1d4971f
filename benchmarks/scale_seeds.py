"""Cost of extraction and near-deduplication as the corpus grows: `python benchmarks/scale_seeds.py SHARD [SHARD ...]`.

Runs the scripts of the rules, one process after the other, on the functions of the shards and on multiples of them: a
further copy of the corpus has its words renamed, so that its functions have near-duplicates among themselves only.
Prints CPU seconds per 1,000 functions and the largest process of each stage. Not part of `make bench`, because 100,000
functions take some minutes.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from selfcodealign.ids import content_id  # noqa: E402
from selfcodealign.rows import FunctionRow  # noqa: E402
from selfcodealign.rows_io import count_rows, read_rows, write_json, write_rows  # noqa: E402

WORD = re.compile(r"[A-Za-z_]{4,}")


def run(script: str, **flags: object) -> tuple[float, float]:
    """Run a rule's script; return (CPU seconds, peak MB)."""
    words = [sys.executable, str(ROOT / "scripts" / f"{script}.py")]
    for name, value in flags.items():
        words.append(f"--{name.replace('_', '-')}")
        words += [str(item) for item in value] if isinstance(value, list) else [str(value)]
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{script} failed: {' '.join(words)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def multiplied(functions: list[Path], count: int) -> Iterator[dict]:
    """Yield `count` functions: those of the files, then copies of them with their words renamed."""
    made = 0
    generation = 0
    while made < count:
        for row in read_rows(functions):
            if made == count:
                return
            if generation:
                content = WORD.sub(rf"\g<0>{generation}", row["content"])
                row = {**row, "content": content, "id": content_id("fn", row["id"], generation)}
            yield row
            made += 1
        generation += 1


def near_deduplication(functions: list[Path], folder: Path) -> dict[str, object]:
    """Run sign, match, cluster and dedup; return CPU seconds per 1,000 functions and peak MB of each stage."""
    count = sum(count_rows(path) for path in functions)
    keys = [folder / f"{number}.npy" for number in range(len(functions))]
    copies, matches, clusters, short = (folder / f"{name}.npy" for name in ("copies", "matches", "clusters", "short"))
    costs = {"sign": [run("sign_functions", functions=f, band_keys=k) for f, k in zip(functions, keys, strict=True)]}
    costs["match"] = [run("match_functions", band_keys=keys, copies=copies, matches=matches, group=0, groups=1)]
    places = {"clusters": clusters, "short": short, "counts": folder / "counts.json"}
    costs["cluster"] = [
        run("cluster_functions", functions=functions, band_keys=keys, copies=[copies], matches=[matches], **places)
    ]
    costs["dedup"] = []
    for number, path in enumerate(functions):
        outputs = {name: folder / f"{number}.{name}" for name in ("kept", "dropped", "funnel")}
        inputs = {"functions": path, "shard": number, "band_keys": keys, "clusters": clusters, "short": short}
        costs["dedup"].append(run("dedup_functions", **inputs, **outputs))
    total = sum(cpu for stage in costs.values() for cpu, _ in stage)
    return {
        "functions": count,
        "shards": len(functions),
        "cpu_s_per_1000": round(1e3 * total / count, 4),
        "cpu_s": {stage: round(sum(cpu for cpu, _ in runs), 2) for stage, runs in costs.items()},
        "peak_mb": {stage: round(max(peak for _, peak in runs)) for stage, runs in costs.items()},
        "disk_bytes_per_function": {
            "keys": round(sum(path.stat().st_size for path in keys) / count),
            "matches": round(matches.stat().st_size / count, 1),
        },
        "counts": json.loads((folder / "counts.json").read_text()),
    }


def main() -> None:
    """Measure and print one line of JSON per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 30_000, 100_000])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        functions = []
        for number, shard in enumerate(options.shards):
            functions.append(folder / f"functions{number}.parquet")
            outputs = {"functions": functions[-1], "dropped": folder / "d.parquet", "funnel": folder / "f.json"}
            cpu, peak = run("extract_functions", shard=shard, **outputs)
            results.append(
                {"stage": "extract_functions", "shard": number, "cpu_s": round(cpu, 2), "peak_mb": round(peak)}
            )
        for used in range(1, len(functions) + 1):
            results.append(near_deduplication(functions[:used], folder))
        for size in options.sizes:
            path = folder / f"{size}.parquet"
            write_rows(path, FunctionRow, multiplied(functions, size))
            results.append(near_deduplication([path], folder))
    for result in results:
        print(json.dumps(result))
    if options.output:
        write_json(options.output, results)


if __name__ == "__main__":
    main()
