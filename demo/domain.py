"""A toy domain for a tiny model: one or two operations on short lists of digits, short strings and short lists of words.

Everything a result needs can be found by copying, selecting, reordering or counting, so a model of three million
parameters can learn to *compute* expected values, which is what makes its tests worth executing.

The effect that self-alignment exploits is planted here, in the open: every operation has a *common mistake*, and code of
the pretraining corpus contains it with a rate that belongs to the operation (see `mistake_rate`). Tests of the corpus
always follow the specification. A model trained on such a corpus writes wrong code often and right tests nearly always,
so execution separates its right from its wrong answers.

Terms: an *operation* is one step; a *task* is a chain of one or two operations with their parameters and a function
name; a *composition* is the pair of operations of a two-step task. Compositions are split by hash into "train", "dev" and
"test"; corpus and seed functions use "train" only, the benchmark uses the others.
"""
# The table of operations reads best with a line for each.
# ruff: noqa: E501

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Split = str  # "train", "dev" or "test"

ARGUMENT = {"numbers": "xs", "text": "s", "words": "ws"}
DESCRIBED = {"numbers": "a list of digits xs", "text": "a string s", "words": "a list of words ws"}
STARTS = {"numbers": 50, "text": 27, "words": 23}  # how often a task starts from each type, per cent
ALPHABET = "abcdeimorst"
DIGITS = tuple(range(2, 8))
CHARACTERS = ("a", "e", "o", "r", "s", "t")


@dataclass(frozen=True)
class Operation:
    """One step: what it says, the right expression on `{v}` with parameter `{k}`, and two wrong ones (common, rare)."""

    name: str
    takes: str
    gives: str
    phrase: str
    concept: str
    right: str
    wrong: tuple[str, str]
    parameters: tuple[Any, ...] = ("",)

    def says(self, parameter: Any) -> str:
        """Return the imperative phrase with its parameter filled in."""
        return self.phrase.format(k=parameter)


def _operations(takes: str, table: Sequence[tuple[Any, ...]]) -> Iterator[Operation]:
    for name, gives, phrase, concept, right, common, rare, *parameters in table:
        yield Operation(name, takes, gives, phrase, concept, right, (common, rare), *parameters)


NUMBERS, TEXT, WORDS, NUMBER, TRUTH = "numbers", "text", "words", "number", "truth"

