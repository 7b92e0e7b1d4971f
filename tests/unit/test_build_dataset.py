"""The published folder: equal rows for an ablation, files that `datasets` reads, and a card that tells the truth."""

import json
import random

import pytest
import yaml

from scripts.build_dataset import equal_share, main, shortened
from selfcodealign.dataset import trainers
from selfcodealign.dataset.rows import LabelRow, PairRow, TaskRow, turn
from selfcodealign.errors import UserError
from selfcodealign.rows import DatasetRow, ResponseRow, SeedRow, SelectedRow
from selfcodealign.rows_io import StageOutput, count_rows, read_rows, write_rows
from tests.dataset_rows import response_row, seed_row, selected_row


def rows_of(name: str, instructions) -> dict[str, str]:
    return {f"row-{name}-{instruction}": f"ins-{instruction}" for instruction in instructions}


def test_siblings_get_equal_rows_of_the_same_instructions():
    groups = [rows_of("a", range(100)), rows_of("b", range(20, 90)), rows_of("c", range(30, 95))]
    shares = [equal_share(own, [other for other in groups if other is not own], seed=5) for own in groups]
    assert [len(share) for share in shares] == [65, 65, 65]
    chosen = [{own[row] for row in share} for own, share in zip(groups, shares, strict=True)]
    assert len(set.intersection(*chosen)) == 60, "all that they have in common"


def test_the_share_does_not_depend_on_order():
    own, other = rows_of("a", range(50)), rows_of("b", range(10))
    shuffled = list(own.items())
    random.Random(3).shuffle(shuffled)
    assert equal_share(own, [other], seed=5) == equal_share(dict(shuffled), [other], seed=5)
    assert equal_share(own, [other], seed=5) != equal_share(own, [rows_of("b", range(40, 50))], seed=5)


def test_a_dataset_without_siblings_keeps_everything():
    own = rows_of("a", range(7))
    assert equal_share(own, [], seed=5) == set(own)


@pytest.fixture
def inputs(tmp_path):
    """Write what build_dataset reads: rows, seeds, further configurations, a funnel and dropped rows."""
    write_rows(tmp_path / "chosen.parquet", SelectedRow, [selected_row(number) for number in range(12)])
    write_rows(tmp_path / "seeds.parquet", SeedRow, [seed_row(number) for number in range(20)])
    base = tmp_path / "results" / "sanitize_responses" / "self" / "00000"
    with StageOutput(
        "sanitize_responses",
        rows=base.with_name("00000.parquet"),
        dropped=base.with_name("00000.dropped.parquet"),
        funnel=base.with_name("00000.funnel.json"),
        schema=ResponseRow,
    ) as output:
        for number in range(15):
            if number < 12:
                output.keep(response_row(number))
            else:
                output.drop(response_row(number, raw="```odd`` text"), "not_split", "no border")
    prompt, answer = [turn("user", "Do it.")], [turn("assistant", "Done.")]
    pair = {"id": "row-1", "prompt": prompt, "chosen": answer, "rejected": answer, "chosen_id": "a", "rejected_id": "b"}
    write_rows(
        tmp_path / "pairs.parquet",
        PairRow,
        [pair | {"rejected_verdict": "fail", "instruction_id": "ins-1", "pass_rate": 0.5}],
    )
    label = {"id": "row-2", "prompt": prompt, "completion": answer, "label": True, "response_id": "a"}
    write_rows(tmp_path / "labels.parquet", LabelRow, [label | {"verdict": "pass", "instruction_id": "ins-1"}])
    write_rows(tmp_path / "tasks.parquet", TaskRow, [])
    return tmp_path


def build(folder, **options):
    settings = {
        "chosen": folder / "chosen.parquet",
        "seeds": [folder / "seeds.parquet"],
        "folder": folder / "passing",
        "dropped": folder / "dropped.parquet",
        "funnel": folder / "funnel.json",
        "name": "passing",
        "run_seed": 3407,
        "pairs": folder / "pairs.parquet",
        "labels": folder / "labels.parquet",
        "tasks": folder / "tasks.parquet",
        "funnels": [folder / "results/sanitize_responses/self/00000.funnel.json"],
        "dropped_before": [folder / "results/sanitize_responses/self/00000.dropped.parquet"],
        "recipe": {"seed": "3407", "datasets.passing.selection": "passing"},
    }
    main(**(settings | options))
    return folder / "passing"


def test_every_configuration_loads(inputs):
    import datasets

    folder = build(inputs)
    for name, rows in (("sft", 12), ("dpo", 1), ("kto", 1)):
        loaded = datasets.load_dataset(str(folder), name, split="train", cache_dir=str(inputs / "cache"))
        assert len(loaded) == rows
    assert len(datasets.load_dataset(str(folder), split="train", cache_dir=str(inputs / "cache"))) == 12
    assert not (folder / "rl").exists(), "an empty configuration is left out"


