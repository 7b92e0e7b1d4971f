"""Toy tasks in a benchmark's own format are read, asked and judged by that benchmark as its published ones are."""

import json

import pytest

from demo.formats import FORMATS
from scripts.make_rehearsal_file import main
from selfcodealign.config import read
from selfcodealign.config.demo import MakeRehearsalFile
from selfcodealign.errors import UserError
from selfcodealign.evaluation import base
from selfcodealign.evaluation.execution import Task, execute
from selfcodealign.sandbox import Settings
from tests.test_contract import ROOT

pytestmark = pytest.mark.slow

BENCHMARKS = [name for name in FORMATS if name != "instructions"]


@pytest.fixture
def problems(tmp_path):
    def read_format(name, count=3):
        main(name, tmp_path / f"{name}.jsonl", settings=MakeRehearsalFile(count=count))
        return base.get(name).problems(tmp_path / f"{name}.jsonl")

    return read_format


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "livecodebench"])
def test_a_benchmark_accepts_the_solutions_and_rejects_programs_that_do_nothing(name, problems, tmp_path):
    benchmark = base.get(name)
    tasks = []
    for problem in problems(name, 2):
        tasks.append(Task(f"right/{problem.id}", problem, benchmark.canonical(problem)))
        tasks.append(Task(f"empty/{problem.id}", problem, benchmark.empty(problem)))
    found = execute(benchmark, tasks, Settings(workers=1), tmp_path / "references")
    for task in tasks:
        assert benchmark.passed(found[task.id].groups) == task.id.startswith("right/"), (task.id, found[task.id])


def test_livecodebench_accepts_a_right_function_and_rejects_one_that_does_nothing(problems, tmp_path):
    main("humaneval_plus", tmp_path / "plus.jsonl", settings=MakeRehearsalFile(count=1, seed=5))
    benchmark = base.get("livecodebench")
    (problem,) = problems("livecodebench", 1)
    cases = {json.loads(test["input"]).__repr__(): json.loads(test["output"]) for test in problem.record["tests"]}
    name = json.loads(problem.record["metadata"])["func_name"]
    right = f"def {name}(x):\n    return {cases!r}[repr(x)]\n"
    tasks = [Task("right", problem, right), Task("empty", problem, benchmark.empty(problem))]
    found = execute(benchmark, tasks, Settings(workers=1), tmp_path / "references")
    assert [benchmark.passed(found[task.id].groups) for task in tasks] == [True, False]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_problem_has_a_prompt_in_both_styles(name, problems):
    benchmark = base.get(name)
    for problem in problems(name):
        for style in ("base", "instruct"):
            assert benchmark.prompt(problem, style).text.strip()


def test_every_library_kind_and_window_of_the_tables_occurs(problems):
    assert {problem.subset for problem in problems("ds1000", 7)} == {
        *("pandas", "numpy", "matplotlib", "tensorflow", "scipy", "sklearn", "pytorch")
    }
    assert {problem.subset for problem in problems("canitedit", 3)} == {"corrective", "adaptive", "perfective"}
    assert len({problem.record["contest_date"] for problem in problems("livecodebench", 3)}) == 3


def test_the_file_is_a_function_of_format_and_seed(tmp_path):
    for place, (name, seed) in enumerate(
        [("evoeval_subtle", 0)] * 2 + [("evoeval_subtle", 1), ("evoeval_creative", 0)]
    ):
        main(name, tmp_path / str(place), settings=MakeRehearsalFile(seed=seed))
    first, again, seeded, other = ((tmp_path / str(place)).read_bytes() for place in range(4))
    assert first == again
    assert len({first, seeded, other}) == 3


@pytest.mark.parametrize(
    ("name", "count", "sentence"),
    [("humaneval", 1, "there is no format 'humaneval'"), ("classeval", 900, "there are held-out tasks for .* records")],
)
def test_what_cannot_be_written_is_a_clear_error(name, count, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        main(name, tmp_path / "x.jsonl", settings=MakeRehearsalFile(count=count))


def test_the_rehearsal_has_exactly_the_names_and_tables_of_the_paper():
    tables, rehearsal = (read(ROOT / "config" / f"paper-{name}.yaml") for name in ("tables", "rehearsal"))
    benchmarks = read(ROOT / "config/paper.yaml")["benchmarks"]
    for section in ("generations", "datasets", "other_datasets", "models"):
        assert list(tables[section]) == list(rehearsal[section])
    assert list(rehearsal["benchmarks"]) == list(benchmarks)
    assert "tables" not in rehearsal, "the rehearsal's tables are those of config/paper-tables.yaml"
    assert "mode" not in rehearsal
    assert rehearsal["extends"] == "config/paper-tables.yaml"
    for name, dataset in tables["datasets"].items():
        assert dataset | {"seed_shards": None} == rehearsal["datasets"][name] | {"seed_shards": None}
