"""Answer each instruction n times, each answer with its own tests (I→R, paper 3.3)."""

import logging
from collections.abc import Sequence
from pathlib import Path

from selfcodealign.config.asking import Prompting
from selfcodealign.config.generation import WriteResponses
from selfcodealign.config.section import RUN_SEED
from selfcodealign.generation.engine import Answer, Totals, answered, make_stage
from selfcodealign.ids import content_id
from selfcodealign.rows import InstructionRow, ResponseRow
from selfcodealign.rows_io import StageOutput
from selfcodealign.stage import run

log = logging.getLogger(__name__)

CARRIED = ("seed_id", "concept_id", "instruction", "concepts", "category", "difficulty", "language")
"""Columns that a response takes over from its instruction."""


def why_dropped(answers: Sequence[Answer]) -> str | None:
    """Name why an instruction has no response at all, or None.

    One answer that ends badly is no reason: it is passed on with its finish reason, and the next stage counts it.
    """
    return next((answer.reason for answer in answers), None) if all(answer.reason for answer in answers) else None


def main(
    instructions: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
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
        run_seed: seed from which every random choice derives.
    """
    stage = make_stage("write_responses", "I->R", prompting, settings, run_seed, samples=settings.samples)
    totals = Totals()
    with StageOutput(
        stage.name, rows=rows, dropped=dropped, funnel=funnel, schema=ResponseRow, dropped_schema=InstructionRow
    ) as output:
        for row, _, answers in answered(
            stage,
            instructions,
            InstructionRow,
            lambda row, _: {"instruction": row["instruction"]},
            prompting.engine,
            prompting.work,
        ):
            for answer in answers:
                totals.add(answer)
            if reason := why_dropped(answers):
                output.drop(row, reason, answers[0].detail)
                continue
            output.count_kept()
            for answer in answers:
                output.produce(
                    {
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
                )
        output.extra = totals.columns()
    log.info("wrote %d responses to %d instructions", output.produced, output.entered)


if __name__ == "__main__":
    run(main)
