"""Try a run on a few seeds, in a run of its own with the same rules, and say what the whole will leave and take."""

import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfcodealign.config.config import Config
from selfcodealign.config.pilot import RunPilot
from selfcodealign.errors import UserError
from selfcodealign.failures import has_failed, sentence, tail
from selfcodealign.models import title
from selfcodealign.pilot import findings, forecast, measure, setup
from selfcodealign.pilot.page import page as written
from selfcodealign.plan import Plan
from selfcodealign.rows_io import write_json, write_text
from selfcodealign.stage import run

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
FIRST = ("judge_seeds", "extract_concepts", "write_instructions")
"""Stages without which nothing was measured; the last of them is where every generation goes through."""


def command(work: Path, config: Config, arguments: list[str]) -> list[str]:
    """Write the command line of the pilot's own Snakemake; jobs that do not depend on a failed one go on."""
    return [
        *(sys.executable, "-m", "snakemake", *setup.targets(config)),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(work), "--configfile", str(work / "config.json")),
        # The lock of the run that this job is a part of holds others off.
        *("--nolock", "--rerun-incomplete", "--keep-going", *arguments),
    ]


def prepared(files: list[Path], config: Config, results: Path, work: Path, shards: int = 1) -> int:
    """Write the seeds and the config of a pilot; returns how many seeds its run has before the judge.

    A pilot of the same seeds under the same config goes on where it was stopped. Any other begins afresh, since what is
    left of another one would be measured too.
    """
    chosen, fresh = work / "seeds.parquet", work / "fresh.parquet"
    text = setup.written(setup.derived(config, results, chosen, shards))
    there = setup.choose(files, setup.shown(config), config.seed, fresh)
    known = [(chosen, fresh.read_bytes()), (work / "config.json", text.encode())]
    if not all(path.is_file() and path.read_bytes() == content for path, content in known):
        shutil.rmtree(work)
        for path, content in known:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    fresh.unlink(missing_ok=True)
    return there


def seeing(folder: Path) -> dict[str, str]:
    """Return this environment with a folder that containers see too: the run's, where the pilot's files point to."""
    bound = [os.environ.get("APPTAINER_BIND", ""), str(folder)]
    return {**os.environ, "APPTAINER_BIND": ",".join(filter(None, bound))}


def failed(work: Path) -> list[str]:
    """List why jobs of the pilot failed, by their logs, in the order in which they ended."""
    logs = sorted((work / "logs").rglob("*.log"), key=lambda path: path.stat().st_mtime)
    ended = [(path, tail(path)) for path in logs]
    return [
        f"{path.relative_to(work / 'logs').with_suffix('')}: {sentence(text).removeprefix('error: ')}"
        for path, text in ended
        if has_failed(text)
    ]


def gpus(config: Config, there: bool) -> dict[str, int]:
    """Count the GPUs of a job in which a model answers, by what asks it: judge_seeds, a generation, a model.

    Args:
        config: the run's.
        there: whether jobs find a GPU.
    """
    plan = Plan(config, [])
    engines = {"judge_seeds": plan.judges_engine()}
    engines |= {f"generations.{name}": plan.engine(name) for name in config.generations}
    engines |= {f"models.{name}": plan.subjects_engine(name) for name in plan.evaluated}

    def of(engine: dict[str, Any]) -> int:
        device = str(engine["device"])
        if engine["backend"] == "vllm":
            return max(1, int(engine["tensor_parallel"]))
        return int(engine["backend"] == "transformers" and (device.startswith("cuda") or (device == "auto" and there)))

    return {name: of(engine) for name, engine in engines.items()}


