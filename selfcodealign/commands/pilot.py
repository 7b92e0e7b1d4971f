"""`python -m selfcodealign pilot`: try a run on a few seeds, and say what the whole will leave and take."""

import argparse
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from selfcodealign.errors import UserError
from selfcodealign.pipeline import ROOT

PAGE = Path("results/run_pilot/pilot.md")
WITH_HOW_MUCH = ("--cores", "-c", "--jobs", "-j", "--profile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the tool understands; other words go to Snakemake."""
    parser.epilog = (
        "Other options are passed to Snakemake, for example --profile profiles/slurm; the default is --cores all."
    )
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        help="config files of the run (default: config.yaml); later ones override earlier ones",
    )
    parser.add_argument("--seeds", type=int, help="seeds that every generation uses (default: run_pilot.seeds, 32)")


def command(arguments: argparse.Namespace) -> list[str]:
    """Write the Snakemake command line that makes the pilot.

    Raises:
        UserError: there is nothing to try it on, or there are no rules here.
    """
    if not (ROOT / "Snakefile").is_file():
        raise UserError(
            "pilot runs the rules of the pipeline, which pip does not install; clone its repository, and run it there"
        )
    if arguments.seeds is not None and arguments.seeds < 1:
        raise UserError(f"--seeds is {arguments.seeds}; give at least 1")
    rest: list[str] = list(arguments.rest)
    if arguments.seeds is not None:
        word = f"run_pilot={{seeds: {arguments.seeds}}}"
        # Of two --config Snakemake would take the last alone.
        place = next((number for number, one in enumerate(rest) if one in ("--config", "-C")), None)
        rest = [*rest, "--config", word] if place is None else [*rest[: place + 1], word, *rest[place + 1 :]]
    if not any(one.partition("=")[0].startswith(WITH_HOW_MUCH) for one in rest):
        rest += ["--cores", "all"]
    files = ["--configfile", *map(str, arguments.configfile)] if arguments.configfile else []
    return [sys.executable, "-m", "snakemake", "pilot", "--snakefile", str(ROOT / "Snakefile"), *files, *rest]


def main(arguments: argparse.Namespace) -> None:
    """Run the pilot where the run is, unless it is there already, and print its page last."""
    words = [part for word in arguments.rest for part in word.split("=", 1)]
    named = (after for word, after in pairwise(words) if word in ("--directory", "-d"))
    folder = Path(next(named, ""))
    # Snakemake is found beside this Python, and starts shells that look for it on PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(command(arguments), env={**os.environ, "PATH": path}, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    page = folder / PAGE
    if page.is_file():  # A dry run makes none.
        print("\n" + page.read_text())
