"""Show some of the tests in about half of the instructions, as the paper's main run does (paper C.1).

A model trained on such rows learns to read assertions in a prompt. Responses and tests stay as they are.
"""

import ast
import logging
import random
import re
import warnings
from pathlib import Path

from selfcodealign.config.dataset import AugmentDataset
from selfcodealign.config.section import RUN_SEED, Mode
from selfcodealign.dataset import fences
from selfcodealign.ids import rng_for
from selfcodealign.rows import SelectedRow
from selfcodealign.rows_io import StageOutput, count_rows, read_rows
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)

MOST_ASSERTIONS = 5
SHOWS_TESTS = re.compile(r"\b(?:assert\w*|(?:unit[- ]?)?tests?|tested|testing|for example)\b|```", re.IGNORECASE)
"""An instruction that speaks of tests or gives an example already shows what is wanted."""


def with_tests(instruction: str, shown: str, term: str) -> str:
    """Append tests to an instruction, worded as in the paper's data."""
    return f"{instruction}\n\nYour code should pass the following {term}:\n```python\n{shown}\n```"


def _term(count: int) -> str:
    return "assertion" if count == 1 else "assertions"


def augmented(
    instruction: str, tests: str, rng: random.Random, *, share: float, max_lines: int
) -> tuple[str | None, bool]:
    """Return the augmented instruction or None, and whether the row was eligible at all.

    Tests that consist of assertions are sampled, one to five, kept in their order; other short tests are shown whole.
    Assertions are told apart by syntax, so one that spans several lines is one.
    """
    code = fences.python_code(tests)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None, False
    draw = rng.random()
    if body and all(isinstance(statement, ast.Assert) for statement in body):
        count = min(rng.randint(1, MOST_ASSERTIONS), len(body))
        places = sorted(rng.sample(range(len(body)), count))
        shown = "\n".join(ast.get_source_segment(code, body[place]) or "" for place in places)
        term = _term(count)
    else:
        shown, term = code.strip(), "test case"
    eligible = "assert" in shown and shown.count("\n") < max_lines and not SHOWS_TESTS.search(instruction)
    return (with_tests(instruction, shown, term) if eligible and draw < share else None), eligible


def reference_augmented(instruction: str, tests: str, index: int, *, share: float) -> tuple[str | None, bool]:
    """Decide as the reference does (`sanitize_data.py:165-195`): seeded by the row's index, lines taken for assertions.

    The words are looked for as substrings, so "latest" counts as a test and "assert" inside a word as well; lines are
    sampled in random order, and a multi-line assertion makes the tests a "test case".
    """
    rng = random.Random(index)
    shown = "\n".join(fences.reference_python_blocks(tests)).strip()
    lines = shown.split("\n")
    term = "test case"
    if all(line.startswith("assert") for line in lines):
        count = min(rng.choice([1, 2, 3, 4, 5]), len(lines))
        shown = "\n".join(rng.sample(lines, count))
        term = _term(count)
    lower = instruction.lower()
    eligible = (
        "assert" in shown
        and len(shown.split("\n")) <= 5
        and "assert" not in instruction
        and "for example" not in lower
        and "test" not in lower
    )
    return (with_tests(instruction, shown, term) if eligible and rng.random() < share else None), eligible


def main(
    chosen: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
    mode: Mode = "fixed",
    run_seed: int = RUN_SEED,
    settings: AugmentDataset,
) -> None:
    """Show some of the tests in about half of the instructions.

    Args:
        chosen: rows of the stage before (SelectedRow).
        rows: the same rows, some with a longer instruction.
        dropped: always empty, for the funnel's sake.
        funnel: counts; `augmented` and `eligible` say how many instructions were and could have been changed.
        mode: `reference` draws by the row's index, `fixed` by its id.
        run_seed: seed of the draw (`fixed` only).
        settings: how many instructions, and how much of their tests.
    """
    counts = {"augmented": 0, "eligible": 0}
    with StageOutput("augment_dataset", rows=rows, dropped=dropped, funnel=funnel, schema=SelectedRow) as output:
        for index, row in enumerate(progress(read_rows(chosen), total=count_rows(chosen))):
            if mode == "reference":
                instruction, eligible = reference_augmented(
                    row["instruction"], row["tests"], index, share=settings.share
                )
            else:
                rng = rng_for(run_seed, "augment_dataset", row["instruction_id"])
                instruction, eligible = augmented(
                    row["instruction"], row["tests"], rng, share=settings.share, max_lines=settings.max_lines
                )
            counts["eligible"] += eligible
            counts["augmented"] += instruction is not None
            output.keep({**row, "instruction": instruction or row["instruction"]})
        output.extra |= counts
    log.info("augmented %d of %d eligible instructions, of %d", counts["augmented"], counts["eligible"], output.entered)


if __name__ == "__main__":
    run(main)
