"""Read the programming concepts off each seed (S→C, paper 3.2)."""

import logging
from pathlib import Path
from typing import Any

from selfcodealign.config.asking import Prompting
from selfcodealign.config.generation import ExtractConcepts
from selfcodealign.config.section import RUN_SEED
from selfcodealign.generation.attributes import Draw
from selfcodealign.generation.engine import Answer, fault, make_stage, write_one_each
from selfcodealign.ids import content_id
from selfcodealign.rows import ConceptRow, SeedRow
from selfcodealign.rows_io import StageOutput
from selfcodealign.stage import run

log = logging.getLogger(__name__)

LONGEST_CONCEPT = 100
"""Characters; the paper's examples have concepts of at most 60."""


def concepts_of(text: str, *, reference: bool = False) -> list[str]:
    """Divide an answer into concepts, as the reference does; otherwise without empty and repeated ones."""
    concepts = [concept.strip() for concept in text.split(",")]
    return concepts if reference else list(dict.fromkeys(concept for concept in concepts if concept))


def why_dropped(text: str, finish_reason: str, headings: frozenset[str], *, reference: bool = False) -> str | None:
    """Name what is wrong with an answer, or None: a fault of any answer's, no concepts, or one that is none."""
    if (reason := fault(text, finish_reason, headings, reference=reference)) or reference:
        return reason
    concepts = concepts_of(text)
    if not concepts:
        return "empty"
    return "malformed" if any("\n" in concept or len(concept) > LONGEST_CONCEPT for concept in concepts) else None


def main(
    seeds: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
    run_seed: int = RUN_SEED,
    prompting: Prompting,
    settings: ExtractConcepts,
) -> None:
    """Read the programming concepts off each seed.

    Args:
        seeds: a shard of seeds (SeedRow).
        rows: the seeds' concepts (ConceptRow).
        dropped: seeds without concepts, with the reason.
        funnel: counts by reason, and tokens.
        run_seed: seed from which every random choice derives.
    """
    reference = prompting.reference
    stage = make_stage("extract_concepts", "S->C", prompting, settings, run_seed)
    headings = stage.template.headings(stage.mode)

    def made(row: dict[str, Any], _: Draw, answer: Answer) -> dict[str, Any]:
        concepts = concepts_of(answer.text, reference=reference)
        row_id = content_id("con", row["id"], concepts, answer.columns["seed"])
        return {"id": row_id, "seed_id": row["id"], "concepts": concepts, **answer.columns}

    with StageOutput(
        stage.name, rows=rows, dropped=dropped, funnel=funnel, schema=ConceptRow, dropped_schema=SeedRow
    ) as output:
        write_one_each(
            stage,
            seeds,
            lambda row, _: {"code": row["content"] if reference else row["content"].rstrip()},
            prompting.engine,
            prompting.work,
            output,
            why_dropped=lambda answer: why_dropped(answer.text, answer.finish_reason, headings, reference=reference),
            made=made,
        )
    log.info("read concepts off %d of %d seeds", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
