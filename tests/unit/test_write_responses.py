import json

import pytest

from scripts.write_responses import main, why_dropped
from selfcodealign.generation.engine import Answer
from selfcodealign.ids import content_id
from selfcodealign.rows import InstructionRow
from selfcodealign.rows_io import write_rows
from tests.generation_rows import asking, call, outputs, rows_of
from tests.stub_server import running


def instruction(number):
    return {
        "id": content_id("ins", number),
        "concept_id": "con-1",
        "seed_id": "seed-1",
        "instruction": f"Write function number {number}.",
        "concepts": ["a", "b"],
        "category": "function implementation",
        "difficulty": "easy",
        "language": "Python",
        "model": "m",
        "revision": "r",
        "template": "t",
        "examples": [1],
        "temperature": 0.7,
        "top_p": 1.0,
        "max_tokens": 9,
        "seed": 1,
        "tokens_in": 1,
        "tokens_out": 1,
    }


@pytest.fixture
def instructions(tmp_path):
    path = tmp_path / "instructions.parquet"
    write_rows(path, InstructionRow, [instruction(number) for number in range(12)])
    return path


def answer(reason=""):
    return Answer(0, "", "failed" if reason else "stop", {}, reason)


def test_an_instruction_is_dropped_only_if_no_sample_could_be_asked_for():
    assert why_dropped([answer(), answer()]) is None
    assert why_dropped([answer("server_error"), answer()]) is None
    assert why_dropped([answer("prompt_too_long"), answer("prompt_too_long")]) == "prompt_too_long"


def test_every_instruction_gets_its_samples_each_a_row_with_a_seed_of_its_own(instructions, tmp_path):
    out = outputs(tmp_path)
    with running() as stub:
        call(main, instructions, **out, **asking(stub.url), samples=5)
    rows = rows_of(out["rows"])
    assert [(row["instruction_id"], row["sample"]) for row in rows] == [
        (row["id"], sample) for row in rows_of(instructions) for sample in range(5)
    ]
    assert len({row["id"] for row in rows}) == len({row["seed"] for row in rows}) == 60
    assert all(body["stop"] == ["\n## Example", "</tests>"] for body in stub.bodies)
    assert "</response>" in rows[0]["raw"]
    assert "</tests>" not in rows[0]["raw"]
    assert rows[0]["response"] is None
    assert (rows[0]["instruction"], rows[0]["concepts"]) == ("Write function number 0.", ["a", "b"])
    funnel = json.loads(out["funnel"].read_text())
    assert (funnel["entered"], funnel["kept"], funnel["produced"]) == (12, 12, 60)


def test_more_samples_leave_the_earlier_ones_as_they_were(instructions, tmp_path):
    out = outputs(tmp_path)
    with running() as stub:
        call(main, instructions, **out, **asking(stub.url), samples=2)
        before = {row["id"] for row in rows_of(out["rows"])}
        asked = len(stub.bodies)
        call(main, instructions, **out, **asking(stub.url), samples=4)
        assert len(stub.bodies) - asked == 24
    assert before < {row["id"] for row in rows_of(out["rows"])}


def test_samples_asked_for_together_are_as_many_and_as_different(instructions, tmp_path):
    out = outputs(tmp_path)
    with running() as stub:
        call(main, instructions, **out, **asking(stub.url, samples_per_request=5), samples=5)
    assert len(stub.bodies) == 12
    assert len({row["raw"] for row in rows_of(out["rows"])}) == 60


def test_a_sample_that_was_cut_off_is_passed_on_with_its_finish_reason(instructions, tmp_path, monkeypatch):
    from tests import stub_server

    original = stub_server.Stub.answer

    def cut(self, body):
        data = original(self, body)
        if "number 3." in body["prompt"]:
            data["choices"][0]["finish_reason"] = "length"
        return data

    monkeypatch.setattr(stub_server.Stub, "answer", cut)
    out = outputs(tmp_path)
    with running() as stub:
        call(main, instructions, **out, **asking(stub.url), samples=2)
    reasons = {row["instruction"]: row["finish_reason"] for row in rows_of(out["rows"])}
    assert reasons["Write function number 3."] == "length"
    assert json.loads(out["funnel"].read_text())["finish_reasons"] == {"length": 2, "stop": 22}


def test_an_instruction_that_cannot_be_asked_about_is_dropped_and_counted_once(instructions, tmp_path):
    out = outputs(tmp_path)
    refuse = {"refuse": lambda body: (400, "no") if "number 3." in body["prompt"] else None}
    with running(**refuse) as stub:
        call(main, instructions, **out, **asking(stub.url), samples=3)
    funnel = json.loads(out["funnel"].read_text())
    assert (funnel["entered"], funnel["kept"], funnel["produced"]) == (12, 11, 33)
    assert funnel["dropped"] == {"refused_by_server": 1}
    (dropped,) = rows_of(out["dropped"])
    assert dropped["instruction"] == "Write function number 3."


def test_equal_answers_are_counted_as_duplicates(instructions, tmp_path, monkeypatch):
    from tests import stub_server

    monkeypatch.setattr(stub_server, "answer_text", lambda prompt, seed: "the same")
    out = outputs(tmp_path)
    with running() as stub:
        call(main, instructions, **out, **asking(stub.url), samples=2)
    assert json.loads(out["funnel"].read_text())["duplicates"] == 23


def test_a_teacher_with_a_chat_endpoint_can_answer(instructions, tmp_path):
    out = outputs(tmp_path)
    with running() as stub:
        call(main, instructions, **out, **asking(stub.url, api="chat"), samples=1, temperature=0.0)
    assert len(rows_of(out["rows"])) == 12
    assert all(body["temperature"] == 0 and "messages" in body for body in stub.bodies)
