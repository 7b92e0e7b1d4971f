"""The examples of CONTRIBUTING.md do what it says, against the interfaces as they are."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selfcodealign.errors import UserError
from selfcodealign.evaluation.execution import Task, execute
from selfcodealign.evaluation.scoring import score
from selfcodealign.generation.backends import Request, Sampling
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.sandbox import Settings
from selfcodealign.stage import parser
from tests.seed_rows import DOUBLE, seed_row

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PLUGIN = "plugin/src/one_liners"


def example(name):
    """Load an example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{Path(name).name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_contributing_names_every_example():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = {path.name for path in EXAMPLES.iterdir()} - {"__pycache__"}
    assert found == set(re.findall(r"docs/examples/([\w.]+)", text))


def test_the_benchmark_is_read_judged_and_scored(tmp_path):
    benchmark = example(f"{PLUGIN}/benchmark").OneLiners()
    record = {
        "task_id": "abs/1",
        "prompt": "def absolute(x):\n",
        "solution": "    return abs(x)\n",
        "tests": ["assert absolute(-2) == 2"],
    }
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps(record) + "\n")
    (problem,) = benchmark.problems(file)
    assert benchmark.prompt(problem, "base").text == record["prompt"]
    tasks = [Task("right", problem, benchmark.canonical(problem)), Task("empty", problem, benchmark.empty(problem))]
    found = execute(benchmark, tasks, Settings(workers=1), tmp_path / "references")
    rows = [
        {"passed": benchmark.passed(found[task.id].groups), "groups": found[task.id].groups, "measures": {}}
        for task in tasks
    ]
    assert [row["passed"] for row in rows] == [True, False]
    kept_out = [passage for task in benchmark.tasks(file) for passage in benchmark.passages(task)]
    assert [(passage.kind, passage.text) for passage in kept_out] == [
        ("prompt", record["prompt"]),
        ("solution", record["solution"]),
    ]
    assert score(benchmark, [problem], {"abs/1": rows})["metrics"]["pass@1"]["value"] == 50.0


def test_the_backend_answers_by_id_and_says_why_it_cannot(tmp_path):
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"prompt": "one", "text": "1"}) + "\n")
    backend = example(f"{PLUGIN}/backend").ReplayBackend(ModelSettings(name=str(answers)), EngineSettings())
    asked = [Request(name, 0, lambda name=name: name) for name in ("one", "two", "done")]
    found = {answer.id: answer for answer in backend.complete(asked, Sampling(0.0, 1.0, 8), done={"done"})}
    assert (found["one"].text, found["two"].reason, len(found)) == ("1", "not_recorded", 2)
    with pytest.raises(UserError, match="cannot be read"):
        example(f"{PLUGIN}/backend").ReplayBackend(ModelSettings(name=str(tmp_path / "gone")), EngineSettings())


def test_the_stage_keeps_and_drops_with_a_funnel(tmp_path):
    stage = example("count_calls")
    busy = 'def busy(x):\n    """Busy."""\n    return ' + "str(" * 9 + "x" + ")" * 9
    write_rows(tmp_path / "seeds.parquet", SeedRow, [seed_row(DOUBLE), seed_row(busy)])
    files = {name: tmp_path / name for name in ("kept", "dropped", "funnel")}
    stage.main(tmp_path / "seeds.parquet", **files, settings=stage.CountCalls())
    assert [row["content"] for row in read_rows(files["kept"])] == [DOUBLE]
    assert [row["reason"] for row in read_rows(files["dropped"])] == ["many_calls"]
    counts = json.loads(files["funnel"].read_text())
    assert (counts["entered"], counts["kept"], counts["dropped"]) == (2, 1, {"many_calls": 1})


def test_the_stage_is_wired_into_the_chain_by_the_files_that_contributing_names(tmp_path):
    known = {flag for action in parser(example("count_calls").main)._actions for flag in action.option_strings}
    rule = (EXAMPLES / "stage.smk").read_text()
    assert set(re.findall(r"^\s+(--[a-z-]+) ", rule, re.MULTILINE)) <= known
    folder = tmp_path / "checkout"
    kept = (
        "Snakefile",
        "rules",
        "scripts",
        "selfcodealign",
        "config.yaml",
        "config",
        "prompts",
        "demo",
        "report",
        "profiles",
    )
    folder.mkdir()
    for name in kept:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    script = (EXAMPLES / "count_calls.py").read_text()
    section = re.search(r"^class CountCalls.*?(?=^def )", script, re.MULTILINE | re.DOTALL)[0]
    script = script.replace(section, "").replace("section import Count, Section", "seeds import CountCalls")
    (folder / "scripts" / "count_calls.py").write_text(script)
    config = folder / "selfcodealign" / "config"
    with (config / "seeds.py").open("a") as seeds:
        seeds.write("\n\n" + section)
    shutil.copy(EXAMPLES / "stage.smk", folder / "rules")
    changed(folder / "Snakefile", "rule all:", 'include: "rules/stage.smk"\n\n\nrule all:')
    text = (ROOT / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    entry, line = (block.replace("\n   ", "\n").lstrip() for block in blocks)
    changed(config / "config.py", "    decontaminate_seeds: Decon", f"    {line}    decontaminate_seeds: Decon")
    changed(config / "config.py", "    ClusterFunctions,\n", "    ClusterFunctions,\n    CountCalls,\n")
    pipeline = folder / "selfcodealign" / "pipeline.py"
    changed(pipeline, 'after=("filter_seeds",)', 'after=("count_calls",)')
    changed(pipeline, '"decontaminate_seeds": Stage', entry + '    "decontaminate_seeds": Stage')
    command = [str(Path(sys.executable).parent / "snakemake"), "--dry-run", "--printshellcmds"]
    command += ["--config", "count_calls={max_calls: 9}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    assert "Counting the calls of shard 00000" in printed
    assert "--max-calls 9" in printed.replace("=", " "), "its section reaches the script"
    assert "--seeds results/count_calls/00000.parquet" in printed, "the next stage takes its rows"
    for link in ("filter_seeds=count_calls", "count_calls=decontaminate_seeds"):
        assert link in printed, "its funnel is checked"
    assert "filter_seeds=decontaminate_seeds" not in printed


def changed(file, text, into):
    """Replace a text that stands once in a file."""
    whole = file.read_text()
    assert whole.count(text) == 1
    file.write_text(whole.replace(text, into))