# fmt: off
OPERATIONS = (
    *_operations(NUMBERS, [
        ("reverse", NUMBERS, "reverse the list", "list reversal", "{v}[::-1]", "{v}[:-1]", "sorted({v})"),
        ("ascending", NUMBERS, "sort the numbers in ascending order", "sorting", "sorted({v})", "sorted({v}, reverse=True)", "{v}[::-1]"),
        ("descending", NUMBERS, "sort the numbers in descending order", "descending order", "sorted({v}, reverse=True)", "sorted({v})", "{v}[::-1]"),
        ("first", NUMBERS, "take the first {k} numbers", "prefix slicing", "{v}[:{k}]", "{v}[:{k} - 1]", "{v}[{k}:]", (1, 2, 3)),
        ("last", NUMBERS, "take the last {k} numbers", "suffix slicing", "{v}[-{k}:]", "{v}[{k}:]", "{v}[:-{k}]", (1, 2, 3)),
        ("skip", NUMBERS, "drop the first {k} numbers", "offset slicing", "{v}[{k}:]", "{v}[{k} + 1:]", "{v}[:{k}]", (1, 2)),
        ("trim", NUMBERS, "drop the last {k} numbers", "trailing removal", "{v}[:-{k}]", "{v}[-{k}:]", "{v}[:{k}]", (1, 2)),
        ("even", NUMBERS, "keep only the even numbers", "parity filtering", "[x for x in {v} if x % 2 == 0]", "[x for x in {v} if x % 2 == 1]", "[x for x in {v} if x // 2 == 0]"),
        ("odd", NUMBERS, "keep only the odd numbers", "odd selection", "[x for x in {v} if x % 2 == 1]", "[x for x in {v} if x % 2 == 0]", "[x for x in {v} if x // 2 == 1]"),
        ("above", NUMBERS, "keep only the numbers greater than {k}", "threshold filtering", "[x for x in {v} if x > {k}]", "[x for x in {v} if x >= {k}]", "[x for x in {v} if x < {k}]", DIGITS),
        ("below", NUMBERS, "keep only the numbers less than {k}", "upper bound filtering", "[x for x in {v} if x < {k}]", "[x for x in {v} if x <= {k}]", "[x for x in {v} if x > {k}]", DIGITS),
        ("without", NUMBERS, "remove every {k}", "value removal", "[x for x in {v} if x != {k}]", "[x for x in {v} if x == {k}]", "[x for x in {v} if x > {k}]", DIGITS),
        ("increment", NUMBERS, "add 1 to each number", "elementwise increment", "[x + 1 for x in {v}]", "{v} + [1]", "[x - 1 for x in {v}]"),
        ("decrement", NUMBERS, "subtract 1 from each number", "elementwise decrement", "[x - 1 for x in {v}]", "[1 - x for x in {v}]", "[x + 1 for x in {v}]"),
        ("cap", NUMBERS, "replace the numbers greater than {k} by {k}", "clamping values", "[min(x, {k}) for x in {v}]", "[max(x, {k}) for x in {v}]", "[x for x in {v} if x <= {k}]", DIGITS),
        ("floor", NUMBERS, "replace the numbers less than {k} by {k}", "minimum enforcement", "[max(x, {k}) for x in {v}]", "[min(x, {k}) for x in {v}]", "[x for x in {v} if x >= {k}]", DIGITS),
        ("zero", NUMBERS, "replace every {k} by 0", "conditional replacement", "[0 if x == {k} else x for x in {v}]", "[0 if x > {k} else x for x in {v}]", "[x for x in {v} if x != {k}]", DIGITS),
        ("alternate", NUMBERS, "take every second number", "strided slicing", "{v}[::2]", "{v}[1::2]", "{v}[:2]"),
        ("append", NUMBERS, "append {k} at the end", "list appending", "{v} + [{k}]", "[{k}] + {v}", "[x + {k} for x in {v}]", DIGITS),
        ("prepend", NUMBERS, "insert {k} at the front", "front insertion", "[{k}] + {v}", "{v} + [{k}]", "{v}[{k}:]", DIGITS),
        ("rotate", NUMBERS, "move the first number to the end", "left rotation", "{v}[1:] + {v}[:1]", "{v}[-1:] + {v}[:-1]", "{v}[1:]"),
        ("shift", NUMBERS, "move the last number to the front", "right rotation", "{v}[-1:] + {v}[:-1]", "{v}[1:] + {v}[:1]", "{v}[:-1]"),
        ("ends", NUMBERS, "keep only the first and the last number", "boundary selection", "[{v}[0], {v}[-1]]", "[{v}[-1], {v}[0]]", "{v}[1:-1]"),
        ("inner", NUMBERS, "drop the first and the last number", "inner slicing", "{v}[1:-1]", "{v}[1:]", "{v}[:-1]"),
        ("count", NUMBER, "return how many numbers there are", "counting elements", "len({v})", "len({v}) - 1", "sum({v})"),
        ("largest", NUMBER, "return the largest number", "maximum search", "max({v})", "{v}[-1]", "min({v})"),
        ("smallest", NUMBER, "return the smallest number", "minimum search", "min({v})", "{v}[0]", "max({v})"),
        ("head", NUMBER, "return the first number", "first element access", "{v}[0]", "{v}[1]", "{v}[-1]"),
        ("tail", NUMBER, "return the last number", "last element access", "{v}[-1]", "{v}[-2]", "{v}[0]"),
        ("evens", NUMBER, "return how many numbers are even", "conditional counting", "sum(x % 2 == 0 for x in {v})", "sum(x for x in {v} if x % 2 == 0)", "sum(x % 2 for x in {v})"),
        ("contains", TRUTH, "return whether {k} is present", "membership testing", "{k} in {v}", "{k} == {v}[0]", "{k} not in {v}", DIGITS),
        ("anyabove", TRUTH, "return whether any number is greater than {k}", "existential checks", "any(x > {k} for x in {v})", "all(x > {k} for x in {v})", "any(x < {k} for x in {v})", DIGITS),
        ("allbelow", TRUTH, "return whether all numbers are less than {k}", "universal checks", "all(x < {k} for x in {v})", "any(x < {k} for x in {v})", "all(x <= {k} for x in {v})", DIGITS),
    ]),
    *_operations(TEXT, [
        ("flip", TEXT, "reverse the string", "string reversal", "{v}[::-1]", "{v}[:-1]", "{v}[::2]"),
        ("upper", TEXT, "convert it to upper case", "upper case conversion", "{v}.upper()", "{v}.capitalize()", "{v}.lower()"),
        ("capital", TEXT, "capitalize the first letter", "capitalization", "{v}.capitalize()", "{v}.upper()", "{v}[0].upper()"),
        ("prefix", TEXT, "take the first {k} letters", "string prefix", "{v}[:{k}]", "{v}[:{k} - 1]", "{v}[{k}:]", (1, 2, 3)),
        ("suffix", TEXT, "take the last {k} letters", "string suffix", "{v}[-{k}:]", "{v}[{k}:]", "{v}[:-{k}]", (1, 2, 3)),
        ("behead", TEXT, "drop the first letter", "leading character removal", "{v}[1:]", "{v}[:1]", "{v}[:-1]"),
        ("chop", TEXT, "drop the last letter", "trailing character removal", "{v}[:-1]", "{v}[-1:]", "{v}[1:]"),
        ("novowels", TEXT, "remove the vowels", "vowel removal", "''.join(c for c in {v} if c not in 'aeiou')", "''.join(c for c in {v} if c in 'aeiou')", "{v}.strip('aeiou')"),
        ("vowels", TEXT, "keep only the vowels", "vowel selection", "''.join(c for c in {v} if c in 'aeiou')", "''.join(c for c in {v} if c not in 'aeiou')", "{v}.strip('aeiou')"),
        ("delete", TEXT, "remove every letter '{k}'", "character removal", "{v}.replace('{k}', '')", "{v}.strip('{k}')", "{v}.replace('{k}', '-')", CHARACTERS),
        ("mask", TEXT, "replace every letter '{k}' by '-'", "character replacement", "{v}.replace('{k}', '-')", "{v}.replace('{k}', '')", "{v}.strip('{k}')", CHARACTERS),
        ("exclaim", TEXT, "add '!' at the end", "string concatenation", "{v} + '!'", "'!' + {v}", "{v} + '?'"),
        ("star", TEXT, "put '*' on both sides", "string wrapping", "'*' + {v} + '*'", "{v} + '**'", "'*' + {v}"),
        ("spin", TEXT, "move the first letter to the end", "string rotation", "{v}[1:] + {v}[:1]", "{v}[-1:] + {v}[:-1]", "{v}[1:]"),
        ("dash", TEXT, "put '-' between the letters", "separator joining", "'-'.join({v})", "'-' + {v}", "{v}.join('-')"),
        ("letters", WORDS, "split it into letters", "character splitting", "list({v})", "{v}.split()", "[{v}]"),
        ("size", NUMBER, "return its length", "length computation", "len({v})", "len({v}) - 1", "len({v}) + 1"),
        ("starts", TRUTH, "return whether it starts with '{k}'", "prefix matching", "{v}.startswith('{k}')", "{v}.endswith('{k}')", "'{k}' in {v}", CHARACTERS),
    ]),
    *_operations(WORDS, [
        ("uppers", WORDS, "convert each word to upper case", "elementwise upper case", "[w.upper() for w in {v}]", "[w.capitalize() for w in {v}]", "[w.lower() for w in {v}]"),
        ("backward", WORDS, "reverse the order of the words", "word order reversal", "{v}[::-1]", "[w[::-1] for w in {v}]", "{v}[:-1]"),
        ("mirror", WORDS, "reverse each word", "elementwise reversal", "[w[::-1] for w in {v}]", "{v}[::-1]", "[w[:-1] for w in {v}]"),
        ("initials", WORDS, "replace each word by its first letter", "initial extraction", "[w[0] for w in {v}]", "{v}[0]", "[w[-1] for w in {v}]"),
        ("finals", WORDS, "replace each word by its last letter", "final letter extraction", "[w[-1] for w in {v}]", "{v}[-1]", "[w[0] for w in {v}]"),
        ("bang", WORDS, "add '!' to each word", "elementwise concatenation", "[w + '!' for w in {v}]", "{v} + ['!']", "['!' + w for w in {v}]"),
        ("longer", WORDS, "keep only the words longer than {k} letters", "length filtering", "[w for w in {v} if len(w) > {k}]", "[w for w in {v} if len(w) >= {k}]", "[w for w in {v} if len(w) < {k}]", (1, 2)),
        ("rest", WORDS, "drop the first word", "word skipping", "{v}[1:]", "{v}[:1]", "{v}[:-1]"),
        ("lengths", NUMBERS, "replace each word by its length", "elementwise length", "[len(w) for w in {v}]", "[len({v}) for w in {v}]", "len({v})"),
        ("number", NUMBER, "return the number of words", "word counting", "len({v})", "len(''.join({v}))", "len({v}) - 1"),
        ("concat", TEXT, "join the words without a separator", "plain joining", "''.join({v})", "'-'.join({v})", "{v}[0] + {v}[-1]"),
        ("front", TEXT, "return the first word", "first word access", "{v}[0]", "{v}[1]", "{v}[0][0]"),
        ("back", TEXT, "return the last word", "last word access", "{v}[-1]", "{v}[-2]", "{v}[-1][-1]"),
    ]),
)
# fmt: on
STARTING_FROM = {kind: [o for o in OPERATIONS if o.takes == kind] for kind in ARGUMENT}
BY_NAME = {o.name: o for o in OPERATIONS}
MISCOMPUTED = frozenset({"contains", "anyabove", "without", "delete", "mask"})
"""Operations whose results the shipped model computes wrongly most often, so that its tests reject right code (measured in
its answers to seeds). The corpus and the benchmark have them; the demo's seeds leave them out."""


