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
FEW = "run_pilot={seeds: 6, judged: 2, tasks: 2}"
STAGES = [
    *("judge_seeds", "gather_seeds", "extract_concepts", "write_instructions", "write_responses"),
    *("sanitize_responses", "verify_responses", "select_responses", "decontaminate_dataset", "dedup_dataset"),
    *("augment_dataset", "build_dataset", "train_sft", "sample_solutions", "extract_programs", "execute_programs"),
]


def test_raw_shards_become_a_report(finished):
    report = finished.folder / "results/report.html"
    assert "<html" in report.read_text()[:500].lower()
    funnels = [json.loads(path.read_text()) for path in finished.folder.glob("results/**/*.funnel.json")]
    assert len(funnels) >= 15
    for funnel in funnels:
        assert funnel["entered"] == funnel["kept"] + sum(funnel["dropped"].values()), funnel


def test_snakemake_looks_for_jobs_when_one_has_ended_and_not_all_the_time(finished):
    """Its limit of jobs a second makes it look once a second for each job that has ended, with all of `params` anew."""
    printed = (finished.folder / "printed.txt").read_text()
    ended = printed.count("Finished jobid: ")
    assert ended > 40
    assert 0 < printed.count("Ready jobs: ") <= ended + 1


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


# ---- a pilot goes through every stage in a place of its own, and a run neither reads nor minds it ----


def state(folder):
    """Say of every file of a run what it holds and when it was written, but for what the pilot writes."""
    files = (path for name in ("results", "timings", "logs") for path in sorted((folder / name).rglob("*")))
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in files
        if path.is_file() and "run_pilot" not in str(path)
    }


def test_a_pilot_leaves_a_finished_run_as_it_is_and_foresees_it(finished):
    before = state(finished.folder)
    # As a person types it.
    command = [sys.executable, "-m", "selfcodealign", "pilot", *finished.config, "--cores", "2", "--config", FEW]
    done = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    pilot = json.loads((finished.folder / "results/run_pilot/pilot.json").read_text())
    assert done.stdout.rstrip().endswith((finished.folder / "results/run_pilot/pilot.md").read_text().rstrip())
    assert pilot["failed"] == []
    assert [one["stage"] for one in pilot["stages"]] == STAGES
    assert pilot["seeds"]["shown"] == 12
    assert pilot["seeds"]["written_about"] == 6
    assert {one["stage"] for one in pilot["texts"]} == {
        *("judge_seeds", "extract_concepts", "write_instructions", "write_responses", "build_dataset"),
        "sample_solutions",
    }
    # The run that it is a pilot of is there already.
    judged = [json.loads(path.read_text()) for path in finished.folder.glob("results/judge_seeds/*.funnel.json")]
    assert pilot["seeds"]["before_judge"] == sum(funnel["entered"] for funnel in judged)
    hours = {one["stage"]: one["rows"] for one in pilot["forecast"]["stages"]}
    assert hours["judge_seeds"] == pilot["seeds"]["before_judge"]
    assert state(finished.folder) == before
    assert "Nothing to be done" in finished.run("--cores", "2", "--dry-run")
    assert "Nothing to be done" in finished.run("pilot", "--cores", "2", "--dry-run", "--config", FEW)


def test_an_engine_that_refuses_is_one_sentence(finished):
    engine = "engine={backend: openai, base_url: 'http://127.0.0.1:9/v1', retries: 0, timeout_s: 5}"
    command = [*finished.command("pilot", "--cores", "2"), "--config", FEW, engine]
    done = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-3:]
    assert last[0].startswith("error: the pilot came to no answer: ")
    assert "127.0.0.1:9" in last[0]
    assert last[1:] == ["log: logs/run_pilot.log", "by hand: tail -n 1 logs/run_pilot.log"]
    assert not (finished.folder / "results/run_pilot/pilot.json").exists()
