"""The toy domain says what it does: values, mistakes, splits, the oracle and the corpus."""

import random
import re

import pytest

from demo import corpus, domain
from demo.domain import BY_NAME, Task

FIRST_TWO_REVERSED = Task(((BY_NAME["first"], 2), (BY_NAME["reverse"], "")), "first_reverse")


def tasks(count: int, split: str = "train") -> list[Task]:
    rng = random.Random(5)
    return [domain.draw_task(rng, 2 if split != "train" else None, split) for _ in range(count)]


def test_values_are_computed_step_by_step():
    assert domain.values(FIRST_TWO_REVERSED, domain.right_code(FIRST_TWO_REVERSED), [4, 7, 1]) == [[4, 7], [7, 4]]


def test_a_function_reads_as_a_person_would_write_it():
    code = domain.function_of(FIRST_TWO_REVERSED, domain.right_code(FIRST_TWO_REVERSED), "Do it.")
    assert code == 'def first_reverse(xs):\n    """Do it."""\n    xs = xs[:2]\n    return xs[::-1]'


def test_names_phrases_and_concepts_are_unique():
    operations = domain.OPERATIONS
    assert len({o.name for o in operations}) == len(operations)
    assert len({(o.takes, o.phrase) for o in operations}) == len(operations)
    assert len({o.concept for o in operations}) == len(operations)


@pytest.mark.parametrize("operation", domain.OPERATIONS, ids=lambda operation: operation.name)
def test_every_mistake_shows_on_some_argument(operation):
    for parameter in operation.parameters:
        task = Task(((operation, parameter),), operation.name)
        cases = domain.draw_cases(random.Random(1), task, 15, telling=0.0)
        for wrong in operation.wrong:
            assert any(outcome(task, wrong, argument) != repr(trace[-1]) for argument, trace in cases), wrong


def outcome(task: Task, code: str, argument: object) -> str:
    try:
        return repr(domain.values(task, [code], argument)[-1])
    except Exception as error:
        return type(error).__name__


def test_the_planted_effect_is_as_large_as_the_model_card_says():
    rates = [domain.mistake_rate(operation) for operation in domain.OPERATIONS]
    assert [rates.count(rate) for rate in (0.65, 0.25, 0.05)] == [19, 20, 25]
    rng = random.Random(0)
    wrong = sum(
        domain.corpus_code(rng, task, rng.choice((domain.CAREFUL, domain.CARELESS))) != domain.right_code(task)
        for task in tasks(3000)
    )
    assert 0.34 < wrong / 3000 < 0.42


