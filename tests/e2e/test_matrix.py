"""A dataset that goes by the matrix, beside one that does not: rows, pairs, tasks and page, killed in the middle."""

import json
import shutil

import pytest

from selfcodealign.rows_io import read_rows
from tests.e2e.conftest import Checkout

CONFIG = """\
extends: tests/e2e/small.yaml
datasets:
  passing: {}
  matrix: {selection: matrix}
"""
WEIGHTS = "results/weigh_assertions/self/00000.parquet"
PUBLISHED = "results/build_dataset/matrix"
VIEWER = "results/build_viewer/matrix"


@pytest.fixture(scope="module")
def weighed(finished, tmp_path_factory) -> Checkout:
    """Go on from a copy of the finished run, which knew nothing of a matrix."""
    folder = tmp_path_factory.mktemp("matrix") / "checkout"
    shutil.copytree(finished.folder, folder, symlinks=True)
    (folder / "matrix.yaml").write_text(CONFIG)
    checkout = Checkout(folder, "matrix.yaml")
    checkout.kill_when("work/weigh_assertions/self/00000/matrix/ledger.jsonl", "--cores", "1", PUBLISHED)
    checkout.run("--cores", "2", PUBLISHED, VIEWER, "results/check_funnels/totals.json")
    return checkout


def read(checkout: Checkout, path: str) -> list[dict]:
    return list(read_rows(checkout.folder / path))


def test_a_dataset_that_does_not_go_by_it_stays_as_it_is(weighed, finished):
    pattern = "results/build_dataset/passing/**/*.parquet"
    assert weighed.bytes_of(pattern) == finished.bytes_of(pattern)
    assert not (finished.folder / "results/weigh_assertions").exists()


def test_rows_are_credible_and_have_pooled_tests(weighed):
    weights = {row["id"]: row for row in read(weighed, WEIGHTS)}
    rows = read(weighed, f"{PUBLISHED}/sft/train.parquet")
    assert rows
    mine = [row for row in rows if row["response_id"] in weights]
    assert mine
    assert all(weights[row["response_id"]]["credible"] for row in mine)
    assert all(row["tests"] == weights[row["response_id"]]["tests"] for row in mine)
    tasks = read(weighed, f"{PUBLISHED}/rl/train.parquet")
    tests = {row["response_id"]: row["tests"] for row in rows}
    assert all(task["tests"] == tests[task["response_id"]] for task in tasks)
    for pair in read(weighed, "results/build_preferences/matrix.pairs.parquet"):
        if pair["chosen_id"] in weights:
            assert weights[pair["chosen_id"]]["credible"]
            assert not weights[pair["rejected_id"]]["credible"]


def test_a_killed_run_gives_the_rows_of_a_whole_one(weighed):
    def stable() -> list[dict]:
        return [{key: value for key, value in row.items() if key != "cpu_s"} for row in read(weighed, WEIGHTS)]

    before = stable()
    shutil.rmtree(weighed.folder / "work" / "weigh_assertions")
    (weighed.folder / WEIGHTS).unlink()
    weighed.run("--cores", "2", WEIGHTS)
    assert stable() == before


def test_the_page_has_its_columns_and_the_card_its_selection(weighed):
    (index,) = weighed.bytes_of(f"{VIEWER}/index.html").values()
    assert b"matrix" in index
    assert "selection" in (weighed.folder / PUBLISHED / "README.md").read_text()
    totals = json.loads((weighed.folder / "results/check_funnels/totals.json").read_text())
    assert totals
