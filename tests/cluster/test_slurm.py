"""On a SLURM cluster, in containers, the pipeline makes the bytes of a local run, whatever is killed in between."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import Checkout

pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("cluster")]

CONFIG = "tests/cluster/small.yaml"
DATASET = "results/build_dataset/passing/**/*.parquet"
# The test cluster is small: every job must fit its nodes and its partition's time limit.
LIMITS = {"mem_mb": 1_500, "runtime": 30}
# Root in a container may not make namespaces, so the sandbox becomes another user, which takes these rights.
AS_ROOT = "--add-caps CAP_SETUID,CAP_SETGID,CAP_SYS_ADMIN,CAP_KILL"
# A job here takes 7 s, most of it two starts of Snakemake, and twice as long where other tests run beside; after a look
# in vain the next one is 10 s later.
QUICK = (
    *("--profile", "profiles/slurm", "--jobs", "3", "--latency-wait", "15"),
    *("--seconds-between-status-checks", "2", "--slurm-init-seconds-before-status-checks", "12"),
)


def on_cluster(*more: str) -> list[str]:
    """Return the words of a run on the test cluster: every rule's resources fit it."""
    rules = re.findall(r"^rule (\w+):", "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")), re.M)
    limits = [f"{rule}:{key}={value}" for rule in rules for key, value in LIMITS.items()]
    rights = [f"--apptainer-args={AS_ROOT}"] if os.getuid() == 0 else []
    return [*QUICK, "--sdm", "apptainer", *rights, *more, "--set-resources", *limits]


def queue(rule: str = "", state: str = "R") -> list[tuple[str, str]]:
    """List number and node of the jobs in a state, of one rule or all."""
    shown = subprocess.run(["squeue", "-h", "--me", "-t", state, "-o", "%i|%N|%k"], capture_output=True, text=True)
    rows = [line.split("|") for line in shown.stdout.splitlines()]
    return [(number, node) for number, node, comment in rows if rule in comment]


class Run:
    """A run on the cluster in the background."""

    def __init__(self, checkout: Checkout, *words: str) -> None:
        self.log = checkout.folder / "run.log"
        stream = self.log.open("wb")
        command = checkout.command(*words)
        self.main = subprocess.Popen(command, cwd=checkout.folder, stdout=stream, stderr=stream, start_new_session=True)

    def wait_for(self, what: str, found: Callable[[], Any], limit_s: float = 400) -> Any:
        """Wait until something is found; the run must be alive till then."""
        end = time.monotonic() + limit_s
        while not (answer := found()):
            assert self.main.poll() is None, f"the run ended before {what}:\n{self.log.read_text()[-6000:]}"
            assert time.monotonic() < end, f"{what} did not come in {limit_s} s:\n{self.log.read_text()[-6000:]}"
            time.sleep(0.2)
        return answer

    def kill(self) -> None:
        """Kill the main process alone, as a login node does; its jobs go on until they are cancelled."""
        os.kill(self.main.pid, signal.SIGKILL)
        self.main.wait()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the dataset was made on this machine, without containers."""
    checkout = Checkout(tmp_path_factory.mktemp("local") / "checkout", CONFIG)
    checkout.run("results/build_dataset/passing", "--cores", "2")
    return checkout


def test_whatever_is_killed_the_run_ends_in_the_local_bytes(local, tmp_path):
    remote = Checkout(tmp_path / "remote", CONFIG)
    run = Run(remote, *on_cluster())

    (job, _), *_ = run.wait_for("a job that writes concepts", lambda: queue("extract_concepts"))
    subprocess.run(["scancel", job], check=True)
    run.wait_for("a second try", lambda: "Trying to restart job" in run.log.read_text())

    (job, node), *_ = run.wait_for("a job that writes instructions", lambda: queue("write_instructions"))
    change_node = ["scontrol", "update", f"nodename={node}"]
    subprocess.run([*change_node, "state=down", "reason=test"], check=True)
    try:
        run.wait_for("the job's end", lambda: (job, node) not in queue())
    finally:
        # A node whose daemon is alive may have come back by itself, and then there is nothing to resume.
        subprocess.run([*change_node, "state=resume"], check=False)

    written = "work/write_responses/self/*/ledger.jsonl"
    run.wait_for("responses", lambda: any(path.stat().st_size for path in remote.folder.glob(written)))
    run.kill()
    subprocess.run(["scancel", "--me"], check=True)
    while queue(state="PD,R,CG"):
        time.sleep(0.2)
    assert not list(remote.folder.glob(DATASET))
    subprocess.run(remote.command("--unlock"), cwd=remote.folder, capture_output=True, check=True, timeout=120)

    printed = remote.run(*on_cluster(), timeout_s=900)
    assert "sbatch" in printed or "submitted with SLURM jobid" in printed
    assert remote.bytes_of(DATASET) == local.bytes_of(DATASET)
    recorded = json.loads((remote.folder / "results/provenance.json").read_text())
    assert all(image["digest"].startswith("sha256:") for image in recorded["images"].values())
    assert (remote.folder / "results/report.html").is_file()


GROWING = """
rule grow:
    output: "done.txt"
    resources: mem_mb=lambda wildcards, attempt: 300 * attempt
    shell: "scontrol -o show job $SLURM_JOB_ID >> tried.txt; [ $(wc -l < tried.txt) = 2 ] && touch {output}"
