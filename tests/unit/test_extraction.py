"""Which text of an answer is the program: one rule, over every way in which models wrap what they write."""

import pytest

from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Problem
from selfcodealign.evaluation.extraction import completed, program_in, without_markdown, without_marks, without_thoughts

ADD = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    # a long first draft which is wrong\n    total = a\n    total -= b\n    return total\n"
HELPER = "def plus(a, b):\n    return a + b\n"
USING = "def add(a, b):\n    return plus(a, b)\n"
ONE = "def one():\n    return 1\n"
USAGE = (
    "values = [(1, 2), (3, 4), (5, 6)]\nfor first, second in values:\n    print('the sum is', add(first, second))\n"
    "print('and this is a longer block than the program')\n"
)


def fenced(code: str, tag: str = "python", mark: str = "```") -> str:
    return f"{mark}{tag}\n{code}{mark}\n"


def add_of(program: str):
    space: dict = {"__name__": "solution"}
    exec(program, space)
    return space["add"]


THINKING = {
    "a draft": f"<think>\nTry:\n{fenced(WRONG)}No, wrong.\n</think>\n{fenced(ADD)}",
    "without its opening": f"Try:\n{fenced(WRONG)}No.\n</think>\n\n{fenced(ADD)}",
    "an open fence in it": f"<think>\n```python\n{WRONG}\n</think>\n{fenced(ADD)}",
    "other words": f"<Thinking>{fenced(WRONG)}</Thinking>\n{fenced(ADD)}",
    "reasoning": f"<reasoning>\n{fenced(WRONG)}</reasoning>\n{fenced(ADD)}",
    "other marks": f"<|begin_of_thought|>\n{fenced(WRONG)}<|end_of_thought|>\n{fenced(ADD)}",
    "twice": f"<think>{fenced(WRONG)}</think>\nHm.\n<think>{fenced(WRONG)}</think>\n{fenced(ADD)}",
    "one inside the other": f"<think>a\n<think>\n{fenced(WRONG)}</think>\n{fenced(WRONG)}</think>\n{fenced(ADD)}",
    "no fence behind it": f"<think>\n{fenced(WRONG)}\n</think>\n\n{ADD}",
    "a mark behind it": f"<think>{fenced(WRONG)}</think>{fenced(ADD)}<|im_end|>",
    "after the answer": f"{fenced(ADD)}\n<think>Or should I write\n{fenced(WRONG)}",
    "named in words": f"I did not need `<think>` for this.\n{fenced(ADD)}",
}
BLOCKS = {
    "a helper first": f"First a helper:\n{fenced(HELPER)}Then:\n{fenced(USING)}",
    "a helper last": f"The function:\n{fenced(USING)}It needs:\n{fenced(HELPER)}",
    "a helper of a helper": fenced(ONE) + fenced("def plus(a, b):\n    return a * one() + b\n") + fenced(USING),
    "imports apart": fenced("import operator\n") + fenced("def add(a, b):\n    return operator.add(a, b)\n"),
    "a constant apart": fenced("ZERO = 0\n") + fenced("def add(a, b):\n    return a + b + ZERO\n"),
    "usage that is longer": f"{fenced(ADD)}Usage:\n{fenced(USAGE)}",
    "usage that imports it": fenced(ADD) + fenced(f"from solution import add\n{USAGE}"),
    "usage with a main": fenced(ADD) + fenced("def main():\n    print(add(1, 2))\nmain()\n"),
    "a test behind it": fenced(ADD) + fenced("def test_add():\n    assert add(1, 2) == 3\n"),
    "a draft that is superseded": f"{fenced(WRONG)}Better:\n{fenced(ADD)}",
    "a transcript behind it": fenced(ADD) + fenced(">>> add(1, 2)\n3\n"),
    "a tagged transcript": fenced(ADD) + fenced(">>> add(1, 2)\n3\n", "pycon"),
    "nothing but a transcript": fenced(">>> def add(a, b):\n...     return a + b\n...\n>>> add(1, 2)\n3\n"),
    "its output": fenced(ADD) + "Output:\n" + fenced("3\n", ""),
    "a shell": fenced("pip install numpy\n", "bash") + fenced(ADD) + fenced("python add.py\n", "sh"),
    "another language": fenced(ADD) + "The same in Rust:\n" + fenced("fn add() {}\n", "rust"),
    "tildes": fenced(ADD, mark="~~~"),
    "four backticks": fenced(ADD, mark="````"),
    "no tag": fenced(ADD, ""),
    "no tag, and usage": f"{fenced(ADD, '')}{fenced(USAGE, '')}",
    "a file name": fenced(ADD, "python:solution.py"),
    "a version": fenced(ADD, "Python 3.11"),
    "another case": fenced(ADD, "Python"),
    "in a list": "1. Do this:\n\n   " + fenced(ADD).replace("\n", "\n   "),
    "in a list, deeper": "- a\n  - b\n\n      " + fenced(ADD).replace("\n", "\n      "),
    "behind a tab": "\t" + fenced(ADD).replace("\n", "\n\t"),
    "no end": f"Here:\n```python\n{ADD}",
    "an end on its last line": "```python\ndef add(a, b):\n    return a + b```",
    "a fence in a docstring": fenced(
        'def add(a, b):\n    """\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b\n'
    ),
    "a tagged fence in a docstring": fenced(
        'def add(a, b):\n    """Add.\n\n    ```python\n    add(1, 2)\n    ```\n    """\n    return a + b\n'
    ),
    "a fence in a string at the margin": fenced('DOC = """\n```\nadd(1, 2)\n```\n"""\n\n' + ADD),
    "a tagged fence at the margin": fenced('DOC = """\n```python\nadd(1, 2)\n```\n"""\n\n' + ADD),
    "a fence in a string of one line": fenced("FENCE = '```'\n" + ADD),
    "a fence in a comment": fenced("# ```\n" + ADD),
    "Windows line ends": fenced(ADD).replace("\n", "\r\n"),
    "code moved in": fenced("    " + ADD.replace("\n    ", "\n        ")),
    "the fence behind a sentence": f"The program is ```python\n{ADD}```",
    "its signature behind it": fenced(ADD) + "Signature:\n" + fenced("def add(a: int, b: int) -> int: ...\n"),
    "its head to be written behind it": fenced(ADD) + fenced("def add(a, b):\n    pass\n"),
    "a quotation": "> " + fenced(ADD).strip().replace("\n", "\n> "),
    "another turn": fenced(ADD) + f"\n### Instruction:\nSubtract.\n\n### Response:\n{fenced(WRONG)}",
    "channels": (
        f"<|channel|>analysis<|message|>{fenced(WRONG)}<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{fenced(ADD)}<|return|>"
    ),
}
UNFENCED = {
    "a sentence before it": f"Sure! Here you go:\n\n{ADD}",
    "a sentence behind it": f"{ADD}\nThis adds `a` and `b`.\n",
    "a list behind it": f"{ADD}\n### Explanation\n\n1. Takes both.\n  - Adds them.\n",
    "a heading": f"**Solution:**\n\n{ADD}",
    "tags": f"<think>{WRONG}</think>\n<answer>\n{ADD}</answer>",
    "CodeLlama's tags": f"[PYTHON]\n{ADD}[/PYTHON]\n[TESTS]\nassert add(1, 2) == 3\n[/TESTS]",
    "LaTeX": f"The program is\n\\begin{{code}}\n{ADD}\\end{{code}}",
    "a backtick": f"{ADD}`",
    "another turn": f"{ADD}\nHuman: And to subtract?\n\nAssistant:\n{WRONG}",
    "a transcript": ">>> def add(a, b):\n...     return a + b\n...\n>>> add(1, 2)\n3\n",
    "IPython": "In [1]: def add(a, b):\n   ...:     return a + b\n   ...:\n\nIn [2]: add(1, 2)\nOut[2]: 3\n",
    "helpers and words": f"A helper:\n\n{HELPER}\nand the function:\n\n{USING}",
}
MARKS = {
    "endoftext": f"{ADD}<|endoftext|>",
    "s": f"{ADD}</s>",
    "im_end": f"{ADD}<|im_end|>\n",
    "eot_id": f"{ADD}<|eot_id|>",
    "deepseek": f"{ADD}<｜end▁of▁sentence｜>",
    "gemma": f"{ADD}<end_of_turn>\n<eos>",
    "on the line": f"{ADD.rstrip()}<|endoftext|>",
    "twice": f"{ADD}<|im_end|><|endoftext|>",
    "a mark of code models": f"{ADD}<fim_middle>",
    "a file's name": f"{ADD}<filename>x.py",
    "an output": f"{ADD}<jupyter_output>3",
    "in capitals": f"{ADD}<EOS>",
    "and another document": f"{ADD}<|endoftext|>import no_such_module\n# on and on",
    "and another turn": f"{ADD}<|im_end|>\n<|im_start|>user\nThanks!",
    "before it": f"<s>{ADD}</s>",
    "a turn before it": f"<|im_start|>assistant\n{ADD}<|im_end|>",
    "a stray fence": f"{ADD}```",
    "a stray fence and words": f"{ADD}```\n\nThis adds the two.\n",
    "a stray fence and usage": f"{ADD}```\n\nUsage:\n\n{fenced(USAGE)}",
    "a stray tilde fence": f"{ADD}~~~\n",
    "an opening fence": f"{ADD}```python\n",
    "behind the fence": f"{fenced(ADD)}</s>",
    "on the fence": f"```python\n{ADD}```<|im_end|>",
    "another answer behind it": f"{fenced(ADD)}<|endoftext|>{fenced(WRONG)}",
    "in a string": f"{ADD}END = '<|endoftext|>'\n",
    "in a string, and behind it": f"{ADD}END = '</s>'\n</s>",
}