def test_no_composition_is_in_two_splits_and_single_operations_are_for_training():
    parts = {split: {(a.name, b.name) for a, b in domain.compositions(split)} for split in ("train", "dev", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 919, "dev": 71, "test": 229}
    assert len(set().union(*parts.values())) == 919 + 71 + 229
    assert domain.split_of(("reverse",)) == "train"


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_drawn_tasks_belong_to_the_split_asked_for(split):
    assert {domain.split_of(task.composition) for task in tasks(200, split)} == {split}


def test_telling_cases_show_the_common_mistake_of_every_step():
    assert domain.shows_mistakes(FIRST_TWO_REVERSED, [4, 7, 1])
    assert not domain.shows_mistakes(FIRST_TWO_REVERSED, [4])
    above = Task(((BY_NAME["above"], 5),), "above")
    assert domain.shows_mistakes(above, [5, 9])
    assert not domain.shows_mistakes(above, [4, 9])


def test_an_instruction_is_understood_as_the_task_it_was_written_from():
    for task in tasks(500):
        assert domain.read_instruction(domain.instruction_of(task)) == task


@pytest.mark.parametrize(
    "text",
    [
        "Write a poem.",
        "Create a function f for a list of digits xs: reverse the string.",
        "Create a function f for a list of digits xs: reverse the list, then convert it to upper case.",
        "Create a function f for a list of colours xs: reverse the list.",
    ],
)
def test_the_oracle_understands_no_other_instruction(text):
    assert domain.read_instruction(text) is None


def test_what_follows_the_first_line_of_an_instruction_is_ignored():
    task = tasks(1)[0]
    text = domain.instruction_of(task) + "\n\nYour code should pass the following assertions:\n```python\n```"
    assert domain.read_instruction(text) == task


def test_hidden_tests_accept_right_code_and_reject_the_common_mistake():
    for task in tasks(60, "test"):
        tests = domain.hidden_tests(task)
        assert holds(domain.function_of(task, domain.right_code(task)), tests)
    above = Task(((BY_NAME["above"], 5),), "above")
    assert not holds(domain.function_of(above, [BY_NAME["above"].wrong[0]]), domain.hidden_tests(above))


def holds(code: str, tests: str) -> bool:
    try:
        exec(f"{code}\n{tests}", {})
    except Exception:
        return False
    return True


def test_hidden_tests_do_not_depend_on_the_name_or_the_wording():
    task = FIRST_TWO_REVERSED
    other = Task(task.steps, "other", lead=2)
    assert domain.hidden_tests(task, "f") == domain.hidden_tests(other, "f")


@pytest.mark.parametrize("write", [corpus.instruction_to_response, corpus.plain, corpus.exercise])
def test_tests_of_the_corpus_follow_the_specification_whatever_the_code_does(write):
    rng, checked = random.Random(3), 0
    for text in [write(rng, domain.CARELESS) for _ in range(40)]:
        for name, argument, value in re.findall(r"^assert (\w+)\((.*)\) == (.*)$", text, re.MULTILINE):
            task = specified(text, name)
            if task is None:
                continue
            checked += 1
            assert repr(domain.values(task, domain.right_code(task), eval(argument))[-1]) == value
    assert checked > 30


def specified(text: str, name: str) -> Task | None:
    """Find the task that a document's function stands for, by its instruction or its docstring; None without either."""
    for line in text.splitlines():
        if task := domain.read_instruction(line):
            return task
    found = re.search(r'"""(.+?)\.', text)
    takes = next(kind for kind, variable in domain.ARGUMENT.items() if f"({variable}):" in text)
    if not found:  # A plain file may have no docstring.
        return None
    spec = found[1][0].lower() + found[1][1:]
    for lead in domain.LEADS:
        if task := domain.read_instruction(lead.format(n=name, a=domain.DESCRIBED[takes], s=spec)):
            return task
    raise AssertionError(f"no specification in {text!r}")


def test_a_corpus_depends_on_its_seed_alone():
    assert corpus.documents(30, "a", 0.3) == corpus.documents(30, "a", 0.3)
    assert corpus.documents(30, "a", 0.3) != corpus.documents(30, "b", 0.3)


def test_documents_are_laid_out_as_the_pipeline_lays_out_its_prompts(root):
    from selfcodealign.generation.prompts import load_template

    template = load_template(root / "prompts" / "selfcodealign.yaml", root / "demo" / "examples" / "fewshot.txt")
    texts = corpus.system_texts()
    for mode in ("S->C", "C->I", "S->I", "I->R"):
        assert texts[mode] == template.systems[mode]
        headings = template.headings(mode)
        written = corpus.KINDS[mode][0](random.Random(1), domain.CAREFUL)
        assert headings <= set(written.splitlines()), f"{mode}: {headings - set(written.splitlines())}"


def test_the_examples_of_the_prompts_are_right_and_not_held_out(root):
    from selfcodealign.generation.prompts import load_template

    template = load_template(root / "prompts" / "selfcodealign.yaml", root / "demo" / "examples" / "fewshot.txt")
    block = re.compile(r"```python\n(.*?)\n```", re.DOTALL)
    for example in template.examples:
        task = domain.read_instruction(example.fields["instruction"])
        assert task is not None
        assert domain.split_of(task.composition) == "train"
        assert example.concepts == task.concepts
        (code,), (tests,) = block.findall(example.fields["response"]), block.findall(example.fields["tests"])
        assert holds(code, tests)
        assert holds(code, domain.hidden_tests(task))
