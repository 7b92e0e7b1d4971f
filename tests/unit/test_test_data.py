"""The tests run from a bare clone: pieces are small and say whose they are, whole files are fetched with a checksum."""

import json

import pyarrow.parquet as pq
import pytest

from selfcodealign.errors import UserError
from selfcodealign.evaluation import base, data
from selfcodealign.evaluation.base import Source
from tests import published
from tests.conftest import left_out, most_costly
from tests.published import PIECES, SOURCES

LICENCES = {
    "python/cpython-3.11": ["PSF-2.0"],
    "pypi/networkx-3.1": ["BSD License"],
    "pypi/transformers-5.23.0": ["Apache 2.0 License"],
}


def test_pieces_are_below_5_mb_and_each_stands_in_the_readme():
    said = (PIECES / "README.md").read_text()
    files = [path for folder in ("bench", "data") for path in (PIECES / folder).rglob("*") if path.is_file()]
    assert [str(path) for path in files if f"`{path.relative_to(PIECES)}`" not in said] == []
    assert sum(path.stat().st_size for path in PIECES.rglob("*") if path.is_file()) < 5_000_000


def test_pieces_are_smaller_than_the_published_files():
    records = {name: of(*source).records for name, source in SOURCES.items()}
    pieces = [name for name in SOURCES if (PIECES / "bench" / name).is_file()]
    assert len(pieces) >= 6
    assert [name for name in pieces if len(data.records(PIECES / "bench" / name)) >= records[name] / 2] == []


def of(benchmark: str, version: str) -> Source:
    return base.get(benchmark).source(version)


def test_every_real_file_among_the_pieces_has_a_licence_that_lets_us_copy_it():
    rows = pq.read_table(PIECES / "data/stack-small/data-00000-of-00001.parquet").to_pylist()
    assert {row["max_stars_repo_name"]: row["max_stars_repo_licenses"] for row in rows} == LICENCES


def test_every_file_that_is_fetched_has_an_address_and_a_checksum():
    sources = [of(benchmark, version) for benchmark, version in SOURCES.values()]
    assert [source for source in sources if not source.url.startswith("https://") or len(source.sha256) != 64] == []


def test_a_file_is_fetched_from_the_pipelines_address_and_only_with_its_checksum(tmp_path, monkeypatch):
    site = tmp_path / "tasks.jsonl"
    site.write_text(json.dumps({"task_id": 1}) + "\n")
    good = Source("full", site.as_uri(), data.sha256(site), 1)
    monkeypatch.setattr(type(base.get("mbpp")), "sources", (good,))
    published.fetch("mbpp.jsonl.gz", tmp_path / "bench/mbpp.jsonl.gz")
    assert data.records(tmp_path / "bench/mbpp.jsonl.gz") == [{"task_id": 1}]
    monkeypatch.setattr(type(base.get("mbpp")), "sources", (Source("full", site.as_uri(), "0" * 64, 1),))
    with pytest.raises(UserError, match="not the pinned"):
        published.fetch("mbpp.jsonl.gz", tmp_path / "bench/other.jsonl.gz")
    assert not (tmp_path / "bench/other.jsonl.gz").exists()


def test_a_whole_file_is_taken_before_the_piece(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFCODEALIGN_TEST_DATA", str(tmp_path))
    monkeypatch.setattr(published, "FETCHED", tmp_path / "fetched")
    name = "bench/HumanEval.jsonl.gz"
    assert published.material(name) == PIECES / name
    (tmp_path / "fetched/bench").mkdir(parents=True)
    (tmp_path / "fetched" / name).touch()
    assert published.material(name) == tmp_path / "fetched" / name
    (tmp_path / "bench").mkdir()
    (tmp_path / name).touch()
    assert published.material(name) == tmp_path / name


def test_what_is_not_here_is_left_out_with_the_command_that_brings_it_and_fails_in_ci(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFCODEALIGN_TEST_DATA", str(tmp_path))
    monkeypatch.setattr(published, "FETCHED", tmp_path / "fetched")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="`make test-data` brings them"):
        published.published("bench/HumanEval.jsonl.gz")
    with pytest.raises(pytest.skip.Exception, match="SELFCODEALIGN_TEST_DATA names a folder"):
        published.published("bench/BigCodeBench.jsonl.gz")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        published.published("bench/HumanEval.jsonl.gz")


def test_one_line_says_what_was_left_out():
    assert left_out(["a: do b", "c", "a: do b"], 2_000) == "left out 3 of 2,000 tests (0.1%). 2: a: do b; 1: c"


def test_one_line_says_where_cpu_time_went():
    assert most_costly({"a.py": 1.2, "b.py": 70.6, "c.py": 3}, 2) == "75 CPU-s in 3 files: b.py 71, c.py 3"
