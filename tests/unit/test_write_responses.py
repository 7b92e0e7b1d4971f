import json

import pytest

from scripts.write_responses import main, why_dropped
from selfcodealign.errors import UserError
from selfcodealign.generation.engine import Answer
from selfcodealign.ids import content_id
from selfcodealign.rows import InstructionRow, VerdictRow
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


# ---- in rounds, until enough pass ----


def verdicts(path, rows, passing):
    """Write verdicts on the responses of a round; those to the instructions of these numbers pass."""
    wanted = {f"Write function number {number}." for number in passing}
    columns = {"verdict": "", "reason": "", "stdout": "", "stderr": "", "isolation": ""}
    columns |= {"cpu_s": 0.0, "wall_s": 0.0, "memory_mb": 0.0}
    write_rows(path, VerdictRow, [row | columns | {"passed": row["instruction"] in wanted} for row in rows])
    return path


class Rounds:
    """Rounds of responses to one shard, as a run goes through them; `passing` says for each round whose pass in it."""

    def __init__(self, folder, instructions, passing, **flags):
        self.folder, self.instructions, self.passing, self.flags = folder, instructions, passing, flags
        self.verdicts, self.before, self.asked = [], [], []
        self.out = {}

    def run(self, url, stub, count):
        for number in range(count):
            self.out = outputs(self.folder, f"round-{number}") | {"work": self.folder / "work"}
            last = number == count - 1
            asked = len(stub.bodies)
            given = {"verdicts": self.verdicts, "before": self.before if last else []}
            call(main, self.instructions, **self.out, **asking(url), **given, **self.flags)
            self.asked.append(len(stub.bodies) - asked)
            self.before.append(self.out["rows"])
            if not last:
                file = self.folder / f"verdicts-{number}.parquet"
                self.verdicts.append(verdicts(file, rows_of(self.out["rows"]), self.passing[number]))
        return rows_of(self.out["rows"])


@pytest.fixture
def whole(instructions, tmp_path):
    """The responses of a run that asks for all samples at once."""
    with running() as stub:
        call(main, instructions, **outputs(tmp_path, "whole"), **asking(stub.url), samples=4)
    return rows_of(tmp_path / "whole.parquet")


def test_a_round_asks_only_about_instructions_of_which_too_few_passed(instructions, tmp_path, whole):
    made = Rounds(tmp_path, instructions, [range(7), range(9)], samples=4, enough=1)
    with running() as stub:
        rows = made.run(stub.url, stub, 3)
    # Seven leave after the first round, two after the second, three get all four samples.
    assert made.asked == [12, 5, 2 * 3]
    counts = {f"Write function number {number}.": 1 if number < 7 else 2 if number < 9 else 4 for number in range(12)}
    wanted = [row for row in whole if row["sample"] < counts[row["instruction"]]]
    assert rows == wanted, "a part of what the whole run writes, in its order"


def test_the_last_round_counts_everything_and_a_round_only_what_it_asked_about(instructions, tmp_path):
    made = Rounds(tmp_path, instructions, [range(7), range(9)], samples=4, enough=1)
    with running() as stub:
        rows = made.run(stub.url, stub, 3)
    funnels = [json.loads((tmp_path / f"round-{number}.funnel.json").read_text()) for number in range(3)]
    assert [funnel["entered"] for funnel in funnels] == [12, 5, 12]
    assert [funnel["kept"] for funnel in funnels] == [12, 5, 12]
    assert [funnel["produced"] for funnel in funnels] == [12, 5, len(rows)]
    assert funnels[-1]["tokens_out"] == sum(row["tokens_out"] for row in rows)
    assert funnels[-1]["finish_reasons"] == {"stop": len(rows)}


def test_enough_passing_responses_may_come_from_several_rounds(instructions, tmp_path):
    made = Rounds(tmp_path, instructions, [range(7), range(5)], samples=4, enough=2)
    with running() as stub:
        rows = made.run(stub.url, stub, 3)
    # Nobody has two after the first round; numbers 0 to 4 have after the second.
    assert made.asked == [12, 12, 2 * 7]
    assert len(rows) == 5 * 2 + 7 * 4


def test_nothing_is_asked_again_when_rounds_are_cut_in_another_way(instructions, tmp_path):
    """Rounds share a ledger: another size of rounds, more samples, or none of it, use what is there."""
    made = Rounds(tmp_path, instructions, [range(12)], samples=4, enough=1, samples_per_round=2)
    with running() as stub:
        made.run(stub.url, stub, 2)
        assert made.asked == [24, 0]
        out = outputs(tmp_path, "all") | {"work": tmp_path / "work"}
        call(main, instructions, **out, **asking(stub.url), samples=2)
        assert len(stub.bodies) == 24
    assert rows_of(out["rows"]) == rows_of(made.out["rows"])


def test_a_round_that_ended_in_its_middle_writes_the_same_bytes_when_it_is_run_again(instructions, tmp_path):
    made = Rounds(tmp_path, instructions, [range(7), range(9)], samples=4, enough=1)
    with running() as stub:
        made.run(stub.url, stub, 3)
    out = outputs(tmp_path, "again")
    given = {"verdicts": made.verdicts, "before": made.before[:2], "samples": 4, "enough": 1}
    turns = []

    def fail(body):
        turns.append(body)
        return (401, "no credit") if len(turns) > 3 else None

    with running(refuse=fail) as stub, pytest.raises(UserError, match="no credit"):
        call(main, instructions, **out, **asking(stub.url, concurrency=1), **given)
    assert not out["rows"].exists()
    with running() as stub:
        call(main, instructions, **out, **asking(stub.url), **given)
        assert len(stub.bodies) == 2 * 3 - 3, "answers that were there are not asked for again"
    for name in ("rows", "dropped", "funnel"):
        assert out[name].read_bytes() == made.out[name].read_bytes()


def test_an_instruction_refused_in_one_round_and_answered_in_the_next_is_kept(instructions, tmp_path):
    made = Rounds(tmp_path, instructions, [range(12), range(12)], samples=4, enough=1)
    turns = []

    def refuse(body):
        if "number 3." not in body["prompt"]:
            return None
        turns.append(body)
        return (400, "no") if len(turns) == 1 else None

    with running(refuse=refuse) as stub:
        rows = made.run(stub.url, stub, 3)
    first, last = (json.loads((tmp_path / f"round-{number}.funnel.json").read_text()) for number in (0, 2))
    assert (first["entered"], first["kept"], first["dropped"]) == (12, 11, {"refused_by_server": 1})
    assert (last["entered"], last["kept"], last["dropped"]) == (12, 12, {})
    assert [row["sample"] for row in rows if "number 3." in row["instruction"]] == [1]
