"""Write a coding task from each list of concepts (C→I, paper 3.2), or from each seed itself (S→I, the ablation)."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from selfcodealign.errors import UserError
from selfcodealign.generation.attributes import Draw
from selfcodealign.generation.engine import Answer, fault, make_stage, write_one_each
from selfcodealign.generation.settings import EngineSettings, ModelSettings, read_settings
from selfcodealign.ids import content_id
from selfcodealign.rows import ConceptRow, InstructionRow, SeedRow
from selfcodealign.rows_io import StageOutput
from selfcodealign.stage import run

log = logging.getLogger(__name__)

CATEGORIES = {"function implementation": 2, "class implementation": 1, "program implementation": 1}
DIFFICULTIES = {"easy": 1, "medium": 1, "hard": 1}
"""The reference's weights."""


def origin(row: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the columns that lead back to what an instruction was written from."""
    if path == "direct":
        return {"concept_id": None, "seed_id": row["id"], "concepts": []}
    return {"concept_id": row["id"], "seed_id": row["seed_id"], "concepts": row["concepts"]}


def weights(flag: str, values: Mapping[str, str | float]) -> dict[str, float]:
    """Read weights by name.

    Raises:
        UserError: a weight is no number, is negative, or all are 0.
    """
    try:
        read = {name: float(value) for name, value in values.items()}
    except ValueError as error:
        raise UserError(f"{flag}: a weight is no number: {error}") from error
    if min(read.values()) < 0 or sum(read.values()) == 0:
        raise UserError(f"{flag}: weights must be 0 or more, and one of them positive, not {dict(values)}")
    return read


def main(
    source: Path,
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
    path: Literal["concepts", "direct"] = "concepts",
    examples: Path | None = None,
    earlier: list[Path] | None = None,
    engine: dict[str, str] | None = None,
    few_shots: int = 8,
    example_sets: int = 64,
    temperature: float = 0.7,
    top_p: float = 1.0,
    max_tokens: int = 1536,
    language: str = "Python",
    categories: dict[str, str] | None = None,
    difficulties: dict[str, str] | None = None,
) -> None:
    """Write a coding task from each list of concepts, or from each seed itself.

    Args:
        source: a shard of concepts (ConceptRow), or of seeds (SeedRow) on the direct path.
        prompts: prompt template (YAML).
        rows: the tasks (InstructionRow).
        dropped: rows of the source without a task, with the reason.
        funnel: counts by reason, and tokens.
        work: folder of the ledger that lets a killed run continue.
        model: Hub id or local folder of the writing model, or its name on a server.
        revision: commit of a Hub model.
        trust_remote_code: run code that comes with the model.
        run_seed: seed from which every random choice derives.
        mode: `reference` draws examples, attributes and seeds from line numbers, as the paper's code does.
        path: `concepts` (C→I) or `direct` (S→I, the ablation of the paper's table 10).
        examples: examples file to use in place of the template's own.
        earlier: the shards before this one (mode `reference`).
        engine: how the model is run, as NAME=VALUE (`selfcodealign.generation.settings.EngineSettings`).
        few_shots: examples in a prompt.
        example_sets: different sets of examples that rows share; 0 draws one for each row.
        temperature: 0 is greedy.
        top_p: nucleus.
        max_tokens: most new tokens.
        language: programming language asked for.
        categories: weight of each category of task, as NAME=WEIGHT.
        difficulties: weight of each difficulty, as NAME=WEIGHT.
    """
    reference, direct = mode == "reference", path == "direct"
    kind = SeedRow if direct else ConceptRow
    stage = make_stage(
        "write_instructions",
        "S->I" if direct else "C->I",
        prompts=prompts,
        examples=examples,
        model=ModelSettings(name=model, revision=revision, trust_remote_code=trust_remote_code),
        run_seed=run_seed,
        reference=reference,
        earlier=earlier or [],
        few_shots=few_shots,
        example_sets=example_sets,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        categories=None if direct else weights("--categories", categories or CATEGORIES),
        difficulties=None if direct else weights("--difficulties", difficulties or DIFFICULTIES),
    )

    def fields(row: dict[str, Any], draw: Draw) -> dict[str, str]:
        if direct:
            return {"code": row["content"] if reference else row["content"].rstrip()}
        return {
            "category": draw.category,
            "language": language,
            "difficulty": draw.difficulty,
            "concepts": ", ".join(row["concepts"]),
        }

    headings = stage.template.headings(stage.mode)

    def made(row: dict[str, Any], draw: Draw, answer: Answer) -> dict[str, Any]:
        instruction = answer.text.strip()
        return {
            "id": content_id("ins", row["id"], instruction, answer.columns["seed"]),
            **origin(row, path),
            "instruction": instruction,
            "category": draw.category,
            "difficulty": draw.difficulty,
            "language": language,
            **answer.columns,
        }

    with StageOutput(
        stage.name, rows=rows, dropped=dropped, funnel=funnel, schema=InstructionRow, dropped_schema=kind
    ) as output:
        write_one_each(
            stage,
            source,
            fields,
            read_settings(EngineSettings, "--engine", engine or {}),
            work,
            output,
            why_dropped=lambda answer: fault(answer.text, answer.finish_reason, headings, reference=reference),
            made=made,
        )
    log.info("wrote %d instructions from %d rows", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