def _hash(text: str, buckets: int) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % buckets


def mistake_rate(operation: Operation) -> float:
    """Return how often code of the corpus gets an operation wrong: mostly (.65), sometimes (.25) or rarely (.05)."""
    draw = _hash(f"lapse:{operation.name}", 1000)
    return 0.65 if draw < 230 else 0.25 if draw < 530 else 0.05


CAREFUL, CARELESS = 0.6, 1.4  # authors of the corpus: their mistake rates are scaled by these factors


Step = tuple[Operation, Any]  # an operation with its parameter


@dataclass(frozen=True)
class Task:
    """A chain of steps, the name of its function and the number of the sentence its instruction uses."""

    steps: tuple[Step, ...]
    name: str
    lead: int = 0

    @property
    def takes(self) -> str:
        """The type of the argument."""
        return self.steps[0][0].takes

    @property
    def spec(self) -> str:
        """What is to be done, in words."""
        return ", then ".join(operation.says(parameter) for operation, parameter in self.steps)

    @property
    def concepts(self) -> list[str]:
        """One concept for each step."""
        return [operation.concept for operation, _ in self.steps]

    @property
    def composition(self) -> tuple[str, ...]:
        """The names of the operations, whatever their parameters."""
        return tuple(operation.name for operation, _ in self.steps)