"""


def test_a_second_try_gets_more_memory_from_the_scheduler(tmp_path):
    (tmp_path / "Snakefile").write_text(GROWING)
    profile = tmp_path / "profiles/slurm"
    profile.parent.mkdir()
    profile.symlink_to(ROOT / "profiles/slurm")
    done = subprocess.run(
        [str(ROOT / ".venv/bin/snakemake"), *QUICK, "--set-resources", "grow:runtime=5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tries = (tmp_path / "tried.txt").read_text().splitlines()
    assert [re.search(r"MinMemoryNode=(\w+)", line)[1] for line in tries] == ["300M", "600M"]
    assert len({re.search(r"JobId=(\d+)", line)[1] for line in tries}) == 2


def test_two_nodes_train_one_model(local):
    target = "results/train_sft/aligned"
    # By time alone: otherwise all that ran outside containers would run again inside.
    local.run(target, "--config", "train_sft={nodes: 2}", *on_cluster("--rerun-triggers", "mtime"))
    assert "2 process(es)" in (local.folder / target / "README.md").read_text()
    assert list((local.folder / target).glob("*.safetensors"))


def test_a_failed_job_prints_one_command_that_runs_it_again_in_its_container(tmp_path):
    checkout = Checkout(tmp_path / "checkout", CONFIG)
    target = "results/make_demo_benchmark/tasks.jsonl"
    domain = checkout.folder / "demo/domain.py"
    good = domain.read_text()
    domain.write_text("raise SystemExit('broken')\n" + good)
    words = ("--cores", "1", "--sdm", "apptainer")
    failed = subprocess.run(checkout.command(target, *words), cwd=checkout.folder, capture_output=True, text=True)
    assert failed.returncode != 0
    log = (checkout.folder / "logs/make_demo_benchmark.log").read_text()
    command = re.search(r"^To run this job by hand: (.*)$", log, re.M)[1]
    assert " apptainer exec " in command
    domain.write_text(good)
    subprocess.run(["bash", "-c", command], cwd="/", check=True, timeout=120)
    assert (checkout.folder / target).is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--default-resources", "slurm_partition=nowhere"), "the cluster has no partition nowhere"),
        (("--config", "containers={data: images/data.sif}"), "there is no image images/data.sif of the island data"),
        (("--config", "container_digests={data: 'sha256:00'}"), "container_digests.data wants sha256:00"),
    ],
)
def test_what_cannot_work_stops_the_run_before_the_first_job(tmp_path, words, sentence):
    checkout = Checkout(tmp_path / "checkout", CONFIG)
    command = checkout.command("results/make_demo_benchmark/tasks.jsonl", *on_cluster(), *words)
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, timeout=120, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert sentence in printed
    assert "Traceback" not in printed
    assert "submitted" not in printed
    assert not (checkout.folder / "results").exists() or not list(Path(checkout.folder, "results").rglob("*.jsonl"))