def test_tasks_also_lie_there_in_the_columns_of_other_trainers(inputs):
    datasets = pytest.importorskip("datasets")
    task = {"id": "row-3", "prompt": [turn("user", "Do it.")], "instruction": "Do it.", "tests": "assert f() == 1"}
    rest = {"pass_rate": 0.5, "category": "", "difficulty": "", "response_id": "a", "instruction_id": "ins-1"}
    write_rows(inputs / "tasks.parquet", TaskRow, [task | rest])
    folder = build(inputs)
    assert (folder / "rl/train.parquet").read_bytes() == (inputs / "tasks.parquet").read_bytes()
    assert {path.name for path in (folder / "rl").iterdir()} == {"train.parquet", *trainers.FILES}
    assert datasets.load_dataset(str(folder), "rl", split="train", cache_dir=str(inputs / "cache")).num_rows == 1
    (row,) = read_rows(folder / "rl/train.verl.parquet")
    assert row["extra_info"]["tests"] == "assert f() == 1\n"
    (row,) = read_rows(folder / "rl/train.open_r1.parquet")
    assert (row["id"], row["prompt"]) == ("row-3", "Do it.")


def test_rows_carry_provenance_and_messages(inputs):
    folder = build(inputs)
    rows = list(read_rows(folder / "sft" / "train.parquet"))
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    by_response = {selected_row(number)["response_id"]: number for number in range(12)}
    for row in rows:
        DatasetRow.model_validate(row)
        number = by_response[row["response_id"]]
        assert row["function_id"] == seed_row(number)["function_id"]
        assert (row["repo"], row["licence"]) == (seed_row(number)["repo"], seed_row(number)["licence"])
        assert row["messages"] == [turn("user", row["instruction"]), turn("assistant", row["response"])]


def test_bytes_do_not_depend_on_order(inputs):
    first = {path.name: path.read_bytes() for path in build(inputs).rglob("*") if path.is_file()}
    rows = [selected_row(number) for number in range(12)]
    write_rows(inputs / "chosen.parquet", SelectedRow, rows[5:] + rows[:5])
    write_rows(inputs / "seeds.parquet", SeedRow, [seed_row(number) for number in range(20)][::-1])
    assert first == {path.name: path.read_bytes() for path in build(inputs).rglob("*") if path.is_file()}


def test_siblings_are_cut_with_a_reason(inputs):
    write_rows(inputs / "other.parquet", SelectedRow, [selected_row(number) for number in range(4, 9)])
    folder = build(inputs, siblings=[inputs / "other.parquet"])
    kept = list(read_rows(folder / "sft" / "train.parquet"))
    assert {row["instruction_id"] for row in kept} == {selected_row(number)["instruction_id"] for number in range(4, 9)}
    assert {row["reason"] for row in read_rows(inputs / "dropped.parquet")} == {"equal_rows"}
    assert count_rows(inputs / "dropped.parquet") == 7


def test_the_card_tells_rows_funnel_and_examples(inputs):
    card = (build(inputs) / "README.md").read_text()
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    matter = yaml.safe_load(front)
    assert [item["config_name"] for item in matter["configs"]] == ["sft", "dpo", "kto"]
    assert matter["configs"][0]["default"] is True
    assert matter["size_categories"] == ["n<1K"]
    assert "| `sanitize_responses` | 15 | 12 | not_split 3 |" in body
    assert "**`sanitize_responses`: not_split** (`no border`)" in body
    assert "| MIT | 6 |" in body
    assert "| `datasets.passing.selection` | `passing` |" in body
    assert "`demo/model`, revision `sha256:0f1e2d3c`" in body
    for heading in ("## Configurations", "## Licences", "### sft", "### dpo", "## How to make it again"):
        assert heading in body
    sample = body.split("### sft\n\n")[1].split("\n", 1)
    fence = sample[0].removesuffix("json")
    assert json.loads(sample[1].split(f"\n{fence}\n")[0])["verdict"] == "pass"


def test_the_card_says_what_a_pass_rate_is_where_tasks_were_answered_in_rounds(inputs):
    told = "| pass_rate | estimate without bias of the share"
    assert told not in (build(inputs) / "README.md").read_text()
    card = (build(inputs, recipe={"write_responses.enough": "1"}) / "README.md").read_text()
    assert told in card
    assert "| `write_responses.enough` | `1` |" in card


def test_the_card_says_whose_tests_they_are_where_responses_were_weighed(inputs):
    told = "| tests | assertions pooled from all responses"
    assert told not in (build(inputs) / "README.md").read_text()
    assert told in (build(inputs, recipe={"datasets.passing.selection": "matrix"}) / "README.md").read_text()


def test_an_empty_dataset_is_an_error_that_shows_the_funnel(inputs):
    write_rows(inputs / "chosen.parquet", SelectedRow, [])
    with pytest.raises(
        UserError, match=r"dataset passing has no rows left.*sanitize_responses/self: 15 in, 12 kept \(not_split 3\)"
    ):
        build(inputs)
    assert not (inputs / "passing").exists()


def test_an_empty_sibling_is_named(inputs):
    write_rows(inputs / "other.parquet", SelectedRow, [])
    with pytest.raises(UserError, match=r"because \S*other\.parquet is empty"):
        build(inputs, siblings=[inputs / "other.parquet"])


def test_rows_of_another_run_are_an_error(inputs):
    write_rows(inputs / "seeds.parquet", SeedRow, [])
    with pytest.raises(UserError, match="in none of 1 seed files"):
        build(inputs)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("abcd", "abc …"), ("abc", "abc"), ([{"a": "abcd"}], [{"a": "abc …"}]), (4, 4), (None, None)],
)
def test_samples_are_shortened(value, expected):
    assert shortened(value, 3) == expected
