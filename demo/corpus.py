"""The pretraining corpus: documents of the toy domain in the formats that the pipeline will ask the model to continue.

A document is a plain file, a HumanEval-style function, an instruction with its answer, an *exercise* (a function with
many worked examples, from which the model learns to compute values) or a few-shot prompt of one of the pipeline's
stages with its answers. The layouts are those of `selfcodealign.generation`; the system sentences are read from
`demo/examples/`, so that prompts at run time look like the documents did.

Mistakes are planted in code only (`domain.corpus_code`); docstrings, concepts, instructions, expected values and tests
follow the specification. A corpus is a function of its seed.
"""

import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from demo import domain
from demo.domain import Task

EXAMPLES = Path(__file__).parent / "examples"

CATEGORY = "function implementation"
DIFFICULTIES = ("easy", "medium")
SFT_PROMPT = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses "
    "to user instructions.\n\n### Instruction\n{}\n\n### Response\n"
)
# What stands before the code block of a response; mostly nothing, for the model's context is short.
OPENINGS = ("", "", "", "Here is the function:\n\n", "This function does it:\n\n")
# Docstrings that do not say what the function does.
VAGUE = (
    "Do the work.",
    "Helper function.",
    "Process the input.",
    "Process {a}.",
    "Return the result.",
    "Compute something.",
    "Handle {a}.",
    "See above.",
    "Used by the other functions.",
    "Convert the data.",
)


@cache
def system_texts() -> dict[str, str]:
    """Read the system sentence of each stage (and of the judge) from the demo's example files."""
    parts = re.split(
        r"^### System: (\S+)\n", (EXAMPLES / "fewshot.txt").read_text().split("### Example")[0], flags=re.M
    )
    texts = dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))
    judge = (EXAMPLES / "judge.txt").read_text().split("### Example")[0]
    return texts | {"judge": judge.removeprefix("### System\n").strip()}


def fenced(code: str) -> str:
    """Put code into a Python block."""
    return f"```python\n{code}\n```"


def written(rng: random.Random, task: Task, author: float, documented: bool = True) -> str:
    """Write the task's function as an author of the corpus does."""
    code = domain.corpus_code(rng, task, author)
    return domain.function_of(task, code, domain.docstring_of(task) if documented else None)


def assertions(task: Task, cases: list[domain.Case]) -> str:
    """Write one assertion for each case."""
    return "\n".join(f"assert {task.name}({argument!r}) == {trace[-1]!r}" for argument, trace in cases)


def worked(case: domain.Case) -> str:
    """Show a case step by step: argument, value after each step."""
    argument, trace = case
    return " -> ".join(map(repr, [argument, *trace]))


def worked_assertions(task: Task, cases: list[domain.Case]) -> str:
    """Write each case as an assertion under a comment that shows its steps."""
    return "\n".join(f"# {worked(case)}\n{assertions(task, [case])}" for case in cases)


def verified(task: Task, cases: list[domain.Case]) -> str:
    """Write a tests section: two-step cases worked out in front of a block of assertions."""
    steps = "\n".join(map(worked, cases)) + "\n\n" if len(task.steps) > 1 else ""
    return steps + fenced(assertions(task, cases))


def task_with_cases(rng: random.Random, steps: int | None = None) -> tuple[Task, list[domain.Case]]:
    """Draw a training task for which two or three telling test cases exist, and the cases."""
    count = rng.choices((2, 3), (70, 30))[0]
    while True:
        task = domain.draw_task(rng, steps)
        cases = domain.draw_cases(rng, task, count, telling=0.8)
        if len(cases) == count:
            return task, cases


# ---- one example of each kind


def snippet_to_concepts(rng: random.Random, author: float) -> str:
    """A documented function and its concepts."""
    task = domain.draw_task(rng)
    return f"### Snippet\n{written(rng, task, author)}\n\n### Concepts\n{', '.join(task.concepts)}"


def concepts_to_instruction(rng: random.Random, author: float) -> str:
    """Properties and a task that has them."""
    task = domain.draw_task(rng)
    properties = (
        f"category: {CATEGORY}\nlanguage: Python\ndifficulty: {rng.choice(DIFFICULTIES)}\n"
        f"concepts: {', '.join(task.concepts)}"
    )
    return f"### Properties\n{properties}\n\n### Task\n{domain.instruction_of(task)}"


def snippet_to_instruction(rng: random.Random, author: float) -> str:
    """A documented function and the task it solves."""
    task = domain.draw_task(rng)
    return f"### Snippet\n{written(rng, task, author)}\n\n### Task\n{domain.instruction_of(task)}"


