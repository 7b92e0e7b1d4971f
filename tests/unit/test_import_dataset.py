"""Datasets of others become rows to train on, whatever their columns are called."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.import_dataset import exchange, first_exchange, main
from selfcodealign.config import check_given_datasets, load
from selfcodealign.config.training import GivenDataset
from selfcodealign.errors import UserError
from selfcodealign.rows_io import read_rows

PLAIN = {}
OSS = {"instruction": "problem", "response": "solution"}
ALPACA = {"instruction": ["instruction", "input"], "response": "output"}
CHAT = {"messages": "messages"}
SHAREGPT = {"messages": "conversations"}


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"instruction": "Add.", "response": "a + b", "id": 1}, PLAIN, ("Add.", "a + b")),
        ({"problem": " Add.\n", "solution": "a + b\n"}, OSS, ("Add.", "a + b")),
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, ALPACA, ("Add.\n\n1, 2", "3")),
        ({"instruction": "Add.", "input": "", "output": "3"}, ALPACA, ("Add.", "3")),
        ({"instruction": "Add.", "input": None, "output": None}, ALPACA, ("Add.", "")),
        (
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]},
            CHAT,
            ("Hi", "Yes?"),
        ),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}]},
            SHAREGPT,
            ("Hi", "Yes?"),
        ),
    ],
)
def test_columns_of_known_layouts(row, columns, expected):
    assert exchange(row, 1, GivenDataset(source=[], **columns)) == expected


def test_a_system_turn_and_later_turns_are_left_out():
    turns = [("system", "Be kind."), ("user", "1?"), ("assistant", "2."), ("user", "3?"), ("assistant", "4.")]
    assert first_exchange([{"role": role, "content": text} for role, text in turns]) == ("1?", "2.")
    assert first_exchange([{"role": "user", "content": "1?"}]) == first_exchange(None) == ("", "")


ROWS = [
    {"problem": "Add.", "solution": "a + b"},
    {"problem": "Subtract.", "solution": "a - b"},
    {"problem": "Add.", "solution": "a + b"},
    {"problem": "", "solution": "a"},
    {"problem": "Divide.", "solution": None},
]


def imported(tmp_path, source, **settings):
    outputs = tmp_path / "oss", tmp_path / "oss.dropped.parquet", tmp_path / "oss.funnel.json"
    main(*outputs, name="oss", run_seed=3407, settings=GivenDataset(source=source, **OSS, **settings))
    return list(read_rows(outputs[0] / "train.parquet")), json.loads(outputs[2].read_text())


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "parquet"])
def test_every_row_is_kept_or_dropped_with_a_reason(tmp_path, ending):
    source = tmp_path / f"oss.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), source)
    elif ending == "json":
        source.write_text(json.dumps(ROWS))
    else:
        text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        source.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    rows, funnel = imported(tmp_path, [str(source)])
    assert [(row["instruction"], row["response"]) for row in rows] == [("Add.", "a + b"), ("Subtract.", "a - b")]
    assert funnel["entered"] == 5
    assert funnel["dropped"] == {"duplicate": 1, "no_instruction": 1, "no_response": 1}


def test_a_draw_of_rows_depends_on_their_content_only(tmp_path):
    rows = [{"problem": f"Add {number}.", "solution": str(number)} for number in range(50)]
    drawn = []
    for order in (rows, rows[::-1]):
        source = tmp_path / "rows.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in order))
        kept, funnel = imported(tmp_path, [str(source)], rows=20)
        assert funnel["dropped"] == {"not_drawn": 30}
        drawn.append({row["instruction"] for row in kept})
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 20


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"question": "Add.", "solution": "a"}\n', "no column problem; it has question, solution"),
        ('{"problem": "Add.", "solution": "a"}\n{oops\n', "line 2"),
        ('{"problem": "Add.", "solution": ""}\n', "no row with an instruction and a response"),
    ],
)
def test_wrong_files_are_named(tmp_path, lines, message):
    source = tmp_path / "rows.jsonl"
    source.write_text(lines)
    with pytest.raises(UserError, match=message):
        imported(tmp_path, [str(source)])
    assert not (tmp_path / "oss").exists()


def test_the_config_checks_names_and_paths_before_any_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    oss = {"source": "oss.jsonl"}
    with pytest.raises(UserError, match=r"models\.oss\.dataset.*'oss'"):
        load({"models": {"oss": {"dataset": "oss"}}})
    with pytest.raises(UserError, match=r"other_datasets\.passing"):
        load({"other_datasets": {"passing": oss}})
    config = load({"other_datasets": {"oss": oss}, "models": {"oss": {"dataset": "oss"}}})
    with pytest.raises(UserError, match=r"other_datasets\.oss\.source.*oss\.jsonl"):
        check_given_datasets(config)
    (tmp_path / "oss.jsonl").touch()
    check_given_datasets(config)
    check_given_datasets(load({"other_datasets": {"oss": {"source": "ise-uiuc/Magicoder-OSS-Instruct-75K"}}}))


def test_rounds_leave_models_on_data_of_others_alone():
    models = {"aligned": {}, "oss": {"dataset": "oss"}}
    config = load({"rounds": 2, "other_datasets": {"oss": {"source": "org/oss"}}, "models": models})
    assert sorted(config.models) == ["aligned", "aligned-round2", "oss"]
