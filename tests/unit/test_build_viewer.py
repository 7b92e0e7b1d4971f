"""The page of a dataset: what became of every response, an index to filter by, and texts in chunks."""

import base64
import gzip
import json
import re

import pytest

from scripts.build_viewer import PER_CHUNK, PUBLISHED, entry, fates, index_of, main, packed, shown_ids
from scripts.weigh_assertions import WeighedRow
from selfcodealign.config.dataset import BuildViewer
from selfcodealign.rows import VerdictRow
from selfcodealign.rows_io import write_rows
from tests.dataset_rows import response_row, verdict_row
from tests.small_run import SmallRun, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SmallRun:
    return make_run(tmp_path_factory.mktemp("run"))


def build(run: SmallRun, max_rows=1_000, **options):
    chosen = ("select_responses", "decontaminate_dataset", "dedup_dataset", "augment_dataset")
    settings = {
        "verdicts": sorted((run.results / "verify_responses/self").glob("0000?.parquet")),
        "sanitized": sorted((run.results / "sanitize_responses/self").glob("*.dropped.parquet")),
        "chosen": [run.results / stage / "passing.dropped.parquet" for stage in chosen],
        "dataset": run.results / "build_dataset" / "passing",
        "folder": run.folder / "viewer",
        "name": "passing <set>",
        "run_seed": 3407,
        "settings": BuildViewer(max_rows=max_rows),
    }
    settings |= options
    main(**settings)
    return settings["folder"]


def unpacked(path):
    name, data = re.fullmatch(r'viewerData\("([\w-]+)","(.*)"\)\n', path.read_text()).groups()
    assert name == path.stem
    return json.loads(gzip.decompress(base64.b64decode(data)))


def test_every_response_is_on_the_page_with_its_fate(run):
    index = unpacked(build(run) / "data" / "rows.js")
    names = [index["fate"]["names"][code] for code in index["fate"]["codes"]]
    fate = dict(zip(index["id"], names, strict=True))
    assert set(fate) == {row["id"] for row in run.verdicts} | set(run.dropped["sanitize_responses"])
    assert {row_id for row_id, name in fate.items() if name == PUBLISHED} == {row["response_id"] for row in run.rows}
    assert {fate[row_id] for row_id in run.dropped["sanitize_responses"]} == {"sanitize_responses: no_assertion"}
    assert sum(index["fate"]["counts"]) == len(fate)


def test_texts_stand_at_the_place_of_their_row(run):
    folder = build(run)
    index = unpacked(folder / "data" / "rows.js")
    by_id = {row["id"]: row for row in run.verdicts}
    chunks = [unpacked(path) for path in sorted((folder / "data").glob("texts-*.js"))]
    assert all(len(chunk) == PER_CHUNK for chunk in chunks[:-1])
    for place, row_id in enumerate(index["id"]):
        texts = dict(zip(index["columns"], chunks[place // PER_CHUNK][place % PER_CHUNK], strict=True))
        assert texts["id"] == row_id
        if row_id in by_id:
            assert texts["response"] == by_id[row_id]["response"]
            assert texts["verdict"] == by_id[row_id]["verdict"]


def test_names_and_texts_cannot_become_markup(run):
    page = (build(run) / "index.html").read_text()
    assert "passing &lt;set&gt;" in page
    assert "<set>" not in page
    script = packed("rows", ["</script><b>"])
    assert "<" not in script


def test_bytes_are_the_same_every_time(run):
    first = {path.name: path.read_bytes() for path in build(run).rglob("*") if path.is_file()}
    assert first == {path.name: path.read_bytes() for path in build(run).rglob("*") if path.is_file()}


def test_a_sample_holds_the_published_rows_first(run):
    fate = {f"res-{number}": (PUBLISHED, "") for number in range(0, 100, 10)}
    ids = [(f"res-{number}", "ins-0") for number in range(100)]
    shown = shown_ids(ids, fate, 30, 1)
    assert len(shown) == 30
    assert fate.keys() <= shown
    assert shown == shown_ids(ids[::-1], fate, 30, 1)
    page = (build(run, max_rows=20) / "index.html").read_text()
    assert re.search(r"20 responses, a sample of \d+", page)


def test_filters_list_the_commonest_value_first():
    entries = [
        entry(verdict_row(number, passed=number > 0, reason=f"AssertionError: {number}"), (PUBLISHED, ""), 0.5)
        for number in range(3)
    ]
    index = index_of(entries)
    assert index["verdict"] == {"names": ["pass", "fail"], "counts": [2, 1], "codes": [1, 0, 0]}
    assert index["reason"]["names"] == ["AssertionError"], "what stands before the colon"


def test_a_malformed_response_shows_its_raw_text():
    shown = entry(response_row(0), ("sanitize_responses: not_split", "no border"), None)
    columns = index_of([shown])["columns"]
    texts = dict(zip(columns, shown["texts"], strict=True))
    assert shown["verdict"] == "not executed"
    assert texts["raw"]
    assert texts["dropped"] == "sanitize_responses: not_split no border"


def test_a_megabyte_of_output_is_cut(tmp_path):
    shown = entry(verdict_row(0, stdout="x" * 1_000_000), (PUBLISHED, ""), 1.0)
    assert max(len(text) for text in shown["texts"] if isinstance(text, str)) < 25_000


def test_fates_are_read_from_rows_and_dropped_rows(run):
    found = fates(
        [],
        [run.results / "dedup_dataset" / "passing.dropped.parquet"],
        run.results / "build_dataset/passing/sft/train.parquet",
    )
    assert {fate for fate, _ in found.values()} >= {PUBLISHED}
    assert all(response_id.startswith("res-") for response_id in found)


def test_a_failure_of_the_sandbox_does_not_count_as_an_attempt(tmp_path, run):
    rows = [verdict_row(0, verdict="internal", passed=False)]
    write_rows(tmp_path / "00000.parquet", VerdictRow, rows)
    folder = build(run, verdicts=[tmp_path / "00000.parquet"], sanitized=[], folder=tmp_path / "page")
    index = unpacked(folder / "data" / "rows.js")
    texts = unpacked(folder / "data" / "texts-0000.js")
    assert dict(zip(index["columns"], texts[0], strict=True))["pass_rate"] is None


def test_what_the_matrix_says_is_shown_of_a_dataset_that_goes_by_it(run, tmp_path):
    plain = unpacked(build(run) / "data" / "rows.js")
    assert not {"matrix_score", "pool_share"} & set(plain["columns"])
    one = run.verdicts[0]
    row = {"id": one["id"], "instruction_id": one["instruction_id"], "score": 0.75, "pool_share": 0.5}
    row |= {"credible": True, "outcome": "credible", "tests": "", "programs": 1, "cpu_s": 0.0}
    write_rows(tmp_path / "weights.parquet", WeighedRow, [row])
    folder = build(run, weights=[tmp_path / "weights.parquet"])
    index = unpacked(folder / "data" / "rows.js")
    place = index["id"].index(one["id"])
    texts = unpacked(folder / "data" / f"texts-{place // PER_CHUNK:04d}.js")[place % PER_CHUNK]
    shown = dict(zip(index["columns"], texts, strict=True))
    assert (shown["matrix_score"], shown["pool_share"]) == (0.75, 0.5)
    assert shown["id"] == one["id"]
