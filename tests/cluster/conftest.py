"""A SLURM cluster with Apptainer and the images of the pipeline: the one that is there, or one of two nodes here."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfcodealign.images import locate
from tests.conftest import missing

APPTAINER = "/opt/apptainer/bin"
ISLANDS = ("data", "generate", "sandbox", "train", "evaluate")


def nodes() -> str:
    """Return what sinfo says of nodes that take jobs; empty without a cluster."""
    if shutil.which("sinfo") is None:
        return ""
    listed = subprocess.run(["sinfo", "-h", "-t", "idle,mix,alloc", "-o", "%D"], capture_output=True, text=True)
    return listed.stdout.strip()


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A SLURM cluster whose jobs can start the images of the pipeline."""
    if shutil.which("apptainer") is None and Path(APPTAINER).is_dir():
        os.environ["PATH"] = f"{APPTAINER}:{os.environ['PATH']}"
    if shutil.which("apptainer") is None:
        missing("Apptainer is not installed")
    lacking = [name for name in ISLANDS if not Path(locate(f"containers/{name}.sif")).exists()]
    if lacking:
        missing(f"no images of {', '.join(lacking)}: type `make images`, as root on Debian `make images DIRECTORIES=1`")
    if nodes():
        yield
        return
    scripts = Path(os.environ.get("SELFCODEALIGN_TEST_DATA", "")) / "infra"
    if os.getuid() != 0 or not (scripts / "slurm_up.sh").is_file():
        missing("no SLURM here: sinfo lists no nodes; as root on Debian, the tests' data can start a cluster")
    state = "/tmp/selfcodealign-slurm"
    # Its daemons keep what they inherit open: a pipe would never end.
    with tempfile.TemporaryFile("w+") as printed:
        subprocess.run(["bash", str(scripts / "slurm_up.sh"), state], stdout=printed, stderr=printed, check=False)
        printed.seek(0)
        started = printed.read()
    try:
        if not nodes():
            missing(f"SLURM did not start: {started[-1000:]}")
        yield
    finally:
        subprocess.run(["bash", str(scripts / "slurm_down.sh"), state], check=False)
