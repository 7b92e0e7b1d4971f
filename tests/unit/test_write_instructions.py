import json

import pytest

from scripts import extract_concepts
from scripts.write_instructions import main, origin
from selfcodealign.commands.prompt import prompt_of
from selfcodealign.errors import UserError
from selfcodealign.generation.engine import fault
from tests.generation_rows import PROMPTS, asking, call, outputs, rows_of, write_seeds
from tests.stub_server import running

HEADINGS = frozenset({"### Properties", "### Task"})


@pytest.mark.parametrize(
    ("text", "finish_reason", "fixed", "reference"),
    [
        ("Write it.", "stop", None, None),
        ("Write it.", "length", "length", "length"),
        ("  \n", "stop", "empty", None),
        ("Write it.\n\n### Properties\ncategory: x", "stop", "malformed", None),
        ("Write it.\n\n### Example usage\n\nx", "stop", None, None),
    ],
)
def test_an_answer_is_dropped_for_its_first_fault(text, finish_reason, fixed, reference):
    assert fault(text, finish_reason, HEADINGS) == fixed
    assert fault(text, finish_reason, HEADINGS, reference=True) == reference


def test_a_task_leads_back_to_what_it_was_written_from():
    concepts = {"id": "con-1", "seed_id": "seed-1", "concepts": ["a"]}
    assert origin(concepts, "concepts") == {"concept_id": "con-1", "seed_id": "seed-1", "concepts": ["a"]}
    assert origin({"id": "seed-1"}, "direct") == {"concept_id": None, "seed_id": "seed-1", "concepts": []}


@pytest.fixture(scope="module")
def concepts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("concepts")
    write_seeds(folder / "results" / "gather_seeds" / "00000.parquet", 60)
    out = outputs(folder / "results" / "extract_concepts" / "self", "00000")
    with running() as stub:
        seeds = folder / "results" / "gather_seeds" / "00000.parquet"
        call(extract_concepts.main, seeds, **out, **asking(stub.url))
    return folder


def test_every_list_of_concepts_gets_a_task_of_the_drawn_category_and_difficulty(concepts, tmp_path):
    out = outputs(tmp_path)
    source = concepts / "results" / "extract_concepts" / "self" / "00000.parquet"
    with running() as stub:
        call(main, source, **out, **asking(stub.url))
    rows = rows_of(out["rows"])
    assert [row["concept_id"] for row in rows] == [row["id"] for row in rows_of(source)]
    assert {row["category"] for row in rows} == {
        "function implementation",
        "class implementation",
        "program implementation",
    }
    assert {row["difficulty"] for row in rows} == {"easy", "medium", "hard"}
    by_prompt = {body["prompt"]: body for body in stub.bodies}
    for row in rows[:5]:
        ending = (
            f"category: {row['category']}\nlanguage: Python\ndifficulty: {row['difficulty']}\n"
            f"concepts: {', '.join(row['concepts'])}\n\n### Task"
        )
        (prompt,) = [prompt for prompt in by_prompt if prompt.endswith(ending)]
        assert by_prompt[prompt]["seed"] == row["seed"]
    assert json.loads(out["funnel"].read_text())["produced"] == len(rows) == 60


def test_the_direct_path_writes_tasks_from_seeds(concepts, tmp_path):
    out = outputs(tmp_path)
    with running() as stub:
        source = concepts / "results" / "gather_seeds" / "00000.parquet"
        call(main, source, **out, **asking(stub.url), path="direct")
    rows = rows_of(out["rows"])
    assert len(rows) == 60
    assert all(row["concept_id"] is None and row["category"] == "" and row["concepts"] == [] for row in rows)
    assert all("### Snippet\ndef number_" in body["prompt"] for body in stub.bodies)


def test_a_config_may_ask_for_one_category_only(concepts, tmp_path):
    out = outputs(tmp_path)
    source = concepts / "results" / "extract_concepts" / "self" / "00000.parquet"
    with running() as stub:
        flags = asking(stub.url) | {"categories": {"class implementation": 1}}
        call(main, source, **out, **flags)
    assert {row["category"] for row in rows_of(out["rows"])} == {"class implementation"}


def test_the_prompt_of_every_kind_of_row_can_be_shown_again(concepts):
    results = concepts / "results"
    source = results / "extract_concepts" / "self" / "00000.parquet"
    out = outputs(results / "write_instructions" / "self", "00000")
    direct = outputs(results / "write_instructions" / "direct", "00000")
    with running() as stub:
        call(main, source, **out, **asking(stub.url))
        call(main, results / "gather_seeds" / "00000.parquet", **direct, **asking(stub.url), path="direct")
        asked = {body["prompt"] for body in stub.bodies}
    for file in (out["rows"], direct["rows"]):
        assert prompt_of(rows_of(file)[7]["id"], results, [PROMPTS], None) in asked
    assert prompt_of(rows_of(source)[3]["id"], results, [PROMPTS], None).endswith("### Concepts")
    with pytest.raises(UserError, match="which none at hand equals"):
        other = PROMPTS.with_name("starcoder2-instruct.yaml")
        prompt_of(rows_of(source)[3]["id"], results, [other], None)
    with pytest.raises(UserError, match="no row ins-0"):
        prompt_of("ins-0", results, [PROMPTS], None)
    with pytest.raises(UserError, match="no id of a generated row"):
        prompt_of("fn-0", results, [PROMPTS], None)
