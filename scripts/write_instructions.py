"""Write a coding task from each list of concepts (C→I, paper 3.2), or from each seed itself (S→I, the ablation)."""

import logging
from pathlib import Path
from typing import Any

from selfcodealign.config.asking import Prompting
from selfcodealign.config.generation import WriteInstructions, WritingPath
from selfcodealign.config.section import RUN_SEED
from selfcodealign.generation.attributes import Draw
from selfcodealign.generation.engine import Answer, fault, make_stage, write_one_each
from selfcodealign.ids import content_id
from selfcodealign.rows import ConceptRow, InstructionRow, SeedRow
from selfcodealign.rows_io import StageOutput
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def origin(row: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the columns that lead back to what an instruction was written from."""
    if path == "direct":
        return {"concept_id": None, "seed_id": row["id"], "concepts": []}
    return {"concept_id": row["id"], "seed_id": row["seed_id"], "concepts": row["concepts"]}


def main(
    source: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
    run_seed: int = RUN_SEED,
    prompting: Prompting,
    settings: WriteInstructions,
    path: WritingPath = "concepts",
) -> None:
    """Write a coding task from each list of concepts, or from each seed itself.

    Args:
        source: a shard of concepts (ConceptRow), or of seeds (SeedRow) on the direct path.
        rows: the tasks (InstructionRow).
        dropped: rows of the source without a task, with the reason.
        funnel: counts by reason, and tokens.
        run_seed: seed from which every random choice derives.
        path: `concepts` (C→I) or `direct` (S→I, the ablation of the paper's table 10).
    """
    reference, direct = prompting.reference, path == "direct"
    kind = SeedRow if direct else ConceptRow
    stage = make_stage(
        "write_instructions",
        "S->I" if direct else "C->I",
        prompting,
        settings,
        run_seed,
        categories=None if direct else settings.categories,
        difficulties=None if direct else settings.difficulties,
    )

    def fields(row: dict[str, Any], draw: Draw) -> dict[str, str]:
        if direct:
            return {"code": row["content"] if reference else row["content"].rstrip()}
        return {
            "category": draw.category,
            "language": settings.language,
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
            "language": settings.language,
            **answer.columns,
        }

    with StageOutput(
        stage.name, rows=rows, dropped=dropped, funnel=funnel, schema=InstructionRow, dropped_schema=kind
    ) as output:
        write_one_each(
            stage,
            source,
            fields,
            prompting.engine,
            prompting.work,
            output,
            why_dropped=lambda answer: fault(answer.text, answer.finish_reason, headings, reference=reference),
            made=made,
        )
    log.info("wrote %d instructions from %d rows", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
