"""Benchmarks leave dated lines, and the docs show the newest of them."""

import argparse
import ast
import json
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import history

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_history_renders():
    page = history.PAGE.read_text()
    assert page == history.in_page(page, history.rendered()), "python -m benchmarks --render"


def test_every_benchmark_has_a_place_in_the_table_and_writes_its_own_name():
    assert set(history.SHOWN) == set(bench.FILES)
    for name, path in bench.FILES.items():
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        written = [call.args[1] for call in calls if ast.unparse(call.func) == "history.write"]
        assert written, name
        assert {ast.literal_eval(word) for word in written} == {name}


@pytest.mark.parametrize("path", sorted(history.FOLDER.glob("*.jsonl")), ids=lambda path: path.stem)
def test_lines_of_the_history_are_whole_and_in_order_of_time(path):
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert path.stem in history.SHOWN
    assert all({"date", "commit", "machine", "versions", "figures"} == set(line) for line in lines)
    assert [line["date"] for line in lines] == sorted(line["date"] for line in lines)
    known = {question for question, *_ in history.SHOWN[path.stem]}
    assert any(known & set(line["figures"]) for line in lines)


def test_a_line_names_machine_versions_and_figures_and_the_newest_is_shown(tmp_path):
    history.write(tmp_path, "seeds", {"whole chain": {"ratio": 12.34567, "absent": float("nan")}})
    history.write(tmp_path, "seeds", {"whole chain": {"ratio": 15.0}})
    history.write(tmp_path, "training", {"deepspeed": {"deepspeed_overhead": {"zero0": 0.031}}})
    first = json.loads((tmp_path / "seeds.jsonl").read_text().splitlines()[0])
    assert first["figures"] == {"whole chain": {"ratio": 12.35, "absent": None}}
    assert first["machine"]["cores"] >= 1
    assert "numpy" in first["versions"]
    table = history.rendered(tmp_path)
    assert "| seeds | whole chain, the same | **15** | ≥ 14 |" in table
    assert "**0.031**" in table
    assert len(table.splitlines()) == 4


def test_without_the_flag_nothing_is_written(tmp_path, monkeypatch):
    parser = argparse.ArgumentParser()
    history.add_flag(parser)
    monkeypatch.chdir(tmp_path)
    history.write(parser.parse_args([]).history, "seeds", {"whole chain": {"ratio": 1.0}})
    assert list(tmp_path.iterdir()) == []
    assert parser.parse_args(["--history", "here"]).history == Path("here")


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="the page has no"):
        history.in_page("nothing", "table")


@pytest.mark.slow
def test_what_fails_or_is_not_done_in_time_is_named_and_the_rest_runs(tmp_path, monkeypatch):
    programs = {"good": "import sys; open(sys.argv[2] + '/good', 'w')", "bad": "raise SystemExit(3)"}
    programs["slow"] = "import time; time.sleep(60)"
    files = {name: tmp_path / f"bench_{name}.py" for name in programs}
    for name, path in files.items():
        path.write_text(programs[name])
    monkeypatch.setattr(bench, "FILES", files)
    assert bench.run(["bad", "good", "slow"], tmp_path, minutes=0.05) == [
        "bad ended with 3",
        "slow was not done in time",
    ]
    assert (tmp_path / "good").exists()
