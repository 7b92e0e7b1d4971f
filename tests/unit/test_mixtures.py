"""Which rows a mixture takes, and how often."""

import pytest

from selfcodealign.errors import UserError
from selfcodealign.ids import digest_of_file
from selfcodealign.rows import GivenRow
from selfcodealign.rows_io import write_rows
from selfcodealign.training import mixtures

IDS = [f"row-{number}" for number in range(9)]


@pytest.mark.parametrize(
    ("weight", "counts"),
    [(1, {1: 9}), (2, {2: 9}), (0.5, {0: 5, 1: 4}), (1.5, {1: 5, 2: 4}), (0.01, {0: 9}), (2 / 3, {0: 3, 1: 6})],
    ids=["all", "twice", "half", "one-and-a-half", "next-to-none", "two-thirds"],
)
def test_a_weight_says_how_often_rows_are_taken(weight, counts):
    taken = list(mixtures.copies(IDS, weight, 1).values())
    assert {count: taken.count(count) for count in set(taken)} == counts


def test_the_draw_depends_on_ids_and_seed_alone():
    one = mixtures.copies(IDS, 0.5, 1)
    assert mixtures.copies(reversed(IDS), 0.5, 1) == one
    assert mixtures.copies(IDS, 0.5, 2) != one
    more = mixtures.copies(IDS, 0.7, 1)
    assert all(more[row_id] for row_id in IDS if one[row_id]), "a higher weight takes what a lower one does"


def test_a_mixture_counts_every_row_of_every_table(tmp_path):
    tables = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for table, ids in zip(tables, (IDS, IDS[:4]), strict=True):
        write_rows(table, GivenRow, ({"id": row_id, "instruction": "x", "response": "y"} for row_id in ids))
    found = mixtures.read(tables, [0.5, 2], ["id"], 1)
    assert [(one.rows, one.taken, one.weight) for one in found.sources] == [(9, 4, 0.5), (4, 8, 2)]
    assert [one.sha256 for one in found.sources] == [digest_of_file(table) for table in tables]
    taken = list(found)
    assert len(taken) + found.not_drawn == 13
    assert [times for _, times in taken] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert [times for _, times in mixtures.read(tables, None, ["id"], 1)] == [1] * 13


@pytest.mark.parametrize(
    ("weights", "shown"), [([1, 2], "1, 2"), ([0], "0"), ([float("nan")], "nan")], ids=["two", "zero", "no-number"]
)
def test_every_table_has_a_weight_above_0_if_one_has_one(tmp_path, weights, shown):
    sentence = f"weights {shown} for 1 table\\(s\\): give one number above 0 for each"
    with pytest.raises(UserError, match=sentence):
        mixtures.read([tmp_path / "a.parquet"], weights, ["id"], 1)
