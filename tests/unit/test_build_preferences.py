"""Passing and failing responses of one instruction become pairs, labels and tasks."""

import json
import random

import pytest

from scripts.build_preferences import drawn, main, why_dropped
from selfcodealign.config.dataset import BuildPreferences, DecontaminateDataset
from selfcodealign.rows import SelectedRow, VerdictRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import selected_row, verdict_row


def responses(number: int, *verdicts: str) -> list[dict]:
    """Make an instruction's executed responses; the first is the one that `selected_row(number)` chose."""
    chosen = selected_row(number)
    rows = []
    for sample, verdict in enumerate(verdicts):
        columns = {"id": chosen["response_id"]} if sample == 0 else {"id": f"res-{number:04d}-{sample}"}
        rows.append(
            verdict_row(
                number,
                instruction_id=chosen["instruction_id"],
                sample=sample,
                verdict=verdict,
                passed=verdict == "pass",
                response=chosen["response"] if sample == 0 else f"```python\nx = {number} + {sample}\n```",
                **columns,
            )
        )
    return rows


def build(folder, chosen, verdicts, **options):
    write_rows(folder / "chosen.parquet", SelectedRow, chosen)
    write_rows(folder / "verdicts.parquet", VerdictRow, verdicts)
    names = ("pairs.parquet", "labels.parquet", "tasks.parquet", "dropped.parquet", "funnel.json")
    outputs = [folder / name for name in names]
    settings = {"settings": BuildPreferences(), "decontamination": DecontaminateDataset(), "benchmarks": {}} | options
    main(folder / "chosen.parquet", [folder / "verdicts.parquet"], *outputs, mode="fixed", run_seed=3407, **settings)
    return [list(read_rows(path)) for path in outputs[:4]]


@pytest.mark.parametrize(
    ("passed", "failing", "reason"),
    [(True, ["one"], None), (True, [], "no_failing_response"), (False, ["one"], "chosen_does_not_pass")],
)
def test_a_pair_needs_a_pass_and_a_failure(passed, failing, reason):
    assert why_dropped({"passed": passed}, failing) == reason


@pytest.mark.parametrize(
    ("verdict", "pairs"),
    [
        ("fail", 1),
        ("error", 1),
        ("timeout", 0),
        ("memory", 0),
        ("vacuous", 0),
        ("crashed", 0),
        ("internal", 0),
        ("flaky", 0),
        ("pass", 0),
    ],
)
def test_only_clearly_wrong_responses_are_rejected(tmp_path, verdict, pairs):
    found, labels, tasks, dropped = build(tmp_path, [selected_row(0)], responses(0, "pass", verdict))
    assert len(found) == pairs
    assert len(dropped) == 1 - pairs
    assert len(tasks) == 1
    assert [row["label"] for row in labels if row["response_id"] != selected_row(0)["response_id"]] == (
        [False] if pairs else [True] if verdict == "pass" else []
    )


def test_a_pair_is_a_conversation(tmp_path):
    chosen = selected_row(0)
    (pair,), labels, (task,), _ = build(tmp_path, [chosen], responses(0, "pass", "fail"))
    assert pair["prompt"] == [{"role": "user", "content": chosen["instruction"]}]
    assert pair["chosen"] == [{"role": "assistant", "content": chosen["response"]}]
    assert pair["rejected"] == [{"role": "assistant", "content": "```python\nx = 0 + 1\n```"}]
    assert (pair["chosen_id"], pair["rejected_id"]) == (chosen["response_id"], "res-0000-1")
    assert {row["label"] for row in labels} == {True, False}
    assert (task["tests"], task["pass_rate"]) == (chosen["tests"], chosen["pass_rate"])


def test_labels_are_limited_in_each_class(tmp_path):
    verdicts = responses(0, *["pass"] * 5, *["fail"] * 5)
    _, labels, _, _ = build(tmp_path, [selected_row(0)], verdicts, settings=BuildPreferences(labels_per_class=3))
    assert sorted(row["label"] for row in labels) == [False] * 3 + [True] * 3


def test_responses_to_other_instructions_are_left_out(tmp_path):
    pairs, labels, _, _ = build(
        tmp_path, [selected_row(0)], responses(0, "pass", "fail") + responses(1, "pass", "fail")
    )
    assert len(pairs) == 1
    assert {row["instruction_id"] for row in labels} == {selected_row(0)["instruction_id"]}


def test_a_contaminated_failure_is_not_published(tmp_path):
    solution = "total = sum(value * weight for value, weight in zip(values, weights))\n    return total / sum(weights)"
    benchmark = tmp_path / "tasks.jsonl"
    benchmark.write_text(
        json.dumps({"task_id": "T/0", "prompt": "weighted mean", "canonical_solution": solution}) + "\n"
    )
    verdicts = responses(0, "pass", "fail")
    verdicts[1]["response"] = f"```python\ndef mean(values, weights):\n    {solution}\n```"
    pairs, labels, _, dropped = build(tmp_path, [selected_row(0)], verdicts, benchmarks={"t": str(benchmark)})
    assert pairs == []
    assert [row["label"] for row in labels] == [True]
    assert [row["reason"] for row in dropped] == ["no_failing_response"]


def test_a_failure_with_the_code_of_a_pass_had_wrong_tests_and_is_not_rejected(tmp_path):
    verdicts = responses(0, "pass", "fail", "fail")
    verdicts[1]["response"] = "In other words:\n\n" + selected_row(0)["response"]
    pairs, labels, _, _ = build(tmp_path, [selected_row(0)], verdicts)
    assert [pair["rejected_id"] for pair in pairs] == ["res-0000-2"]
    assert sorted(row["label"] for row in labels) == [False, True]


def test_the_draw_does_not_depend_on_order():
    group = [{"id": f"res-{n}"} for n in range(9)]
    expected = drawn(group, 2, seed=1, purpose="pair", key="row-1")
    random.Random(4).shuffle(group)
    assert drawn(group, 2, seed=1, purpose="pair", key="row-1") == expected


def test_nothing_appears_if_something_fails(tmp_path):
    wrong = BuildPreferences.model_construct(labels_per_class="two")
    with pytest.raises(TypeError, match="slice indices"):
        build(tmp_path, [selected_row(0)], responses(0, "pass", "fail"), settings=wrong)
    assert not list(tmp_path.glob("*.part"))
