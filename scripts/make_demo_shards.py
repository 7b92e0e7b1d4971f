"""Write the demo's raw shards: files of the toy domain and of Python's standard library, in The Stack's columns.

The toy files hold what the pipeline is to find (documented functions of the toy domain) among what it is to reject:
copies, functions without a docstring, a return value or an argument, with open ends, names that do not exist or
docstrings that do not say what the function does, and files that no parser reads. The standard library is that of the
running interpreter, a fixed sample of its modules; a toy model can make little of it, but the filters can.
"""

import hashlib
import random
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from demo import domain
from demo.corpus import VAGUE
from demo.domain import Task
from selfcodealign.config.demo import MakeDemoShards
from selfcodealign.errors import UserError
from selfcodealign.seeds.stack import StackFile, write_shard
from selfcodealign.stage import run

MOST_BYTES = 30_000  # of a module of the standard library
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "turtledemo", "__pycache__"}


# ---- functions that a filter should reject, by the filter


def undocumented(rng: random.Random, task: Task) -> str:
    """Leave the docstring out."""
    return domain.function_of(task, domain.right_code(task))


def without_value(rng: random.Random, task: Task) -> str:
    """Print the result instead of returning it."""
    head, _, last = documented(task).rpartition("    return ")
    return f"{head}    print({last})"


def without_argument(rng: random.Random, task: Task) -> str:
    """Work on a fixed value."""
    argument = domain.draw_argument(rng, task)
    variable = domain.ARGUMENT[task.takes]
    head, docstring, body = documented(task).split("\n", 2)
    return f"{head.split('(')[0]}():\n{docstring}\n    {variable} = {argument!r}\n{body}"


def unfinished(rng: random.Random, task: Task) -> str:
    """Leave an open end in a comment."""
    note = rng.choice(("# TODO: what if it is empty?", "# FIXME: slow for long input", "# works around a bug"))
    head, docstring, body = documented(task).split("\n", 2)
    return f"{head}\n{docstring}\n    {note}\n{body}"


def tied_to_system(rng: random.Random, task: Task) -> str:
    """Import a module that ties the function to its machine."""
    head, docstring, body = documented(task).split("\n", 2)
    variable = domain.ARGUMENT[task.takes]
    return f'{head}\n{docstring}\n    import os\n    if os.environ.get("VERBOSE"):\n        print({variable})\n{body}'


def ill_typed(rng: random.Random, task: Task) -> str:
    """Call a helper that does not exist, or hand a number to a function of text."""
    head, docstring, body = documented(task).split("\n", 2)
    variable = domain.ARGUMENT[task.takes]
    wrong = rng.choice((f"{variable} = check_input({variable})", "label = len(3)", 'total = 1 + "1"'))
    return f"{head}\n{docstring}\n    {wrong}\n{body}"


def vague(rng: random.Random, task: Task) -> str:
    """Document it with words that say nothing."""
    docstring = rng.choice(VAGUE).format(a=domain.DESCRIBED[task.takes])
    return domain.function_of(task, domain.right_code(task), docstring)


def misdescribed(rng: random.Random, task: Task) -> str:
    """Document it as another function."""
    while (other := domain.draw_task(rng)).spec == task.spec:
        pass
    return domain.function_of(task, domain.right_code(task), domain.docstring_of(other))


Flaw = Callable[[random.Random, Task], str]
# How many functions of each kind there are for every hundred good ones.
FLAWS: tuple[tuple[Flaw, int], ...] = (
    (undocumented, 6),
    (without_value, 5),
    (without_argument, 3),
    (unfinished, 5),
    (tied_to_system, 3),
    (ill_typed, 4),
    (vague, 8),
    (misdescribed, 4),
)

# Everyday functions; their modules have yet to be imported.
EVERYDAY = (
    '''def spread(values):
    """Return the difference between the mean and the median of the values."""
    return statistics.mean(values) - statistics.median(values)''',
    '''def hypotenuse(a, b):
    """Return the length of the longest side of a right triangle with the short sides a and b."""
    return math.sqrt(a * a + b * b)''',
    '''def most_common_word(text):
    """Return the word that occurs most often in the text, in lower case."""
    return Counter(text.lower().split()).most_common(1)[0][0]''',
    '''def flatten(rows):
    """Join the lists in rows into one list, in their order."""
    return list(itertools.chain.from_iterable(rows))''',
    '''def slug(title):
    """Turn a title into lower-case words joined by hyphens, without other marks."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))''',
    '''def days_between(first, second):
    """Return the number of days between two dates in ISO format, never negative."""
    start, end = datetime.date.fromisoformat(first), datetime.date.fromisoformat(second)
    return abs((end - start).days)''',
)