@pytest.mark.parametrize(
    "text", [*THINKING.values(), *BLOCKS.values(), *UNFENCED.values()], ids=[*THINKING, *BLOCKS, *UNFENCED]
)
def test_the_answers_program_is_found_among_what_surrounds_it(text):
    assert add_of(program_in(text, {"add"}))(1, 2) == 3
    benchmark, problem = base.get("humaneval_plus"), Problem("HumanEval/0", {"prompt": "", "entry_point": "add"})
    assert add_of(benchmark.program(problem, [text], "instruct"))(1, 2) == 3


@pytest.mark.parametrize("text", [*THINKING.values(), *BLOCKS.values(), *MARKS.values()])
def test_a_published_sample_is_read_by_the_same_rule(text):
    found = without_markdown(text, {"add"})
    assert add_of(text if found is None else found)(1, 2) == 3


@pytest.mark.parametrize(
    "text",
    [
        f"{ADD}\ndef sub(a,",
        f"{ADD}\nprint(add(1, 2",
        f"{ADD}\nvalues = [1, 2,\n",
        f"{ADD}    return a\n  b\n",
        f"Words.\n\n{ADD}\nif add(1, 2) == 3:\n",
    ],
    ids=["a function", "a call", "a list", "its body", "a branch"],
)
def test_code_that_was_cut_off_stays_what_it_is(text):
    assert program_in(text, {"add"}).strip() == ""
    assert without_markdown(text, {"add"}) is None


