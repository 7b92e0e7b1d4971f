"""What repeats another row goes: equal texts, equal names, near-duplicates; and the reference's own way of choosing."""

import hashlib
import random

import pytest

from scripts.dedup_dataset import deduplicated, main, reference_deduplicated
from selfcodealign.config.dataset import DedupDataset
from selfcodealign.minhash import MinHasher, best_bands, jaccard
from selfcodealign.rows import SelectedRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import selected_row

ALL = ["instruction", "response", "code_representation"]
FAST = MinHasher()
REFERENCE = MinHasher(scheme="reference")
WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu")


def row(number: int, instruction: str, code: str | None = None, **columns) -> dict:
    """Make a row with id row-<number>, its own instruction id, and code of its own unless given."""
    code = code if code is not None else f"def function_{number}(x):\n    return x + {number}"
    return selected_row(
        number,
        id=f"row-{number:03d}",
        instruction_id=columns.pop("instruction_id", f"ins-{number:03d}"),
        instruction=instruction,
        response=f"```python\n{code}\n```",
        **columns,
    )


def text(*changed: int, seed: int = 0) -> str:
    """Make 40 words in a seeded order, some of them replaced."""
    rng = random.Random(seed)
    words = [rng.choice(WORDS) + str(rng.randrange(100)) for _ in range(40)]
    for place in changed:
        words[place] = f"other{place}"
    return " ".join(words)


def reasons(rows, **options) -> dict[str, str]:
    settings = {"columns": ALL, "names": True, "hasher": FAST, "threshold": 0.7} | options
    kept, fates = deduplicated(rows, **settings)
    assert {item["id"] for item in kept} | set(fates) == {item["id"] for item in rows}
    return {name: reason for name, (reason, _) in fates.items()}


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ((row(0, "Sort a list."), row(1, "Reverse a list.")), None),
        ((row(0, "Sort a list."), row(1, "Sort  a\nlist.")), "same_instruction"),
        ((row(0, "A", "def f(): return 1"), row(1, "B", "def f():  return 1")), "same_response"),
        (
            (row(0, "A", "def is_odd(n):\n    return n % 2"), row(1, "B", "def isOdd(n):\n    return n & 1")),
            "same_names",
        ),
        ((row(0, "A", "def main():\n    a()"), row(1, "B", "def main():\n    b()")), None),
        ((row(0, "A", "print(1)"), row(1, "B", "print(2)")), None),
        ((row(0, text()), row(1, text(39))), "near_instruction"),
        ((row(0, text()), row(1, text(8, 16, 24, 32))), None),
        ((row(0, text()), row(1, text(seed=1))), None),
    ],
)
def test_the_later_row_of_a_pair_goes_for_the_reason(pair, reason):
    assert reasons(pair) == ({"row-001": reason} if reason else {})
    assert reasons(pair[::-1]) == ({"row-001": reason} if reason else {})


BODY = "\n".join(f"    total += weight_{place} * value_{place}" for place in range(12))


def test_near_equal_code_under_other_names_goes():
    a = row(0, "A", f"def first(total):\n{BODY}\n    return total")
    b = row(1, "B", f"def second(total):\n{BODY}\n    return total", code_representation=a["code_representation"])
    assert reasons([a, b], columns=["code_representation"]) == {"row-001": "near_code_representation"}


def test_empty_code_repeats_nothing():
    rows = [row(number, f"Task {number}", f"print({number})", code_representation="") for number in range(5)]
    assert reasons(rows, columns=["code_representation"]) == {}


def test_several_responses_to_one_instruction_may_stay():
    rows = [row(number, text(), f"def f(x):\n    return {number}", instruction_id="ins-one") for number in range(3)]
    assert reasons(rows, columns=["instruction"]) == {}
    twin = row(7, text(39), "def g(x):\n    return 7")
    assert reasons([*rows, twin], columns=["instruction"]) == {"row-007": "near_instruction"}


def test_unverified_candidates_are_not_dropped():
    """Whatever the bands propose, only pairs that reach the threshold are merged."""
    eager = MinHasher(permutations=250, bands=125, rows=2)
    rows = [row(0, text()), row(1, text(5, 15, 25))]
    index = jaccard(rows[0]["instruction"], rows[1]["instruction"])
    assert 0.3 < index < 0.7
    assert reasons(rows, columns=["instruction"], hasher=eager, threshold=0.7) == {}
    assert reasons(rows, columns=["instruction"], hasher=eager, threshold=index) == {"row-001": "near_instruction"}