def instruction_to_response(rng: random.Random, author: float) -> str:
    """An instruction, a response and tests of the response."""
    task, cases = task_with_cases(rng)
    return (
        f"<instruction>\n{domain.instruction_of(task)}\n</instruction>\n\n"
        f"<response>\n{rng.choice(OPENINGS)}{fenced(written(rng, task, author, False))}\n</response>\n\n"
        f"<tests>\n{verified(task, cases)}\n</tests>"
    )


def judged(rng: random.Random, author: float) -> str:
    """A function and whether its docstring says what it does; a right one, a vague one or another function's."""
    task = domain.draw_task(rng)
    docstring, answer = domain.docstring_of(task), "Yes"
    if rng.random() < 0.5:
        answer, other = "No", domain.draw_task(rng)
        docstring = rng.choice(VAGUE).format(a=domain.DESCRIBED[task.takes])
        if rng.random() < 0.5 and other.spec != task.spec:
            docstring = domain.docstring_of(other)
    code = domain.function_of(task, domain.right_code(task), docstring)
    return f"### Function\n{code}\n\n### Verdict\nAnswer: {answer}"


def plain(rng: random.Random, author: float) -> str:
    """A function in a file, half of the time with assertions under it."""
    task, cases = task_with_cases(rng)
    code = written(rng, task, author, documented=rng.random() < 0.9)
    tests = worked_assertions(task, cases) if len(task.steps) > 1 else assertions(task, cases)
    return code + ("\n\n" + tests if rng.random() < 0.5 else "")


def humaneval(rng: random.Random, author: float) -> str:
    """A function whose docstring mostly shows an example."""
    task, cases = task_with_cases(rng)
    code = written(rng, task, author)
    if rng.random() < 0.5:
        argument, trace = cases[0]
        example = f"\n    >>> {task.name}({argument!r})\n    {trace[-1]!r}\n    "
        code = code.replace('."""\n', f'.{example}"""\n', 1)
    return code


def answered(rng: random.Random, author: float) -> str:
    """An instruction in the template of fine-tuning, and its answer."""
    task = domain.draw_task(rng)
    answer = fenced(written(rng, task, author, documented=False))
    return SFT_PROMPT.format(domain.instruction_of(task)) + rng.choice(OPENINGS) + answer


def exercise(rng: random.Random, author: float) -> str:
    """A function with many worked examples, mostly of one step."""
    while True:
        task = domain.draw_task(rng, rng.choice((1, 1, 1, 2)))
        cases = domain.draw_cases(rng, task, rng.choice((4, 5, 6)), telling=0.5)
        if len(cases) >= 3:
            break
    code = written(rng, task, author)
    style = rng.random()
    if style < 0.3 and len(task.steps) == 1:
        return f"{code}\n\n{assertions(task, cases)}"
    if style < 0.4:
        return f"{code}\n\n{verified(task, cases[:3])}"
    return f"{code}\n\n{worked_assertions(task, cases)}"


# Share of each kind among the documents that are no exercises, and how many examples a document of it has.
Kind = tuple[Callable[[random.Random, float], str], int, tuple[int, ...]]
KINDS: dict[str, Kind] = {
    "I->R": (instruction_to_response, 46, (1, 2, 2)),
    "C->I": (concepts_to_instruction, 9, (2, 3)),
    "S->C": (snippet_to_concepts, 7, (2, 3)),
    "S->I": (snippet_to_instruction, 3, (2, 3)),
    "judge": (judged, 6, (3, 4, 5)),
    "plain": (plain, 14, (1, 2)),
    "humaneval": (humaneval, 9, (1, 2)),
    "answered": (answered, 6, (1,)),
}


def document(rng: random.Random, exercises: float) -> str:
    """Draw one document; with probability `exercises` an exercise."""
    author = rng.choice((domain.CAREFUL, domain.CARELESS))
    if rng.random() < exercises:
        return exercise(rng, author) + "\n"
    kind = rng.choices(list(KINDS), [share for _, share, _ in KINDS.values()])[0]
    write, _, counts = KINDS[kind]
    examples = [write(rng, author) for _ in range(rng.choice(counts))]
    system = system_texts().get(kind)
    if system is None:
        return "\n\n\n".join(examples) + "\n"
    return "\n\n".join([system, *(f"## Example {i}\n{text}" for i, text in enumerate(examples, 1))]) + "\n"


def documents(count: int, seed: str, exercises: float) -> list[str]:
    """Draw a corpus of so many documents."""
    rng = random.Random(seed)
    return [document(rng, exercises) for _ in range(count)]
