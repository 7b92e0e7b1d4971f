"""The program is read out of an answer by the benchmark's own rules."""

import pytest

from scripts.extract_programs import main, note, programs
from selfcodealign.evaluation import base, data
from selfcodealign.evaluation.base import Problem
from selfcodealign.evaluation.benchmarks.classeval import method_in, static_marked
from selfcodealign.evaluation.benchmarks.evalplus import task_and_assertion
from selfcodealign.evaluation.extraction import between_last_fences, last_python_block
from selfcodealign.evaluation.rows import ProgramRow, SampleRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.published import material

HEAD = 'import math\n\ndef f(x):\n    """Root."""\n'
PROBLEM = Problem(
    "HumanEval/0", {"prompt": HEAD, "entry_point": "f", "canonical_solution": "    return math.sqrt(x)\n"}
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\na\n```\nthen\n```python\nb\n```", "\nb\n"),
        ("```python\nunclosed", "\nunclosed"),
        ("```\nno tag\n```", ""),
        ("no fence", ""),
    ],
)
def test_the_last_python_fence_counts(text: str, expected: str) -> None:
    assert last_python_block(text) == expected


def test_livecodebench_reads_between_the_last_two_fences() -> None:
    assert between_last_fences("```\na\n```\nand\n```python\nb\nc\n```\nend") == "b\nc"
    assert between_last_fences("```python\nb") == ""


@pytest.mark.parametrize("name", ["humaneval", "humaneval_plus", "evoeval_subtle"])
def test_a_base_models_completion_ends_at_the_next_statement(name: str) -> None:
    benchmark = base.get(name)
    text = "    return math.sqrt(x)\n\ndef main():\n    pass"
    assert benchmark.program(PROBLEM, [text], "base") == HEAD + "    return math.sqrt(x)\n"
    assert benchmark.prompt(PROBLEM, "base") is not None
    assert benchmark.prompt(PROBLEM, "base", ["text"]) is None


def test_the_papers_instruction_is_kept_to_the_letter() -> None:
    prompt = base.get("humaneval_plus").prompt(PROBLEM, "instruct")
    assert prompt is not None
    expected = f"Write a Python function to solve the following task:\n```python\n{HEAD.strip()}\n```"
    assert (prompt.text, prompt.prefix, prompt.stop) == (expected, "```python", ("\n```\n",))


def test_mbpp_shows_the_sentence_and_one_assertion() -> None:
    record = {"prompt": '"""\nWrite a function to add\nassert add(1, 2) == 3\n"""\n', "entry_point": "add"}
    prompt = base.get("mbpp_plus").prompt(Problem("Mbpp/1", record), "instruct")
    assert prompt is not None
    assert prompt.text == "Write a function to add.\n\n```python\nassert add(1, 2) == 3\n```"
    assert task_and_assertion('"""No assertion."""') == ("No assertion.", "")


def test_an_instruct_models_program_keeps_the_heads_imports() -> None:
    answer = "```python\ndef f(x):\n    return math.sqrt(x)\n```"
    program = base.get("humaneval_plus").program(PROBLEM, [answer], "instruct")
    space: dict = {}
    exec(program, space)
    assert space["f"](4) == 2
    assert base.get("humaneval_plus").program(PROBLEM, ["I cannot."], "instruct") == ""


def test_the_demos_completion_continues_right_after_the_docstring() -> None:
    benchmark = base.get("demo")
    prompt = benchmark.prompt(PROBLEM, "base")
    assert prompt is not None
    assert prompt.text + "\n" == HEAD
    program = benchmark.program(PROBLEM, ["\n    return math.sqrt(x)\ndef g("], "base")
    space: dict = {}
    exec(program, space)
    assert space["f"](9) == 3


@pytest.mark.parametrize(
    ("program", "reasons", "expected"),
    [
        ("x", ["stop"], ""),
        ("x", ["length"], "cut_off"),
        (" \n", ["stop"], "no_code"),
        ("", ["length"], "no_code"),
        ("", ["failed"], "not_answered"),
    ],
)
def test_what_is_wrong_with_an_answer_is_noted(program: str, reasons: list[str], expected: str) -> None:
    assert note(program, reasons) == expected


