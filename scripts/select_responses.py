"""Choose, for every instruction, the responses that a dataset is made of.

The mended selection looks at one instruction at a time and draws with a seed derived from the instruction's id, so that
neither order nor shards matter. The reference shuffles all passing rows with seed 6666 and takes the first of each
instruction whose instruction, response and names were not seen before; its input order is the order in which executions
ended, which nobody can reproduce, so here it starts from the order of ids.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from selfcodealign.config.dataset import SanitizeResponses, Selection, SelectResponses
from selfcodealign.config.generation import Stopping
from selfcodealign.config.section import RUN_SEED, Mode
from selfcodealign.dataset import code
from selfcodealign.errors import UserError
from selfcodealign.ids import content_id, rng_for
from selfcodealign.rows import Row, SelectedRow
from selfcodealign.rows_io import StageOutput, count_rows, read_rows
from selfcodealign.sample_rounds import pass_rate, rounds
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)

REFERENCE_SEED = 6666
NOT_EXECUTED = frozenset({"internal"})
"""Verdicts that blame the sandbox, not the program: neither a pass nor a failure, so never chosen."""

WEIGHTS = ("id", "score", "credible")
"""Columns of weigh_assertions that decide the choice."""

MADE_HERE = frozenset({"response_id", "code_representation", "pass_rate"})
KEPT_COLUMNS = tuple(name for name in SelectedRow.model_fields if name not in MADE_HERE)
"""Columns of a verdict that the chosen row keeps; outputs and timings stay behind."""


class UnchosenRow(Row):
    """A response that was not chosen; its text is in the rows of verify_responses under the same id."""

    instruction_id: str
    verdict: str
    passed: bool
    pass_rate: float


@dataclass(slots=True)
class Candidate:
    """What the choice looks at, of one response; small, because there may be millions."""

    id: str
    instruction_id: str
    verdict: str
    passed: bool
    sample: int = 0
    length: int = 0
    mutation_score: float | None = None
    consensus: float | None = None
    weight: float | None = None


def passes(row: dict[str, Any], threshold: float, counts: dict[str, tuple[int, int]]) -> bool:
    """Decide whether a response counts as passing: all its assertions hold, or at least a share of them.

    Args:
        row: id, verdict and `passed`.
        threshold: least share of assertions that hold.
        counts: assertions that held and all assertions of failing responses, by id.

    Raises:
        UserError: the assertions of a failing response were not counted.
    """
    if row["passed"] or threshold >= 1 or row["verdict"] != "fail":
        return row["passed"]
    if row["id"] not in counts:
        raise UserError(
            f"pass_threshold {threshold} needs the counts of count_assertions, and response {row['id']} has none: "
            "give them with --assertions, or set pass_threshold to 1"
        )
    held, total = counts[row["id"]]
    return total > 0 and held / total >= threshold


def pass_rates(candidates: Iterable[Candidate], stopping: Stopping) -> dict[str, float]:
    """Return the share of each instruction's executed responses that passed; 0 where none could be executed.

    Of an instruction that was asked about until enough responses passed, it is an estimate without bias of that share.

    Raises:
        UserError: a response is of no round.
    """
    asked = rounds(stopping.samples, stopping.enough, stopping.samples_per_round)
    round_of = {sample: number for number, one in enumerate(asked) for sample in one}
    passed: dict[str, list[int]] = {}
    executed: dict[str, list[int]] = {}
    for candidate in candidates:
        number = round_of.get(candidate.sample) if stopping.enough else 0
        if number is None:
            raise UserError(
                f"response {candidate.id} is sample {candidate.sample} of {stopping.samples}: these verdicts come from "
                "other settings of write_responses; give those of this run"
            )
        key = candidate.instruction_id
        executed.setdefault(key, [0] * len(asked))[number] += candidate.verdict not in NOT_EXECUTED
        passed.setdefault(key, [0] * len(asked))[number] += candidate.passed
    return {key: _pass_rate(tuple(counts), tuple(passed[key]), stopping.enough) for key, counts in executed.items()}


@cache
def _pass_rate(executed: tuple[int, ...], passed: tuple[int, ...], enough: int | None) -> float:
    """Return the pass rate of an instruction's counts, round by round.

    A verdict that was lost and came out otherwise the second time may give counts at which no rounds end. The share in
    the first round is then as right, only rougher.
    """
    try:
        return float(pass_rate(executed, sum(passed), enough))
    except ValueError:
        return next(ok / of for ok, of in zip(passed, executed, strict=True) if of)


def why_dropped(
    candidate: Candidate, pass_rate: float, *, selection: Selection, window: tuple[float, float]
) -> str | None:
    """Say why a response may not be chosen, or None if it may."""
    if selection == "failing" and candidate.passed:
        return "passed"
    if selection == "matrix" and not candidate.passed and candidate.verdict not in NOT_EXECUTED:
        return "not_credible"
    wanted = candidate.passed or selection in ("failing", "random")
    if candidate.verdict in NOT_EXECUTED or not wanted:
        return f"verdict_{candidate.verdict}"
    if not window[0] <= pass_rate <= window[1]:
        return "pass_rate"
    return None


RANKS: dict[str, Callable[[Candidate], tuple[float, ...]]] = {
    "shortest": lambda candidate: (candidate.length,),
    "highest_mutation": lambda candidate: (-1.0 if candidate.mutation_score is None else candidate.mutation_score,),
    "consensus": lambda candidate: (-1.0 if candidate.consensus is None else candidate.consensus,),
    "matrix": lambda candidate: (-1.0 if candidate.weight is None else candidate.weight,),
}
BEST_IS_HIGHEST = frozenset({"highest_mutation", "consensus", "matrix"})


def by_rank(candidates: list[Candidate], selection: Selection) -> list[Candidate]:
    """Sort the best first where the selection ranks; equals, and unranked selections, keep their order."""
    rank = RANKS.get(selection)
    return sorted(candidates, key=rank, reverse=selection in BEST_IS_HIGHEST) if rank else candidates


def chosen(eligible: Iterable[Candidate], *, selection: Selection, per_instruction: int, seed: int) -> set[str]:
    """Choose up to `per_instruction` responses of each instruction; a pure function of the set of candidates."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in eligible:
        groups.setdefault(candidate.instruction_id, []).append(candidate)
    picked: set[str] = set()
    for instruction_id, group in groups.items():
        group.sort(key=lambda candidate: candidate.id)
        rng_for(seed, "select_responses", instruction_id).shuffle(group)
        picked.update(candidate.id for candidate in by_rank(group, selection)[:per_instruction])
    return picked


