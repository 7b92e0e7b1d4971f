"""Any row, kept or dropped, leads back to the function it came from."""

from pathlib import Path

import pytest

from selfcodealign import __main__ as command
from selfcodealign.errors import UserError
from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import write_rows
from selfcodealign.trace import ancestry, offspring, render, whole_id
from tests.small_run import SmallRun, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SmallRun:
    return make_run(tmp_path_factory.mktemp("run"))


def test_a_dataset_row_leads_back_to_its_function(run: SmallRun) -> None:
    row = run.rows[0]
    links = ancestry(run.results, row["id"])
    assert [link.kind for link in links] == ["fn", "seed", "con", "ins", "res", "row"]
    assert [link.id for link in links] == [
        row[column] for column in ("function_id", "seed_id", "concept_id", "instruction_id", "response_id", "id")
    ]


def test_a_seed_shows_every_stage_that_it_passed_in_the_order_of_the_data_path(run: SmallRun) -> None:
    link = ancestry(run.results, run.seeds[0]["id"])[-1]
    stages = [sighting.stage for sighting in link.sightings]
    assert stages == [
        *("infer_imports", "typecheck_functions", "filter_seeds", "decontaminate_seeds", "judge_seeds", "gather_seeds")
    ]


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        ("dedup_functions", "DROPPED, near_duplicate (of fn-"),
        ("filter_seeds", "DROPPED, too_short"),
        ("judge_seeds", "DROPPED, judge_score_below_threshold"),
        ("sanitize_responses", "DROPPED, no_assertion"),
        ("dedup_dataset", "DROPPED, near_duplicate"),
    ],
)
def test_a_dropped_row_says_where_and_why_it_was_dropped(run: SmallRun, stage: str, sentence: str) -> None:
    row_id = run.dropped[stage][0]
    text = render(ancestry(run.results, row_id), [], row_id)
    assert f"{stage} " in text
    assert sentence in " ".join(text.split())


def test_a_response_shows_its_code_its_tests_and_its_verdict(run: SmallRun) -> None:
    verdict = next(row for row in run.verdicts if row["verdict"] == "fail")
    text = render(ancestry(run.results, verdict["id"]), [], verdict["id"])
    for part in (
        "def rotate(items):",
        "assert rotate([1, 2]) == [2, 1]",
        "verdict         fail",
        "isolation       bubblewrap",
    ):
        assert part in text


def test_everything_made_from_a_row_is_found(run: SmallRun) -> None:
    row = run.rows[0]
    made = offspring(run.results, row["function_id"])
    ids = [link.id for link in made]
    assert ids[:3] == [row["seed_id"], row["concept_id"], row["instruction_id"]]
    siblings = [response["id"] for response in run.responses if response["instruction_id"] == row["instruction_id"]]
    assert set(siblings) <= set(ids)
    assert ids.count(row["id"]) == 1
    assert row["function_id"] not in ids


def test_what_was_made_is_listed_with_its_last_fate(run: SmallRun) -> None:
    dropped = run.dropped["filter_seeds"][0]
    function = ancestry(run.results, dropped)[0].id
    text = render(ancestry(run.results, function), offspring(run.results, function), function)
    assert f"seed          {dropped}  filter_seeds 0000" in text
    assert "DROPPED, too_short" in text


def test_an_unknown_id_is_one_clear_sentence(run: SmallRun) -> None:
    with pytest.raises(UserError, match=r"no row res-00000000000000000000 in the .* parquet files under"):
        ancestry(run.results, "res-00000000000000000000")


@pytest.mark.parametrize("text", ["", "res", "res-12", "xyz-00000000000000000000", "res-0000000000000000000G"])
def test_text_that_is_no_id_is_refused_with_the_form_of_an_id(run: SmallRun, text: str) -> None:
    with pytest.raises(UserError, match="is not a row id"):
        whole_id(run.results, text)


def test_the_beginning_of_an_id_is_enough_where_one_row_has_it(run: SmallRun) -> None:
    row_id = run.rows[0]["id"]
    assert whole_id(run.results, row_id[:14]) == row_id
    assert whole_id(run.results, row_id) == row_id


def test_the_beginning_of_no_id_is_one_clear_sentence(run: SmallRun) -> None:
    with pytest.raises(UserError, match="no row fn-00000000 in the"):
        whole_id(run.results, "fn-00000000")


def test_the_beginning_of_several_ids_names_them(tmp_path: Path) -> None:
    rows = [FunctionRow(id=f"fn-{'0' * 19}{n}", content="", repo="", path="", line=1, licence="") for n in range(2)]
    write_rows(tmp_path / "extract_functions/00000.parquet", FunctionRow, [row.model_dump() for row in rows])
    with pytest.raises(UserError, match="2 rows have an id that begins with fn-00000000"):
        whole_id(tmp_path, "fn-00000000")


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no parquet files under"):
        ancestry(tmp_path, "res-00000000000000000000")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "filter_seeds").mkdir()
    (tmp_path / "filter_seeds/00000.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(UserError, match=r"00000\.parquet cannot be read as parquet"):
        ancestry(tmp_path, "seed-00000000000000000000")


def test_long_texts_are_cut_unless_asked_for_in_full(run: SmallRun) -> None:
    links = ancestry(run.results, run.functions[0]["id"])
    assert "4 more lines; --full shows them" in render(links, [], "", max_lines=2)
    assert "more lines" not in render(links, [], "", max_lines=None)


def test_control_characters_in_a_row_do_not_reach_the_terminal(run: SmallRun) -> None:
    links = ancestry(run.results, run.functions[0]["id"])
    links[0].sightings[0].row["content"] = "print('\x1b[2J')"  # type: ignore[index]
    assert "\x1b" not in render(links[:1], [], "")


def test_the_command_prints_the_ancestry(run: SmallRun, capsys) -> None:
    command.main(["trace", run.rows[0]["id"], "--results", str(run.results)])
    printed = capsys.readouterr().out
    positions = [
        printed.index(word) for word in ("function  fn-", "seed  seed-", "concepts  con-", "instruction  ins-")
    ]
    assert positions == sorted(positions)


def test_the_command_fails_with_one_line_for_an_unknown_id(run: SmallRun, capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(["trace", "ins-00000000000000000000", "--results", str(run.results)])
    assert capsys.readouterr().err.count("\n") == 1
