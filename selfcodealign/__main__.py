"""One command for people: `python -m selfcodealign <tool>`, and `selfcodealign <tool>` where the wheel is installed.

Each tool is a module of `commands/`.
"""

import argparse
import importlib
import sys
from pathlib import Path

from selfcodealign import __version__
from selfcodealign.errors import one_line_errors
from selfcodealign.extras import missing_packages_named

TOOLS = {
    "status": "print the progress of a run: jobs, rows, rate, remaining time and failures of every stage",
    "summary": "print the path of the report and the main numbers",
    "trace": "print all rows from which a kept or dropped row was made",
    "prompt": "print the exact prompt that a row was generated from",
    "sandbox": "run programs with their tests in isolation, and write verdicts",
    "serve": "serve the verdicts of the sandbox over HTTP",
    "evaluate": "score samples of a benchmark",
    "plan-training": "estimate whether a fine-tuning run fits into memory",
    "pilot": "try a run on a few seeds: rows of each stage, cost of the whole run, problems",
    "cost": "estimate GPU-hours, tokens, disk and wall time of a run before it starts",
    "publish": "push a finished dataset or model to the Hugging Face Hub",
    "config": "write the config's JSON schema and its page of documentation",
}


PASSED_ON = {"pilot"}
"""Tools that hand words which they do not know to another program (`arguments.rest`)."""


def main(argv: list[str] | None = None) -> None:
    """Parse the name of a tool, import only that tool, and run it."""
    arguments = sys.argv[1:] if argv is None else argv
    called = "selfcodealign" if Path(sys.argv[0]).name == "selfcodealign" else "python -m selfcodealign"
    parser = argparse.ArgumentParser(prog=called, description="Tools around the pipeline.")
    parser.add_argument("--version", action="version", version=f"selfcodealign {__version__}")
    tools = parser.add_subparsers(dest="tool", required=True, metavar="TOOL")
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    module = None
    for name, summary in TOOLS.items():
        about = summary[0].upper() + summary[1:] + "."
        tool = tools.add_parser(name, help=summary, description=about, allow_abbrev=name not in PASSED_ON)
        if name == chosen:
            with one_line_errors(), missing_packages_named(name):
                module = importlib.import_module(f"selfcodealign.commands.{name.replace('-', '_')}")
            module.add_arguments(tool)
    parsed, parsed.rest = parser.parse_known_args(arguments)
    if parsed.rest and chosen not in PASSED_ON:
        parser.error(f"unrecognized arguments: {' '.join(parsed.rest)}")
    if module is None:
        raise SystemExit(2)
    with one_line_errors(), missing_packages_named(str(chosen)):
        module.main(parsed)


if __name__ == "__main__":
    main()
