"""Turn the responses that execution judged into preference pairs, labelled responses and tasks with tests.

The paper throws failing responses away. Beside a passing response to the same instruction, one that fails is what DPO
and KTO learn from, and an instruction with tests and a pass rate is what reinforcement learning needs.
"""

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from selfcodealign.config.dataset import BuildPreferences, DecontaminateDataset
from selfcodealign.config.section import RUN_SEED, Mode
from selfcodealign.dataset import code
from selfcodealign.dataset.rows import LabelRow, PairRow, TaskRow, turn
from selfcodealign.decontamination import Index, ReferenceIndex, index_for
from selfcodealign.ids import content_id, rng_for
from selfcodealign.rows import SelectedRow
from selfcodealign.rows_io import RowWriter, StageOutput, count_rows, read_rows
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)

WRONG = frozenset({"fail", "error"})
"""Verdicts that show a wrong answer. A timeout or vacuous tests show less, and a failure of the
sandbox nothing."""

COLUMNS = ("id", "instruction_id", "response", "verdict", "passed")


def why_dropped(row: dict[str, Any], failing: list[dict[str, Any]]) -> str | None:
    """Say why a chosen response has no pair, or None if it has one."""
    if not row["passed"]:
        return "chosen_does_not_pass"
    return None if failing else "no_failing_response"


def drawn(candidates: list[dict[str, Any]], count: int, *, seed: int, purpose: str, key: str) -> list[dict[str, Any]]:
    """Draw up to `count` responses; a pure function of their set, the seed and the key."""
    ordered = sorted(candidates, key=lambda response: response["id"])
    rng_for(seed, f"build_preferences {purpose}", key).shuffle(ordered)
    return ordered[:count]


