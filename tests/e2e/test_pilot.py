"""A pilot goes through every stage in a place of its own, and a run neither reads nor minds it."""

import json
import subprocess
import sys

FEW = "run_pilot={seeds: 6, judged: 2, tasks: 2}"
STAGES = [
    *("judge_seeds", "gather_seeds", "extract_concepts", "write_instructions", "write_responses"),
    *("sanitize_responses", "verify_responses", "select_responses", "decontaminate_dataset", "dedup_dataset"),
    *("augment_dataset", "build_dataset", "train_sft", "sample_solutions", "extract_programs", "execute_programs"),
]


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
