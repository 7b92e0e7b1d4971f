"""Hashes of everything that a run wrote, stage by stage and column by column, to see what a change of the code moves.

    python -m tests.outputs results                                      # compare with tests/golden/outputs/demo.json
    python -m tests.outputs results --record                             # a wanted change: write the new hashes
    python -m tests.outputs work/ablation/results --name ablation

What no two runs share is left out: times, measured memory, machines, revisions of models, versions of packages.
"""

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

RECORDED = Path(__file__).parent / "golden" / "outputs"
VOLATILE = {
    *("cpu_s", "wall_s", "memory_mb", "revision", "seconds", "time_s", "peak_memory_mb", "tokens_per_s"),
    *("made", "date", "versions", "version", "settings", "commit", "model"),
}
NOT_ROWS = {"record_provenance", "provenance.json", "ro-crate-metadata.json", "report.html"}


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
        if not path.is_file() or rule in NOT_ROWS or ".snakemake" in path.name:
            continue
        kind = "".join(path.suffixes[-2:]) if len(path.suffixes) > 1 else path.suffix
        for name, value in parts(path):
            state = found[rule].setdefault(f"{kind[1:]} {name}".strip(), hashlib.sha256())
            text = json.dumps([str(path.relative_to(results)), value], sort_keys=True, ensure_ascii=True, default=str)
            state.update(text.encode())
    return {rule: {key: state.hexdigest()[:16] for key, state in kinds.items()} for rule, kinds in found.items()}


def main() -> None:
    """Compare a run with the recorded one, or record it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--name", default="demo", help="which recorded run: demo, ablation or rehearsal")
    parser.add_argument("--record", action="store_true", help="write the hashes instead of comparing them")
    args = parser.parse_args()
    found, file = hashes(args.results), RECORDED / f"{args.name}.json"
    if args.record:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        return
    before = json.loads(file.read_text())
    changed = [
        f"{rule}: {key}: {'gone' if key not in found.get(rule, {}) else 'new' if key not in kinds else 'changed'}"
        for rule, kinds in sorted({**found, **before}.items())
        for key in sorted({*kinds, *found.get(rule, {}), *before.get(rule, {})})
        if before.get(rule, {}).get(key) != found.get(rule, {}).get(key)
    ]
    print(*changed or [f"all equal: {sum(map(len, found.values()))} hashes of {len(found)} stages"], sep="\n")
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
