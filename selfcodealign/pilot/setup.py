"""What the pilot of a run is: its seeds, and its config, which is the run's own with less of everything."""

import heapq
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfcodealign.config.benchmarks import only_kept_out
from selfcodealign.config.config import Config
from selfcodealign.config.pilot import RunPilot
from selfcodealign.config.tables import BASE
from selfcodealign.errors import UserError
from selfcodealign.ids import seed_for
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import read_rows, write_rows

SHARDS = 2
"""On CPUs two jobs answer side by side, as those of the run do. There is one on a GPU, which each would load anew, and
of the toy model, whose start takes longer than its answers."""
EPOCHS = 2
"""Of the pilot's training: few rows make a step or two, of which the first warms up."""
STEPS_NEVER_SAVED = 1_000_000
"""More steps than a training has: the pilot's needs no checkpoint on its way."""


def choose(files: Iterable[Path], count: int, run_seed: int, chosen: Path) -> int:
    """Write so many of the seeds in `files`, drawn by a hash of their ids, so that order and shards do not matter.

    Returns:
        how many seeds there are in all; one that is there twice counts once.

    Raises:
        UserError: there are none.
    """
    files = list(files)
    ids = {row["id"] for row in read_rows(files, ["id"])}
    if not ids:
        raise UserError(
            f"there is no seed to try: the {len(files)} files {files[0] if files else ''} … hold no row; the funnels "
            "of the stages before (results/*/*.funnel.json) say where they went"
        )
    drawn = set(heapq.nsmallest(count, ids, key=lambda row_id: (seed_for(run_seed, "run_pilot", row_id), row_id)))
    rows: dict[str, dict[str, Any]] = {}
    for row in read_rows(files, list(SeedRow.model_fields)):
        if row["id"] in drawn:
            rows.setdefault(row["id"], row)
    write_rows(chosen, SeedRow, (rows[row_id] for row_id in sorted(rows)))
    return len(ids)


def from_functions(config: Config) -> bool:
    """Whether a generation starts from judged functions, so that the judge is part of the run."""
    return any(one.seeds == "functions" for one in config.generations.values())


def shown(config: Config) -> int:
    """Count the seeds that the pilot draws: more than it writes about where a judge drops some.

    A share that is kept is known beforehand; a quarter more is for seeds that get no score.
    """
    few = config.run_pilot
    if not from_functions(config):
        return few.seeds
    most, share = few.seeds * few.judged, config.judge_seeds.keep_share
    return min(most, math.ceil(1.25 * few.seeds / share)) if share else most


def generations(config: Config) -> dict[str, str]:
    """Tell for each generation which one stands for it in the pilot: one that differs by its seed alone.

    What a model writes that this run has yet to train is taken to be like what its base model writes.
    """
    found: dict[str, str] = {}
    firsts: dict[str, str] = {}
    order = sorted(
        config.generations,
        key=lambda name: (_trained(config, name), config.generations[name].answers is not None),
    )
    for name in order:
        one = config.generations[name].model_copy(update={"seed": None, "seeds": "functions"})
        if one.answers is not None:
            one = one.model_copy(update={"answers": found[one.answers]})
        if _trained(config, name):
            one = one.model_copy(update={"model": None, "revision": "main"})
            found[name] = firsts.get(one.model_dump_json(), next(iter(firsts.values())))
        else:
            found[name] = firsts.setdefault(one.model_dump_json(), name)
    return {name: found[name] for name in config.generations}


def _trained(config: Config, generation: str) -> bool:
    """Whether what a generation is made of comes from a model that this run trains."""
    one = config.generations[generation]
    return one.model in config.models or (one.answers is not None and _trained(config, one.answers))


def datasets(config: Config) -> dict[str, str]:
    """Tell for each dataset which one stands for it in the pilot: one selected alike of the generation's stand-in."""
    writers = generations(config)
    firsts: dict[tuple[str, str], str] = {}
    found = {}
    for name, one in config.datasets.items():
        settings = one.model_dump_json(exclude={"generation", "equal_rows_with", "seed_shards"})
        found[name] = firsts.setdefault((writers[one.generation], settings), name)
    return found


def trained(config: Config) -> str | None:
    """Name the model that the pilot trains: the first one that is like a fine-tuning of the base; None if none is."""
    return next((name for name in config.models if config.run_pilot.train and measured_by_the_base(config, name)), None)


