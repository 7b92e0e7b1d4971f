"""Keep the functions whose docstring says what they do, as a model judges (paper B.2)."""

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from selfcodealign.generation.backends import Completion, Request, Sampling
from selfcodealign.generation.engine import completed, digest_of_ids, scored
from selfcodealign.generation.judge import DUMMY, Judge, load_judge, shuffled_orders
from selfcodealign.generation.settings import EngineSettings, ModelSettings, read_settings
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import StageOutput, count_rows, read_rows
from selfcodealign.stage import run

log = logging.getLogger(__name__)

STAGE = "judge_seeds"


def score_of(logprobs: tuple[float, ...]) -> float:
    """Return log P(yes) - log P(no), in nats."""
    yes, no = logprobs
    return yes - no


def reference_score(answer: str) -> int:
    """Count the published judge's words: those for yes minus those for no."""
    return answer.lower().count("yes") - answer.lower().count("no")


def why_dropped(score: float, threshold: float, *, reference: bool = False) -> str | None:
    """Name why a score is too low, or None; in mode `reference` a tie is dropped."""
    kept = score > 0 if reference else score >= threshold
    return None if kept else "judged_no"


def by_score(
    judge: Judge, seeds: Path, model: ModelSettings, engine: EngineSettings, work: Path
) -> Iterator[tuple[dict[str, Any], float | None, str]]:
    """Yield (row, score, reason it has none) from the odds of yes against no; every prompt begins alike."""
    rows = scored(
        STAGE,
        lambda: read_rows(seeds, list(SeedRow.model_fields)),
        lambda row: judge.prompt(row["content"].rstrip()),
        judge.layout.candidates,
        model,
        engine,
        work,
        {"judge": judge.label},
    )
    for row, scores in rows:
        yield row, None if scores.reason else score_of(scores.logprobs), scores.reason


def by_words(
    judge: Judge, seeds: Path, model: ModelSettings, engine: EngineSettings, work: Path, seed: int, first_index: int
) -> Iterator[tuple[dict[str, Any], float | None, str]]:
    """Yield (row, score, reason it has none) from a greedy answer, as the published code judges."""
    layout = judge.layout.reference
    sampling = Sampling(0.0, 1.0, layout.max_tokens, tuple(layout.stop))

    def requests() -> Iterator[Request]:
        orders = shuffled_orders(len(judge.examples), seed)
        first = next(orders)
        yield Request("dummy", 0, lambda: judge.reference_prompt(DUMMY, first))
        turns = islice(orders, first_index, None)
        for row, order in zip(read_rows(seeds, list(SeedRow.model_fields)), turns, strict=False):
            yield Request(row["id"], 0, lambda row=row, order=order: judge.reference_prompt(row["content"], order))

    settings = {
        "judge": judge.label,
        "shuffle_seed": seed,
        "first_index": first_index,
        # The order of examples follows the line number, so that answers hold for these rows in this order alone.
        "rows": digest_of_ids(seeds),
    }
    with completed(STAGE, requests, sampling, model, engine, work, settings) as answer:

        def judged(request_id: str) -> Completion:
            found = answer(request_id)
            # The published code asks about the dummy instead of a function too long for a prompt.
            return answer("dummy") if found.reason == "prompt_too_long" else found

        for row in read_rows(seeds, list(SeedRow.model_fields)):
            found = judged(row["id"])
            yield row, None if found.reason else float(reference_score(found.text)), found.reason


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
    mode: Literal["fixed", "reference"] = "fixed",
    examples: Path | None = None,
    earlier: list[Path] | None = None,
    engine: dict[str, str] | None = None,
    threshold: float = 0.0,
    reference_seed: int = 0,
) -> None:
    """Keep the functions whose docstring says what they do, as a model judges.

    Args:
        seeds: a shard of functions (SeedRow).
        prompts: layout of the judge's prompt (YAML).
        rows: the kept functions, with `judge_score`.
        dropped: the others, with the reason.
        funnel: counts by reason.
        work: folder of the ledger that lets a killed run continue.
        model: Hub id or local folder of the judge, or its name on a server.
        revision: commit of a Hub model.
        trust_remote_code: run code that comes with the model.
        mode: `fixed` scores log P(yes) - log P(no) with every prompt alike; `reference` asks as the published code
            does, with chained shuffles, and counts words in a greedy answer.
        examples: examples file to use in place of the layout's own.
        earlier: the shards before this one (mode `reference`).
        engine: how the model is run, as NAME=VALUE (`selfcodealign.generation.settings.EngineSettings`).
        threshold: least score, in nats.
        reference_seed: seed of the chained shuffles.
    """
    reference = mode == "reference"
    judge = load_judge(prompts, examples)
    judging = ModelSettings(name=model, revision=revision, trust_remote_code=trust_remote_code)
    settings = read_settings(EngineSettings, "--engine", engine or {})
    judged = (
        by_words(judge, seeds, judging, settings, work, reference_seed, count_rows(earlier or []))
        if reference
        else by_score(judge, seeds, judging, settings, work)
    )
    with StageOutput(STAGE, rows=rows, dropped=dropped, funnel=funnel, schema=SeedRow) as output:
        for row, score, failure in judged:
            row["judge_score"] = score
            reason = failure if score is None else why_dropped(score, threshold, reference=reference)
            if reason:
                output.drop(row, reason, "" if score is None else f"score {score:.3f}")
            else:
                output.keep(row)
    log.info("kept %d of %d functions", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
