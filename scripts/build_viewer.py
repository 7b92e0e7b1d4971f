"""Write a page in which every response of a dataset, kept or dropped, can be filtered, searched and read.

The page needs no server and no network: an index small enough to load at once, and texts in chunks that are read when
they are looked at or searched. Only rows in sight are drawn, so that 50,000 rows scroll like fifty.
"""

import base64
import gzip
import html
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.config.dataset import BuildViewer
from selfcodealign.config.section import RUN_SEED
from selfcodealign.ids import seed_for
from selfcodealign.pipeline import stage_of
from selfcodealign.rows_io import count_rows, read_rows, whole_folder, write_text
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)

PER_CHUNK = 250
TITLE_CHARACTERS = 120
PUBLISHED = "published"

COLUMNS = (
    *("instruction", "response", "tests", "raw", "stdout", "stderr", "reason", "dropped"),
    *(
        "verdict",
        "pass_rate",
        "mutation_score",
        "cpu_s",
        "concepts",
        "category",
        "difficulty",
        "sample",
        "finish_reason",
    ),
    *("model", "revision", "template", "id", "instruction_id", "seed_id"),
)
"""What is shown of a response, in this order."""
WEIGHED = {"score": "matrix_score", "pool_share": "pool_share"}
"""Columns of weigh_assertions, and what the page calls them; shown for a dataset that is selected by them."""
LONG = ("instruction", "response", "tests", "raw", "stdout", "stderr")
CODE = ("stdout", "stderr")
FILTERS = ("fate", "verdict", "category", "difficulty", "reason")
MOST_CHARACTERS = 20_000
"""Longest text shown; a megabyte of output would make its chunk slow."""


def fates(sanitized: Iterable[Path], chosen: Iterable[Path], published: Path) -> dict[str, tuple[str, str]]:
    """Say of each response what became of it: (fate, detail) by response id.

    Args:
        sanitized: dropped rows of sanitize_responses; their ids are responses'.
        chosen: dropped rows of the stages after execution.
        published: the rows of the training set.
    """
    found: dict[str, tuple[str, str]] = {}
    for path in (*sanitized, *chosen):
        stage = stage_of(path)
        for row in read_rows(path):
            found[row.get("response_id") or row["id"]] = (f"{stage}: {row['reason']}", row["detail"])
    for row in read_rows(published, ["response_id"]):
        found[row["response_id"]] = (PUBLISHED, "")
    return found


def shown_ids(ids: Iterable[tuple[str, str]], fate: dict[str, tuple[str, str]], most: int, seed: int) -> set[str]:
    """Choose the responses to show: published ones first, then a sample that depends on nothing but their ids."""

    def rank(response_id: str) -> tuple[bool, int]:
        return fate.get(response_id, ("", ""))[0] != PUBLISHED, seed_for(seed, "build_viewer", response_id)

    everyone = [response_id for response_id, _ in ids]
    return set(everyone) if len(everyone) <= most else set(sorted(everyone, key=rank)[:most])


def entry(
    row: dict[str, Any], fate: tuple[str, str], pass_rate: float | None, columns: Sequence[str] = COLUMNS
) -> dict[str, Any]:
    """Make what the page shows of one response."""
    values = {name: row.get(name) for name in columns}
    values["dropped"] = " ".join(part for part in fate if part and fate[0] != PUBLISHED)
    values["concepts"] = ", ".join(row["concepts"])
    values["pass_rate"] = pass_rate
    if row.get("response"):
        values["raw"] = None
    shown = {name: _plain(value) for name, value in values.items()}
    return {
        "id": row["id"],
        "title": " ".join(row["instruction"].split())[:TITLE_CHARACTERS],
        "fate": fate[0],
        "verdict": row.get("verdict") or "not executed",
        "category": row["category"],
        "difficulty": row["difficulty"],
        "reason": _kind(row.get("reason") or ""),
        "texts": [shown[name] for name in columns],
    }


def _kind(reason: str) -> str:
    """Return the part of a verdict's reason that many share: what stands before a colon."""
    return reason.partition(":")[0].strip()[:60]


def _plain(value: Any) -> str | float | int | None:
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARACTERS else value[:MOST_CHARACTERS] + " …"
    return round(value, 3) if isinstance(value, float) else value