METHOD = (
    "class Box:\n    def add(self, n):\n        self.n += n\n        return self.n\n\n"
    "    def other(self):\n        pass\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (METHOD, "    def add(self, n):\n        self.n += n\n        return self.n\n"),
        ("def add(self, n):\n    return n\nprint(1)", "    def add(self, n):\n        return n\n"),
        ("def add(n):\n    return n", "    @staticmethod\n    def add(n):\n        return n\n"),
        ("def subtract(self):\n    pass", ""),
    ],
)
def test_classeval_finds_a_method_and_indents_it_as_a_member(text: str, expected: str) -> None:
    assert method_in(text, "add") == expected


def test_classeval_marks_members_without_self_as_static() -> None:
    code = "class A:\n    @staticmethod\n    def f(self):\n        pass\n    def g(x):\n        pass\n"
    assert (
        static_marked(code)
        == "class A:\n    def f(self):\n        pass\n    @staticmethod\n    def g(x):\n        pass\n"
    )


def test_classeval_strategies_ask_once_or_once_a_method() -> None:
    benchmark = base.get("classeval")
    file = material("bench/ClassEval_data.json.gz")
    problems = benchmark.problems(file)
    assert len(problems) == 3 * len(data.records(file))
    strategies = [problems[place * len(problems) // 3] for place in range(3)]
    assert len({problem.variant for problem in strategies}) == 3
    for problem in strategies:
        methods = problem.record["methods_info"]
        texts: list[str] = []
        while (prompt := benchmark.prompt(problem, "instruct", texts)) is not None:
            name = methods[len(texts)]["method_name"]
            assert problem.variant == "holistic" or f"def {name}(" in prompt.text
            whole = (
                problem.record["solution_code"]
                if problem.variant == "holistic"
                else methods[len(texts)]["solution_code"]
            )
            texts.append(f"```python\n{whole}\n```")
        assert len(texts) == (1 if problem.variant == "holistic" else len(methods))
        space: dict = {}
        exec(benchmark.program(problem, texts, "instruct"), space)
        members = vars(space[problem.record["class_name"]])
        assert all(method["method_name"] in members for method in methods)


def test_canitedit_asks_for_each_edit_twice() -> None:
    benchmark = base.get("canitedit")
    file = material("bench/canitedit.jsonl.gz")
    problems = benchmark.problems(file)
    assert len(problems) == 2 * len(data.records(file))
    descriptive, lazy = (benchmark.prompt(problem, "instruct") for problem in problems[:2])
    assert descriptive is not None
    assert lazy is not None
    assert descriptive.text != lazy.text
    assert problems[0].record["before"] in descriptive.text


def test_ds1000_and_bigcodebench_programs() -> None:
    ds1000 = base.get("ds1000")
    problem = ds1000.problems(material("bench/ds1000.jsonl.gz"))[0]
    prompt = ds1000.prompt(problem, "instruct")
    assert prompt is not None
    assert "BEGIN SOLUTION" not in prompt.text
    assert ds1000.program(problem, ["result = df\n</code>"], "base") == "result = df\n"
    big = base.get("bigcodebench")
    task = big.problems(material("bench/BigCodeBench.jsonl.gz"))[0]
    program = big.program(task, ["```python\ndef task_func(numbers):\n    return 1\n```"], "instruct")
    assert program.startswith(task.record["code_prompt"])


def test_the_rule_writes_a_program_for_every_sample(tmp_path) -> None:
    import json

    task = {"task_id": "Demo/0", "test": "", **PROBLEM.record, "instruction": "Root."}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    sampled = {"style": "instruct", "model": "m", "revision": "r", "temperature": 0.0, "top_p": 1.0, "max_tokens": 9}
    columns = {**sampled, "seed": 1, "tokens_in": 1, "tokens_out": 1, "task_id": "Demo/0"}
    texts = ["```python\ndef f(x):\n    return 1\n```", "no code"]
    rows = [
        {"id": f"Demo/0#{n}", "sample": n, "texts": [text], "finish_reasons": ["stop"], **columns}
        for n, text in enumerate(texts)
    ]
    write_rows(tmp_path / "s.parquet", SampleRow, rows)
    main("demo", tmp_path / "tasks.jsonl", tmp_path / "s.parquet", tmp_path / "p.parquet")
    found = list(read_rows(tmp_path / "p.parquet", list(ProgramRow.model_fields)))
    assert [row["note"] for row in found] == ["", "no_code"]
    assert found[0]["program"].endswith("def f(x):\n    return 1\n")
    by_id = {"Demo/0": Problem("Demo/0", task)}
    assert [row["program"] for row in programs(base.get("demo"), by_id, rows)] == [row["program"] for row in found]
