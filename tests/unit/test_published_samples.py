"""Published samples are read in their own formats, and what is wrong with them is said in one sentence."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from selfcodealign.errors import UserError
from selfcodealign.evaluation import base, data
from selfcodealign.evaluation.base import Problem
from selfcodealign.evaluation.published_samples import read, warnings
from tests.published import BY_HAND, SOURCES, published

pytestmark = pytest.mark.slow

HEAD = 'from typing import List\n\n\ndef double(xs: List[int]):\n    """Twice each."""\n'
PROBLEMS = [
    Problem(f"HumanEval/{number}", {"prompt": HEAD, "entry_point": "double", "canonical_solution": "    return xs\n"})
    for number in range(2)
]
PLUS = base.get("humaneval_plus")


def written(folder: Path, records: list[Any], name: str = "samples.jsonl") -> Path:
    path = folder / name
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_a_completion_follows_the_prompt_uncut(tmp_path):
    body = "    return [2 * x for x in xs]\n\ndef other():\n    pass\n"
    found = read(PLUS, PROBLEMS, written(tmp_path, [{"task_id": "HumanEval/0", "completion": body}]))
    assert found[0].program == HEAD + body


def test_a_solution_stands_alone_and_gzip_is_understood(tmp_path):
    record = {"task_id": "HumanEval/1", "solution": "def double(xs): return xs"}
    found = read(PLUS, PROBLEMS, written(tmp_path, [record, record], "samples.jsonl.gz"))
    assert [(one.task_id, one.sample, one.program) for one in found] == [
        ("HumanEval/1", 0, record["solution"]),
        ("HumanEval/1", 1, record["solution"]),
    ]
    assert any("repeat another sample" in text for text in warnings(found, PROBLEMS))


def test_a_folder_of_programs_is_read_in_the_order_of_numbers(tmp_path):
    folder = tmp_path / "HumanEval_0"
    folder.mkdir()
    for number in (10, 2):
        (folder / f"{number}.py").write_text(f"x = {number}")
    found = read(PLUS, PROBLEMS, tmp_path)
    assert [(one.sample, one.program) for one in found] == [(2, "x = 2"), (10, "x = 10")]


@pytest.mark.parametrize(
    "text",
    [
        "Here it is:\n```python\ndef double(xs: List[int]):\n    return [2 * x for x in xs]\n```\nGood luck!",
        "```\ndef double(xs: List[int]):\n    return [2 * x for x in xs]\n```",
        "```python\ndef double(xs: List[int]):\n    return [2 * x for x in xs]",
    ],
)
def test_markdown_around_code_is_taken_off_and_noted(tmp_path, text):
    record = {"task_id": "HumanEval/0", "solution": text}
    (found,) = read(PLUS, PROBLEMS, written(tmp_path, [record]))
    space: dict[str, Any] = {}
    exec(found.program, space)  # the prompt's imports are there
    assert space["double"]([1]) == [2]
    assert found.note == "markdown_removed"
    (as_is,) = read(PLUS, PROBLEMS, written(tmp_path, [record]), as_is=True)
    assert as_is.program == text


def test_a_completion_that_repeats_the_prompt_still_defines_the_function(tmp_path):
    record = {"task_id": "HumanEval/0", "completion": HEAD + "    return [2 * x for x in xs]\n"}
    (found,) = read(PLUS, PROBLEMS, written(tmp_path, [record]))
    space: dict[str, Any] = {}
    exec(found.program, space)
    assert space["double"]([3]) == [6]


def test_a_fence_inside_a_string_is_left_alone(tmp_path):
    program = 'def double(xs):\n    return """\n```python\nx\n```\n"""\n'
    (found,) = read(PLUS, PROBLEMS, written(tmp_path, [{"task_id": "HumanEval/0", "solution": program}]))
    assert (found.program, found.note) == (program, "")


def test_stripped_indentation_is_named(tmp_path):
    found = read(
        PLUS, PROBLEMS, written(tmp_path, [{"task_id": "HumanEval/0", "completion": "return [2 * x for x in xs]"}])
    )
    assert any("leading spaces were stripped" in text for text in warnings(found, PROBLEMS))


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        (
            [{"task_id": "HumanEval/7", "solution": "x"}],
            "samples of 1 tasks that the file of problems does not have: HumanEval/7",
        ),
        ([{"task_id": "HumanEval/0"}], "neither `solution` nor `completion`"),
        ([{"solution": "x"}], "no `task_id`"),
        ([{"task_id": "HumanEval/0", "solution": 3}], "is int, not text"),
        ([{"task_id": "HumanEval/0", "sample": 1, "solution": "x"}] * 2, "sample 1 of HumanEval/0 is given twice"),
        ([], "holds no samples"),
    ],
)
def test_wrong_samples_are_refused_in_one_sentence(tmp_path, records, sentence):
    with pytest.raises(UserError) as error:
        read(PLUS, PROBLEMS, written(tmp_path, records))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_line_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"task_id": "HumanEval/0", "solution": "x"}\n{"task_id"\n')
    with pytest.raises(UserError, match="line 2 is not JSON"):
        read(PLUS, PROBLEMS, path)


def test_canitedit_result_files_are_read(tmp_path):
    benchmark = base.get("canitedit")
    problem = Problem(
        "1_cipher/lazy", {"before": "a", "after": "b", "tests": "### START TESTS ###"}, "adaptive", "lazy"
    )
    head = {"full_name": "1_cipher", "instr_kind": "instruction_lazy"}
    before = {**head, "completions": [{"content": "x = 1"}, "x = 2"]}
    numbered = {"id": 1, "name": "cipher", "instr_kind": "instruction_lazy"}
    after = {
        **numbered,
        "results": [{"program": "x = 3\n### START TESTS ###\nassert x", "status": "OK", "exit_code": 0}],
    }
    for name, record in (("a.json.gz", before), ("b.results.json.gz", after)):
        (tmp_path / name).write_bytes(gzip.compress(json.dumps(record).encode()))
    found = read(benchmark, [problem], tmp_path)
    assert [one.program for one in found] == ["x = 1", "x = 2", "x = 3"]


CIPHER = [
    Problem(f"1_cipher/{kind}", {"before": "a", "after": "b", "tests": "### START TESTS ###"}, "adaptive", kind)
    for kind in ("descriptive", "lazy")
]


@pytest.mark.parametrize(
    ("file", "record", "task"),
    [
        ("x.json", {"full_name": "1_cipher", "instr_kind": "instruction_lazy"}, "1_cipher/lazy"),
        ("x.json", {"name": "1_cipher_instruction_descriptive"}, "1_cipher/descriptive"),
        ("x.json", {"name": "1_cipher_lazy"}, "1_cipher/lazy"),
        ("x.json", {"id": 1, "name": "cipher", "instr_kind": "lazy"}, "1_cipher/lazy"),
        ("1_cipher_instruction_lazy.json", {"name": "1_cipher"}, "1_cipher/lazy"),
        ("1_cipher_descriptive.json", {"language": "py"}, "1_cipher/descriptive"),
    ],
)
@pytest.mark.parametrize("folder", [True, False])
def test_canitedit_tasks_are_named_in_several_ways(tmp_path, file, record, task, folder):
    (tmp_path / file).write_text(json.dumps({**record, "completions": ["x = 1"]}))
    (found,) = read(base.get("canitedit"), CIPHER, tmp_path if folder else tmp_path / file)
    assert (found.task_id, found.program) == (task, "x = 1")


@pytest.mark.parametrize(
    ("fields", "program"),
    [
        ({"prompt": "import math\n", "completions": ["x = 1"]}, "import math\nx = 1"),
        ({"prompt": "## Code Before:\na\n## Code After:\n", "completions": ["x = 1"]}, "x = 1"),
        ({"tests": "assert x", "results": [{"program": "x = 1\nassert x", "status": "OK"}]}, "x = 1"),
        ({"completions": ["x = 2"], "results": [{"program": "x = 1\n### START TESTS ###\nassert x"}]}, "x = 1"),
    ],
)
def test_canitedit_programs_of_result_files(tmp_path, fields, program):
    path = tmp_path / "1_cipher_lazy.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"full_name": "1_cipher", **fields}).encode()))
    assert [one.program for one in read(base.get("canitedit"), CIPHER, path)] == [program]


def test_results_take_the_place_of_the_completions_they_came_from(tmp_path):
    head = {"full_name": "1_cipher", "instr_kind": "instruction_lazy"}
    (tmp_path / "a.json").write_text(json.dumps({**head, "completions": ["x = 1"]}))
    (tmp_path / "a.results.json").write_text(json.dumps({**head, "results": [{"program": "x = 1\nassert x"}]}))
    assert len(read(base.get("canitedit"), CIPHER, tmp_path)) == 1


def test_livecodebench_code_lists_are_read(tmp_path):
    problem = Problem("abc1_a", {"tests": [{"input": "1", "output": "1", "testtype": "stdin"}]})
    path = tmp_path / "custom.json"
    path.write_text(json.dumps([{"question_id": "abc1_a", "code_list": ["print(1)", "print(2)"]}]))
    found = read(base.get("livecodebench"), [problem], path)
    assert [one.program for one in found] == ["print(1)", "print(2)"]


def test_ds1000_answers_are_cut_at_the_marks_that_end_them(tmp_path):
    problem = Problem("0", {"code_context": ""}, "pandas")
    record = {"id": 0, "code": "result = df\n</code>\nEND SOLUTION\nmore"}
    (found,) = read(base.get("ds1000"), [problem], written(tmp_path, [record]))
    assert found.program == "result = df\n"


def test_another_benchmarks_file_is_refused():
    with pytest.raises(UserError, match=r"is the file of MBPP\+, not of HumanEval\+"):
        data.refuse_other_benchmark(PLUS, published("bench/MbppPlus-v0.2.0.jsonl.gz"))


FILES = SOURCES | BY_HAND


@pytest.mark.parametrize("file", FILES)
def test_a_published_file_is_recognised_by_its_hash(file):
    path, (name, version) = published(f"bench/{file}"), FILES[file]
    source = data.version_of(base.get(name), path)
    assert source is not None
    assert source.version == version
    assert len(data.records(path)) == source.records
    assert base.get(name).problems(path)


def test_every_benchmark_has_a_published_file():
    assert {name for name, _ in FILES.values()} == set(base.names()) - {"demo", "evalperf", "livecodebench"}


def test_an_unknown_benchmark_is_named_with_the_known_ones():
    with pytest.raises(UserError, match="no benchmark 'humanevil'"):
        base.get("humanevil")
    assert base.get("HumanEval+").name == "humaneval_plus"
    assert base.get("DS-1000").name == "ds1000"