def test_words_around_a_published_program_stay():
    assert without_markdown(f"Here you go:\n\n{ADD}", {"add"}) is None


@pytest.mark.parametrize("text", MARKS.values(), ids=MARKS)
def test_marks_around_a_program_are_taken_off(text):
    assert add_of(program_in(text, {"add"}))(1, 2) == 3


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\nTry:\n{fenced(ADD)}",
        f"Try:\n{fenced(ADD)}\n</think>",
        f"<think>\n{ADD}",
        f"<think>{fenced(ADD)}</think>",
        f"<think>{fenced(ADD)}</think>\nI cannot do that.",
        f"<|begin_of_thought|>\n{fenced(ADD)}",
        "I cannot.",
        "Sorry",
        "42",
        "",
        fenced("pip install add\n", "bash"),
        "```python\n```",
    ],
)
def test_an_answer_without_a_program_has_none(text):
    assert not program_in(text, {"add"}).strip()


def test_thoughts_in_the_code_itself_are_code():
    code = 'OPEN = "<think>"\n\n\ndef add(a, b):\n    return a + b  # </think>\n'
    assert without_thoughts(fenced(code)) == fenced(code)
    assert without_markdown(code) is None


def test_several_classes_are_put_together():
    node, tree = "class Node:\n    pass\n", "class Tree:\n    def root(self):\n        return Node()\n"
    other = "class Forest(Tree):\n    pass\n"
    found = program_in(fenced(node) + "and\n" + fenced(other) + "with\n" + fenced(tree), {"Node", "Forest"})
    space: dict = {}
    exec(found, space)
    assert type(space["Forest"]().root()).__name__ == "Node"


