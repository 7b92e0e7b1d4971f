"""Keep the functions whose docstring says what they do, as a model judges (paper B.2)."""

import logging
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from selfcodealign.config.asking import Prompting
from selfcodealign.config.generation import Judging
from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Completion, Request, Sampling
from selfcodealign.generation.engine import completed, digest_of_ids, scored
from selfcodealign.generation.judge import DUMMY, Judge, load_judge, shuffled_orders
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


def best(scores: Sequence[tuple[str, float | None]], count: int) -> set[int]:
    """Choose the best so many of what has a score; the lower id wins a tie.

    Args:
        scores: id and score of each row, in the rows' order.
        count: how many.

    Returns:
        places of the chosen in `scores`.
    """
    ranked = sorted(
        (math.inf if math.isnan(score) else -score, row_id, place)
        for place, (row_id, score) in enumerate(scores)
        if score is not None
    )
    return {place for _, _, place in ranked[:count]}


def chosen(scores: Sequence[tuple[str, float | None]], settings: Judging, *, reference: bool = False) -> set[int]:
    """Choose which rows are kept, by their scores and by those of the others; returns their places in `scores`.

    Of a share, at least one row is kept.
    """
    if settings.keep_share:
        scored = sum(score is not None for _, score in scores)
        kept = best(scores, max(1, round(settings.keep_share * scored)))
    else:
        least = settings.threshold or 0.0
        kept = {
            place
            for place, (_, score) in enumerate(scores)
            if score is not None and why_dropped(score, least, reference=reference) is None
        }
    return kept if len(kept) >= settings.keep_at_least else best(scores, settings.keep_at_least)


def by_score(judge: Judge, seeds: Path, prompting: Prompting) -> Iterator[tuple[dict[str, Any], float | None, str]]:
    """Yield (row, score, reason it has none) from the odds of yes against no; every prompt begins alike."""
    rows = scored(
        STAGE,
        lambda: read_rows(seeds, list(SeedRow.model_fields)),
        lambda row: judge.prompt(row["content"].rstrip()),
        judge.layout.candidates,
        prompting.given,
        prompting.engine,
        prompting.work,
        {"judge": judge.label},
    )
    for row, scores in rows:
        yield row, None if scores.reason else score_of(scores.logprobs), scores.reason


def by_words(
    judge: Judge, seeds: Path, prompting: Prompting, seed: int
) -> Iterator[tuple[dict[str, Any], float | None, str]]:
    """Yield (row, score, reason it has none) from a greedy answer, as the published code judges."""
    layout, first_index = judge.layout.reference, count_rows(prompting.earlier)
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
    asked = (prompting.given, prompting.engine, prompting.work)
    with completed(STAGE, requests, sampling, *asked, settings) as answer:

        def judged(request_id: str) -> Completion:
            found = answer(request_id)
            # The published code asks about the dummy instead of a function too long for a prompt.
            return answer("dummy") if found.reason == "prompt_too_long" else found

        for row in read_rows(seeds, list(SeedRow.model_fields)):
            found = judged(row["id"])
            yield row, None if found.reason else float(reference_score(found.text)), found.reason


def main(seeds: Path, rows: Path, dropped: Path, funnel: Path, *, prompting: Prompting, settings: Judging) -> None:
    """Keep the functions whose docstring says what they do, as a model judges.

    Mode `fixed` scores log P(yes) - log P(no), and every prompt begins alike; `reference` asks as the published code
    does, with chained shuffles, and counts words in a greedy answer. A threshold decides, or the place among the scores
    of the shard.

    Args:
        seeds: a shard of functions (SeedRow).
        rows: the kept functions, with `judge_score`.
        dropped: the others, with the reason.
        funnel: counts by reason.

    Raises:
        UserError: the settings contradict each other or the mode.
    """
    reference = prompting.reference
    if fault := settings.contradiction(prompting.mode):
        raise UserError(f"config key judge_seeds.{fault}")
    judge = load_judge(prompting.prompts, prompting.examples)
    judged = (
        by_words(judge, seeds, prompting, settings.reference_seed) if reference else by_score(judge, seeds, prompting)
    )
    # Rows are read again from their file, so that only their scores are in memory together.
    fates = [(row["id"], score, failure) for row, score, failure in judged]
    kept = chosen([(row_id, score) for row_id, score, _ in fates], settings, reference=reference)
    lower = "judged_lower" if settings.keep_share else "judged_no"
    with StageOutput(STAGE, rows=rows, dropped=dropped, funnel=funnel, schema=SeedRow) as output:
        for place, row in enumerate(read_rows(seeds, list(SeedRow.model_fields))):
            _, score, failure = fates[place]
            row["judge_score"] = score
            if place in kept:
                output.keep(row)
            else:
                output.drop(row, failure if score is None else lower, "" if score is None else f"score {score:.3f}")
    log.info("kept %d of %d functions", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
