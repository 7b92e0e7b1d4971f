"""Tasks of others enter in place of written ones: by their columns, each once, in the shard that their content says."""

import json

import pytest
from pydantic import ValidationError

from scripts.import_tasks import main
from scripts.sanitize_responses import draft_of, why_dropped
from selfcodealign.config import Config
from selfcodealign.config.given import TaskColumns
from selfcodealign.dataset.sanitizing import rules
from selfcodealign.errors import UserError
from selfcodealign.plan import Plan
from selfcodealign.rows_io import read_rows
from tests.dataset_rows import raw_of, response_row

COLUMNS = {"instruction": "text", "tests": "check", "licence": "terms"}
ROWS = [
    {"text": " Add.\n", "check": "assert add(1) == 2", "terms": "MIT"},
    {"text": "", "check": "assert add(1) == 2", "terms": "MIT"},
    {"text": "Add.", "check": "```python\nassert add(1) == 2\n```", "terms": "MIT"},
    {"text": "Cut.", "check": ["assert cut(1) == 0", "assert cut(2) == 1"], "terms": None},
    {"text": "Turn.", "check": None, "terms": "Apache-2.0"},
    {"text": "Lose.", "check": "assert lose(", "terms": "MIT"},
    {"text": "Add one to two or three.", "check": None, "terms": "MIT"},
]


def imported(folder, rows=ROWS, shards=1, **columns):
    """Import rows; return those that were kept and the reasons of the others by row, over all shards."""
    source = folder / "tasks.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, reasons = [], {}
    for shard in range(shards):
        files = [folder / f"{shard}{end}" for end in (".parquet", ".dropped.parquet", ".funnel.json")]
        given = TaskColumns(source=str(source), **{**COLUMNS, **columns})
        main(*files, name="given", shard=shard, shards=shards, max_words=5, settings=given)
        kept.append(list(read_rows(files[0])))
        reasons |= {row["path"]: row["reason"] for row in read_rows(files[1])}
        funnel = json.loads(files[2].read_text())
        assert funnel["entered"] == funnel["kept"] + sum(funnel["dropped"].values())
    return kept, reasons


def test_tasks_are_kept_with_tests_and_licence_or_dropped_with_the_reason(tmp_path):
    (kept,), reasons = imported(tmp_path)
    assert [(row["instruction"], row["given_tests"], row["licence"]) for row in kept] == [
        ("Add.", "assert add(1) == 2", "MIT"),
        ("Cut.", "assert cut(1) == 0\nassert cut(2) == 1", "unknown"),
        ("Turn.", "", "Apache-2.0"),
    ]
    assert all(row["id"] == row["seed_id"] == row["function_id"] for row in kept)
    assert reasons == {
        "row 2": "no_instruction",
        "row 3": "duplicate",
        "row 6": "tests_do_not_parse",
        "row 7": "instruction_too_long",
    }


def test_a_tasks_shard_follows_from_its_content_alone(tmp_path):
    rows = [{"text": f"Add {number}.", "check": "", "terms": ""} for number in range(60)]
    names = [{row["id"] for row in shard} for shard in imported(tmp_path, rows, 3)[0]]
    assert names == [{row["id"] for row in shard} for shard in imported(tmp_path, rows[::-1] + rows[:7], 3)[0]]
    assert sum(map(len, names)) == 60
    assert min(map(len, names)) > 5


def test_a_draw_takes_so_many_over_all_shards_and_no_more(tmp_path):
    kept, reasons = imported(tmp_path, ROWS, 2, limit=2)
    assert sum(map(len, kept)) == 2
    assert sorted(reasons.values()).count("not_drawn") == 1


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        (ROWS, {"instruction": "task"}, "row 1 of the tasks has no column task; it has text, check, terms"),
        (ROWS, {"tests": "test"}, "name the right one by generations.given.tasks.tests"),
        (ROWS[1:2], {}, "no row has text in the column text"),
    ],
    ids=["no-column", "no-tests", "no-task"],
)
def test_a_source_that_cannot_be_used_is_one_sentence(tmp_path, rows, columns, sentence):
    with pytest.raises(UserError, match=sentence):
        imported(tmp_path, rows, **columns)
    assert not list(tmp_path.glob("*.parquet"))


OWN = "```python\nassert own(1) == 1\n```"
GIVEN = "assert given(1) == 1"


@pytest.mark.parametrize(
    ("tests", "replaces", "expected"),
    [
        (OWN, False, f"{OWN}\n\n```python\n{GIVEN}\n```"),
        (OWN, True, f"```python\n{GIVEN}\n```"),
        (None, True, f"```python\n{GIVEN}\n```"),
        (None, False, "not_split"),
    ],
    ids=["join", "replace", "replace-none", "join-none"],
)
def test_given_tests_follow_a_responses_own_or_replace_them(tests, replaces, expected):
    code = "```python\ndef own(value):\n    return value\n```"
    row = response_row(1, raw=code if tests is None else raw_of(code, tests))
    draft = draft_of(row, GIVEN, replaces=replaces)
    broken = why_dropped(draft, rules("fixed", max_words=200))
    assert expected == (broken[0] if broken else draft.tests)
    assert broken or draft.response == code


def config(mode="fixed", **keys):
    return Config.model_validate(
        {"mode": mode, "generations": {"given": keys, "own": {}}, "datasets": {}, "models": {}}
    )


def test_the_plan_of_a_generation_with_tasks_begins_with_them():
    given = {"source": "tasks.jsonl", "tests": "check"}
    plan = Plan(config(tasks=given), ["a.parquet"])
    assert plan.branches("given")[:2] == ["import_tasks/given", "write_responses/given"]
    assert plan.branches("own")[-4] == "write_instructions/own"
    assert "import_tasks/own" not in plan.branches("own")
    assert plan.tasks("given", "00000") == "results/import_tasks/given/00000.parquet"
    assert plan.given_tests("given", "00000") == [plan.tasks("given", "00000")]
    assert plan.given_tests("own", "00000") == []
    with pytest.raises(UserError, match=r"generations\.own of the config names no tasks"):
        plan.check_target("results/import_tasks/own/00000.parquet")
    with pytest.raises(UserError, match="so no model writes them"):
        plan.check_target("results/write_instructions/given/00000.parquet")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"mode": "reference"}, "mode reference answers only tasks"),
        ({"answers": "own"}, "leave one of them out"),
        ({"path": "direct"}, r"generations\.given\.path: given tasks need no seeds"),
        ({"seeds": "snippets"}, "leave seeds out"),
    ],
    ids=["reference", "answers", "path", "seeds"],
)
def test_tasks_that_contradict_the_rest_are_one_sentence(keys, sentence):
    with pytest.raises(ValidationError, match=sentence):
        config(tasks={"source": "tasks.jsonl"}, **keys)
