"""`python -m selfcodealign summary`: where the report is, and the numbers at its head."""

import argparse
import textwrap
from pathlib import Path

from selfcodealign.errors import UserError
from selfcodealign.report.results import read_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the tool understands."""
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the run's results (default: %(default)s)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Print the headline numbers of a finished run, its caveats, and the report's place."""
    path = arguments.results / "build_report" / "summary.json"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; run `snakemake --cores all` to the end, or name a folder with --results"
        )
    summary = read_json(path)
    wide = max((len(line["label"]) for line in summary["headlines"]), default=0)
    print()
    for line in summary["headlines"]:
        note = f"  ({line['note']})" if line["note"] else ""
        print(f"  {line['label']:<{wide}}  {line['value']:>9}{note}")
    for notice in summary["notices"]:
        print("\n" + textwrap.fill(notice, 100, initial_indent="  ", subsequent_indent="  "))
    print(f"\n  report: {Path(summary['report']).resolve()}\n")
