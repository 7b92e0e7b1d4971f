"""Print what a run will cost, stage by stage, before anything starts."""

import argparse
import json
from pathlib import Path
from typing import Any

from selfcodealign import config as schema
from selfcodealign.cost import PARAMETERS, estimate
from selfcodealign.errors import UserError

PAPER_SEEDS = 248_934


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the tool's flags."""
    parser.add_argument(
        "--configfile", type=Path, nargs="+", default=[Path("config.yaml")], help="later files override"
    )
    parser.add_argument("--gpus", type=int, default=4, help="GPUs at hand, of the A100 80 GB class (default: 4)")
    parser.add_argument("--cores", type=int, default=64, help="CPU cores at hand (default: 64)")
    parser.add_argument("--seeds", type=int, help="seeds (default: gather_seeds.limit, else the paper's 248,934)")
    parser.add_argument("--functions", type=int, default=0, help="functions that enter seed gathering (default: 0)")
    parser.add_argument("--parameters-b", type=float, help="parameters in billions (default: known for known models)")


def main(arguments: argparse.Namespace) -> None:
    """Print the table."""
    values: dict[str, Any] = {}
    for file in arguments.configfile:
        values = schema.merged(values, schema.read(file))
    config = schema.load(schema.extended(values))
    parameters_b = arguments.parameters_b or PARAMETERS.get(config.model.base) or _counted(config.model.base)
    given = arguments.seeds or config.gather_seeds.limit
    seeds = given or PAPER_SEEDS
    as_many = f"{seeds:,} seeds" if given else f"{seeds:,} seeds, as in the paper (--seeds names your number)"
    samples = config.write_responses.samples
    stages = estimate(parameters_b, seeds, samples, functions=arguments.functions)
    print(f"{config.model.base}, {parameters_b:.3g} B parameters, {as_many}, {samples} responses each")
    print(f"on {arguments.gpus} A100-class GPUs and {arguments.cores} cores; each row has them to itself\n")
    names = ("tokens in", "tokens out", "GPU-h", "core-h", "wall h", "GB")
    print(f"{'stage':20} {'items':>11} " + " ".join(f"{name:>13}" for name in names))
    for stage in stages:
        hours = (stage.gpu_hours, stage.core_hours, stage.wall_hours(arguments.gpus, arguments.cores))
        print(
            f"{stage.name:20} {stage.items:11,} {stage.tokens_in:13,} {stage.tokens_out:13,} "
            + " ".join(f"{_short(value):>13}" for value in (*hours, stage.disk_bytes / 1e9))
        )
    wall = sum(stage.wall_hours(arguments.gpus, arguments.cores) for stage in stages)
    gpu = sum(stage.gpu_hours for stage in stages)
    disk = sum(stage.disk_bytes for stage in stages) / 1e9
    print(f"\nin all {_short(gpu)} GPU-hours, {_short(wall)} hours of wall time, {_short(disk)} GB")
    print("Calibrated on the paper's cost table; a newer server or GPU is faster. Evaluation is not included.")


def _short(value: float) -> str:
    """Write a number with as many digits as an estimate has: two, or one decimal."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


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
