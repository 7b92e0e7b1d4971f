"""The whole pipeline: raw shards become a report, the same bytes however often it is disturbed."""

import json
import os
import shutil
import subprocess
import sys
import time

from tests.e2e.conftest import Checkout

DATASET = "results/build_dataset/passing/**/*.parquet"
SCORES = "results/score_benchmark/*/*.json"
WEIGHTS = "results/train_sft/aligned/**/*.safetensors"
METRICS = "results/train_sft/aligned.metrics.jsonl"


def test_raw_shards_become_a_report(finished):
    report = finished.folder / "results/report.html"
    assert "<html" in report.read_text()[:500].lower()
    funnels = [json.loads(path.read_text()) for path in finished.folder.glob("results/**/*.funnel.json")]
    assert len(funnels) >= 15
    for funnel in funnels:
        assert funnel["entered"] == funnel["kept"] + sum(funnel["dropped"].values()), funnel


def test_a_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.run("--cores", "2")


def test_a_run_that_was_moved_with_new_files_of_the_pipeline_has_nothing_to_do(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "another" / "place", symlinks=True)
    moved = Checkout(tmp_path / "another" / "place")  # as a clone writes them
    for folder in ("rules", "scripts", "selfcodealign", "demo", "prompts"):
        for file in (moved.folder / folder).rglob("*"):
            os.utime(file)
    assert "Nothing to be done" in moved.run("--cores", "1", "--dry-run")


def test_killed_at_any_stage_on_one_core_the_run_ends_in_the_same_bytes(finished, tmp_path):
    other = Checkout(tmp_path / "checkout")
    for pattern in (
        "work/write_responses/self/*/ledger.jsonl",
        "work/verify_responses/self/*/ledger.jsonl",
        "work/train_sft/aligned/**/*",
    ):
        other.kill_when(pattern, "--cores", "1")
    other.run("--cores", "1")
    for pattern in (DATASET, SCORES, WEIGHTS):
        assert other.bytes_of(pattern) == finished.bytes_of(pattern)
    assert timeless(other) == timeless(finished)


def timeless(checkout: Checkout) -> list[dict[str, float]]:
    """Read the training metrics of every step without the times, the only thing that two runs may differ in."""
    steps = map(json.loads, (checkout.folder / METRICS).read_text().splitlines())
    return [{key: value for key, value in step.items() if key not in ("wall_s", "cpu_s")} for step in steps]


def test_its_status_says_that_all_is_done(finished):
    command = [sys.executable, "-m", "selfcodealign", "status", "--json"]
    done = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    # The target `all` is no job of a stage.
    jobs = {str(path.relative_to(finished.folder / "timings")) for path in finished.folder.glob("timings/**/*.jsonl")}
    assert found["jobs"] == {"finished": len(jobs), "running": 0, "waiting": 0, "failed": 0, "stopped": 0}
    rows = {stage["stage"]: stage["rows_done"] for stage in found["stages"]}
    shards = finished.folder.glob("results/write_responses/self/*.funnel.json")
    assert rows["write_responses"] == sum(json.loads(path.read_text())["produced"] for path in shards)


def test_planning_a_run_takes_little_time(finished):
    start = time.monotonic()
    finished.run("--dry-run", "--forceall", "--quiet")
    # The goal is 3 s on an idle machine; this bound only catches a heavy import at parse time.
    assert time.monotonic() - start < 15


def test_any_row_kept_or_dropped_can_be_traced(finished):
    import pyarrow.parquet as pq

    kept = pq.read_table(next(finished.folder.glob("results/build_dataset/passing/sft/*.parquet")))["id"][0].as_py()
    dropped = next(
        table["id"][0].as_py()
        for path in sorted(finished.folder.glob("results/filter_seeds/*.dropped.parquet"))
        if len(table := pq.read_table(path))
    )
    for row in (kept, dropped):
        command = [sys.executable, "-m", "selfcodealign", "trace", row]
        printed = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, timeout=120, check=True)
        assert row in printed.stdout
        assert "def " in printed.stdout


def test_snakemake_makes_its_own_report_too(finished):
    finished.run("--report", "report.zip")
    assert (finished.folder / "report.zip").stat().st_size > 1000
