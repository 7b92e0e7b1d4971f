"""`python -m selfcodealign trace ID`: the whole ancestry of a row on the terminal."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from selfcodealign.trace import ancestry, offspring, render, whole_id


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the tool understands."""
    parser.add_argument(
        "id",
        metavar="ID",
        help="id of a row of any stage, or the beginning of an id: res-0123456789abcdef0123, res-01234567",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the run's results (default: %(default)s)"
    )
    parser.add_argument("--full", action="store_true", help="print long texts in full")


def main(arguments: argparse.Namespace) -> None:
    """Print function → seed → concepts → instruction → response and verdict → dataset row, and each drop's reason."""
    terminal = sys.stdout.isatty()
    row_id = whole_id(arguments.results, arguments.id)
    text = render(
        ancestry(arguments.results, row_id),
        offspring(arguments.results, row_id),
        row_id,
        width=min(shutil.get_terminal_size((100, 24)).columns, 120),
        max_lines=None if arguments.full else 30,
        colour=terminal and "NO_COLOR" not in os.environ,
    )
    sys.stdout.write(text)