# {n} the name, {a} the argument, {s} the specification; `read_instruction` turns these into patterns.
LEADS = (
    "Write a Python function {n} that takes {a}. It should {s}.",
    "Create a function {n} for {a}: {s}.",
    "Implement a Python function named {n}. Given {a}, {s}.",
    "Define {n}, a function of {a}, to {s}.",
)


def split_of(composition: Sequence[str]) -> Split:
    """Say which part a composition belongs to: 3 in 16 pairs are held out for testing, 1 in 16 for development.

    Single operations are always "train": a held-out task puts known steps together in a new way.
    """
    if len(composition) < 2:
        return "train"
    draw = _hash("composition:" + ",".join(composition), 16)
    return "test" if draw < 3 else "dev" if draw == 3 else "train"


def draw_task(rng: random.Random, steps: int | None = None, split: Split = "train") -> Task:
    """Draw a task of one or two steps whose composition belongs to the split."""
    while True:
        first = rng.choice(STARTING_FROM[rng.choices(list(STARTS), list(STARTS.values()))[0]])
        chain: list[Operation] = [first]
        if (steps or rng.choices((1, 2), (35, 65))[0]) == 2:
            if first.gives not in STARTING_FROM:
                continue
            chain.append(rng.choice([o for o in STARTING_FROM[first.gives] if o is not first]))
        if split_of([o.name for o in chain]) != split:
            continue
        name = "_".join(o.name for o in chain)
        if rng.random() < 0.25:
            name = f"{rng.choice(('get', 'make', 'do'))}_{name}"
        return Task(tuple((o, rng.choice(o.parameters)) for o in chain), name, rng.randrange(len(LEADS)))


