import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from scripts.extract_concepts import concepts_of, main, why_dropped
from selfcodealign.errors import UserError
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import write_rows
from selfcodealign.stage import read
from tests.conftest import ROOT
from tests.generation_rows import PROMPTS, asking, call, outputs, rows_of, write_seeds
from tests.stub_server import running
from tests.tiny_model import tiny_model

HEADINGS = frozenset({"### Snippet", "### Concepts"})


@pytest.mark.parametrize(
    ("text", "fixed", "reference"),
    [
        ("a, b,c", ["a", "b", "c"], ["a", "b", "c"]),
        ("\n a ,\nb\n", ["a", "b"], ["a", "b"]),
        ("a,,a,", ["a"], ["a", "", "a", ""]),
        ("", [], [""]),
    ],
)
def test_an_answer_is_divided_at_its_commas(text, fixed, reference):
    assert concepts_of(text) == fixed
    assert concepts_of(text, reference=True) == reference


@pytest.mark.parametrize(
    ("text", "finish_reason", "fixed", "reference"),
    [
        ("a, b", "stop", None, None),
        ("a, b", "length", "length", "length"),
        ("", "stop", "empty", None),
        (" , ", "stop", "empty", None),
        ("a\n\nb", "stop", "malformed", None),
        ("a, " + "b" * 101, "stop", "malformed", None),
        ("a\n### Snippet", "stop", "malformed", None),
    ],
)
def test_an_answer_is_dropped_for_its_first_fault(text, finish_reason, fixed, reference):
    assert why_dropped(text, finish_reason, HEADINGS) == fixed
    assert why_dropped(text, finish_reason, HEADINGS, reference=True) == reference


def test_every_seed_gets_its_concepts_and_how_they_were_made(tmp_path):
    seeds = write_seeds(tmp_path / "seeds.parquet", 30)
    out = outputs(tmp_path)
    with running() as stub:
        call(main, seeds, **out, **asking(stub.url), run_seed=5)
    rows = rows_of(out["rows"])
    assert [row["seed_id"] for row in rows] == [row["id"] for row in rows_of(seeds)]
    assert len({row["id"] for row in rows}) == 30
    first = rows[0]
    assert len(first["concepts"]) == 2
    assert len(first["examples"]) == 8
    assert first["template"].startswith("selfcodealign@")
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("stub", 0.7, 1536)
    assert first["tokens_in"] > 100
    funnel = json.loads(out["funnel"].read_text())
    assert (funnel["entered"], funnel["kept"], funnel["dropped"]) == (30, 30, {})
    assert funnel["tokens_out"] == 150
    assert funnel["finish_reasons"] == {"stop": 30}


def test_what_a_model_thinks_is_kept_beside_its_answer_and_never_in_it(tmp_path):
    seeds = write_seeds(tmp_path / "seeds.parquet", 3)
    out = outputs(tmp_path)
    ways = itertools.cycle(
        [
            {"content": "loops, sums", "reasoning_content": "A loop adds."},
            {"content": "<think>\nA loop adds.\n</think>\n\nloops, sums"},
            {"content": None, "reasoning": "A loop"},
        ]
    )

    def think(body):
        message = next(ways)
        reason = "stop" if message["content"] else "length"
        return 200, {"choices": [{"finish_reason": reason, "message": message}], "usage": {}}

    with running(refuse=think) as stub:
        asked = asking(stub.url)
        call(
            main, seeds, **out, **{**asked, "engine": {**asked["engine"], "api": "chat", "concurrency": 1}}, run_seed=5
        )
    assert len(stub.bodies) == 3  # an empty answer with a reason is not asked for again
    rows = rows_of(out["rows"])
    assert [row["concepts"] for row in rows] == [["loops", "sums"]] * 2
    assert [row["reasoning"] for row in rows] == ["A loop adds."] * 2
    assert json.loads(out["funnel"].read_text())["dropped"] == {"length": 1}


def test_filtering_seeds_changes_no_other_seeds_prompt_or_answer(tmp_path):
    all_seeds, fewer = write_seeds(tmp_path / "all.parquet", 20), write_seeds(tmp_path / "fewer.parquet", 11)
    kept = {}
    with running() as stub:
        for source in (all_seeds, fewer):
            out = outputs(tmp_path, source.stem)
            call(main, source, **out, **asking(stub.url))
            kept[source.stem] = {row["seed_id"]: row for row in rows_of(out["rows"])}
    assert len(kept["fewer"]) == 11
    assert all(kept["all"][seed_id] == row for seed_id, row in kept["fewer"].items())


def test_reference_mode_draws_from_absolute_line_numbers_across_shards(tmp_path):
    whole = write_seeds(tmp_path / "whole.parquet", 12)
    rows = rows_of(whole)
    parts = [tmp_path / "part0.parquet", tmp_path / "part1.parquet"]
    write_rows(parts[0], SeedRow, rows[:5])
    write_rows(parts[1], SeedRow, rows[5:])
    with running() as stub:
        together = outputs(tmp_path, "together")
        call(main, whole, **together, **asking(stub.url), mode="reference")
        apart = []
        for number, part in enumerate(parts):
            out = outputs(tmp_path, f"apart{number}")
            call(main, part, **out, **asking(stub.url), mode="reference", earlier=parts[:number])
            apart += rows_of(out["rows"])
    assert apart == rows_of(together["rows"])
    assert [row["seed"] for row in apart] == [3407 + place for place in range(12)]


