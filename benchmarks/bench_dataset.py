"""Speed and memory of the dataset's row stages, each against its goal: `python benchmarks/bench_dataset.py [--rows N]`.

Instructions are synthetic: 40 to 120 words of a small vocabulary, one in ten a near-copy of another and one in fifty an
exact copy. Each measurement runs in a process of its own, on one core, after one warm-up that compiles.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import history

WORDS = [f"{stem}{ending}" for stem in ("sort", "list", "count", "merge", "parse", "filter") for ending in range(400)]


def instructions(rows: int, seed: int = 1) -> list[str]:
    """Write synthetic instructions with planted copies and near-copies."""
    rng = random.Random(seed)
    texts: list[str] = []
    for _ in range(rows):
        draw = rng.random()
        if texts and draw < 0.02:
            texts.append(rng.choice(texts))
            continue
        words = rng.choice(texts).split() if texts and draw < 0.12 else rng.choices(WORDS, k=rng.randint(40, 120))
        if draw < 0.12:
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        texts.append(" ".join(words))
    return texts


def measure(task: Callable[[int, str], dict[str, float]], rows: int, shared: str) -> dict[str, float]:
    """Run a measurement in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(task, (rows, shared))


def peak_gib() -> float:
    """Return this process's largest resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def dedup(rows: int, _: str) -> dict[str, float]:
    """Near-deduplicate instructions with the dataset's parameters."""
    from selfcodealign.clusters import survivors
    from selfcodealign.minhash import MinHasher

    hasher = MinHasher()
    survivors(instructions(100), hasher, threshold=0.7)
    texts = instructions(rows)
    before = peak_gib()
    started = time.process_time()
    kept = survivors(texts, hasher, threshold=0.7)
    seconds = time.process_time() - started
    unique = sum(int(place) == root for place, root in enumerate(kept))
    return {
        "rows": rows,
        "rows_per_cpu_s": rows / seconds,
        "kept_share": unique / rows,
        "peak_gib": peak_gib(),
        "peak_gib_before": before,
    }


def decontaminate(rows: int, shared: str) -> dict[str, float]:
    """Search rows for the passages of every benchmark file at hand."""
    from selfcodealign.decontamination import index_for
    from selfcodealign.evaluation import base, data

    kinds = {source.sha256: name for name in base.names() for source in base.get(name).sources}
    files = {}
    for path in sorted((Path(shared) / "bench").rglob("*.json*")):
        if kind := kinds.get(data.sha256(path)):
            files[f"{path.name.split('.')[0].lower()}:{kind}"] = path
    started = time.process_time()
    index = index_for(files, mode="fixed", stage="dataset")
    build_s = time.process_time() - started
    texts = instructions(rows)
    whole = [it.text for passages in index.sought.values() for it in passages if len(it.text.split()) >= 40]
    texts[::100] = [whole[n % len(whole)] for n in range(len(texts[::100]))]
    response = (
        "```python\ndef f(items):\n" + "\n".join(f"    total_{n} = items[{n}] + {n}" for n in range(25)) + "\n```"
    )
    started = time.process_time()
    hits = sum(bool(index.search(f"{text}\n\n{response}")) for text in texts)
    return {
        "rows": rows,
        "benchmarks": len(files),
        "passages": len(index),
        "build_s": build_s,
        "search_s": time.process_time() - started,
        "hits": hits,
        "planted": len(texts[::100]),
        "peak_gib": peak_gib(),
    }


def sanitize(rows: int, _: str) -> dict[str, float]:
    """Check rows against every rule of form."""
    from scripts.sanitize_responses import why_dropped
    from selfcodealign.dataset.sanitizing import Draft, rules

    raw = (
        "```python\n" + "\n".join(f"def f_{n}(x):\n    return x + {n}  # comment" for n in range(12)) + "\n```\n"
        "</response>\n\n<tests>\n```python\n" + "\n".join(f"assert f_{n}(1) == {n + 1}" for n in range(12)) + "\n```\n"
    )
    ordered = rules("fixed", max_words=200)
    started = time.process_time()
    kept = sum(why_dropped(Draft("Add numbers.", raw), ordered) is None for _ in range(rows))
    return {"rows": rows, "rows_per_cpu_s": rows / (time.process_time() - started), "kept": kept}


GOALS = {
    "dedup": "at least 15,000 rows/s and core, at most 2 GiB",
    "decontaminate": "100,000 rows in at most 60 s on one core",
    "sanitize": "no goal; for capacity planning",
}


def main() -> None:
    """Measure and print one JSON line per stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000, help="instructions to deduplicate (default: 500,000)")
    default = os.environ.get("SELFCODEALIGN_TEST_DATA", str(Path(__file__).parents[2] / "shared"))
    parser.add_argument("--shared", default=default, help="folder whose bench/ holds benchmark files")
    parser.add_argument("--only", nargs="*", choices=list(GOALS), default=list(GOALS), help="stages to measure")
    history.add_flag(parser)
    arguments = parser.parse_args()
    sizes = {"dedup": arguments.rows, "decontaminate": arguments.rows // 5, "sanitize": arguments.rows // 100}
    for name, task in (("dedup", dedup), ("decontaminate", decontaminate), ("sanitize", sanitize)):
        if name not in arguments.only:
            continue
        if name == "decontaminate" and not (Path(arguments.shared) / "bench").is_dir():
            print(json.dumps({"stage": name, "skipped": f"no benchmark files under {arguments.shared}"}))
            continue
        found = measure(task, sizes[name], arguments.shared)
        rounded = {key: round(value, 3) for key, value in found.items()}
        print(json.dumps({"stage": name, "goal": GOALS[name], **rounded}), flush=True)
        history.write(arguments.history, "dataset", {name: found})


if __name__ == "__main__":
    main()
