"""Rows that contain a benchmark go, with the text that gave them away."""

import json

import pytest

from scripts.decontaminate_dataset import main
from selfcodealign.config.dataset import DecontaminateDataset
from selfcodealign.rows import SelectedRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import selected_row

PROMPT = (
    'def close_elements(numbers, threshold):\n    """ Check if in given list of numbers, are any two numbers closer to '
    'each other than\n    given threshold.\n    """\n'
)
SOLUTION = (
    "    for i, a in enumerate(numbers):\n        for j, b in enumerate(numbers):\n"
    "            if i != j and abs(a - b) < threshold:\n                return True\n    return False\n"
)
DOCSTRING = "Check if in given list of numbers, are any two numbers closer to each other than\n    given threshold."


@pytest.fixture
def humaneval(tmp_path):
    path = tmp_path / "humaneval.jsonl"
    task = {"task_id": "HumanEval/0", "prompt": PROMPT, "canonical_solution": SOLUTION, "entry_point": "close_elements"}
    path.write_text(json.dumps(task) + "\n")
    return path


def decontaminate(folder, rows, benchmark, mode="fixed"):
    write_rows(folder / "chosen.parquet", SelectedRow, rows)
    outputs = [folder / name for name in ("rows.parquet", "dropped.parquet", "funnel.json", "overlaps.json")]
    benchmarks = {"humaneval": str(benchmark)}
    main(folder / "chosen.parquet", *outputs, benchmarks=benchmarks, mode=mode, settings=DecontaminateDataset())
    return [row["id"] for row in read_rows(outputs[0])], list(read_rows(outputs[1])), json.loads(outputs[3].read_text())


@pytest.mark.parametrize(
    ("columns", "fixed", "reference"),
    [
        ({}, False, False),
        ({"instruction": DOCSTRING}, True, True),
        ({"instruction": DOCSTRING.upper()}, True, True),
        ({"instruction": " ".join(DOCSTRING.split())}, True, False),  # Only ours ignores white space.
        ({"response": f"```python\n{PROMPT}{SOLUTION}```"}, True, True),
        ({"tests": f"```python\n{PROMPT}{SOLUTION}```"}, True, False),  # Tests are published too.
        ({"instruction": "Given a threshold, check numbers of a list."}, False, False),
    ],
)
def test_a_row_overlaps(tmp_path, humaneval, columns, fixed, reference):
    for mode, expected in (("fixed", fixed), ("reference", reference)):
        kept, dropped, _ = decontaminate(tmp_path, [selected_row(0, **columns)], humaneval, mode=mode)
        assert (not kept) is expected, mode
        assert all(row["reason"] == "in_humaneval" and "HumanEval/0" in row["detail"] for row in dropped)


def test_the_report_counts_rows_and_tasks(tmp_path, humaneval):
    rows = [selected_row(0, instruction=DOCSTRING), selected_row(1)]
    _, _, overlaps = decontaminate(tmp_path, rows, humaneval)
    found = overlaps["benchmarks"]["humaneval"]
    assert (overlaps["rows_searched"], found["rows_hit"], found["tasks_hit"]) == (2, 1, 1)


def test_no_benchmark_drops_nothing(tmp_path):
    write_rows(tmp_path / "chosen.parquet", SelectedRow, [selected_row(0)])
    outputs = [tmp_path / name for name in ("rows.parquet", "dropped.parquet", "funnel.json", "overlaps.json")]
    main(tmp_path / "chosen.parquet", *outputs, benchmarks={}, mode="fixed", settings=DecontaminateDataset())
    assert len(list(read_rows(outputs[0]))) == 1
