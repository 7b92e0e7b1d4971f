"""Every preset runs up to its model: seeds, benchmarks and both decontaminations, on small files as their authors
publish them. What a preset names on the network is put in its place by a second config file.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from demo import domain
from demo.domain import Task
from demo.formats import FORMATS, assertions
from scripts.make_demo_benchmark import held_out_tasks, row_of
from scripts.make_demo_shards import EVERYDAY, documented
from selfcodealign.config import Config, extended, load, read
from selfcodealign.config.benchmarks import only_kept_out
from selfcodealign.pipeline import RULES, before
from selfcodealign.rows import SelectedRow
from selfcodealign.rows_io import write_rows
from selfcodealign.seeds.stack import StackFile, write_shard
from tests.dataset_rows import selected_row

ROOT = Path(__file__).parent.parent.parent
PRESETS = sorted(path.name for path in (ROOT / "config").glob("*.yaml"))
RAW_SHARD = "data/the-stack.parquet"
PROBLEMS = 3
PUBLISHED = {
    "humaneval": "HumanEval.jsonl.gz",
    "mbpp": "mbpp.jsonl",
    "humaneval_plus": "HumanEvalPlus.jsonl.gz",
    "mbpp_plus": "MbppPlus.jsonl.gz",
    "livecodebench": "test.jsonl",
    **{f"evoeval_{kind}": f"EvoEval_{kind}.jsonl.gz" for kind in ("difficult", "creative", "subtle", "combine")},
    "evoeval_tool_use": "EvoEval_tool_use.jsonl.gz",
    "evalperf": "evalperf.parquet",
    "classeval": "ClassEval_data.json",
    "ds1000": "ds1000.jsonl.gz",
    "canitedit": "canitedit.parquet",
}
"""What the authors' files are called; their kind is what the name ends with."""


def records(name: str, tasks: list[Task]) -> list[dict[str, Any]]:
    """Write problems as a benchmark's authors do."""
    if name == "humaneval":
        return [
            row_of(number, task) | {"task_id": f"HumanEval/{number}"} for number, task in enumerate(tasks[:PROBLEMS])
        ]
    if name == "mbpp":
        names = ("task_id", "text", "code", "test_list")
        texts = [(domain.instruction_of(task), documented(task), [assertions(task, task.name)]) for task in tasks]
        return [dict(zip(names, (11 + number, *text), strict=True)) for number, text in enumerate(texts[:PROBLEMS])]
    write, each = FORMATS[name]
    found = [write(number, *tasks[each * number : each * (number + 1)]) for number in range(PROBLEMS)]
    if name == "evalperf":  # Published without the inputs that HumanEval+ has, and with its own as text.
        names = ("task_id", "entry_point", "reference", "scores")
        found = [{key: one[key] for key in names} | {"pe_input": json.dumps(one["pe_input"])} for one in found]
    return found


def publish(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write records in the kind of file that a name ends with."""
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.name.endswith(".json"):
        path.write_text(json.dumps(rows))
    else:
        path.write_bytes(gzip.compress(lines) if path.name.endswith(".gz") else lines)


class Place:
    """A folder with published files, in which the presets of one mode run one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data").mkdir()
        # The demo's benchmark has these tasks too, so one problem is to be kept out by every preset.
        tasks = [task for task, _ in zip(held_out_tasks("test", 0), range(2 * PROBLEMS), strict=False)]
        for name, file in PUBLISHED.items():
            publish(folder / "data" / file, records(name, tasks))
        self.prompt = json.loads(gzip.decompress((folder / "data/HumanEvalPlus.jsonl.gz").read_bytes()).split(b"\n")[0])
        functions = [documented(tasks[0]), *EVERYDAY]
        files = [
            StackFile("someone/lists", f"src/{number}.py", "MIT", text + "\n") for number, text in enumerate(functions)
        ]
        write_shard(folder / RAW_SHARD, files)

    def overlay(self, config: Config) -> Path:
        """Name the files here in place of those on the network and of the rehearsal's; other files stay as they are."""
        inputs = [f"results/fetch_benchmark/{name}.gz" for name in ("humaneval_plus", "mbpp_plus")]
        benchmarks = {}
        for name, own in config.benchmarks.items():
            benchmarks[name] = own.model_dump(exclude_unset=True)
            if not own.files or own.files[0].startswith("results/make_rehearsal_file/"):
                benchmarks[name]["file"] = [f"data/{PUBLISHED[name]}", *(inputs if name == "evalperf" else [])]
        written = self.folder / "overlay.yaml"
        kept_out = {name: f"data/{PUBLISHED[name]}" for name in only_kept_out(config)}
        data = {"raw_shards": [RAW_SHARD], "other_benchmarks": kept_out}
        written.write_text(yaml.safe_dump({"data": data, "benchmarks": benchmarks}))
        return written

    def run(self, preset: str) -> Config:
        """Run a preset up to what a model is needed for, and return its config."""
        config = load(extended(read(ROOT / "config" / preset), (ROOT,)))
        (earlier,) = before("decontaminate_dataset", config.mode)
        dataset = next(iter(config.datasets))
        # A model would have written these rows; one of them has a benchmark's problem for a task.
        rows = [selected_row(0), selected_row(1, instruction=self.prompt["prompt"])]
        write_rows(self.folder / f"results/{earlier}/{dataset}.parquet", SelectedRow, rows)
        command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2", "--directory", str(self.folder)]
        command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config" / preset)]
        command += [str(self.overlay(config)), "--allowed-rules", *(rule for rule in RULES if rule != earlier), "--"]
        command += ["results/decontaminate_seeds/00000.parquet", f"results/decontaminate_dataset/{dataset}.parquet"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return config

    def read(self, path: str) -> Any:
        return json.loads((self.folder / "results" / path).read_text())


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Place]:
    """A place for each mode: its presets share the seeds up to decontamination."""
    return {mode: Place(tmp_path_factory.mktemp(mode)) for mode in ("fixed", "reference")}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_up_to_its_model(preset, places):
    mode = load(extended(read(ROOT / "config" / preset), (ROOT,))).mode
    place = places[mode]
    config = place.run(preset)
    for name in config.benchmarks:
        about = place.read(f"fetch_benchmark/{name}.json")
        assert (about["benchmark"], about["problems"] >= PROBLEMS) == (name, True)
    name = "demo" if "demo" in config.benchmarks else "humaneval_plus"
    for stage, file in (("seeds", "00000"), ("dataset", next(iter(config.datasets)))):
        overlaps = place.read(f"decontaminate_{stage}/{file}.overlaps.json")
        funnel = place.read(f"decontaminate_{stage}/{file}.funnel.json")
        assert (sum(funnel["dropped"].values()), funnel["kept"] > 0) == (1, True)
        assert overlaps["benchmarks"][name]["rows_hit"] == 1
