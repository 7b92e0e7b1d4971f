"""Tests are shown in some instructions: which, how many, and how the reference decides."""

import random

import pytest

from scripts.augment_dataset import augmented, main, reference_augmented
from selfcodealign.config.dataset import AugmentDataset
from selfcodealign.rows import SelectedRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import selected_row

TASK = "Write a function that doubles a number."
ONE = "```python\nassert f(1) == 2\n```"
THREE = "```python\nassert f(1) == 2\nassert f(2) == 4\nassert f(3) == 6\n```"
LONG_ASSERTION = "```python\nassert f(\n    1\n) == 2\n```"
BLOCK = "```python\nx = f(1)\nassert x == 2\n```"
SIX_LINES = "```python\na = 1\nb = 2\nc = 3\nd = 4\ne = 5\nassert a\n```"
NO_ASSERTION = "```python\nprint(f(1))\n```"


def always(instruction: str, tests: str) -> tuple[str | None, bool]:
    return augmented(instruction, tests, random.Random(1), share=1.0, max_lines=5)


@pytest.mark.parametrize(
    ("instruction", "tests", "fixed", "reference"),
    [
        (TASK, ONE, True, True),
        (TASK, THREE, True, True),
        (TASK, LONG_ASSERTION, True, True),
        (TASK, BLOCK, True, True),
        (TASK, SIX_LINES, False, False),
        (TASK, NO_ASSERTION, False, False),
        ("Return the latest date.", ONE, True, False),  # "test" inside a word
        ("Compute a contested score.", ONE, True, False),
        ("Reassert the claim.", ONE, True, False),
        ("Assert that it holds.", ONE, False, True),  # The reference looks for "assert" in lower case only.
        ("It should pass these tests.", ONE, False, False),
        ("Double it. For example, 1 gives 2.", ONE, False, False),
        ("Double it:\n```\nf(1)\n```", ONE, False, True),
        (TASK, "```python\nassert f(1) = 2\n```", False, True),  # Ours must parse.
    ],
)
def test_an_instruction_is_eligible(instruction, tests, fixed, reference):
    assert always(instruction, tests)[1] is fixed
    assert reference_augmented(instruction, tests, 0, share=0.5)[1] is reference


def test_the_words_are_the_papers():
    text, _ = always(TASK, ONE)
    assert text == f"{TASK}\n\nYour code should pass the following assertion:\n{ONE}"
    text, _ = always(TASK, BLOCK)
    assert text == f"{TASK}\n\nYour code should pass the following test case:\n{BLOCK}"


def test_between_one_and_five_assertions_are_shown_in_their_order():
    tests = "```python\n" + "\n".join(f"assert f({n}) == {2 * n}" for n in range(9)) + "\n```"
    sizes = set()
    for seed in range(60):
        text, _ = augmented(TASK, tests, random.Random(seed), share=1.0, max_lines=5)
        assert text is not None
        shown = [line for line in text.split("\n") if line.startswith("assert")]
        assert shown == sorted(shown)
        assert ("assertion:" in text) == (len(shown) == 1)
        sizes.add(len(shown))
    assert sizes == {1, 2, 3, 4, 5}


def test_an_assertion_of_several_lines_is_one_to_us_and_a_test_case_to_the_reference():
    assert "following assertion:" in (always(TASK, LONG_ASSERTION)[0] or "")
    texts = [reference_augmented(TASK, LONG_ASSERTION, index, share=0.5)[0] or "" for index in range(9)]
    assert any("following test case:" in text for text in texts)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_about_the_share_is_augmented(share):
    texts = [augmented(TASK, THREE, random.Random(seed), share=share, max_lines=5)[0] for seed in range(400)]
    assert sum(text is not None for text in texts) == pytest.approx(400 * share, abs=40)


@pytest.mark.parametrize(
    ("index", "shown"),
    [(0, None), (1, [3, 1]), (2, [1]), (3, [3, 1]), (4, None), (5, None), (6, [1, 2, 3]), (7, [1, 2, 3])],
)
def test_the_reference_draws_by_index_and_samples_in_random_order(index, shown):
    """Golden: Python's generator seeded with the index; choice of a number, sample of lines, then the coin."""
    text, eligible = reference_augmented(TASK, THREE, index, share=0.5)
    assert eligible
    if shown is None:
        assert text is None
    else:
        term = "assertion" if len(shown) == 1 else "assertions"
        block = "\n".join(f"assert f({number}) == {2 * number}" for number in shown)
        assert text == f"{TASK}\n\nYour code should pass the following {term}:\n```python\n{block}\n```"


def test_rows_keep_their_ids_and_their_fate_does_not_depend_on_order(tmp_path):
    rows = [selected_row(number, tests=THREE) for number in range(40)]
    texts = []
    for attempt, given in enumerate((rows, rows[::-1])):
        source = tmp_path / f"{attempt}.parquet"
        write_rows(source, SelectedRow, given)
        outputs = [tmp_path / f"{attempt}.{name}" for name in ("rows.parquet", "dropped.parquet", "funnel.json")]
        main(source, *outputs, mode="fixed", run_seed=3407, settings=AugmentDataset())
        texts.append({row["id"]: row["instruction"] for row in read_rows(outputs[0])})
    assert texts[0] == texts[1]
    assert texts[0].keys() == {row["id"] for row in rows}
    assert 5 < sum("following assertion" in text for text in texts[0].values()) < 35