def worst(failing: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the responses with the lowest score; all of them where none was weighed."""
    lowest = min(response.get("score", 0.0) for response in failing)
    return [response for response in failing if response.get("score", 0.0) == lowest]


def pair(row: dict[str, Any], rejected: dict[str, Any]) -> dict[str, Any]:
    """Make a DPO row of a chosen row and a failing response."""
    return {
        "id": content_id("row", "pair", row["response_id"], rejected["id"]),
        "prompt": [turn("user", row["instruction"])],
        "chosen": [turn("assistant", row["response"])],
        "rejected": [turn("assistant", rejected["response"])],
        "chosen_id": row["response_id"],
        "rejected_id": rejected["id"],
        "rejected_verdict": rejected["verdict"],
        "instruction_id": row["instruction_id"],
        "pass_rate": row["pass_rate"],
    }


def label(row: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    """Make a KTO row of any executed response to a row's instruction."""
    return {
        "id": content_id("row", "label", response["id"]),
        "prompt": [turn("user", row["instruction"])],
        "completion": [turn("assistant", response["response"])],
        "label": response["passed"],
        "response_id": response["id"],
        "verdict": response["verdict"],
        "instruction_id": row["instruction_id"],
    }


def task(row: dict[str, Any]) -> dict[str, Any]:
    """Make a row for reinforcement learning: the tests that the chosen response passed."""
    return {
        "id": content_id("row", "task", row["response_id"]),
        "prompt": [turn("user", row["instruction"])],
        **{name: row[name] for name in ("instruction", "tests", "pass_rate", "category", "difficulty")},
        "response_id": row["response_id"],
        "instruction_id": row["instruction_id"],
    }


def weighed(responses: Iterable[dict[str, Any]], weights: list[Path]) -> Iterable[dict[str, Any]]:
    """Put the matrix's word in the place of a response's own verdict, where there is one.

    A response passes if it is credible, and one that is not is wrong even if it passes its own tests.
    """
    found = {row["id"]: row for row in read_rows(weights, ("id", "score", "credible", "outcome"))}
    for response in responses:
        if (weight := found.get(response["id"])) and response["verdict"] in WRONG | {"pass"}:
            clear = weight["outcome"] == "credible"
            yield response | {"passed": weight["credible"], "wrong": clear, "score": weight["score"]}
        else:
            yield response


def usable(
    responses: Iterable[dict[str, Any]], wanted: set[str], index: Index | ReferenceIndex
) -> dict[str, list[dict[str, Any]]]:
    """Group executed responses by instruction: those of wanted instructions, with a clear verdict, uncontaminated."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for response in responses:
        if response["instruction_id"] not in wanted:
            continue
        wrong = response.get("wrong", response["verdict"] in WRONG)
        if (response["passed"] or wrong) and not index.search(response["response"]):
            groups.setdefault(response["instruction_id"], []).append(response)
    return groups


def told_apart(group: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep one response for each different code of an instruction, and of a code that ever passed only a pass.

    Every response was judged by its own tests. A failure with the code of a pass had wrong tests, not wrong code, and
    would teach a preference between equals.
    """
    kept: dict[str, dict[str, Any]] = {}
    for response in sorted(group, key=lambda response: (not response["passed"], response["id"])):
        text = response["response"]
        kept.setdefault(code.representation(text) or code.squeezed(text), response)
    return list(kept.values())


def main(
    chosen: Path,
    verdicts: list[Path],
    pairs: Path,
    labels: Path,
    tasks: Path,
    dropped: Path,
    funnel: Path,
    *,
    benchmarks: dict[str, str],
    mode: Mode = "fixed",
    run_seed: int = RUN_SEED,
    settings: BuildPreferences,
    decontamination: DecontaminateDataset,
    weights: list[Path] | None = None,
) -> None:
    """Turn the responses that execution judged into preference pairs, labelled responses and tasks with tests.

    Args:
        chosen: the rows of a dataset (SelectedRow), after deduplication and decontamination.
        verdicts: all responses of the generation with their verdicts.
        pairs: passing against failing response, one row for each chosen row that has both (PairRow, for DPO).
        labels: single responses with a label (LabelRow, for KTO).
        tasks: instruction, tests and pass rate (TaskRow, for reinforcement learning).
        dropped: chosen rows without a pair, with the reason.
        funnel: how many chosen rows have no pair, and how many labels and tasks there are.
        benchmarks: NAME=FILE pairs that responses are compared with; the rejected ones were not before.
        mode: as in decontaminate_dataset.
        run_seed: seed of the draws.
        settings: how many labelled responses there are.
        decontamination: what counts as an overlap.
        weights: scores from weigh_assertions, for a dataset selected by them: the pair of a chosen row is then the
            response with the lowest score.
    """
    rows = list(read_rows(chosen))
    wanted = {row["instruction_id"] for row in rows}
    index = index_for(benchmarks, mode=mode, stage="dataset", settings=decontamination)
    responses = progress(read_rows(verdicts, COLUMNS), total=count_rows(verdicts))
    groups = usable(weighed(responses, weights or []), wanted, index)
    counts = {"labels": 0, "tasks": 0}
    labelled: set[str] = set()
    output = StageOutput(
        "build_preferences", rows=pairs, dropped=dropped, funnel=funnel, schema=PairRow, dropped_schema=SelectedRow
    )
    label_file, task_file = RowWriter(labels, LabelRow), RowWriter(tasks, TaskRow)
    with ExitStack() as unfinished, output:
        unfinished.callback(label_file.discard)
        unfinished.callback(task_file.discard)
        for row in rows:
            key = row["instruction_id"]
            group = told_apart(groups.get(key, []))
            failing = [response for response in group if not response["passed"]]
            if reason := why_dropped(row, failing):
                output.drop(row, reason)
            else:
                (rejected,) = drawn(worst(failing), 1, seed=run_seed, purpose="pair", key=row["response_id"])
                output.keep(pair(row, rejected))
            if key not in labelled:
                labelled.add(key)
                for passed in (True, False):
                    candidates = [response for response in group if response["passed"] is passed]
                    count, purpose = settings.labels_per_class, f"label {passed}"
                    for response in drawn(candidates, count, seed=run_seed, purpose=purpose, key=key):
                        label_file.write(label(row, response))
                        counts["labels"] += 1
            if row["passed"]:
                task_file.write(task(row))
                counts["tasks"] += 1
        output.extra |= counts
        unfinished.pop_all()
        label_file.close()
        task_file.close()
    log.info("%d pairs, %d labels and %d tasks from %d rows", output.kept, *counts.values(), output.entered)


if __name__ == "__main__":
    run(main)
