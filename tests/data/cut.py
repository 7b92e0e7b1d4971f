"""Cut the small inputs of the tests out of published files: `python tests/data/cut.py FOLDER`.

FOLDER has `bench/` with published benchmark files and `data/` with shards of real Python in The Stack's shape. The
pieces are written beside this file, to the same names; README.md says what each is and under which licence it stands.
`ours.json` holds problems of our own, for benchmarks whose licences do not let us copy theirs.
"""

import argparse
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
BENCHMARKS = {
    "HumanEval.jsonl.gz": 60,
    "HumanEvalPlus-v0.1.10.jsonl.gz": 8,
    "mbpp.jsonl.gz": 60,
    "sanitized-mbpp.json": 60,
    "MbppPlus-v0.1.0.jsonl.gz": 20,
    "evoeval/EvoEval_difficult.jsonl.gz": 20,
    "ClassEval_data.json.gz": 8,
    "BigCodeBench.jsonl.gz": 20,
    "BigCodeBench-Hard.json.gz": 10,
}
"""How many problems are taken of each file, evenly spread; the first is always among them."""

PROJECTS = {"python/cpython-3.11": 40, "pypi/networkx-3.1": 30, "pypi/transformers-5.23.0": 30}
"""Of how many files at most each project gives documented functions; licences PSF-2.0, BSD-3-Clause and Apache-2.0."""

WITHOUT_FUNCTIONS = 12
"""Files of CPython without any, which extraction drops."""

MOST_BYTES = 30_000
HEAD = re.compile(r"^(?:async )?def \w+", re.M)


def read(path: Path) -> list[dict[str, Any]]:
    """Read JSON Lines, or one JSON list or mapping of records."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        whole = json.loads(raw)
    except ValueError:
        return [json.loads(line) for line in raw.splitlines() if line.strip()]
    return list(whole.values()) if isinstance(whole, dict) else whole


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records as JSON, or as JSON Lines where the name says so; gzipped bytes are the same every time."""
    if ".jsonl" in path.name:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    else:
        text = json.dumps(records, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def problems(folder: Path) -> None:
    """Cut each benchmark's file."""
    for name, count in BENCHMARKS.items():
        records = read(folder / name)
        # MBPP's test split, as its reader has it.
        if name == "mbpp.jsonl.gz":
            records = [record for record in records if 11 <= int(record["task_id"]) <= 510]
        records = [records[place * len(records) // count] for place in range(count)]
        for record in records:
            if "question" in record:  # Stack Overflow's text, which is not the benchmark's to license.
                record |= {"question": record["instruct_prompt"], "q_idx": 0}
        write(HERE / "bench" / name, records)
    for name, records in json.loads((HERE / "ours.json").read_text()).items():
        write(HERE / "bench" / name, records)


def sources(shard: Path, published: Path) -> None:
    """Cut a shard of real files, and with it what the published code extracts of them."""
    table = pq.read_table(shard)
    by_head: dict[str, set[str]] = {}
    for text in pq.read_table(published)["content"].to_pylist():
        head = HEAD.match(text)
        assert head, text
        by_head.setdefault(head[0].removeprefix("async "), set()).add(text)
    columns = ("max_stars_repo_name", "max_stars_repo_path", "content", "size")
    found: dict[str, list[tuple[int, set[str]]]] = {name: [] for name in PROJECTS}
    for number, row in enumerate(table.select(columns).to_pylist()):
        if row["max_stars_repo_name"] in found and row["content"] and row["size"] <= MOST_BYTES:
            heads = {head.removeprefix("async ") for head in HEAD.findall(row["content"])}
            functions = {text for head in heads for text in by_head.get(head, ()) if text in row["content"]}
            found[row["max_stars_repo_name"]].append((number, functions))
    taken: list[int] = []
    functions = set()
    for name, files in found.items():
        # Most functions a file first, so that near-duplicates are among them.
        documented = sorted((file for file in files if file[1]), key=lambda file: (-len(file[1]), file[0]))
        chosen = documented[: PROJECTS[name]]
        if name.startswith("python/"):
            chosen += [file for file in files if not file[1]][:WITHOUT_FUNCTIONS]
        taken += [number for number, _ in chosen]
        functions |= {text for _, texts in chosen for text in texts}
    target = HERE / "data" / "stack-small"
    target.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.take(sorted(taken)), target / "data-00000-of-00001.parquet", compression="zstd")
    pq.write_table(pa.table({"content": sorted(functions)}), target / "reference-functions.parquet", compression="zstd")
    print(f"{len(taken)} files, {len(functions)} functions")


def main() -> None:
    """Cut everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    problems(folder / "bench")
    stack = folder / "data" / "stack"
    sources(stack / "data-00000-of-00008.parquet", stack / "reference-functions-00000.parquet")


if __name__ == "__main__":
    main()
