"""Every preset plans its whole run: a dry run gives the full DAG, with few enough jobs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PRESETS = sorted(path.name for path in (ROOT / "config").glob("*.yaml"))
MOST_JOBS = 10_000


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_plans_its_whole_run(preset, tmp_path):
    # What the presets ask the user to put there; a dry run looks at names only.
    (tmp_path / "data").mkdir()
    for name in ("evalperf.parquet", "canitedit.parquet"):
        (tmp_path / "data" / name).touch()
    snakemake = str(Path(sys.executable).parent / "snakemake")
    command = [snakemake, "--dry-run", "--quiet", "rules", "--directory", str(tmp_path)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config" / preset)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    jobs = re.search(r"^total +(\d+)", printed, re.MULTILINE)
    assert jobs, printed[-3000:]
    assert int(jobs[1]) < MOST_JOBS
    assert re.search(r"^train_sft +\d", printed, re.MULTILINE)
