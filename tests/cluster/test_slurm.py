"""On a SLURM cluster the pipeline makes the bytes of a local run, whatever is killed in between."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.conftest import ROOT, missing
from tests.e2e.conftest import Checkout

pytestmark = pytest.mark.timeout(2400)

# The test cluster is small: every job must fit its nodes and its partition's time limit.
LIMITS = {"mem_mb": 1_500, "runtime": 30}
QUICK = (
    *("--profile", "profiles/slurm", "--jobs", "4", "--latency-wait", "15"),
    *("--seconds-between-status-checks", "2", "--slurm-init-seconds-before-status-checks", "2"),
)
DATASET = "results/build_dataset/passing/**/*.parquet"


def fitted() -> list[str]:
    """Set every rule's resources to what the test cluster has."""
    rules = re.findall(r"^rule (\w+):", "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")), re.M)
    return ["--set-resources", *(f"{rule}:{key}={value}" for rule in rules for key, value in LIMITS.items())]


@pytest.fixture(scope="module")
def cluster() -> None:
    """A SLURM cluster with idle nodes."""
    if shutil.which("sinfo") is None:
        missing("no SLURM here: start a cluster, so that sinfo lists idle nodes")
    idle = subprocess.run(["sinfo", "-h", "-t", "idle,mix,alloc", "-o", "%D"], capture_output=True, text=True)
    if not idle.stdout.strip():
        missing("SLURM has no usable nodes: sinfo lists none")


@pytest.mark.usefixtures("cluster")
def test_jobs_cancelled_and_the_main_process_killed_the_run_ends_in_the_local_bytes(finished, tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("cluster") / "checkout")
    words = [*QUICK, *fitted()]
    log = (checkout.folder / "killed.log").open("wb")
    main = subprocess.Popen(
        checkout.command(*words), cwd=checkout.folder, stdout=log, stderr=log, start_new_session=True
    )
    end = time.monotonic() + 900
    while not list(checkout.folder.glob("work/write_responses/self/*/ledger.jsonl")):
        printed = (checkout.folder / "killed.log").read_text()
        assert main.poll() is None, printed[-4000:]
        assert time.monotonic() < end, printed[-4000:]
        time.sleep(0.5)
    os.killpg(main.pid, signal.SIGKILL)
    main.wait()
    subprocess.run(["scancel", "--me"], check=True)
    subprocess.run(checkout.command("--unlock"), cwd=checkout.folder, capture_output=True, check=True, timeout=120)
    checkout.run(*words, timeout_s=1500)
    assert checkout.bytes_of(DATASET) == finished.bytes_of(DATASET)