def index_of(entries: list[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> dict[str, Any]:
    """Make the index that the page loads first: titles, and filters as codes into a list of names, commonest first."""
    index: dict[str, Any] = {name: [item[name] for item in entries] for name in ("id", "title")}
    for name in FILTERS:
        counts = Counter(item[name] for item in entries)
        names = sorted(counts, key=lambda value: (-counts[value], value))
        places = {value: place for place, value in enumerate(names)}
        index[name] = {
            "names": names,
            "counts": [counts[value] for value in names],
            "codes": [places[item[name]] for item in entries],
        }
    return index | {"columns": columns, "long": LONG, "code": CODE}


def packed(name: str, value: Any) -> str:
    """Pack a value into a script that hands it to the page: gzipped JSON in base64, the same bytes every time."""
    data = gzip.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 6, mtime=0)
    return f'viewerData("{name}","{base64.b64encode(data).decode()}")\n'


def write_page(
    folder: Path, name: str, entries: list[dict[str, Any]], total: int, columns: Sequence[str] = COLUMNS
) -> None:
    """Write the page and its data into a folder, all or nothing."""
    with whole_folder(folder) as part:
        write_text(part / "data" / "rows.js", packed("rows", index_of(entries, columns)))
        for number, start in enumerate(range(0, len(entries), PER_CHUNK)):
            chunk = f"texts-{number:04d}"
            texts = [item["texts"] for item in entries[start : start + PER_CHUNK]]
            write_text(part / "data" / f"{chunk}.js", packed(chunk, texts))
        template = Path(__file__).parents[1] / "selfcodealign" / "dataset" / "viewer.html"
        sample = "" if total == len(entries) else f", a sample of {total:,}"
        page = template.read_text(encoding="utf-8")
        for mark, text in {
            "__NAME__": html.escape(name),
            "__SUMMARY__": f"{len(entries):,} responses{sample}",
            "__PER_CHUNK__": str(PER_CHUNK),
        }.items():
            page = page.replace(mark, text)
        write_text(part / "index.html", page)


def responses(sanitized: Iterable[Path], verdicts: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield the malformed responses, without what they were dropped for, and the executed ones."""
    for row in read_rows(sanitized):
        yield {key: value for key, value in row.items() if key not in ("reason", "detail")}
    yield from read_rows(verdicts)


def main(
    verdicts: list[Path],
    sanitized: list[Path],
    chosen: list[Path],
    dataset: Path,
    folder: Path,
    *,
    name: str,
    run_seed: int = RUN_SEED,
    settings: BuildViewer,
    weights: list[Path] | None = None,
) -> None:
    """Write a page in which every response of a dataset, kept or dropped, can be filtered, searched and read.

    Args:
        verdicts: executed responses of the dataset's generation.
        sanitized: responses dropped before execution, with reasons.
        chosen: rows dropped after execution, by stages that select, decontaminate, deduplicate and cut.
        dataset: folder of the published dataset.
        folder: the page: `index.html` and `data/`.
        name: name of the dataset.
        run_seed: seed of the sample.
        settings: how much the page shows; published rows come first.
        weights: scores from weigh_assertions, shown of a dataset selected by them.
    """
    fate = fates(sanitized, chosen, dataset / "sft" / "train.parquet")
    executed: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    ids = []
    for path in (*sanitized, *verdicts):
        columns = ["id", "instruction_id"] + (["passed", "verdict"] if path in verdicts else [])
        for row in read_rows(path, columns):
            ids.append((row["id"], row["instruction_id"]))
            if row.get("verdict", "internal") != "internal":
                executed[row["instruction_id"]] += 1
                passed[row["instruction_id"]] += row["passed"]
    shown = shown_ids(ids, fate, settings.max_rows, run_seed)
    entries = []
    weighed = {
        row["id"]: {ours: row[theirs] for theirs, ours in WEIGHED.items()}
        for row in read_rows(weights or [], ("id", *WEIGHED))
        if row["id"] in shown
    }
    columns = (*COLUMNS, *(WEIGHED.values() if weighed else ()))
    total = count_rows(sanitized) + count_rows(verdicts)
    for row in progress(responses(sanitized, verdicts), total=total):
        if row["id"] in shown:
            tried = executed[row["instruction_id"]]
            rate = passed[row["instruction_id"]] / tried if tried else None
            row |= weighed.get(row["id"], {})
            entries.append(
                (row["instruction_id"], row["sample"], entry(row, fate.get(row["id"], ("", "")), rate, columns))
            )
    entries.sort(key=lambda item: (item[0], item[1], item[2]["id"]))
    write_page(folder, name, [item for _, _, item in entries], total, columns)
    log.info("%d of %d responses on the page %s", len(entries), total, folder / "index.html")


if __name__ == "__main__":
    run(main)
