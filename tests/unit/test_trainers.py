"""Tasks in the columns of verl and open-r1, read as their loaders and rewards read them."""

import json
import subprocess
import sys

import datasets
import numpy as np
import pytest

from selfcodealign.dataset import trainers
from selfcodealign.dataset.rows import TaskRow, turn
from selfcodealign.rows_io import read_rows, write_rows

RIGHT, SILENT = "def double(x):\n    return 2 * x\n", "def double(x):\n    return 3\n"


def task(number: int, tests: str) -> dict:
    return {
        **{"id": f"row-{number}", "prompt": [turn("user", f"Task {number}")], "instruction": f"Task {number}"},
        **{"tests": tests, "pass_rate": 0.5, "category": "", "difficulty": "", "response_id": f"res-{number}"},
        "instruction_id": f"ins-{number}",
    }


TESTS = {
    "assertions": "assert double(2) == 4",
    "fenced": "Some words.\n\n```python\nassert double(2) == 4\n```\n",
    "a function nobody calls": "def test_double():\n    assert double(2) == 4\n",
    "a function that is called": "def test_double():\n    assert double(2) == 4\n\ntest_double()\n",
    "called under the guard": "def test_double():\n    assert double(2) == 4\n"
    "if __name__ == '__main__':\n    test_double()\n",
    "called by a function nobody calls": "def test_double():\n    assert double(2) == 4\n"
    "def main():\n    test_double()\n",
    "called from a table": "def check():\n    assert double(2) == 4\n\nfor one in [check]:\n    one()\n",
    "called by a test": "def check(x):\n    assert double(x) == 4\n\ndef test_double():\n    check(2)\n",
    "an assertion of a module": "import numpy.testing as npt\nnpt.assert_equal(double(2), 4)\n",
    "an assertion found by its name": "import numpy.testing\ngetattr(numpy.testing, 'assert_equal')(double(2), 4)\n",
    "a function with a default": "def test_double(x=2):\n    assert double(x) == 4\n",
}
NEED_A_RUNNER = {
    "a class of unittest": "import unittest\nclass T(unittest.TestCase):\n"
    "    def test_a(self):\n        assert double(2) == 4\n",
    "a class of pytest": "class TestDouble:\n    def test_a(self):\n        assert double(2) == 4\n",
    "a fixture": "def test_double(tmp_path):\n    assert double(2) == 4\n",
    "parameters": "import pytest\n@pytest.mark.parametrize('x', [2])\ndef test_double(x):\n    assert double(x) == 4\n",
    "a coroutine": "async def test_double():\n    assert double(2) == 4\n",
    "a keyword without default": "def test_double(*, x):\n    assert double(x) == 4\n",
    "no code": "",
    "no Python": "assert double(2) ==",
    "nothing to run": "x = 1",
    "an assertion that nobody reaches": "def check():\n    assert double(2) == 4\n",
    "a call without an assertion": "double(2)",
    "a chain of calls that is too long to be written down": "double(2)" + ".real.conjugate()" * 600,
}


@pytest.mark.parametrize("name", TESTS)
def test_tests_run_as_a_script_and_can_fail(name):
    code = trainers.script(TESTS[name])
    assert code is not None
    for answer, status in ((RIGHT, 0), (SILENT, 1)):
        done = subprocess.run([sys.executable, "-c", f"{answer}\n\n{code}"], capture_output=True, check=False)
        assert done.returncode == status, done.stderr.decode()


@pytest.mark.parametrize("name", NEED_A_RUNNER)
def test_tests_that_a_script_would_not_run_are_left_out(name):
    assert trainers.script(NEED_A_RUNNER[name]) is None


@pytest.fixture
def folder(tmp_path):
    """Write the files of two tasks, and of one that needs a runner."""
    tasks = [
        task(1, TESTS["assertions"]),
        task(2, NEED_A_RUNNER["a fixture"]),
        task(3, TESTS["a function nobody calls"]),
    ]
    write_rows(tmp_path / "train.parquet", TaskRow, tasks)
    assert trainers.write(read_rows(tmp_path / "train.parquet"), tmp_path) == {"written": 2, "left_out": 1}
    return tmp_path


def test_verls_loader_finds_its_columns(folder):
    # RLHFDataset: load_dataset("parquet", data_files=…)["train"], prompt_key "prompt" to the chat template, then
    # row["extra_info"].get("index"); its reward manager reads reward_model["ground_truth"] and data_source.
    rows = datasets.load_dataset("parquet", data_files=str(folder / "train.verl.parquet"), cache_dir=str(folder))[
        "train"
    ]
    assert set(rows.column_names) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
    assert [row["prompt"] for row in rows] == [[turn("user", "Task 1")], [turn("user", "Task 3")]]
    assert {(row["data_source"], row["ability"], row["reward_model"]["style"]) for row in rows} == {
        ("selfcodealign", "code", "rule")
    }
    assert [row["extra_info"]["index"] for row in rows] == [0, 1]
    column = np.fromiter((row["reward_model"] for row in rows), dtype=object, count=len(rows))  # its collate_fn
    assert json.loads(column[0]["ground_truth"]).keys() == {"inputs", "outputs", "assert_case"}


def test_verls_sandbox_reward_reads_the_ground_truth(folder):
    # sandbox_fusion.check_correctness: as many outputs and assertions as inputs; each assertion after the answer; an
    # expected output of None agrees with every output; a stdin of None is none.
    for row in read_rows(folder / "train.verl.parquet"):
        cases = json.loads(row["reward_model"]["ground_truth"])
        assert len(cases["inputs"]) == len(cases["outputs"]) == len(cases["assert_case"]) == 1
        assert (cases["inputs"], cases["outputs"]) == ([None], [None])
        for answer, status in ((RIGHT, 0), (SILENT, 1)):
            program = f"{answer}\n\n{cases['assert_case'][0]}"
            assert (
                subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == status
            )
        assert row["extra_info"]["tests"] == cases["assert_case"][0]


def test_open_r1s_loader_finds_its_columns(folder):
    rows = datasets.load_dataset("parquet", data_files=str(folder / "train.open_r1.parquet"), cache_dir=str(folder))[
        "train"
    ]
    for row in rows:
        for column in ("prompt", "problem"):  # make_conversation puts the column's text into a turn of the user
            assert isinstance(row[column], str)
        info = row["verification_info"]
        assert info["language"] == "python"
        for case in info["test_cases"]:
            assert case["type"] == "assertion"
            assert isinstance(case["input"], str)
            assert isinstance(case["output"], str)


@pytest.mark.parametrize("answer", [RIGHT, SILENT, "print()", ""], ids=["right", "silent", "blank", "empty"])
def test_open_r1s_own_reward_is_never_wrongly_one(folder, answer):
    # rewards.code_reward: each case's input to the answer, then lines of the output compared as far as both have any.
    for row in read_rows(folder / "train.open_r1.parquet"):
        for case in row["verification_info"]["test_cases"]:
            done = subprocess.run([sys.executable, "-c", answer], input=case["input"], capture_output=True, text=True)
            lines = zip(done.stdout.strip().split("\n"), case["output"].split("\n"), strict=False)
            assert not all(ours.strip() == theirs.strip() for ours, theirs in lines)


def test_a_dataset_without_such_tasks_has_files_without_rows(tmp_path):
    assert trainers.write([task(1, "")], tmp_path) == {"written": 0, "left_out": 1}
    assert list(read_rows(tmp_path / "train.verl.parquet")) == []
