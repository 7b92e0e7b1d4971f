"""Rows, raw shards and a small runner for tests of the seed stages."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scripts import (
    cluster_functions,
    decontaminate_seeds,
    dedup_functions,
    extract_functions,
    filter_seeds,
    infer_imports,
    match_functions,
    sign_functions,
)
from selfcodealign.config.seeds import (
    ClusterFunctions,
    Columns,
    DecontaminateSeeds,
    ExtractFunctions,
    FilterSeeds,
    MatchFunctions,
    Shingles,
    SignFunctions,
)
from selfcodealign.ids import content_id

DOUBLE = 'def double(x):\n    """Return twice x."""\n    return 2 * x'


def function_row(
    content: str = DOUBLE, repo: str = "org/repo", path: str = "a.py", line: int = 1, bindings: Sequence[str] = ()
) -> dict[str, Any]:
    """Make a FunctionRow."""
    return {
        "id": content_id("fn", repo, path, line, content),
        "content": content,
        "repo": repo,
        "path": path,
        "line": line,
        "licence": "MIT",
        "bindings": list(bindings),
    }


def seed_row(content: str = DOUBLE, **source: Any) -> dict[str, Any]:
    """Make a SeedRow."""
    function = function_row(content, **source)
    del function["bindings"]
    return {
        **function,
        "id": content_id("seed", function["id"], content),
        "function_id": function["id"],
        "imports": [],
        "judge_score": None,
    }


def write_shard(path: Path, files: Iterable[tuple[str, str, str | bytes]], *, binary: bool = False) -> Path:
    """Write (repository, path, content) files as a parquet shard with The Stack's column names."""
    rows = list(files)
    table = pa.table(
        {
            "max_stars_repo_name": pa.array([row[0] for row in rows], pa.string()),
            "max_stars_repo_path": pa.array([row[1] for row in rows], pa.string()),
            "max_stars_repo_licenses": pa.array([["MIT"] for _ in rows], pa.list_(pa.string())),
            "content": pa.array([row[2] for row in rows], pa.binary() if binary else pa.string()),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def outputs(folder: Path, stage: str, shard: int, rows: str) -> dict[str, Path]:
    """Name a row stage's three outputs."""
    base = folder / stage / f"{shard:05d}"
    return {
        rows: base.with_suffix(".parquet"),
        "dropped": base.with_suffix(".dropped.parquet"),
        "funnel": base.with_suffix(".funnel.json"),
    }


def deduplicate(shards: Sequence[Path], folder: Path, *, mode: str = "fixed", groups: int = 1) -> list[Path]:
    """Extract and deduplicate raw shards; return the kept functions' files."""
    functions, keys = [], []
    for number, shard in enumerate(shards):
        places = outputs(folder, "extract_functions", number, "functions")
        extract_functions.main(str(shard), **places, mode=mode, columns=Columns(), settings=ExtractFunctions())
        functions.append(places["functions"])
        keys.append(folder / "sign_functions" / f"{number:05d}.npy")
        sign_functions.main(functions[-1], keys[-1], mode=mode, settings=SignFunctions())
    copies = [folder / "match_functions" / f"{group:02d}.copies.npy" for group in range(groups)]
    matches = [folder / "match_functions" / f"{group:02d}.npy" for group in range(groups)]
    for group in range(groups):
        settings = MatchFunctions(groups=groups)
        match_functions.main(keys, copies[group], matches[group], group=group, settings=settings)
    clusters, short, counts = (folder / "cluster_functions" / n for n in ("clusters.npy", "short.npy", "counts.json"))
    sections = {"shingles": Shingles(), "settings": ClusterFunctions()}
    cluster_functions.main(functions, keys, copies, matches, clusters, short, counts, mode=mode, **sections)
    kept = []
    for number, path in enumerate(functions):
        places = outputs(folder, "dedup_functions", number, "kept")
        dedup_functions.main(path, number, keys, clusters, short, **places)
        kept.append(places["kept"])
    return kept


def gather(shards: Sequence[Path], folder: Path, benchmarks: dict[str, str], *, mode: str = "fixed") -> list[Path]:
    """Run every seed stage but the type check; return the last stage's files."""
    last = []
    for number, functions in enumerate(deduplicate(shards, folder, mode=mode)):
        inferred = outputs(folder, "infer_imports", number, "seeds")
        infer_imports.main(functions, **inferred)
        filtered = outputs(folder, "filter_seeds", number, "kept")
        filter_seeds.main(inferred["seeds"], **filtered, mode=mode, settings=FilterSeeds())
        clean = outputs(folder, "decontaminate_seeds", number, "kept")
        clean["overlaps"] = folder / "decontaminate_seeds" / f"{number:05d}.overlaps.json"
        settings = DecontaminateSeeds()
        decontaminate_seeds.main(filtered["kept"], **clean, benchmarks=benchmarks, mode=mode, settings=settings)
        last.append(clean["kept"])
    return last