def record(
    config: Config, results: Path, shards: int, before_judge: int, work: Path, *, gpu: bool, style: str
) -> dict[str, Any]:
    """Read what a pilot did, and extrapolate it.

    Args:
        config: the run's.
        results: folder of the run's results.
        shards: files that the run's judge reads.
        before_judge: seeds in them.
        work: folder of the pilot's run.
        gpu: whether jobs find a GPU.
        style: what is to say of how the base model is asked; empty for nothing.

    Raises:
        UserError: no stage in which a model writes has finished; the sentence is that of the job that failed.
    """
    few = Config.model_validate_json((work / "config.json").read_text())
    pilot = measure.measured(work, few)
    why = failed(work)
    if not any(one.stage in FIRST[1:] and one.entered for one in pilot.values()):
        raise UserError(f"the pilot came to no answer: {why[0] if why else 'see the lines above'}")
    reference = config.mode == "reference"
    functions = setup.from_functions(config)
    judged = measure.judged(work, config.judge_seeds.threshold or 0.0, reference)
    if not functions:
        judged = (before_judge, before_judge, before_judge)
        pilot.pop("judge_seeds", None)
    about = {name: results / f"fetch_benchmark/{name}.json" for name in config.benchmarks}
    whole = forecast.foreseen(
        forecast.Run(
            config,
            shards,
            before_judge,
            {name: int(json.loads(path.read_text())["problems"]) for name, path in about.items()},
            gpus(config, gpu),
            gpu,
            few.gather_seeds.shards,
        ),
        pilot,
        judged,
    )
    wrong = findings.found(config, pilot, judged, whole, style)
    return {
        "model": title(config.model.base),
        "judged": functions,
        "seeds": {
            "before_judge": before_judge,
            "shown": judged[0],
            "scored": judged[1],
            "kept": judged[2],
            "written_about": pilot["gather_seeds"].kept if "gather_seeds" in pilot else 0,
        },
        "stages": [asdict(one) | {"tokens_per_s": one.tokens_per_s} for one in pilot.values()],
        "texts": measure.texts(work, few),
        "failed": why,
        "findings": [asdict(one) for one in wrong],
        "forecast": {
            "seeds": whole.seeds,
            "rows": whole.rows,
            "gpu_hours": whole.gpu_hours,
            "cpu_hours": whole.cpu_hours,
            "gb": whole.size / 1e9,
            "stages": [asdict(cost) | {"gb": cost.size / 1e9} for cost in whole.costs],
            "notes": whole.notes,
        },
    }


def main(
    before_judge: list[Path],
    pilot: Path,
    page: Path,
    *,
    work: Path,
    results: Path,
    config: str,
    arguments: list[str],
    gpu: bool = False,
    style: str = "",
    settings: RunPilot,
) -> None:
    """Try a run on a few seeds, in a run of its own with the same rules.

    Args:
        before_judge: seeds as the judge reads them (SeedRow).
        pilot: what was measured and foreseen, as JSON.
        page: the same for people, as Markdown.
        work: folder of the pilot's own run; a killed pilot goes on from there.
        results: folder of the run's results.
        config: the run's config, as JSON.
        arguments: words of Snakemake's command line that say where and with how much jobs run.
        gpu: whether jobs find a GPU.
        style: what is to say of how the base model is asked, if anything.

    Raises:
        UserError: there are no seeds, the folder cannot be written to, or no model answered.
    """
    whole = Config.model_validate_json(config)
    whole.run_pilot = settings
    work = work.absolute()
    shards = 1 if gpu or whole.demo else min(setup.SHARDS, whole.gather_seeds.shards)
    try:
        there = prepared(before_judge, whole, results, work, shards)
    except OSError as error:
        raise UserError(f"the pilot's folder {work} cannot be written to: {error.strerror}; mend that") from error
    few = Config.model_validate_json((work / "config.json").read_text())
    tried = min(setup.shown(whole), there)
    log.info("%d of %d seeds are tried, %d written about, in %s", tried, there, settings.seeds, work)
    subprocess.run(command(work, few, arguments), env=seeing(Path.cwd()), check=False)
    found = record(whole, results, len(before_judge), there, work, gpu=gpu, style=style)
    write_json(pilot, found)
    write_text(page, written(found))
    print(written(found))


if __name__ == "__main__":
    run(main)