def test_the_lowest_id_survives_in_any_order():
    rows = [row(number, text(39 - number % 3)) for number in range(9)]
    for attempt in range(4):
        random.Random(attempt).shuffle(rows)
        kept, _ = deduplicated(rows, columns=["instruction"], names=True, hasher=FAST, threshold=0.7)
        assert [item["id"] for item in kept] == ["row-000"]


def test_the_reference_signature_is_golden():
    """Values measured on the published code: 250 permutations, seed 42, SHA-1, 64-bit wrap-around."""
    given = "Write a Python function to convert inches to meters. The function should take one argument."
    signature = REFERENCE.signature(given)
    assert signature is not None
    assert signature[:4].tolist() == [500994496, 103883333, 309681260, 260973705]
    digest = hashlib.sha256(signature.astype("<u8").tobytes()).hexdigest()
    assert digest.startswith("3e394842088f72dd")
    assert best_bands(0.7, 250) == (25, 10)


def reference(rows) -> tuple[list[str], dict[str, str]]:
    kept, fates = reference_deduplicated(rows, columns=ALL, hasher=REFERENCE)
    return [item["id"] for item in kept], {name: reason for name, (reason, _) in fates.items()}


LONG = "def function(values):\n    total = 0\n    for value in values:\n        total = total + value\n    return total"


def unlike(number: int) -> dict:
    """Make a row that no other repeats, in any column."""
    words = " ".join(f"word{number}x{place}" for place in range(30))
    code = f"def f{number}():\n    return '{words}'"
    return row(number, words, code)


def test_the_reference_keeps_the_root_and_not_the_first():
    """Of a bucket {3, 10, 25} the union by rank leaves 25, as measured on the published code."""
    rows = [unlike(number) for number in range(26)]
    for place in (3, 10, 25):
        rows[place]["instruction"] = text()
    kept, fates = reference(rows)
    assert "row-003" not in kept
    assert set(fates.values()) == {"near_instruction"}
    (survivor,) = {"row-003", "row-010", "row-025"} & set(kept)
    assert survivor == "row-025"


def test_the_reference_deletes_short_texts():
    rows = [unlike(number) for number in range(4)]
    rows[1]["instruction"] = "Sort the list."  # Four tokens: the full stop leaves an empty one.
    rows[2]["instruction"] = "Sort the whole list."  # Five.
    assert reference(rows) == (["row-000", "row-002", "row-003"], {"row-001": "short_instruction"})
    assert reasons(rows) == {}, "ours keeps them"


def test_the_reference_moves_rows_without_code_to_the_front():
    rows = [unlike(number) for number in range(4)]
    rows[2]["code_representation"] = ""
    assert reference(rows) == (["row-002", "row-000", "row-001", "row-003"], {})


def test_the_reference_does_not_verify():
    """Two texts below the threshold whose signatures agree on a band are merged all the same."""
    found = False
    for seed in range(60):
        rows = [row(0, text(seed=seed)), row(1, text(20, 30, seed=seed))]
        index = jaccard(rows[0]["instruction"], rows[1]["instruction"])
        _, fates = reference_deduplicated(rows, columns=["instruction"], hasher=REFERENCE)
        found |= index < 0.7 and bool(fates)
        assert (
            not deduplicated(rows, columns=["instruction"], names=False, hasher=REFERENCE, threshold=0.7)[1]
            or index >= 0.7
        )
    assert found


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_rows_and_reasons_are_written_and_conserved(tmp_path, mode):
    rows = [unlike(number) for number in range(8)]
    rows[5]["instruction"] = rows[2]["instruction"]
    source = tmp_path / "chosen.parquet"
    write_rows(source, SelectedRow, rows)
    outputs = [tmp_path / name for name in ("rows.parquet", "dropped.parquet", "funnel.json")]
    main(source, *outputs, mode=mode, settings=DedupDataset())
    (gone,) = read_rows(outputs[1])
    assert gone["reason"] == ("same_instruction" if mode == "fixed" else "near_instruction")
    assert len(list(read_rows(outputs[0]))) == 7


def test_bytes_do_not_depend_on_the_order_of_rows(tmp_path):
    rows = [row(number, text(number % 7, seed=number % 5)) for number in range(60)]
    seen = set()
    for attempt in range(3):
        random.Random(attempt).shuffle(rows)
        write_rows(tmp_path / "chosen.parquet", SelectedRow, rows)
        outputs = [tmp_path / f"{attempt}.{name}" for name in ("rows.parquet", "dropped.parquet", "funnel.json")]
        main(tmp_path / "chosen.parquet", *outputs, mode="fixed", settings=DedupDataset())
        seen.add(tuple(path.read_bytes() for path in outputs))
    assert len(seen) == 1
    assert 5 <= len(list(read_rows(outputs[0]))) < 60
