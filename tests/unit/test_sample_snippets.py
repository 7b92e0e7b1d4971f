"""Snippets are what the published rules cut, and depend on the file alone."""

import json

import pytest

from scripts.sample_snippets import main, seed_row, snippets_of
from selfcodealign.config.seeds import Columns, SampleSnippets
from selfcodealign.rows_io import read_rows
from selfcodealign.seeds.extraction import Found
from selfcodealign.seeds.raw import SourceFile
from selfcodealign.seeds.snippets import fingerprint, snippets, tidy
from tests.seed_rows import outputs, write_shard

TEXT = "\n".join(f"line_{number} = {number}" for number in range(1, 251))


def test_each_chunk_of_a_hundred_lines_from_the_end_gives_5_to_30_consecutive_lines():
    found = list(snippets(TEXT, "file", run_seed=1, limits=SampleSnippets()))
    assert len(found) == 3
    for snippet, (low, high) in zip(found, [(151, 250), (51, 150), (1, 50)], strict=True):
        lines = snippet.content.split("\n")
        assert 5 <= len(lines) <= 30
        assert lines == TEXT.split("\n")[snippet.line - 1 : snippet.line - 1 + len(lines)]
        assert low <= snippet.line
        assert snippet.line + len(lines) - 1 <= high


def test_the_draw_depends_on_the_file_and_the_run_seed_only():
    one, again = (list(snippets(TEXT, "file", run_seed=1, limits=SampleSnippets())) for _ in range(2))
    assert one == again
    assert one != list(snippets(TEXT, "other", run_seed=1, limits=SampleSnippets()))
    assert one != list(snippets(TEXT, "file", run_seed=2, limits=SampleSnippets()))


def test_indentation_tabs_and_blank_lines_are_tidied():
    assert tidy("\n\n\ta = 1\n\n\n\n\t\tb = 2\n\n") == "a = 1\n\n    b = 2"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\n" * 5, "too_few_lines"),
        (b"a\n" * 5_001, "too_many_lines"),
        (b"---\n" * 20, "no_words"),
        (b"a\0\n" * 20, "nul_bytes"),
        (b"\xff\n" * 20, "invalid_utf8"),
        (None, "broken_row"),
    ],
)
def test_a_file_without_snippets_says_why(content, reason):
    file = SourceFile(content, "r", "p", "MIT", "broken_row" if content is None else "")
    assert snippets_of(file, run_seed=1, limits=SampleSnippets()) == ([], reason)


def test_snippets_that_differ_in_white_space_are_one():
    file = SourceFile(b"", "r", "p", "MIT")
    assert fingerprint("a  =\n 1") == "a=1"
    assert seed_row(file, Found("a = 1", 3))["id"] == seed_row(file, Found("a  =  1", 9))["id"]


def test_rows_are_the_same_for_any_number_of_shards(tmp_path):
    files = [("r", f"{n}.py", TEXT.replace("line", f"name{n}")) for n in range(6)] + [("r", "x.py", "short")]
    found = []
    for shards in (1, 2, 7):
        rows = []
        for number in range(shards):
            shard = write_shard(tmp_path / f"{shards}-{number}.parquet", files[number::shards])
            places = outputs(tmp_path, f"sample_snippets{shards}", number, "seeds")
            main(str(shard), **places, run_seed=1, columns=Columns(), settings=SampleSnippets())
            rows += read_rows(places["seeds"])
            funnel = json.loads(places["funnel"].read_text())
            assert funnel["entered"] == funnel["kept"] + sum(funnel["dropped"].values())
        found.append(sorted(rows, key=lambda row: row["id"]))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 18
