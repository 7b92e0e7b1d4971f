"""A table of the paper shows this run's numbers beside the published ones, and never takes one for the other."""

import json

import pytest

from scripts.build_table import main, measured, table_of, win_rates
from selfcodealign.config import load
from selfcodealign.config.cells import cells, evaluated
from selfcodealign.errors import UserError
from selfcodealign.paper import COLUMNS, published, rows_of
from selfcodealign.rows_io import write_json


def cell(kind="score", **changes):
    plain = {"row": "SelfCodeAlign-CQ-7B", "column": "humaneval_plus", "model": "aligned", "metric": "", "divide": 1}
    return {**plain, "kind": kind, "files": [], **changes}


def scores(path, by_task, warnings=()):
    mean = 100 * sum(by_task.values()) / len(by_task)
    metric = {"value": mean, "low": mean - 5, "high": mean + 6, "tasks": len(by_task)}
    found = {"headline": "pass@1", "metrics": {"pass@1": metric}, "by_task": {"pass@1": by_task}}
    write_json(path, found | {"warnings": list(warnings)})
    return str(path)


def test_every_table_and_column_of_the_paper_has_a_source():
    tables = published()["tables"]
    assert list(COLUMNS) == list(tables)
    assert len(tables) == 12
    for name, table in tables.items():
        assert list(COLUMNS[name]) == table["columns"]
        assert all(len(row) == len(table["columns"]) for row in table["rows"].values())


def test_a_score_is_shown_with_its_interval_the_papers_and_their_difference(tmp_path):
    file = scores(tmp_path / "a.json", {"1": 1.0, "2": 0.0})
    table = table_of("evalplus", [cell(files=[file])], seed=1, demo=False)
    line = next(row for row in table["rows"] if row["name"] == "SelfCodeAlign-CQ-7B")
    assert line["cells"][0]["ours"] == {"value": 50.0, "low": 45.0, "high": 56.0}
    assert line["cells"][0]["paper"] == 67.1
    assert line["cells"][0]["difference"] == {"value": -17.1, "low": -22.1, "high": -11.1}
    assert line["cells"][1]["ours"] is None


def test_rows_that_were_not_run_show_the_published_number_alone(tmp_path):
    table = table_of("evalplus", [cell(files=[scores(tmp_path / "a.json", {"1": 1.0})])], seed=1, demo=False)
    line = next(row for row in table["rows"] if row["name"] == "GPT-4-Turbo")
    assert [one["ours"] for one in line["cells"]] == [None, None]
    assert [one["paper"] for one in line["cells"]] == [81.7, 70.7]


def test_the_average_of_benchmarks_weighs_them_equally(tmp_path):
    files = [scores(tmp_path / "a.json", dict.fromkeys("abcd", 1.0)), scores(tmp_path / "b.json", {"1": 0.0, "2": 0.5})]
    value, low, high = measured(cell(files=files), seed=3)
    assert value == pytest.approx(62.5)
    assert low < value < high


def test_wins_count_common_tasks_only_and_draws_half():
    own = {"a": 0.9, "b": 0.5, "c": 0.2}
    assert win_rates(own, [{"a": 0.1, "b": 0.5}, {"a": 1.0, "x": 0.0}]) == {"a": 0.5, "b": 0.5}
    assert win_rates(own, []) == {}


def test_hours_are_those_of_the_jobs_and_are_missing_where_nothing_was_timed(tmp_path):
    timed = tmp_path / "0.jsonl"
    timed.write_text('{"s": 3600}\n{"s": 1800}\n')
    assert measured(cell("generation_h", files=[str(timed), str(tmp_path / "no.jsonl")], divide=3), 0)[0] == 0.5
    assert measured(cell("finetune_h", files=[str(tmp_path / "no.jsonl")]), 0) is None


def test_a_number_without_a_measurement_is_a_dash_and_a_missing_score_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json does not exist"):
        measured(cell(files=[str(tmp_path / "gone.json")]), 0)


def test_warnings_of_the_scores_and_the_toys_note_stand_under_the_table(tmp_path):
    file = scores(tmp_path / "a.json", {"1": 1.0}, ["the paper used another version"])
    planned = json.dumps([cell(files=[file])])
    main("evalplus", planned, tmp_path / "t.json", tmp_path / "t.md", run_seed=1, demo=True)
    page = (tmp_path / "t.md").read_text()
    assert "aligned: the paper used another version." in page
    assert "embedded toy model" in page
    assert "| SelfCodeAlign-CQ-7B | this run (aligned) | 100.0 (95.0 to 106.0) | – |" in page
    assert "| SelfCodeAlign-CQ-7B | paper | 67.1 | 65.2 |" in page


def run_config(**changes):
    benchmarks = {"humaneval_plus": {}, "mbpp_plus": {}}
    return load({"benchmarks": benchmarks, "paper_models": {"aligned": "SelfCodeAlign-CQ-7B"}, **changes})


def test_rows_follow_from_the_papers_names_of_models():
    found = cells(run_config(tables={"evalplus": {}}), "evalplus")
    assert [(one.row, one.column, one.model) for one in found] == [
        ("SelfCodeAlign-CQ-7B", "humaneval_plus", "aligned"),
        ("SelfCodeAlign-CQ-7B", "mbpp_plus", "aligned"),
    ]


def test_a_model_is_evaluated_on_its_own_benchmarks_only():
    config = run_config(models={"aligned": {"benchmarks": ["mbpp_plus"]}})
    assert evaluated(config) == {"base": ["humaneval_plus", "mbpp_plus"], "aligned": ["mbpp_plus"]}


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"table9": {}}, "tables.table9: no entry named 'table9'"),
        ({"seed_selection": {"rows": {"x": "aligned"}}}, "the paper's table has no such row; it has filtered"),
        ({"cross_model": {"rows": {"Llama-3-8B": {"x": "aligned"}}}}, "the table has no such column; it has base"),
        ({"distillation": {"rows": {"self_code_align": "x"}}}, "no model named 'x' is evaluated; there are base, alig"),
        ({"cost": {"rows": {"Llama-3-8B": "base"}}}, "'base' is not trained on data of this run, so it has no seeds"),
        ({"ds1000": {}}, "tables.ds1000: no model fills it; name its rows, or models in paper_models"),
    ],
)
def test_a_table_that_cannot_be_filled_is_refused_before_any_job(tables, sentence):
    with pytest.raises(UserError, match=sentence):
        run_config(tables=tables)


def test_the_rows_of_a_table_are_read_by_column():
    assert rows_of("cross_model")["Llama-3-8B"]["StarCoder2-3B"] is None
