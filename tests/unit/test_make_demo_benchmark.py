"""The demo's benchmark: held-out tasks whose hidden tests tell right code from the common mistakes."""

import json

import pytest

from demo import domain
from scripts.make_demo_benchmark import held_out_tasks, main
from selfcodealign.config.demo import MakeDemoBenchmark
from selfcodealign.errors import UserError


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "tasks.jsonl"
    main(path, settings=MakeDemoBenchmark())
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_canonical_solutions_pass_their_tests(rows):
    for row in rows:
        scope = {}
        exec(row["prompt"] + row["canonical_solution"] + row["test"], scope)
        scope["check"](scope[row["entry_point"]])


def test_rows_have_the_columns_of_humaneval_and_an_instruction(rows):
    assert [row["task_id"] for row in rows] == [f"Demo/{number}" for number in range(200)]
    wanted = {"task_id", "prompt", "entry_point", "canonical_solution", "test", "instruction"}
    assert all(set(row) == wanted for row in rows)
    assert all(6 <= row["test"].count("assert candidate(") <= 10 for row in rows)


def test_every_task_is_a_held_out_composition_of_its_own(rows):
    tasks = [domain.read_instruction(row["instruction"]) for row in rows]
    assert {domain.split_of(task.composition) for task in tasks} == {"test"}
    assert len({task.composition for task in tasks}) == len(rows)


def test_tests_reject_code_with_the_common_mistake_in_the_last_step(rows):
    caught = 0
    for row in rows:
        task = domain.read_instruction(row["instruction"])
        code = [task.steps[0][0].right, task.steps[1][0].wrong[0]]
        scope = {}
        exec(row["prompt"] + domain.body_of(task, code) + "\n" + row["test"], scope)
        try:
            scope["check"](scope[row["entry_point"]])
        except Exception:
            caught += 1
    assert caught >= 0.9 * len(rows)


def test_the_development_tasks_are_others():
    dev = {task.composition for task in held_out_tasks("dev", 0)}
    test = {task.composition for task in held_out_tasks("test", 0)}
    assert dev
    assert not dev & test


def test_the_file_is_a_function_of_its_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        main(tmp_path / name, settings=MakeDemoBenchmark(split="dev", count=20, seed=seed))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_more_tasks_than_there_are_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="the dev split has .* tasks, not 500; lower `count`"):
        main(tmp_path / "tasks.jsonl", settings=MakeDemoBenchmark(split="dev", count=500))