def instruction_of(task: Task) -> str:
    """Write the task as an instruction."""
    return LEADS[task.lead].format(n=task.name, a=DESCRIBED[task.takes], s=task.spec)


def signature_of(task: Task) -> str:
    """Return the `def` line."""
    return f"def {task.name}({ARGUMENT[task.takes]}):"


def docstring_of(task: Task) -> str:
    """Return the specification as the sentence of a docstring."""
    return task.spec[0].upper() + task.spec[1:] + "."


def right_code(task: Task) -> list[str]:
    """Return the right expression of each step."""
    return [operation.right for operation, _ in task.steps]


def corpus_code(rng: random.Random, task: Task, author: float) -> list[str]:
    """Return each step as an author of the corpus writes it; of the two mistakes the common one is five times as likely."""
    return [
        operation.wrong[rng.random() < 1 / 6] if rng.random() < author * mistake_rate(operation) else operation.right
        for operation, _ in task.steps
    ]


def body_of(task: Task, expressions: Sequence[str]) -> str:
    """Write the body: one line for each step, the last one returns."""
    variable, lines = ARGUMENT[task.takes], []
    for (operation, parameter), expression in zip(task.steps[:-1], expressions, strict=False):
        value = expression.format(v=variable, k=parameter)
        variable = ARGUMENT[operation.gives]
        lines.append(f"    {variable} = {value}")
    lines.append("    return " + expressions[-1].format(v=variable, k=task.steps[-1][1]))
    return "\n".join(lines)


def function_of(task: Task, expressions: Sequence[str], docstring: str | None = None) -> str:
    """Write the whole function, with a docstring if one is given."""
    middle = f'    """{docstring}"""\n' if docstring else ""
    return f"{signature_of(task)}\n{middle}{body_of(task, expressions)}"


# ---- values


@cache
def _compiled(expression: str) -> Callable[[Any], Any]:
    return eval(f"lambda v: {expression}")


def values(task: Task, expressions: Sequence[str], argument: Any) -> list[Any]:
    """Compute the value after each step."""
    found = []
    for (_, parameter), expression in zip(task.steps, expressions, strict=True):
        argument = _compiled(expression.format(v="v", k=parameter))(argument)
        found.append(argument)
    return found


def draw_argument(rng: random.Random, task: Task) -> Any:
    """Draw a short argument in which the first step's parameter often occurs and values sometimes repeat."""
    parameter = next((k for _, k in task.steps if k != ""), None)
    if rng.random() < 0.4:
        parameter = None
    if task.takes == TEXT:
        letters = rng.choices(ALPHABET, k=rng.choice((3, 3, 4)))
        if isinstance(parameter, str):
            letters[rng.randrange(len(letters))] = parameter
        return "".join(letters)
    if task.takes == WORDS:
        return ["".join(rng.choices(ALPHABET, k=rng.choice((1, 2, 2, 3)))) for _ in range(rng.choice((2, 2, 3)))]
    digits = rng.choices(range(10), k=rng.choice((2, 3, 3, 4)))
    if rng.random() < 0.35:
        digits[rng.randrange(1, len(digits))] = digits[0]
    if isinstance(parameter, int):
        digits[rng.randrange(len(digits))] = parameter
    return digits


