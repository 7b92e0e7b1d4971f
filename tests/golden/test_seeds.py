"""On real files: equal to the published extraction, near-duplicates found, and every benchmark kept out."""

import itertools
import os
import resource
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from scripts import extract_functions
from selfcodealign.config.seeds import Columns, ExtractFunctions
from selfcodealign.decontamination import Index
from selfcodealign.evaluation.data import kept_out
from selfcodealign.minhash import shingle_set
from selfcodealign.rows_io import read_rows
from selfcodealign.seeds import typecheck
from tests.published import PIECES, material, missing, published
from tests.seed_rows import DOUBLE, deduplicate, outputs

SMALL = "data/stack-small/data-00000-of-00001.parquet"
SMALL_FUNCTIONS = "data/stack-small/reference-functions.parquet"


@pytest.mark.parametrize(
    ("find", "raw", "expected", "count"),
    [
        pytest.param(PIECES.joinpath, SMALL, SMALL_FUNCTIONS, 306, id="piece"),
        pytest.param(published, SMALL, SMALL_FUNCTIONS, 494, id="small"),
    ],
)
def test_reference_mode_extracts_what_the_published_code_extracts(find, raw, expected, count, tmp_path):
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    settings = {"columns": Columns(), "settings": ExtractFunctions()}
    extract_functions.main(str(find(raw)), **places, mode="reference", **settings)
    theirs = set(pq.read_table(find(expected))["content"].to_pylist())
    assert {row["content"] for row in read_rows(places["functions"], ["content"])} == theirs
    assert len(theirs) == count


def test_fixed_mode_extracts_the_same_functions_and_says_where_they_stand(tmp_path):
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    extract_functions.main(str(material(SMALL)), **places, columns=Columns(), settings=ExtractFunctions())
    rows = list(read_rows(places["functions"]))
    bodies = {row["content"][row["content"].index("def ") :] for row in rows if "def " in row["content"]}
    theirs = pq.read_table(material(SMALL_FUNCTIONS))["content"].to_pylist()
    assert {text.removeprefix("async ") for text in theirs} <= bodies
    files = {
        (row["max_stars_repo_name"], row["max_stars_repo_path"]): row["content"]
        for row in pq.read_table(material(SMALL)).to_pylist()
    }
    for row in rows:
        lines = files[row["repo"], row["path"]].split("\n")
        assert "\n".join(lines[row["line"] - 1 :]).startswith(row["content"])
        assert row["licence"]


def test_what_is_removed_is_a_near_duplicate_and_hardly_any_is_missed(tmp_path):
    """Precision is 100 %: some other function is that near. Recall against comparing all pairs is above 95 %."""
    deduplicate([material(SMALL)], tmp_path)
    rows = list(read_rows(tmp_path / "extract_functions/00000.parquet"))
    kept = {row["id"] for row in read_rows(tmp_path / "dedup_functions/00000.parquet")}
    sets = [shingle_set(row["content"]) for row in rows]
    near = [
        (i, j)
        for i, j in itertools.combinations(range(len(rows)), 2)
        if 2 * min(len(sets[i]), len(sets[j])) >= max(len(sets[i]), len(sets[j]))
        and 2 * len(sets[i] & sets[j]) >= len(sets[i] | sets[j])
    ]
    alike = {rows[n]["id"] for pair in near for n in pair}
    assert len(near) > 30
    assert {row["id"] for row in rows} - kept <= alike
    assert sum(rows[i]["id"] in kept and rows[j]["id"] in kept for i, j in near) <= 0.05 * len(near)


BENCHMARKS = {
    "humaneval": "HumanEval.jsonl.gz",
    "humaneval_plus": "HumanEvalPlus-v0.1.10.jsonl.gz",
    "mbpp": "mbpp.jsonl.gz",
    "mbpp-sanitized:mbpp": "sanitized-mbpp.json",
    "mbpp_plus": "MbppPlus-v0.1.0.jsonl.gz",
    "evoeval_difficult": "evoeval/EvoEval_difficult.jsonl.gz",
    "ds1000": "ds1000.jsonl.gz",
    "classeval": "ClassEval_data.json.gz",
    "canitedit": "canitedit.jsonl.gz",
    "livecodebench": "livecodebench-public-tests.json.gz",
    "bigcodebench": "BigCodeBench.jsonl.gz",
    "bigcodebench_hard": "BigCodeBench-Hard.json.gz",
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_loaded_and_found_again(name):
    passages = kept_out(name, material(f"bench/{BENCHMARKS[name]}"))
    index = Index({name: passages})
    assert {passage.kind for passage in passages} >= ({"prompt"} if name == "livecodebench" else {"prompt", "solution"})
    for passage in passages[:: max(1, len(passages) // 40)]:
        if len(passage.text.split()) >= 20:
            assert index.search(f"x = 1\n{passage.text.upper()}\n"), passage
            words = passage.text.split()
            assert index.search(" ".join(words[: len(words) * 2 // 3 + 10])), passage
    assert index.search(DOUBLE) == []


def test_a_search_that_looks_at_runs_first_finds_the_same():
    """A text that shares no run of words is not searched further; no overlap is lost by that."""
    names_of = ("humaneval", "mbpp-sanitized:mbpp", "classeval")
    sought = {name: kept_out(name, material(f"bench/{BENCHMARKS[name]}")) for name in names_of}
    passages = [passage for found in sought.values() for passage in found]
    index = Index(sought, min_tokens=3)
    functions = pq.read_table(material(SMALL_FUNCTIONS))["content"].to_pylist()
    texts = [f"{function}x{passage.text}y" for function, passage in zip(functions * 20, passages, strict=False)]
    texts += [passage.text[len(passage.text) // 3 :] for passage in passages] + functions
    found = 0
    for text in texts:
        plainly = dict(index._exact(text))
        for number, hit in index._by_grams(text):
            plainly.setdefault(number, hit)
        hits = index.search(text)
        assert sorted(map(repr, hits)) == sorted(map(repr, plainly.values()))
        found += bool(hits)
    assert found > len(passages)


def test_a_full_disk_is_an_error_and_leaves_no_output(root, tmp_path):
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    command = [sys.executable, "scripts/extract_functions.py", "--shard", str(material(SMALL))]
    command += [word for name, path in places.items() for word in (f"--{name}", str(path))]
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        # No file may grow above 20 kB: to the program, a disk without room.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert not any(path.exists() for path in places.values())


def test_pyright_is_the_pinned_one(root):
    if not shutil.which("node"):
        missing("Node.js is not installed")
    pinned = [line for line in (root / "envs/data.txt").read_text().splitlines() if line.startswith("pyright==")]
    assert pinned == [f"pyright=={typecheck.environment(sys.executable)['pyright']}"]
