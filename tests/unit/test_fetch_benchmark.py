"""Problems are kept with their version, and only if they are what they are said to be."""

import gzip
import http.server
import json
import threading
from pathlib import Path

import pytest

from scripts.fetch_benchmark import main
from selfcodealign.config.benchmarks import PAPER
from selfcodealign.config.evaluation import FetchBenchmark
from selfcodealign.errors import UserError
from selfcodealign.evaluation import base, data
from selfcodealign.evaluation.base import Source
from tests.published import published

TASK = {"task_id": "Demo/0", "prompt": "def f():\n", "entry_point": "f", "test": "", "canonical_solution": "    pass\n"}


def test_a_local_file_is_kept_gzipped_with_its_hash(tmp_path):
    source = tmp_path / "tasks.jsonl"
    source.write_text(json.dumps(TASK) + "\n")
    for number in (1, 2):
        main("demo", tmp_path / f"{number}.gz", tmp_path / f"{number}.json", settings=FetchBenchmark(file=str(source)))
    assert gzip.decompress((tmp_path / "1.gz").read_bytes()) == source.read_bytes()
    assert (tmp_path / "1.gz").read_bytes() == (tmp_path / "2.gz").read_bytes()
    about = json.loads((tmp_path / "1.json").read_text())
    assert (about["problems"], about["version"], about["origin"]) == (1, None, "tasks.jsonl")


@pytest.mark.parametrize(
    ("name", "file", "version"),
    [
        ("humaneval_plus", "HumanEvalPlus-v0.1.9.jsonl.gz", "v0.1.9"),
        ("mbpp_plus", "MbppPlus-v0.2.0.jsonl.gz", "v0.2.0"),
        ("classeval", "ClassEval_data.json.gz", "2023-09"),
    ],
)
def test_a_published_file_is_recognised(tmp_path, name, file, version):
    main(name, tmp_path / "p.gz", tmp_path / "a.json", settings=FetchBenchmark(file=str(published(f"bench/{file}"))))
    assert json.loads((tmp_path / "a.json").read_text())["version"] == version


def test_the_file_of_another_benchmark_is_refused(tmp_path):
    with pytest.raises(UserError, match="is the file of HumanEval"):
        settings = FetchBenchmark(file=str(published("bench/HumanEval.jsonl.gz")))
        main("demo", tmp_path / "p.gz", tmp_path / "a.json", settings=settings)


def test_a_file_without_the_fields_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"task_id": "a", "prompt": "b"}\n')
    with pytest.raises(UserError, match="record 1 has no field entry_point"):
        main("demo", tmp_path / "p.gz", tmp_path / "a.json", settings=FetchBenchmark(file=str(tmp_path / "x.jsonl")))


def test_the_papers_version_is_the_default_and_unknown_ones_are_refused():
    benchmark = base.get("mbpp_plus")
    assert benchmark.source().version == "v0.1.0"
    assert benchmark.source("v0.2.0").records == 378
    with pytest.raises(UserError, match=r"no version 'v9'; known versions: v0\.1\.0, v0\.2\.0"):
        benchmark.source("v9")


@pytest.mark.parametrize(
    ("name", "version"),
    [("mbpp", "full"), ("mbpp_plus", "v0.1.0"), ("humaneval_plus", "v0.1.9"), ("canitedit", "whole")],
)
def test_to_be_kept_out_the_version_with_the_most_tasks_is_taken(name, version):
    found = base.get(name).source(base.WHOLE)
    assert found.version == version
    assert found.url.startswith("https://")


def test_every_benchmark_of_the_paper_can_be_fetched_to_be_kept_out():
    assert [name for name in PAPER if not base.get(name).source(base.WHOLE).url] == []


@pytest.fixture
def server(tmp_path: Path):
    """Serve a folder over HTTP."""
    (tmp_path / "site").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, directory=str(tmp_path / "site"), **keywords)

        def log_message(self, format, *args):
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield tmp_path / "site", f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_a_download_takes_its_place_only_with_the_pinned_hash(tmp_path, server):
    site, url = server
    (site / "tasks.gz").write_bytes(gzip.compress(b"content"))
    good = Source("v1", f"{url}/tasks.gz", data.sha256(site / "tasks.gz"), 1)
    data.fetch(good, tmp_path / "good")
    assert data.content(tmp_path / "good") == b"content"
    with pytest.raises(UserError, match="not the pinned"):
        data.fetch(Source("v1", good.url, "0" * 64, 1), tmp_path / "bad")
    with pytest.raises(UserError, match=r"could not be fetched.*benchmarks\.<name>\.file"):
        data.fetch(Source("v1", f"{url}/absent", "0" * 64, 1), tmp_path / "bad")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["good"]


def test_what_is_only_kept_out_needs_no_tests(tmp_path, server, monkeypatch):
    """EvalPerf is published without the inputs that asking it needs."""
    site, url = server
    (site / "0.parquet").write_text('{"task_id": "HumanEval/0", "reference": ["def f():\\n    return 1\\n"]}\n')
    monkeypatch.setattr(type(base.get("evalperf")), "texts_url", f"{url}/0.parquet")
    main("evalperf", tmp_path / "p.gz", tmp_path / "a.json", settings=FetchBenchmark(version=base.WHOLE))
    assert json.loads((tmp_path / "a.json").read_text())["problems"] == 1
    assert [passage.kind for passage in data.kept_out("evalperf", tmp_path / "p.gz")] == ["solution"]
