"""Answer each instruction n times, each answer with its own tests (I→R, paper 3.3).

With `enough`, the answers are asked for in rounds, each by a job of its own: a round looks at the verdicts of those
before it, and asks only about instructions of which too few answers passed. The last one also hands on what the others
wrote, so that its file holds all.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

from selfcodealign.config.asking import Prompting
from selfcodealign.config.generation import WriteResponses
from selfcodealign.config.section import RUN_SEED
from selfcodealign.generation.engine import Answer, Totals, answered, make_stage
from selfcodealign.ids import content_id
from selfcodealign.rows import InstructionRow, ResponseRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.sample_rounds import rounds
from selfcodealign.stage import run

log = logging.getLogger(__name__)

CARRIED = ("seed_id", "concept_id", "instruction", "concepts", "category", "difficulty", "language")
"""Columns that a response takes over from its instruction."""


def why_dropped(answers: Sequence[Answer]) -> str | None:
    """Name why an instruction has no response at all, or None.

    One answer that ends badly is no reason: it is passed on with its finish reason, and the next stage counts it.
    """
    return next((answer.reason for answer in answers), None) if all(answer.reason for answer in answers) else None


def settled(verdicts: Iterable[Path], enough: int | None) -> set[str]:
    """Return the instructions of which enough answers passed."""
    passed = Counter(
        row["instruction_id"] for row in read_rows(verdicts, ["instruction_id", "passed"]) if row["passed"]
    )
    return {instruction for instruction, count in passed.items() if enough is not None and count >= enough}


def side_by_side(files: Sequence[Path]) -> Callable[[str], list[dict[str, Any]]]:
    """Give a look-up of the answers in several files to one instruction after the other, in the order that all have."""
    groups = [groupby(read_rows(file), key=lambda row: row["instruction_id"]) for file in files]
    heads = [next(group, None) for group in groups]

    def answers_to(instruction: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for number, head in enumerate(heads):
            if head and head[0] == instruction:
                found += head[1]
                heads[number] = next(groups[number], None)
        return found

    return answers_to


def response(row: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Make the row of one answer to an instruction."""
    return {
        "id": content_id("res", row["id"], answer.sample, answer.text, answer.columns["seed"]),
        "instruction_id": row["id"],
        **{column: row[column] for column in CARRIED},
        "sample": answer.sample,
        "raw": answer.text,
        "response": None,
        "tests": None,
        "finish_reason": answer.finish_reason,
        **answer.columns,
    }


def as_answer(row: dict[str, Any]) -> Answer:
    """Return the answer that a row was made of."""
    return Answer(row["sample"], row["raw"], row["finish_reason"], row)


def main(
    instructions: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
    verdicts: list[Path] | None = None,
    before: list[Path] | None = None,
    run_seed: int = RUN_SEED,
    prompting: Prompting,
    settings: WriteResponses,
) -> None:
    """Answer each instruction n times, each answer with its own tests.

    Args:
        instructions: a shard of tasks (InstructionRow).
        rows: the answers (ResponseRow), n for each instruction, whatever their finish reason.
        dropped: instructions that could not be asked about, with the reason.
        funnel: counts by reason, and tokens.
        verdicts: verdicts on the answers of the rounds before, a file for each (VerdictRow); their number says which
            round this is.
        before: answers of the rounds before, to be handed on by the last round.
        run_seed: seed from which every random choice derives.
    """
    asked = rounds(settings.samples, settings.enough, settings.samples_per_round)[len(verdicts or [])]
    done = settled(verdicts or [], settings.enough)
    stage = make_stage("write_responses", "I->R", prompting, settings, run_seed, samples=asked)
    totals = Totals()
    answers_to = side_by_side(before or [])
    new = answered(
        stage,
        instructions,
        InstructionRow,
        lambda row, _: {"instruction": row["instruction"]},
        prompting.engine,
        prompting.work,
        done,
    )
    output = StageOutput(
        stage.name, rows=rows, dropped=dropped, funnel=funnel, schema=ResponseRow, dropped_schema=InstructionRow
    )
    with output, closing(new):
        for row in read_rows(instructions, list(InstructionRow.model_fields)):
            earlier = answers_to(row["id"])
            if row["id"] in done and not before:
                continue  # An instruction that this round has nothing to do with.
            answers = [] if row["id"] in done else next(new)[2]
            for answer in (*map(as_answer, earlier), *answers):
                totals.add(answer)
            if not earlier and (reason := why_dropped(answers)):
                output.drop(row, reason, answers[0].detail)
                continue
            output.count_kept()
            for made in (*earlier, *(response(row, answer) for answer in answers)):
                output.produce(made)
        output.extra = totals.columns()
    log.info("wrote %d responses to %d instructions", output.produced, output.entered)


if __name__ == "__main__":
    run(main)
