"""Print what a run will cost, stage by stage, before anything starts: by its pilot if there is one."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfcodealign import config as schema
from selfcodealign.cost import PARAMETERS, Stage, estimate
from selfcodealign.errors import UserError
from selfcodealign.pilot.page import short

PAPER_SEEDS = 248_934


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the tool's flags."""
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=[Path("config.yaml")],
        help="config files of the run (default: config.yaml); later ones override earlier ones",
    )
    parser.add_argument("--gpus", type=int, default=4, help="available GPUs, of the A100 80 GB class (default: 4)")
    parser.add_argument("--cores", type=int, default=64, help="available CPU cores (default: 64)")
    parser.add_argument("--seeds", type=int, help="seeds (default: gather_seeds.limit, otherwise the paper's 248,934)")
    parser.add_argument(
        "--functions", type=int, default=0, help="functions at the start of the seed stages (default: 0)"
    )
    parser.add_argument(
        "--pilot",
        type=Path,
        default=Path("results/run_pilot/pilot.json"),
        help="figures of a pilot, used instead of the paper's table if they exist (default: %(default)s)",
    )
    parser.add_argument("--parameters-b", type=float, help="parameters in billions (default: that of a known model)")


def main(arguments: argparse.Namespace) -> None:
    """Print the table."""
    values: dict[str, Any] = {}
    for file in arguments.configfile:
        values = schema.merged(values, schema.read(file))
    config = schema.load(schema.extended(values))
    if arguments.pilot.is_file() and not (arguments.seeds or arguments.functions or arguments.parameters_b):
        _by_pilot(arguments.pilot, config.model.base, arguments.gpus, arguments.cores)
        return
    parameters_b = arguments.parameters_b or PARAMETERS.get(config.model.base) or _counted(config.model.base)
    given = arguments.seeds or config.gather_seeds.limit
    seeds = given or PAPER_SEEDS
    as_many = f"{seeds:,} seeds" if given else f"{seeds:,} seeds, as in the paper (--seeds names your number)"
    samples, enough = config.write_responses.samples, config.write_responses.enough
    stages = estimate(parameters_b, seeds, samples, functions=arguments.functions)
    each = f"at most {samples} responses each" if enough else f"{samples} responses each"
    print(f"{config.model.base}, {parameters_b:.3g} B parameters, {as_many}, {each}")
    print(f"on {arguments.gpus} A100-class GPUs and {arguments.cores} cores; each row has them to itself\n")
    _table(stages, arguments.gpus, arguments.cores)
    print("Calibrated on the paper's cost table; a newer server or GPU is faster. Evaluation is not included.")
    if enough:
        print(f"Responses are an upper bound: after {enough} that pass, a task gets no more (write_responses.enough).")
    print("`python -m selfcodealign pilot` measures a few seeds here, and this table then goes by them.")


def _by_pilot(file: Path, base: str, gpus: int, cores: int) -> None:
    """Print what a pilot foresees of its run.

    Raises:
        UserError: the file is no pilot's, or that of another model.
    """
    try:
        pilot = json.loads(file.read_text())
        model, seeds, few = pilot["model"], pilot["forecast"]["seeds"], pilot["seeds"]["written_about"]
        stages = [
            Stage(
                f"{one['stage']} {one['branch']}".strip(),
                one["rows"],
                0,
                one["tokens_out"],
                one["hours"] * one["gpus"],
                0.0 if one["gpus"] else one["hours"],
                one["size"],
            )
            for one in pilot["forecast"]["stages"]
        ]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file} is no pilot's figures ({error}); delete it, or make it again") from error
    if Path(model).name != Path(base).name:
        raise UserError(f"{file} is of {model}, not of {base}; make the pilot again, or name another file with --pilot")
    print(f"{model}: about {seeds:,} seeds, extrapolated from a pilot of {few:,} ({file})")
    print(f"on {gpus} GPUs such as the pilot had and {cores} cores; each row has them to itself\n")
    _table(stages, gpus, cores)
    for name, (rows, low, high) in pilot["forecast"]["rows"].items():
        print(f"{name}: about {rows:,} rows ({low:,} to {high:,})")


def _table(stages: Sequence[Stage], gpus: int, cores: int) -> None:
    """Print one line for each stage and the sums."""
    names = ("tokens in", "tokens out", "GPU-h", "core-h", "wall h", "GB")
    wide = max(20, *(len(stage.name) for stage in stages))
    print(f"{'stage':{wide}} {'items':>11} " + " ".join(f"{name:>13}" for name in names))
    for stage in stages:
        hours = (stage.gpu_hours, stage.core_hours, stage.wall_hours(gpus, cores))
        print(
            f"{stage.name:{wide}} {stage.items:11,} {stage.tokens_in:13,} {stage.tokens_out:13,} "
            + " ".join(f"{short(value):>13}" for value in (*hours, stage.disk_bytes / 1e9))
        )
    wall = sum(stage.wall_hours(gpus, cores) for stage in stages)
    gpu = sum(stage.gpu_hours for stage in stages)
    disk = sum(stage.disk_bytes for stage in stages) / 1e9
    print(f"\nin all {short(gpu)} GPU-hours, {short(wall)} hours of wall time, {short(disk)} GB")


def _counted(model: str) -> float:
    """Estimate the parameters of a local model, in billions, from the size of its 16-bit weights."""
    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    if not files:
        raise UserError(f"the size of {model} is not known; name it with --parameters-b, in billions")
    total = 0
    for file in files:
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        for name, tensor in header.items():
            size = 1
            for length in tensor.get("shape", ()) if name != "__metadata__" else (0,):
                size *= length
            total += size
    return total / 1e9
