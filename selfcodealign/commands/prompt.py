"""Print the exact prompt that a row was generated from, rendered again from what the row records."""

import argparse
import sys
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.generation.prompts import Mode, Template, load_template
from selfcodealign.rows_io import read_rows

RESULTS = {"con": "extract_concepts", "ins": "write_instructions", "res": "write_responses"}
"""Rule that makes a kind of row, by the beginning of its id."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the tool's flags."""
    parser.add_argument("id", help="id of a list of concepts, an instruction or a response: con-…, ins-…, res-…")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the run's results (default: results)"
    )
    parser.add_argument("--prompts", type=Path, nargs="*", help="templates to try (default: all in prompts/)")
    parser.add_argument("--examples", type=Path, nargs="*", help="examples files to try (default: those of the run)")


def main(arguments: argparse.Namespace) -> None:
    """Find the row and its parents, and print the prompt."""
    sys.stdout.write(prompt_of(arguments.id, arguments.results, arguments.prompts, arguments.examples) + "\n")


def prompt_of(row_id: str, results: Path, prompts: list[Path] | None, examples: list[Path] | None) -> str:
    """Render the prompt of a generated row.

    Raises:
        UserError: there is no such row, or no template at hand is the one it was made with.
    """
    rule = RESULTS.get(row_id.partition("-")[0])
    if rule is None:
        raise UserError(
            f"{row_id} is no id of a generated row; those begin with {', '.join(f'{kind}-' for kind in RESULTS)}"
        )
    row = find(row_id, results, rule)
    template = matching_template(row["template"], prompts, examples)
    mode, fields = question(row, results, rule)
    return template.render(mode, tuple(row["examples"]), **fields)


def question(row: dict[str, Any], results: Path, rule: str) -> tuple[Mode, dict[str, str]]:
    """Return what a row's prompt asked for, and what stood in it."""
    if rule == "write_responses":
        return "I->R", {"instruction": row["instruction"]}
    if rule == "write_instructions" and row["concept_id"] is not None:
        names = ("category", "language", "difficulty")
        return "C->I", {name: row[name] for name in names} | {"concepts": ", ".join(row["concepts"])}
    seed = find(row["seed_id"], results, "gather_s*")
    return ("S->C" if rule == "extract_concepts" else "S->I"), {"code": seed["content"].rstrip()}


def find(row_id: str, results: Path, rule: str) -> dict[str, Any]:
    """Return the row with an id among a rule's results.

    Raises:
        UserError: there is none.
    """
    for path in sorted(results.glob(f"{rule}/**/*.parquet")):
        if path.name.endswith(".dropped.parquet"):
            continue
        for row in read_rows(path):
            if row["id"] == row_id:
                return row
    raise UserError(
        f"no row {row_id} in {results}/{rule}; was it made by this run? A given task (import_tasks) has no prompt"
    )


def matching_template(label: str, prompts: list[Path] | None, examples: list[Path] | None) -> Template:
    """Return the template that a row names, by content.

    Raises:
        UserError: none at hand is the same to the byte.
    """
    tried = []
    for path in prompts or sorted(Path("prompts").glob("*.yaml")):
        for source in [*(examples or run_examples()), None]:
            try:
                template = load_template(path, source)
            except UserError:
                continue
            if template.label == label:
                return template
            tried.append(template.label)
    raise UserError(
        f"the row was made with the template {label}, which none at hand equals ({', '.join(tried) or 'none'}); "
        "name the files of that time with --prompts and --examples"
    )


def run_examples() -> list[Path]:
    """List the examples files that a run in this folder may have used."""
    return sorted([*Path("demo/examples").glob("*.txt"), *Path("results/fetch_reference_prompts").glob("*.txt")])
