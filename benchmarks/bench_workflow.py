"""What Snakemake itself costs on the demo: `python benchmarks/bench_workflow.py [--config FILE]`.

Runs the demo on one core in a folder of its own, so that jobs follow each other, and compares the wall time of the run
with that of its jobs, which Snakemake measures around each command. The rest is parsing, planning and bookkeeping.
`dry run` is the same plan with nothing to run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import history  # noqa: E402

GOAL = 0.15
PRESETS = {"config.yaml": "demo"}
"""What presets are called in the history."""


def timed(folder: Path, config: str, *words: str) -> float:
    """Run Snakemake in a folder and return its wall seconds."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    command += ["--directory", str(folder), "--configfile", str(ROOT / config), *words]
    environment = {**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="config.yaml", help="preset to run (default: the demo)")
    history.add_flag(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wall_s = timed(folder, arguments.config)
        dry_s = min(timed(folder, arguments.config, "--dry-run", "--quiet") for _ in range(3))
        jobs = [json.loads(line)["s"] for path in folder.rglob("timings/**/*.jsonl") for line in path.open()]
    overhead = 1 - sum(jobs) / wall_s
    figures = {"jobs": len(jobs), "wall_s": round(wall_s, 1), "in_jobs_s": round(sum(jobs), 1)}
    figures |= {"dry_run_s": round(dry_s, 2), "overhead": round(overhead, 3)}
    print(json.dumps({**figures, "goal": f"at most {GOAL}"}), flush=True)
    history.write(arguments.history, "workflow", {PRESETS.get(arguments.config, arguments.config): figures})


if __name__ == "__main__":
    main()
