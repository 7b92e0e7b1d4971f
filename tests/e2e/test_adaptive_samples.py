"""Responses asked for until one passes: a part of the whole run's, the same bytes when killed, and no row lost."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from selfcodealign.rows_io import read_rows
from tests.e2e.conftest import Checkout

CONFIG = """\
extends: tests/e2e/small.yaml
write_responses: {samples: 4, enough: 1}
datasets: {passing: {seed_shards: 1}}
"""
CHOSEN = "results/select_responses/passing.parquet"
WRITTEN = "write_responses/self/*.parquet"
ROUNDS = ("write_responses", "sanitize_responses", "verify_responses")


@pytest.fixture(scope="module")
def adaptive(finished, tmp_path_factory) -> Checkout:
    """A run that stops at the first pass, over a copy of the finished one, which asked for two samples at once."""
    folder = tmp_path_factory.mktemp("adaptive") / "checkout"
    shutil.copytree(finished.folder, folder, symlinks=True)
    forget(folder)
    checkout = Checkout(folder, "adaptive.yaml")
    (folder / "adaptive.yaml").write_text(CONFIG)
    checkout.run("--cores", "2", CHOSEN, "results/check_funnels/totals.json")
    return checkout


def forget(folder: Path) -> None:
    """Remove what responses were made of, and the choice among them."""
    for name in ("results", "work", "logs", "timings"):
        for stage in (*ROUNDS, "select_responses"):
            shutil.rmtree(folder / name / stage, ignore_errors=True)


def rows(checkout: Checkout, pattern: str, *columns: str) -> list[dict]:
    files = sorted(checkout.folder.glob(f"results/{pattern}"))
    return list(read_rows([file for file in files if "dropped" not in file.name], columns or None))


def test_its_responses_are_a_part_of_the_whole_runs(adaptive, finished):
    whole = {row["id"] for row in rows(finished, WRITTEN, "id")}
    first_two = [row["id"] for row in rows(adaptive, WRITTEN, "id", "sample") if row["sample"] < 2]
    assert set(first_two) < whole
    assert len(first_two) == len(set(first_two))


def test_each_task_has_the_responses_that_it_needed_and_no_more(adaptive):
    verdicts = rows(adaptive, "verify_responses/self/*.parquet", "instruction_id", "sample", "passed")
    samples = Counter(row["instruction_id"] for row in rows(adaptive, WRITTEN, "instruction_id"))
    passed: dict[str, list[int]] = {}
    for row in verdicts:
        passed.setdefault(row["instruction_id"], []).extend([row["sample"]] if row["passed"] else [])
    # Rounds of one, one and two samples: a task has what its first pass needed, or all four.
    needed = {task: {0: 1, 1: 2}.get(min(passed.get(task) or [3]), 4) for task in samples}
    assert samples == needed
    assert len(set(samples.values())) == 3, "easy, middling and hard tasks are all there"
    chosen = rows(adaptive, "select_responses/passing.parquet", "instruction_id", "pass_rate")
    assert {row["instruction_id"] for row in chosen} == {task for task, found in passed.items() if found}
    assert {row["instruction_id"]: row["pass_rate"] for row in chosen} == {
        row["instruction_id"]: float(0 in passed[row["instruction_id"]]) for row in chosen
    }


def test_every_round_conserves_its_rows(adaptive):
    funnels = {path: json.loads(path.read_text()) for path in adaptive.folder.glob("results/**/*.funnel.json")}
    for path, funnel in funnels.items():
        assert funnel["entered"] == funnel["kept"] + sum(funnel["dropped"].values()), path
    rounds = [path for path in funnels if path.parent.name.startswith("samples-")]
    assert {path.parent.name for path in rounds} == {"samples-0", "samples-1"}
    folder = adaptive.folder / "results/write_responses/self"
    produced = [funnels[folder / name / "00000.funnel.json"]["produced"] for name in ("samples-0", "samples-1")]
    whole = funnels[folder / "00000.funnel.json"]
    assert sum(produced) < whole["produced"]
    assert whole["entered"] == produced[0], "every task stands in the file of all rounds"


def test_killed_in_a_later_round_it_ends_in_the_same_bytes(adaptive):
    kept = [WRITTEN, "sanitize_responses/self/*.parquet", "select_responses/*.parquet"]
    before = adaptive.bytes_of(*(f"results/{pattern}" for pattern in kept))
    forget(adaptive.folder)
    adaptive.kill_when("results/verify_responses/self/samples-1/*.funnel.json", "--cores", "2", CHOSEN)
    assert not list(Path(adaptive.folder / "results/select_responses").glob("*"))
    adaptive.run("--cores", "1", CHOSEN)
    assert adaptive.bytes_of(*(f"results/{pattern}" for pattern in kept)) == before