def reference_shuffle(rows: Sequence[Any], seed: int = REFERENCE_SEED) -> list[Any]:
    """Permute as `datasets.shuffle(seed)` does."""
    import numpy as np

    return [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))]


def reference_choice(rows: Iterable[dict[str, Any]], max_words: int) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield each row with the reason it is dropped for, or None, in the order given (`sanitize_data.py:262-396`).

    Instructions and responses share one set of seen keys, function and class names another. A row dropped for its code
    representation has left its keys behind.
    """
    texts: set[str] = set()
    names: set[frozenset[str]] = set()
    for row in rows:
        keys = {code.squeezed(row["instruction"]), code.squeezed(row["response"])}
        if len(row["instruction"].split()) > max_words:
            yield row, "instruction_too_long"
        elif keys & texts:
            yield row, "seen_text"
        elif (defined := code.reference_names(row["response"])) is None:
            yield row, "syntax_error"
        elif any(group and group in names for group in defined):
            yield row, "seen_names"
        else:
            texts |= keys
            names.update(group for group in defined if group)
            yield row, None if code.reference_representation(row["response"]) is not None else "syntax_error_in_blocks"


def selected(row: dict[str, Any], pass_rate: float, representation: str) -> dict[str, Any]:
    """Make the row of a chosen response."""
    return {
        **{name: row[name] for name in SelectedRow.model_fields if name in row},
        "id": content_id("row", row["id"]),
        "response_id": row["id"],
        "code_representation": representation,
        "pass_rate": pass_rate,
    }


def candidates_of(
    verdicts: list[Path],
    consensus: dict[str, float],
    counts: dict[str, tuple[int, int]],
    weights: dict[str, tuple[float, bool]],
    *,
    selection: Selection,
    threshold: float,
) -> Iterator[Candidate]:
    """Read what the choice needs of every verdict; `matrix` goes by weights (score, credible) in place of verdicts."""
    columns = ["id", "instruction_id", "verdict", "passed", "sample", "mutation_score"]
    columns += ["response"] if selection == "shortest" else []
    for row in read_rows(verdicts, columns):
        weight = None
        if selection == "matrix":
            if row["id"] not in weights:
                raise UserError(
                    f"selection matrix needs the weights of weigh_assertions, and response {row['id']} has none: "
                    "give them with --weights, or choose another selection"
                )
            weight, credible = weights[row["id"]]
            row["passed"] = credible and row["verdict"] not in NOT_EXECUTED
        yield Candidate(
            id=row["id"],
            instruction_id=row["instruction_id"],
            verdict=row["verdict"],
            passed=passes(row, threshold, counts),
            sample=row["sample"],
            length=len(row.get("response") or ""),
            mutation_score=row["mutation_score"],
            consensus=consensus.get(row["id"]),
            weight=weight,
        )


def main(
    verdicts: list[Path],
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
    consensus: list[Path] | None = None,
    assertions: list[Path] | None = None,
    weights: list[Path] | None = None,
    mode: Mode = "fixed",
    run_seed: int = RUN_SEED,
    settings: SelectResponses,
    sanitizing: SanitizeResponses,
    stopping: Stopping,
) -> None:
    """Choose, for every instruction, the responses that a dataset is made of.

    Args:
        verdicts: responses with their verdicts (VerdictRow), all shards of a generation.
        rows: the chosen responses (SelectedRow).
        dropped: ids of the others, with the reason.
        funnel: how many were dropped for each reason.
        consensus: scores from cross_verify_responses, for `selection: consensus`.
        assertions: counts from count_assertions, for a pass threshold below 1.
        weights: scores and pooled tests from weigh_assertions, for `selection: matrix` alone; a chosen row has the
            pooled tests of its instruction in the place of its own.
        mode: `reference` shuffles with seed 6666 and takes the first unseen row of each instruction.
        run_seed: seed of the draw (`fixed` only).
        settings: a dataset's choice.
        sanitizing: the longest instruction (`reference` only; `fixed` checks it in sanitize_responses).
        stopping: how the responses were asked for, where that was in rounds until `enough` passed.
    """
    selection = settings.selection
    scores = {row["id"]: row["score"] for row in read_rows(consensus or [])}
    counts = {row["id"]: (row["held"], row["total"]) for row in read_rows(assertions or [])}
    given = weights or [] if selection == "matrix" else []
    weighed = {row["id"]: (row["score"], row["credible"]) for row in read_rows(given, WEIGHTS)}
    everyone = list(
        candidates_of(verdicts, scores, counts, weighed, selection=selection, threshold=settings.pass_threshold)
    )
    _check_scores(everyone, selection)
    rates = pass_rates(everyone, stopping)
    window = (settings.min_pass_rate, settings.max_pass_rate)
    fates = {
        candidate.id: why_dropped(candidate, rates[candidate.instruction_id], selection=selection, window=window)
        for candidate in everyone
    }
    eligible = [candidate for candidate in everyone if fates[candidate.id] is None]
    if mode == "reference":
        eligible = by_rank(reference_shuffle(sorted(eligible, key=lambda candidate: candidate.id)), selection)
        wanted = [candidate.id for candidate in eligible]
    else:
        picked = chosen(eligible, selection=selection, per_instruction=settings.per_instruction, seed=run_seed)
        fates |= {candidate.id: "not_chosen" for candidate in eligible if candidate.id not in picked}
        wanted = sorted(picked)
    passing = {candidate.id for candidate in everyone if candidate.passed}
    eligible_ids = set(wanted)
    tests = {row["id"]: row["tests"] for row in read_rows(given, ("id", "tests")) if row["id"] in eligible_ids}
    output = StageOutput(
        "select_responses", rows=rows, dropped=dropped, funnel=funnel, schema=SelectedRow, dropped_schema=UnchosenRow
    )
    held: dict[str, dict[str, Any]] = {}
    with output:
        for row in progress(read_rows(verdicts), total=count_rows(verdicts)):
            if (reason := fates[row["id"]]) is not None:
                output.drop(_unchosen(row, rates), reason)
            else:
                own = {"passed": row["id"] in passing, "tests": tests.get(row["id"], row["tests"])}
                held[row["id"]] = {name: row[name] for name in KEPT_COLUMNS} | own
        ordered = (held[row_id] for row_id in wanted)
        decided = (
            reference_choice(ordered, sanitizing.max_words) if mode == "reference" else ((row, None) for row in ordered)
        )
        represent = code.reference_representation if mode == "reference" else code.representation
        for row, reason in decided:
            shape = represent(row["response"]) if reason is None else None
            if reason is None and shape is None:
                reason = "syntax_error"
            if reason is None:
                output.keep(selected(row, rates[row["instruction_id"]], shape or ""))
            else:
                output.drop(_unchosen(row, rates), reason)
    log.info("chose %d of %d responses to %d instructions", output.kept, output.entered, len(rates))


def _unchosen(row: dict[str, Any], rates: dict[str, float]) -> dict[str, Any]:
    names = ("id", "instruction_id", "verdict", "passed")
    return {**{name: row[name] for name in names}, "pass_rate": rates[row["instruction_id"]]}


def _check_scores(everyone: list[Candidate], selection: Selection) -> None:
    """Refuse a ranking by scores that nobody measured."""
    passing = [candidate for candidate in everyone if candidate.passed]
    if selection == "highest_mutation" and passing and all(item.mutation_score is None for item in passing):
        raise UserError(
            "selection highest_mutation needs mutation scores, and no response has one: "
            "switch them on in the config section verify_responses, or choose another selection"
        )
    if selection == "consensus" and passing and all(item.consensus is None for item in passing):
        raise UserError(
            "selection consensus needs the scores of cross_verify_responses, and no passing response has one: "
            "give them with --consensus, or choose another selection"
        )


if __name__ == "__main__":
    run(main)