# Files that yield nothing: the wrong language version, broken syntax, no text, no functions.
BROKEN: tuple[tuple[str, str | None], ...] = (
    ("legacy/report.py", 'def total(xs):\n    """Add the numbers up."""\n    print "adding", xs\n    return sum(xs)\n'),
    (
        "legacy/reader.py",
        "def read(path):\n    try:\n        return open(path).read()\n    except IOError, e:\n        raise\n",
    ),
    ("drafts/half.py", 'def half(x):\n    """Return half of the number.\n    return x / 2\n'),
    (
        "drafts/merge.py",
        "<<<<<<< HEAD\ndef ready():\n    return True\n=======\ndef ready():\n    return 1\n>>>>>>> main\n",
    ),
    ("data/blob.py", "\0\0\0\x01\0demo\0"),
    ("data/empty.py", ""),
    ("data/lost.py", None),
    ("data/table.py", "TABLE = [\n" + "".join(f"    ({i}, {i * i}),\n" for i in range(200)) + "]\n"),
)


def computable_task(rng: random.Random) -> Task:
    """Draw a task without the operations whose results the model mostly computes wrongly."""
    while not domain.MISCOMPUTED.isdisjoint((task := domain.draw_task(rng)).composition):
        pass
    return task


def documented(task: Task) -> str:
    """Write the task's function as it should be."""
    return domain.function_of(task, domain.right_code(task), domain.docstring_of(task))


def toy_functions(rng: random.Random, count: int) -> list[str]:
    """Write `count` good functions of different specifications, with flawed and repeated ones among them."""
    tasks: dict[str, Task] = {}
    while len(tasks) < count:
        task = computable_task(rng)
        tasks.setdefault(task.spec, task)
    good = [documented(task) for task in tasks.values()]
    flawed = [
        flaw(rng, computable_task(rng)) for flaw, share in FLAWS for _ in range(max(1, round(share * count / 100)))
    ]
    copies = rng.sample(good, max(1, count // 12))
    near_copies = [
        code.replace('"""\n', '"""\n    # See the handbook.\n', 1) for code in rng.sample(good, max(1, count // 25))
    ]
    functions = [*good, *flawed, *copies, *near_copies, *EVERYDAY]
    rng.shuffle(functions)
    return functions


def toy_files(rng: random.Random, count: int) -> Iterator[StackFile]:
    """Yield files with a few functions each, spread over small repositories, and the broken ones."""
    functions = toy_functions(rng, count)
    number = 0
    while functions:
        size = rng.randint(2, 7)
        here, functions = functions[:size], functions[size:]
        repo = f"demo/{rng.choice(('notebook', 'listtools', 'textbits', 'course', 'puzzles'))}"
        title = rng.choice(("Small helpers.", "Exercises.", "Functions used in the course.", ""))
        docstring = f'"""{title}"""\n\n\n' if title else ""
        licence = rng.choice(("Apache-2.0", "MIT"))
        yield StackFile(repo, f"src/part_{number:03d}.py", licence, docstring + "\n\n\n".join(here) + "\n")
        number += 1
    for path, content in BROKEN:
        yield StackFile("demo/attic", path, "MIT", content)


def library_sample(count: int, root: Path) -> list[StackFile]:
    """Return a sample of the standard library's modules, chosen by the hash of their path, so by nothing that changes.

    Raises:
        UserError: the folder has fewer modules than asked for.
    """
    found = [
        path.relative_to(root)
        for path in root.rglob("*.py")
        if not LEFT_OUT & set(path.relative_to(root).parts[:-1]) and 500 <= path.stat().st_size <= MOST_BYTES
    ]
    if len(found) < count:
        raise UserError(f"{root} has {len(found)} modules of a fitting size, not {count}; lower `library_files`")
    chosen = sorted(found, key=lambda path: hashlib.sha256(path.as_posix().encode()).hexdigest())[:count]
    return [
        StackFile("python/cpython", f"Lib/{path.as_posix()}", "PSF-2.0", (root / path).read_text(errors="replace"))
        for path in sorted(chosen)
    ]


def main(shards: list[Path], *, settings: MakeDemoShards) -> None:
    """Write the raw shards, the files spread over them in random order."""
    rng = random.Random(f"shards:{settings.seed}")
    library = library_sample(settings.library_files, Path(sysconfig.get_path("stdlib")))
    files = [*toy_files(rng, settings.functions), *library]
    rng.shuffle(files)
    for number, path in enumerate(shards):
        write_shard(path, files[number :: len(shards)])


if __name__ == "__main__":
    run(main)