def measured_by_the_base(config: Config, model: str) -> bool:
    """Whether a training is like any other fine-tuning of the base model on data of this run, however mixed."""
    one = config.models[model]
    return one.objective == "sft" and one.start == BASE and set(one.weights) <= set(config.datasets)


def derived(config: Config, results: Path, seeds: Path, shards: int = 1) -> Config:
    """Make the pilot's config: the run's, with few seeds and few tasks, all files where the run has them.

    Args:
        config: the run's, its paths as seen from the working folder.
        results: folder of the run's results, with its benchmarks and whatever else its config names there.
        seeds: the pilot's seeds.
        shards: shards into which they are gathered.
    """
    few: RunPilot = config.run_pilot
    writers, selected = generations(config), datasets(config)
    problems = results.absolute() / "fetch_benchmark"
    values = config.model_dump(mode="json")
    values["rounds"] = 1
    values["data"] |= {
        "seeds": str(seeds),
        "kept_out": [],
        "other_benchmarks": {
            **values["data"]["other_benchmarks"],
            **{name: str(problems / f"{name}.gz") for name in only_kept_out(config)},
        },
    }
    values["judge_seeds"]["keep_at_least"] = few.seeds
    values["gather_seeds"] |= {"shards": shards, "limit": few.seeds}
    values["generations"] = {
        name: one | {"seeds": "functions", "answers": writers.get(one["answers"])}
        for name, one in values["generations"].items()
        if writers[name] == name
    }
    values["datasets"] = {
        name: one | {"generation": writers[one["generation"]], "equal_rows_with": [], "seed_shards": None}
        for name, one in values["datasets"].items()
        if selected[name] == name
    }
    model = trained(config)
    values["models"] = {} if model is None else {model: _briefly(values["models"][model], selected)}
    values["benchmarks"] = {
        name: one | {"file": str(problems / f"{name}.gz"), "tasks": min(few.tasks, one["tasks"] or few.tasks)}
        for name, one in values["benchmarks"].items()
    }
    values |= {"evaluate_base": True, "tables": {}, "paper_models": {}, "other_models": {}, "other_datasets": {}}
    for section, key in ((values["model"], "base"), (values["judge_seeds"], "model")):
        section[key] = _anchored(section[key], any_name=True)
    for one in values["generations"].values():
        if one["tasks"]:
            one["tasks"]["limit"] = min(few.seeds, one["tasks"]["limit"] or few.seeds)
        one["model"] = _anchored(one["model"], any_name=True)
    return Config.model_validate(_anchored(values))


def _briefly(model: dict[str, Any], selected: dict[str, str]) -> dict[str, Any]:
    """Return a model's entry for few steps without a checkpoint or rows held out."""
    short = {"epochs": EPOCHS, "save_every_steps": STEPS_NEVER_SAVED, "validation_share": 0.0, "keep": "last"}
    first = model["dataset"] if isinstance(model["dataset"], str) else next(iter(model["dataset"]))
    return model | {"dataset": selected[first], "settings": model["settings"] | short, "benchmarks": []}


def _anchored(value: Any, any_name: bool = False) -> Any:
    """Make every relative path that leads somewhere absolute, since the pilot runs in another folder.

    A name without a slash or a dot may be an entry's as well as a folder's; it is a path where `any_name` says so.
    """
    if isinstance(value, dict):
        return {key: _anchored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_anchored(item) for item in value]
    if not isinstance(value, str) or not value.strip() or not (any_name or "/" in value or "." in value):
        return value
    path = Path(value).expanduser()
    try:
        return str(path.absolute()) if path.exists() else value
    except (OSError, ValueError):  # A text that is too long to be a path, or has a NUL in it.
        return value


def targets(config: Config) -> list[str]:
    """List the files that the pilot's run makes, of its config: every generation, dataset, benchmark and model."""
    return [
        *(
            f"results/verify_responses/{name}/{shard:05d}.parquet"
            for name in config.generations
            for shard in range(config.gather_seeds.shards)
        ),
        *(f"results/build_dataset/{name}" for name in config.datasets),
        *(f"results/execute_programs/base/{name}.parquet" for name in config.benchmarks),
        *(f"results/train_sft/{name}" for name in config.models),
    ]


def written(config: Config) -> str:
    """Write a config as a file that `--configfile` takes."""
    return json.dumps(config.model_dump(mode="json"), indent=1)
