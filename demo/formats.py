"""Toy tasks in the formats of the paper's benchmarks, to rehearse each one's own reader, prompts and judge.

Each format is a function from a place in the file and some tasks to a record as the benchmark's authors publish it.
The tasks are the demo's: what they ask is no harder or easier in one format than in another, so the numbers say nothing
about a benchmark. A library or kind of change that a record names is a label only.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from demo import domain
from demo.domain import ARGUMENT, Task

Record = dict[str, Any]
OFFSET = 10_000
"""Task numbers start here: published numbers below it have inputs or checks of their own."""

LIBRARIES = ("Pandas", "Numpy", "Matplotlib", "Tensorflow", "Scipy", "Sklearn", "Pytorch")
KINDS = ("corrective", "adaptive", "perfective")
DATES = ("2023-05-14", "2023-08-06", "2023-11-19")
"""Contest dates, one that each of LiveCodeBench's windows adds."""


def head(task: Task) -> str:
    """Write the signature with its docstring."""
    return f'{domain.signature_of(task)}\n    """{domain.docstring_of(task)}"""\n'


def body(task: Task) -> str:
    """Write the right body."""
    return domain.body_of(task, domain.right_code(task)) + "\n"


def inputs(task: Task) -> list[list[Any]]:
    """List the hidden cases' arguments, each as a list of one argument."""
    return [[argument] for argument, _ in domain.hidden_cases(task)]


def expected(task: Task) -> list[tuple[Any, Any]]:
    """List the hidden cases as argument and result."""
    return [(argument, trace[-1]) for argument, trace in domain.hidden_cases(task)]


def assertions(task: Task, call: str, indent: str = "") -> str:
    """Write the hidden cases as assertions on a call of one argument."""
    return "\n".join(f"{indent}assert {call}({argument!r}) == {value!r}" for argument, value in expected(task))


def humaneval_plus(number: int, task: Task) -> Record:
    """HumanEval+ and EvoEval's Verbose: a head, a solution, base and plus inputs."""
    cases = inputs(task)
    return {
        "task_id": f"HumanEval/{OFFSET + number}",
        "prompt": head(task),
        "entry_point": task.name,
        "canonical_solution": body(task),
        "base_input": cases[:3],
        "plus_input": cases[3:],
        "atol": 0,
    }


def mbpp_plus(number: int, task: Task) -> Record:
    """MBPP+: a docstring with one assertion, a whole function as the solution."""
    argument, value = expected(task)[0]
    return {
        **humaneval_plus(number, task),
        "task_id": f"Mbpp/{OFFSET + number}",
        "prompt": f'"""\n{domain.instruction_of(task)}\nassert {task.name}({argument!r}) == {value!r}\n"""\n',
        "canonical_solution": domain.function_of(task, domain.right_code(task)) + "\n",
    }


def evoeval(number: int, task: Task) -> Record:
    """EvoEval: a head, a solution, inputs."""
    return {
        "task_id": f"EvoEval/{OFFSET + number}",
        "prompt": head(task),
        "entry_point": task.name,
        "canonical_solution": body(task),
        "inputs": inputs(task),
    }


def evalperf(number: int, task: Task) -> Record:
    """EvalPerf, joined: the inputs of HumanEval+, a costly input, references from slow to fast with their scores."""
    fast = head(task) + body(task)
    argument = ARGUMENT[task.takes]
    loop = f"    for _ in range(400):\n        {argument} = {argument}[:]\n        sorted({argument})\n"
    slow = head(task) + loop + body(task)
    return {
        **humaneval_plus(number, task),
        "reference": [slow, fast],
        "scores": [50.0, 100.0],
        "pe_input": inputs(task)[:1],
    }


def livecodebench(number: int, task: Task) -> Record:
    """LiveCodeBench: a question with starter code and functional tests, some of them public."""
    import json

    tests = [
        {"input": json.dumps(argument), "output": json.dumps(value), "testtype": "functional"}
        for argument, value in expected(task)
    ]
    return {
        "question_id": f"toy-{number}",
        "question_content": domain.instruction_of(task),
        "starter_code": domain.signature_of(task) + "\n",
        "contest_date": f"{DATES[number % len(DATES)]}T00:00:00",
        "difficulty": ("easy", "medium")[number % 2],
        "metadata": json.dumps({"func_name": task.name}),
        "public_test_cases": json.dumps(tests[:2]),
        "private_test_cases": json.dumps(tests[2:]),
    }