def is_easy(value: Any) -> bool:
    """Say whether a value is short enough for the model: at most 6 items, one-digit numbers, strings of at most 9."""
    items = value if isinstance(value, list) else [value]
    return len(items) <= 6 and all(len(x) <= 9 if isinstance(x, str) else 0 <= x <= 9 for x in items)


def shows_mistakes(task: Task, argument: Any) -> bool:
    """Say whether the common mistake of every step, made alone, changes the result for this argument."""
    right = right_code(task)
    expected = values(task, right, argument)[-1]
    for position, (operation, _) in enumerate(task.steps):
        try:
            got = values(task, [*right[:position], operation.wrong[0], *right[position + 1 :]], argument)[-1]
        except Exception:
            continue  # The mistake raises: it shows.
        if type(got) is type(expected) and got == expected:
            return False
    return True


Case = tuple[Any, list[Any]]  # an argument and the right value after each step


def draw_cases(rng: random.Random, task: Task, count: int, telling: float) -> list[Case]:
    """Draw up to `count` different cases; with probability `telling` a case is one in which the common mistakes show.

    Good authors of tests choose such cases. Returns fewer where 200 attempts did not give enough.
    """
    found: list[Case] = []
    right = right_code(task)
    for _ in range(200):
        if len(found) == count:
            break
        argument = draw_argument(rng, task)
        if any(argument == other for other, _ in found):
            continue
        try:
            trace = values(task, right, argument)
        except Exception:
            continue  # For instance the largest of no numbers.
        if not all(map(is_easy, trace)):
            continue
        if rng.random() < telling and not shows_mistakes(task, argument) and rng.random() < 0.93:
            continue
        found.append((argument, trace))
    return found


def compositions(split: Split) -> list[tuple[Operation, Operation]]:
    """List the two-step compositions of a split, in the order of the table of operations."""
    return [
        (first, second)
        for first in OPERATIONS
        for second in STARTING_FROM.get(first.gives, [])
        if second is not first and split_of((first.name, second.name)) == split
    ]


# ---- the oracle: what is right, for measurements only; the pipeline never sees it


def _patterns() -> list[re.Pattern[str]]:
    arguments = "|".join(map(re.escape, DESCRIBED.values()))
    names = {"n": r"(?P<name>\w+)", "a": f"(?P<takes>{arguments})", "s": "(?P<spec>.+)"}
    return [re.compile(re.sub(r"\\\{(\w)\\\}", lambda m: names[m[1]], re.escape(lead))) for lead in LEADS]


PATTERNS = _patterns()
PHRASES = {(o.takes, o.says(k)): (o, k) for o in OPERATIONS for k in o.parameters}


def read_instruction(text: str) -> Task | None:
    """Understand an instruction of the domain (its first line); None if it is not one."""
    for lead, pattern in enumerate(PATTERNS):
        if match := pattern.fullmatch(text.strip().split("\n", 1)[0].strip()):
            kind = next(kind for kind, words in DESCRIBED.items() if words == match["takes"])
            steps: list[Step] = []
            for phrase in match["spec"].split(", then "):
                if (kind, phrase) not in PHRASES:
                    return None
                steps.append(PHRASES[kind, phrase])
                kind = steps[-1][0].gives
            return Task(tuple(steps), match["name"], lead)
    return None


def hidden_cases(task: Task, count: int = 10) -> list[Case]:
    """Return cases that depend on the specification alone, half of them chosen to show the common mistakes."""
    return draw_cases(random.Random(f"hidden:{task.spec}"), task, count, telling=0.5)


def hidden_tests(task: Task, name: str | None = None, count: int = 10) -> str:
    """Write hidden cases as assertions on a function, by default one of the task's name."""
    return "\n".join(
        f"assert {name or task.name}({argument!r}) == {trace[-1]!r}" for argument, trace in hidden_cases(task, count)
    )
