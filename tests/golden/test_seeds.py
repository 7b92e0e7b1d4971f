"""On real files: equal to the published extraction, the same for any sharding, and nothing lost."""

import itertools
import json
import os
import resource
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts import extract_functions
from selfcodealign.config.seeds import Columns, ExtractFunctions
from selfcodealign.decontamination import Index
from selfcodealign.evaluation.data import kept_out
from selfcodealign.minhash import shingle_set
from selfcodealign.rows_io import read_rows
from selfcodealign.seeds import typecheck
from tests.published import PIECES, material, missing, published, whole
from tests.seed_rows import DOUBLE, deduplicate, gather, outputs, write_shard

SMALL = "data/stack-small/data-00000-of-00001.parquet"
SMALL_FUNCTIONS = "data/stack-small/reference-functions.parquet"
SHARD = "data/stack/data-00000-of-00008.parquet"
STAGES = ("extract_functions", "dedup_functions", "infer_imports", "filter_seeds", "decontaminate_seeds")


@pytest.mark.parametrize(
    ("find", "raw", "expected", "count"),
    [
        pytest.param(PIECES.joinpath, SMALL, SMALL_FUNCTIONS, 306, id="piece"),
        pytest.param(published, SMALL, SMALL_FUNCTIONS, 494, id="small"),
        pytest.param(published, SHARD, "data/stack/reference-functions-00000.parquet", 11_430, id="shard"),
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


def resharded(small, folder, shards: int) -> list:
    """Cut the small corpus into some shards, in order."""
    rows = pq.read_table(small, columns=["max_stars_repo_name", "max_stars_repo_path", "content"]).to_pylist()
    rows.append({"max_stars_repo_name": "copy", "max_stars_repo_path": "x.py", "content": rows[5]["content"]})
    files = [tuple(row.values()) for row in rows]
    size = -(-len(files) // shards)
    return [
        write_shard(folder / f"raw{number}.parquet", files[number * size : (number + 1) * size])
        for number in range(shards)
    ]


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_one_two_and_eight_shards_give_the_same_rows(mode, tmp_path):
    humaneval = {"humaneval": str(material("bench/HumanEval.jsonl.gz"))}
    found = []
    for shards in (1, 2, 8):
        folder = tmp_path / str(shards)
        gather(resharded(material(SMALL), folder, shards), folder, humaneval, mode=mode)
        rows = {
            (stage, kind): [
                json.dumps(row, sort_keys=True)
                for number in range(shards)
                for row in read_rows(folder / stage / f"{number:05d}{kind}.parquet")
            ]
            for stage in STAGES
            for kind in ("", ".dropped")
        }
        found.append(rows)
        assert_conserved(folder, shards)
    assert found[0] == found[1] == found[2]
    assert len(found[0]["decontaminate_seeds", ""]) > 20


def assert_conserved(folder, shards):
    """Assert that each row is kept or dropped with a reason, and that a stage starts with what the last one made."""
    for number in range(shards):
        funnels = [json.loads((folder / stage / f"{number:05d}.funnel.json").read_text()) for stage in STAGES]
        for funnel in funnels:
            assert funnel["entered"] == funnel["kept"] + sum(funnel["dropped"].values())
        for before, after in itertools.pairwise(funnels):
            assert before["produced"] == after["entered"]


def test_bytes_do_not_depend_on_the_hash_seed(root, tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.seed_rows import gather\n"
        "gather([Path(sys.argv[1])], Path(sys.argv[2]), {'h': sys.argv[3]}, mode=sys.argv[4])"
    )
    raw = resharded(material(SMALL), tmp_path, 1)[0]
    humaneval = material("bench/HumanEval.jsonl.gz")
    for mode in ("fixed", "reference"):
        folders = []
        for seed in ("0", "1"):
            folders.append(tmp_path / mode / seed)
            subprocess.run(
                [sys.executable, "-c", code, raw, folders[-1], humaneval, mode],
                cwd=root,
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
                check=True,
                capture_output=True,
            )
        trees = [
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in folders
        ]
        assert trees[0] == trees[1]
        assert len(trees[0]) > 15


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


def large_shard(folder):
    """Make a shard of 123 MB out of the piece."""
    piece = pq.read_table(PIECES / SMALL)
    copies = -(-123_000_000 // sum(piece["size"].to_pylist()))
    pq.write_table(pa.concat_tables([piece] * copies).combine_chunks(), folder / "large.parquet")
    return folder / "large.parquet"


def test_workers_stay_below_1_5_gb(root, tmp_path):
    """Peak memory of extraction and signing on a shard of 123 MB, in processes of their own."""
    # Not ru_maxrss: across exec the kernel keeps in it the peak of the process that started this one, the tests.
    code = "import re, runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__');"
    code += "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    flags = [word for name, path in places.items() for word in (f"--{name}", str(path))]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    shard = whole(SHARD) or large_shard(tmp_path)
    for command in (
        ["scripts/extract_functions.py", "--shard", str(shard), *flags],
        ["scripts/sign_functions.py", "--functions", str(places["functions"]), "--band-keys", str(tmp_path / "k.npy")],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout.split()[-1]) < 1_500


def test_pyright_is_the_pinned_one(root):
    if not shutil.which("node"):
        missing("Node.js is not installed")
    pinned = [line for line in (root / "envs/data.txt").read_text().splitlines() if line.startswith("pyright==")]
    assert pinned == [f"pyright=={typecheck.environment(sys.executable)['pyright']}"]
