"""The model that writes and the one that is fine-tuned are named apart."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONFIG = """
extends: config.yaml
model: {base: org/student}
generations:
  self: {}
  teacher: {model: org/teacher, revision: abc}
datasets:
  passing: {generation: self}
  distilled: {generation: teacher}
models:
  aligned: {dataset: passing}
  taught: {dataset: distilled}
"""


def test_each_generation_has_its_writer_and_every_model_its_base(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    snakemake = str(Path(sys.executable).parent / "snakemake")
    command = [snakemake, "--dry-run", "--printshellcmds", "--directory", str(tmp_path / "run")]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    writers = {}
    for text in re.findall(r"python \S*write_responses\.py.*?(?=\n\s*\n|\Z)", done.stdout + done.stderr, re.S):
        work = re.search(r"--work \S*write_responses/(\w+)/", text)[1]
        model = re.search(r"--model (\S+)", text)[1], re.search(r"--revision (\S+)", text)[1]
        writers.setdefault(work, set()).add(model)
    assert writers["teacher"] == {("org/teacher", "abc")}
    assert writers["self"] == {("org/student", "main")}
    assert set(re.findall(r"--base (\S+)", done.stdout + done.stderr)) == {"org/student"}
