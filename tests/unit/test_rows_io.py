"""Rows are written all or nothing, and every row's fate is counted."""

import json

import pytest

from selfcodealign.errors import UserError
from selfcodealign.rows import DatasetRow, FunctionRow, VerdictRow, arrow_schema
from selfcodealign.rows_io import ROWS_PER_GROUP, StageOutput, count_rows, read_rows, write_rows

ROW = {"id": "fn-1", "content": "def f(): ...", "repo": "", "path": "", "line": 1, "licence": "MIT", "bindings": None}


def output(folder):
    return StageOutput(
        "demo",
        rows=folder / "rows.parquet",
        dropped=folder / "rows.dropped.parquet",
        funnel=folder / "rows.funnel.json",
        schema=FunctionRow,
    )


def test_the_funnel_conserves_rows(tmp_path):
    with output(tmp_path) as sink:
        sink.keep(ROW)
        sink.drop(ROW, "too_long", "200 lines")
        sink.drop(ROW, "too_long")
    funnel = json.loads((tmp_path / "rows.funnel.json").read_text())
    assert funnel == {"stage": "demo", "entered": 3, "kept": 1, "dropped": {"too_long": 2}, "produced": 1}
    assert list(read_rows(tmp_path / "rows.parquet")) == [ROW]
    assert [row["detail"] for row in read_rows(tmp_path / "rows.dropped.parquet")] == ["200 lines", ""]


def test_a_failed_stage_leaves_no_files(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), output(tmp_path) as sink:
        sink.keep(ROW)
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_equal_rows_give_equal_bytes(tmp_path):
    rows = [{**ROW, "id": f"fn-{number}"} for number in range(ROWS_PER_GROUP + 1)]
    for name in ("a.parquet", "b.parquet"):
        write_rows(tmp_path / name, FunctionRow, iter(rows))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert count_rows(tmp_path / "a.parquet") == len(rows)


def test_an_unknown_column_is_a_programming_error(tmp_path):
    with pytest.raises(KeyError, match="surprise"):
        write_rows(tmp_path / "a.parquet", FunctionRow, [{**ROW, "surprise": 1}])
    assert list(tmp_path.iterdir()) == []


def test_unreadable_files_are_named(tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 not really")
    for path, words in ((tmp_path / "absent.parquet", "does not exist"), (broken, "cannot be read as parquet")):
        with pytest.raises(UserError, match=words) as caught:
            list(read_rows(path))
        assert path.name in str(caught.value)
    write_rows(tmp_path / "good.parquet", FunctionRow, [ROW])
    with pytest.raises(UserError, match="has no column stars"):
        list(read_rows(tmp_path / "good.parquet", columns=["stars"]))


@pytest.mark.parametrize("kind", [FunctionRow, VerdictRow, DatasetRow])
def test_every_row_has_a_parquet_schema(kind):
    assert arrow_schema(kind).names == list(kind.model_fields)


@pytest.mark.parametrize("first", [0, 1, 4, 5, 7, 9])
def test_rows_can_be_read_from_a_place_on_across_groups_and_files(tmp_path, first):
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(pa.table({"n": [0, 1, 2, 3, 4]}), files[0], row_group_size=2)
    pq.write_table(pa.table({"n": [5, 6, 7]}), files[1])
    assert [row["n"] for row in read_rows(files, first=first)] == list(range(first, 8))
