"""Answer each instruction n times, each answer with its own tests (I→R, paper 3.3)."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from selfcodealign.generation.engine import Answer, Totals, answered, make_stage
from selfcodealign.generation.settings import EngineSettings, ModelSettings, read_settings
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
    prompts: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    work: Path,
    *,
    model: str,
    revision: str = "main",
    trust_remote_code: bool = False,
    run_seed: int = 3407,
    mode: Literal["fixed", "reference"] = "fixed",
    examples: Path | None = None,
    earlier: list[Path] | None = None,
    engine: dict[str, str] | None = None,
    samples: int = 10,
    few_shots: int = 1,
    example_sets: int = 64,
    temperature: float = 0.7,
    top_p: float = 1.0,
    max_tokens: int = 1536,
) -> None:
    """Answer each instruction n times, each answer with its own tests.

    Args:
        instructions: a shard of tasks (InstructionRow).
        prompts: prompt template (YAML).
        rows: the answers (ResponseRow), n for each instruction, whatever their finish reason.
        dropped: instructions that could not be asked about, with the reason.
        funnel: counts by reason, and tokens.
        work: folder of the ledger that lets a killed run continue.
        model: Hub id or local folder of the writing model, or its name on a server.
        revision: commit of a Hub model.
        trust_remote_code: run code that comes with the model.
        run_seed: seed from which every random choice derives.
        mode: `reference` draws examples and seeds from line numbers, as the paper's code does.
        examples: examples file to use in place of the template's own.
        earlier: the shards before this one (mode `reference`).
        engine: how the model is run, as NAME=VALUE (`selfcodealign.generation.settings.EngineSettings`).
        samples: answers per instruction.
        few_shots: examples in a prompt.
        example_sets: different sets of examples that rows share; 0 draws one for each row.
        temperature: 0 is greedy.
        top_p: nucleus.
        max_tokens: most new tokens.
    """
    stage = make_stage(
        "write_responses",
        "I->R",
        prompts=prompts,
        examples=examples,
        model=ModelSettings(name=model, revision=revision, trust_remote_code=trust_remote_code),
        run_seed=run_seed,
        reference=mode == "reference",
        earlier=earlier or [],
        few_shots=few_shots,
        example_sets=example_sets,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        samples=samples,
    )
    totals = Totals()
    with StageOutput(
        stage.name, rows=rows, dropped=dropped, funnel=funnel, schema=ResponseRow, dropped_schema=InstructionRow
    ) as output:
        for row, _, answers in answered(
            stage,
            instructions,
            InstructionRow,
            lambda row, _: {"instruction": row["instruction"]},
            read_settings(EngineSettings, "--engine", engine or {}),
            work,
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