def test_without_a_name_the_last_that_defines_anything_is_the_program():
    assert add_of(program_in(fenced(WRONG) + fenced(ADD) + fenced(USAGE)))(1, 2) == 3


def test_a_program_that_reads_its_input_is_the_last_that_does():
    draft = "def solve(n):\n    return n + 1\n"
    answer = "n = int(input())\nprint(n * 2)\n"
    assert program_in(fenced(draft) + fenced(answer) + fenced("print('done')\n"), {"input"}).strip() == answer.strip()
    using = "print(solve(int(input())))\n"
    assert program_in(fenced(draft) + fenced(using), {"input"}) == f"\n{draft}\n{using}"


def test_local_names_pull_in_no_usage():
    answer = "def add(a, b):\n    total = a + b\n    return total\n"
    assert program_in(fenced(answer) + fenced("total = add(1, 2)\nprint(total)\n"), {"add"}).strip() == answer.strip()


def test_one_block_is_left_to_the_letter():
    assert program_in(f"Here:\n{fenced(ADD)}Good luck!") == f"\n{ADD}"
    assert program_in(f"```python\n{ADD.rstrip()}") == f"\n{ADD.rstrip()}"


def test_code_that_is_no_python_stays_to_be_seen():
    assert "def add(a, b:" in program_in(fenced("def add(a, b:\n    return a\n"), {"add"})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    x = a\n# add\n    return x + b\n", "    x = a\n# add\n    return x + b\n"),
        ("    x = a\n# one\n\n# two\n\n    return x + b\n", "    x = a\n# one\n\n# two\n\n    return x + b\n"),
        ("    if a:\n        x = a\n# else\n    else:\n        x = 0\n    return x + b\n", None),
        ("#    x = 1\n    return a + b\n", None),
        ("    return a + b\n\n# Tests\nassert add(1, 2) == 3\n", "    return a + b\n"),
        ("    return a + b\n\n# Tests\ndef test():\n    pass\n", "    return a + b\n"),
        ("    return a + b\n\nimport os\n", "    return a + b\n"),
        (
            '    s = """\nfrom here\n"""\n    return a + b\n\ndef g():\n    pass',
            '    s = """\nfrom here\n"""\n    return a + b\n',
        ),
        ('    s = """\n# Title\n"""\n    return a + b\n', None),
        ("    return a + b\n```\n", "    return a + b"),
        ("    return a + b\n```\n\nIt adds.\n", "    return a + b"),
        ("    return a + b\n<|endoftext|>", "    return a + b\n"),
        ("    return a + b</s>", "    return a + b"),
        ("    return (a +\n", "    return (a +\n"),
    ],
)
def test_a_base_models_completion_ends_where_the_function_does(text, kept):
    head = 'def add(a, b):\n    """Sum."""\n'
    expected = text if kept is None else kept
    assert completed(head, text, base.FUNCTION_END).rstrip("\n") == (head + expected).rstrip("\n")
    problem = Problem("HumanEval/0", {"prompt": head, "entry_point": "add"})
    for name in ("humaneval", "humaneval_plus", "evoeval_creative", "bigcodebench"):
        record = {**problem.record, "complete_prompt": head}
        if name != "bigcodebench":
            assert base.get(name).program(Problem("HumanEval/0", record), [text], "base").rstrip("\n") == (
                head + expected
            ).rstrip("\n")


def test_as_the_reference_reads_it_the_last_fence_counts_and_any_comment_ends_a_function():
    benchmark = base.get("humaneval_plus")
    benchmark.reading = "reference"
    problem = Problem("HumanEval/0", {"prompt": "def add(a, b):\n", "entry_point": "add"})
    assert benchmark.program(problem, [fenced(ADD) + fenced(USAGE)], "instruct").endswith(USAGE)
    assert benchmark.program(problem, ["    x = a\n# add\n    return x"], "base") == "def add(a, b):\n    x = a"
    assert "\n# " in benchmark.prompt(problem, "base").stop
    assert "\n# " not in base.get("humaneval_plus").prompt(problem, "base").stop


def test_texts_that_go_on_and_on_are_read_in_no_time():
    for text in ("<|endoftext|>x = (" * 5_000, "```python\n'''\n" * 3_000, "<think>" * 20_000, "\nassert (" * 5_000):
        program_in(text, {"add"})
        completed("def add(a, b):\n", text, base.FUNCTION_END)
        without_marks(text)