def test_the_rows_are_the_same_bytes_whatever_the_server_does_and_however_often_it_is_run(tmp_path):
    seeds = write_seeds(tmp_path / "seeds.parquet", 25)
    made = []
    for name, hostile, concurrency in (("a", (), 8), ("b", ("500", "half_body", "wrong_json"), 3)):
        out = outputs(tmp_path, name)
        with running(hostile=hostile) as stub:
            call(main, seeds, **out, **asking(stub.url, concurrency=concurrency))
        made.append(out["rows"].read_bytes())
    assert made[0] == made[1]


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_and_asks_nothing_twice(tmp_path):
    seeds = write_seeds(tmp_path / "seeds.parquet", 120)
    whole, out = outputs(tmp_path, "whole"), outputs(tmp_path, "killed")
    with running() as stub:
        call(main, seeds, **whole, **asking(stub.url))
    with running(wait_s=0.05) as stub:
        flags = {**out, "seeds": seeds, "prompts": PROMPTS, "model": "stub", "run-seed": 3407}
        command = [sys.executable, str(ROOT / "scripts" / "extract_concepts.py")]
        command += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        command += [
            "--engine",
            *(f"{name}={value}" for name, value in asking(stub.url, concurrency=4)["engine"].items()),
        ]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
        while len(stub.bodies) < 40:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        asked = len(stub.bodies)
        assert not out["rows"].exists()
        call(main, seeds, **out, **asking(stub.url))
        assert 120 <= len(stub.bodies) <= 120 + 4 + 4
        assert len(stub.bodies) - asked < 120 - 30
    assert out["rows"].read_bytes() == whole["rows"].read_bytes()


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_on_other_rows_a_rerun_gives_what_a_first_run_gives(tmp_path, mode):
    rows = rows_of(write_seeds(tmp_path / "all.parquet", 12))
    seeds, again, afresh = tmp_path / "seeds.parquet", outputs(tmp_path, "again"), outputs(tmp_path, "afresh")
    with running() as stub:
        write_rows(seeds, SeedRow, rows[:9])
        call(main, seeds, **again, **asking(stub.url), mode=mode)
        # As many as before, of which three are others: the ledger is long enough, and lacks these.
        write_rows(seeds, SeedRow, rows[3:])
        call(main, seeds, **again, **asking(stub.url), mode=mode)
        call(main, seeds, **afresh, **asking(stub.url), mode=mode)
    assert again["rows"].read_bytes() == afresh["rows"].read_bytes()


def test_a_finished_ledger_needs_no_server_and_other_settings_need_it_again(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 5), outputs(tmp_path)
    with running() as stub:
        call(main, seeds, **out, **asking(stub.url))
    before = out["rows"].read_bytes()
    call(main, seeds, **out, **asking(stub.url))
    assert out["rows"].read_bytes() == before
    with pytest.raises(UserError, match="no connection"):
        call(main, seeds, **out, **asking(stub.url, retries=0), temperature=0.1)


def test_the_key_of_the_server_is_written_nowhere(tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("TEACHER_KEY", "open-sesame")
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 6), outputs(tmp_path)
    refuse = {"refuse": lambda body: (500, "out of order") if "number_3(" in body["prompt"] else None}
    with caplog.at_level("DEBUG"), running(key="open-sesame", **refuse) as stub:
        flags = asking(stub.url, api_key_env="TEACHER_KEY", retries=1)
        call(main, seeds, **out, **flags)
        monkeypatch.setenv("TEACHER_KEY", "wrong-key")
        with pytest.raises(UserError, match="check the key in TEACHER_KEY") as error:
            call(main, seeds, **out, **flags, temperature=0.1)
    assert len(rows_of(out["rows"])) == 5
    said = [caplog.text, *capfd.readouterr(), str(error.value)]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 6  # The seeds, three outputs and two ledgers.
    for secret in ("open-sesame", "wrong-key"):
        assert all(secret not in text for text in said)
        assert all(secret.encode() not in data for data in written)


def test_a_seed_that_the_server_refuses_is_kept_among_the_dropped(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 6), outputs(tmp_path)
    with running(refuse=lambda body: (400, "not allowed") if "number_3(" in body["prompt"] else None) as stub:
        call(main, seeds, **out, **asking(stub.url))
    (dropped,) = rows_of(out["dropped"])
    assert dropped["reason"] == "refused_by_server"
    assert "number_3" in dropped["content"]
    assert json.loads(out["funnel"].read_text())["dropped"] == {"refused_by_server": 1}


def test_a_missing_column_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "seeds.parquet"
    pq.write_table(pa.table({"id": ["seed-1"], "text": ["x"]}), path)
    with running() as stub, pytest.raises(UserError, match=r"seeds\.parquet has no column .*content"):
        call(main, path, **outputs(tmp_path), **asking(stub.url))


def test_a_wrong_engine_setting_is_named():
    words = "--seeds s --rows r --dropped d --funnel f --work w --prompts p --run-seed 1 --model m --engine"
    with pytest.raises(UserError, match=r"--engine: concurency is unknown; known names: .*concurrency"):
        read(main, [*words.split(), "concurency=3"])


def test_a_local_model_answers_and_its_content_is_recorded(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 12), outputs(tmp_path)
    folder = tiny_model(max_position_embeddings=4096)
    call(main, seeds, **out, model=str(folder), few_shots=1, max_tokens=8)
    kept, dropped = rows_of(out["rows"]), rows_of(out["dropped"])
    assert len(kept) + len(dropped) == 12
    assert {row["reason"] for row in dropped} <= {"length", "malformed", "empty"}
    assert all(row["revision"].startswith("sha256:") for row in kept)