def classeval(number: int, first: Task, second: Task) -> Record:
    """ClassEval: a class of two methods, a unittest class for each and one for the whole."""
    name = f"Toy{number}"
    tasks = (first, second)
    described = [_method(task, docstring=True) for task in tasks]
    tests = [_unittest(f"{name}Test{place}", name, [task]) for place, task in enumerate(tasks)]
    tests.append(_unittest(f"{name}Test", name, tasks))
    constructor = f"class {name}:\n    def __init__(self):\n        self.calls = 0\n"
    description = f'    """\n    Holds {first.name} and {second.name}.\n    """'
    solutions = "\n".join(
        _method(task, docstring=False) + "\n" + _indented(domain.body_of(task, domain.right_code(task))) + "\n"
        for task in tasks
    )
    classes = [f"{name}Test0", f"{name}Test1", f"{name}Test"]
    return {
        "task_id": f"ClassEval_{OFFSET + number}",
        "skeleton": f"class {name}:\n{description}\n\n    def __init__(self):\n        self.calls = 0\n\n"
        + "\n\n".join(f"    {text}\n" for text in described),
        "test": "import unittest\n\n\n" + "\n\n".join(tests),
        "solution_code": f"{constructor}\n" + solutions,
        "import_statement": [],
        "class_description": description,
        "class_name": name,
        "test_classes": classes,
        "class_constructor": constructor,
        "methods_info": [
            {"method_name": task.name, "method_description": text, "test_class": test}
            for task, text, test in zip(tasks, described, classes, strict=False)
        ],
    }


def _method(task: Task, *, docstring: bool) -> str:
    """Write a method's signature, with its docstring as ClassEval shows it or ready for a class body."""
    signature = domain.signature_of(task).replace("(", "(self, ", 1)
    return (
        f'{signature}\n        """\n        {domain.docstring_of(task)}\n        """'
        if docstring
        else f"    {signature}"
    )


def _indented(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))


def _unittest(label: str, name: str, tasks: Sequence[Task]) -> str:
    tests = [
        f"    def test_{place}(self):\n        thing = {name}()\n" + assertions(task, f"thing.{task.name}", "        ")
        for place, task in enumerate(tasks)
    ]
    return f"class {label}(unittest.TestCase):\n" + "\n\n".join(tests) + "\n"


def ds1000(number: int, task: Task) -> Record:
    """DS-1000: a question that ends inside the answer's block, and a hidden context that tests the answer."""
    argument, _ = expected(task)[0]
    variable = ARGUMENT[task.takes]
    code = domain.right_code(task)
    lines = domain.body_of(task, code).split("\n")
    answer = "\n".join(line.strip() for line in lines).replace("return ", "result = ")
    return {
        "prompt": f"Problem:\n{domain.instruction_of(task)}\n\nA:\n<code>\n{variable} = {argument!r}\n</code>\n"
        f"result = ... # put solution in this variable\nBEGIN SOLUTION\n<code>\n",
        "reference_code": answer + "\n",
        "metadata": {"problem_id": number, "library": LIBRARIES[number % len(LIBRARIES)], "test_case_cnt": 1},
        "code_context": "cases = "
        + repr(expected(task))
        + f'\n\nexec_context = r"""\n{variable} = test_input\n[insert]\n"""\n\n\n'
        + 'def test_execution(solution: str):\n    code = exec_context.replace("[insert]", solution)\n'
        + "    for test_input, wanted in cases:\n        space = {'test_input': test_input}\n"
        + "        exec(code, space)\n        assert space['result'] == wanted\n",
    }


def canitedit(number: int, task: Task) -> Record:
    """CanItEdit: a program with a common mistake in its last step, what it should do, and hidden tests."""
    code = domain.right_code(task)
    wrong = [*code[:-1], task.steps[-1][0].wrong[0]]
    return {
        "full_name": f"{number}_{task.name}",
        "before": domain.function_of(task, wrong) + "\n",
        "after": domain.function_of(task, code) + "\n",
        "tests": f"### START TESTS ###\n{assertions(task, task.name)}\n",
        "instruction_descriptive": domain.instruction_of(task),
        "instruction_lazy": f"Correct {task.name}: {domain.docstring_of(task)}",
        "taxonomy": {"change_kind": KINDS[number % len(KINDS)], "libraries": [], "topic": "toy"},
    }


def instructions(number: int, task: Task) -> Record:
    """An instruction dataset of others: an instruction and an answer, which is wrong where the corpus is."""
    code = domain.corpus_code(random.Random(f"instructions:{number}"), task, domain.CARELESS)
    return {
        "instruction": domain.instruction_of(task),
        "response": f"```python\n{domain.function_of(task, code)}\n```",
    }


FORMATS: dict[str, tuple[Callable[..., Record], int]] = {
    "humaneval_plus": (humaneval_plus, 1),
    "mbpp_plus": (mbpp_plus, 1),
    "livecodebench": (livecodebench, 1),
    "evoeval_difficult": (evoeval, 1),
    "evoeval_creative": (evoeval, 1),
    "evoeval_subtle": (evoeval, 1),
    "evoeval_combine": (evoeval, 1),
    "evoeval_tool_use": (evoeval, 1),
    "evalperf": (evalperf, 1),
    "classeval": (classeval, 2),
    "ds1000": (ds1000, 1),
    "canitedit": (canitedit, 1),
    "instructions": (instructions, 1),
}
"""Name of a format → how a record is written, and of how many tasks."""
