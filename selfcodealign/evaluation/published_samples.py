"""Read other people's samples of a benchmark, in its public format, and say plainly what is wrong with them."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.evaluation import data
from selfcodealign.evaluation.base import Benchmark, Problem
from selfcodealign.evaluation.extraction import compiles, without_markdown
from selfcodealign.evaluation.rows import sample_id

log = logging.getLogger(__name__)

NAMED = 8
"""Most names listed in a message."""

RESULTS = ("eval_results.json", "eval_results.json.gz")
"""What EvalPlus and its kin leave in a folder of samples: their verdicts."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published sample, as a program."""

    task_id: str
    sample: int
    program: str
    note: str = ""

    @property
    def id(self) -> str:
        """Name it like the samples drawn here."""
        return sample_id(self.task_id, self.sample)


def read(
    benchmark: Benchmark, problems: Sequence[Problem], path: Path, *, as_is: bool = False, untested: Sequence[str] = ()
) -> list[Published]:
    """Read published samples: JSON Lines or JSON, compressed or not, or a folder of them or of programs.

    Args:
        benchmark: whose format it is.
        problems: of the file they answer.
        path: file, or folder with `<task>/<number>.py` (EvalPlus) or with record files (CanItEdit).
        as_is: score texts exactly as they are, Markdown included.
        untested: problems that have no tests; their samples are left out, with a word.

    Raises:
        UserError: a sample answers no task of the file, lacks its fields, or is given twice.
    """
    by_id = {problem.id: problem for problem in problems}
    counts: Counter[str] = Counter()
    given: set[tuple[str, int]] = set()
    unknown: Counter[str] = Counter()
    without_tests, left_out = set(untested), 0
    found = []
    for record in records(path):
        for one in benchmark.samples_in(record):
            try:
                task = benchmark.task_of(one)
            except UserError as error:
                raise UserError(f"{path}: {record.get('_file', '')}: {error}") from None
            if task in without_tests:
                left_out += 1
                continue
            if task not in by_id:
                unknown[task] += 1
                continue
            number = one.get("sample")
            if number is None:
                number = counts[task]
            elif (task, number) in given:
                raise UserError(f"{path}: sample {number} of {task} is given twice; keep one of them")
            given.add((task, number))
            counts[task] += 1
            program = benchmark.published(by_id[task], one)
            if not isinstance(program, str):
                raise UserError(
                    f"{path}: a sample of {task} is {type(program).__name__}, not text; write it as a string"
                )
            found.append(cleaned(benchmark, by_id[task], Published(task, number, program), as_is))
    if left_out:
        log.warning("%s: %d samples are of problems without tests and are left out", path, left_out)
    if unknown:
        names = ", ".join(list(unknown)[:NAMED]) + (f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else "")
        raise UserError(
            f"{path} has samples of {len(unknown)} tasks that the file of problems does not have: {names}; "
            "name the version of the problems that they were made for, or remove them"
        )
    if not found:
        raise UserError(f"{path} holds no samples; name the right file")
    return found


def cleaned(benchmark: Benchmark, problem: Problem, sample: Published, as_is: bool) -> Published:
    """Take what is no code off a program that is not Python because of it, and note that."""
    if as_is:
        return sample
    code = without_markdown(sample.program, benchmark.wanted(problem))
    if code is None:
        return sample
    return Published(sample.task_id, sample.sample, benchmark.repaired(problem, code), "markdown_removed")


def records(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a file, or of all files of a folder, in the order of their names.

    Raises:
        UserError: nothing is there, or a file is damaged.
    """
    if path.is_file():
        yield from ({**record, "_file": path.name} for record in data.records(path))
        return
    if not path.is_dir():
        raise UserError(f"{path} does not exist; name a file or folder of samples")
    files = sorted(path.rglob("*"), key=_natural)
    # MultiPL-E writes task.results.json.gz beside task.json.gz: the same samples, executed.
    executed = {file.with_name(file.name.replace(".results.", ".", 1)) for file in files if ".results." in file.name}
    for file in files:
        hidden = any(part.startswith((".", "__")) for part in file.relative_to(path).parts)
        if file in executed or hidden or file.name.endswith(RESULTS):
            continue
        if file.suffix == ".py":
            # EvalPlus's folders: HumanEval_0/3.py is sample 3 of HumanEval/0.
            text = file.read_text(encoding="utf-8")
            yield {"task_id": file.parent.name.replace("_", "/", 1), "sample": _number(file), "solution": text}
        elif file.name.endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz")):
            yield from ({**record, "_file": file.name} for record in _whole_or_lines(file))


def _whole_or_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the one object of a JSON file, or the records of a list or of lines."""
    try:
        whole = json.loads(data.content(path))
    except ValueError:
        yield from data.records(path)
        return
    yield from whole if isinstance(whole, list) else [whole]


def _number(file: Path) -> int:
    if not file.stem.isdigit():
        raise UserError(f"{file} is not named after the number of a sample; name it <number>.py")
    return int(file.stem)


def _natural(path: Path) -> tuple[str, int, str]:
    """Sort 2.py before 10.py."""
    return str(path.parent), int(path.stem) if path.stem.isdigit() else -1, path.name


def warnings(samples: Sequence[Published], problems: Sequence[Problem]) -> list[str]:
    """Say what looks wrong with published samples without being an error."""
    found = []
    markdown = sum(sample.note == "markdown_removed" for sample in samples)
    if markdown:
        found.append(
            f"{markdown} of {len(samples)} samples are no Python as they stand: they were Markdown or had marks at "
            "their ends; the code was scored"
        )
    broken = [sample for sample in samples if sample.program.strip() and not compiles(sample.program)]
    if broken:
        named = ", ".join(sample.id for sample in broken[:NAMED]) + (" and others" if len(broken) > NAMED else "")
        found.append(f"{len(broken)} of {len(samples)} samples are no Python, and fail: {named}")
    empty = sum(not sample.program.strip() for sample in samples)
    if empty:
        found.append(f"{empty} of {len(samples)} samples are empty")
    distinct = len({(sample.task_id, sample.program) for sample in samples})
    if distinct < len(samples):
        found.append(f"{len(samples) - distinct} of {len(samples)} samples repeat another sample of their task")
    heads = {problem.id: str(problem.record.get("prompt", "")) for problem in problems}
    flush = sum(_lost_indent(sample.program, heads[sample.task_id]) for sample in samples)
    if flush:
        found.append(
            f"{flush} of {len(samples)} samples begin a body at the margin: their leading spaces were stripped"
        )
    return found


def _lost_indent(program: str, head: str) -> bool:
    """Whether the text after a function's head begins with an unindented `return` or the like."""
    if not head.strip() or not program.startswith(head) or "def " not in head:
        return False
    rest = program[len(head) :]
    first = next((line for line in rest.split("\n") if line.strip()), "")
    return first.startswith(("return ", "if ", "for ", "while ")) and not head.rstrip(" ").endswith(" ")
