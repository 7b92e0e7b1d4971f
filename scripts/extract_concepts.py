"""Read the programming concepts off each seed (S→C, paper 3.2)."""

import logging
from pathlib import Path
from typing import Any, Literal

from selfcodealign.generation.attributes import Draw
from selfcodealign.generation.engine import Answer, fault, make_stage, write_one_each
from selfcodealign.generation.settings import EngineSettings, ModelSettings, read_settings
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
    few_shots: int = 8,
    example_sets: int = 64,
    temperature: float = 0.7,
    top_p: float = 1.0,
    max_tokens: int = 1536,
) -> None:
    """Read the programming concepts off each seed.

    Args:
        seeds: a shard of seeds (SeedRow).
        prompts: prompt template (YAML).
        rows: the seeds' concepts (ConceptRow).
        dropped: seeds without concepts, with the reason.
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
        few_shots: examples in a prompt.
        example_sets: different sets of examples that rows share; 0 draws one for each row.
        temperature: 0 is greedy.
        top_p: nucleus.
        max_tokens: most new tokens.
    """
    reference = mode == "reference"
    stage = make_stage(
        "extract_concepts",
        "S->C",
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
    )
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
            read_settings(EngineSettings, "--engine", engine or {}),
            work,
            output,
            why_dropped=lambda answer: why_dropped(answer.text, answer.finish_reason, headings, reference=reference),
            made=made,
        )
    log.info("read concepts off %d of %d seeds", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
