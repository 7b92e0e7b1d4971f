"""One command for people: `python -m selfcodealign <tool>`. Each tool is a module of `commands/`."""

import argparse
import importlib
import sys

from selfcodealign.errors import one_line_errors

TOOLS = {
    "status": "print how far a run is: jobs, rows, rate, time left and failures of every stage",
    "summary": "print where the report is and the headline numbers",
    "trace": "print the whole ancestry of a row, kept or dropped",
    "prompt": "print the exact prompt that a row was generated from",
    "sandbox": "run programs with their tests in isolation and write verdicts",
    "evaluate": "score samples of a benchmark",
    "plan-training": "say whether a fine-tuning run fits, with the arithmetic",
    "cost": "estimate GPU-hours, tokens, disk and wall time of a run before it starts",
    "publish": "push a finished dataset or model to the Hugging Face Hub",
    "config": "write the config's JSON schema and its page of documentation",
}


def main(argv: list[str] | None = None) -> None:
    """Parse the name of a tool, import only that tool, and run it."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m selfcodealign", description="Tools around the pipeline.")
    tools = parser.add_subparsers(dest="tool", required=True, metavar="TOOL")
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    module = None
    for name, summary in TOOLS.items():
        tool = tools.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            module = importlib.import_module(f"selfcodealign.commands.{name.replace('-', '_')}")
            module.add_arguments(tool)
    parsed = parser.parse_args(arguments)
    if module is None:
        raise SystemExit(2)
    with one_line_errors():
        module.main(parsed)


if __name__ == "__main__":
    main()
