"""The interface every benchmark implements, and the registry of those there are.

    problems(file) → prompt(problem) → samples → program(problem, texts) → case(problem, program) → groups → scores

A benchmark is a pure description: it reads no network and runs nothing. Sampling, execution in the sandbox and
statistics are shared, so that base models, fine-tuned models and other people's samples all take the same path.
"""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from selfcodealign import plugins
from selfcodealign.errors import UserError
from selfcodealign.evaluation.extraction import completed, cut, last_python_block, program_in
from selfcodealign.evaluation.statistics import pass_at_k

Style = Literal["base", "instruct"]
Asking = Literal["base", "instruct", "chat"]
"""How a model is asked: raw completion of a prompt, or an instruction inside its chat or training template."""

PASS, FAIL, TIMEOUT, MEMORY, CRASHED = "pass", "fail", "timeout", "memory", "crashed"
"""What may become of a test group; `crashed` means the harness itself failed, never the program."""

NEXT_STATEMENT = ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ")
"""Where a base model has left the function it was completing, and sampling stops: the next top-level statement."""

FUNCTION_END = (*NEXT_STATEMENT, "\n# ")
"""Where its text is cut: there, or at a comment at the margin, unless the body goes on behind it. As reading
`reference` has it, sampling stops at every such comment."""


WHOLE = "whole"
"""In place of a version: the one with the most tasks, fetched only to keep their texts out of training data."""


@dataclass(frozen=True, slots=True)
class Source:
    """One published version of a benchmark's data.

    Args:
        version: the authors' name of it.
        url: where the authors publish it, at a pinned revision.
        sha256: of the uncompressed content, which names the version whatever the compression.
        records: number of records it holds.
    """

    version: str
    url: str
    sha256: str
    records: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One task. `id` is the published task id, with a variant after a slash where a benchmark asks in several ways."""

    id: str
    record: Mapping[str, Any]
    subset: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a benchmark that no training row may hold: of which task, what it is, and its text as published."""

    task: str
    kind: Literal["prompt", "solution", "text"]
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked: the text, the first words of its response, and where to stop."""

    text: str
    prefix: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the paper sampled: n samples a task, temperature (0: greedy), top_p, most new tokens."""

    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of a program may use. CPU time decides; the sandbox's wall clock only ends what sleeps."""

    cpu_s: float
    memory_mb: int = 4096


@dataclass(frozen=True, slots=True)
class Case:
    """One run in the sandbox: untrusted program, our judging code, and data for it.

    Args:
        program: untrusted source.
        judge: name of a module in `selfcodealign/evaluation/oracles`.
        data: JSON-able settings, which the program might see.
        blobs: packed texts that it might see, such as its inputs.
        secret: JSON-able settings and what is wanted of the program, which reach only the process that compares; None
            where the oracle runs in the program's own process.
    """

    program: str
    judge: str
    data: Mapping[str, Any]
    limits: Limits
    blobs: Mapping[str, str] = field(default_factory=dict)
    secret: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the sandbox and the judge say of one case: the status of each test group, and measurements."""

    groups: Mapping[str, str]
    reason: str = ""
    measures: Mapping[str, Any] = field(default_factory=dict)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_mb: float = 0.0
    isolation: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a benchmark: for each task its value in 0…1, in order of tasks."""

    name: str
    by_task: Mapping[str, float]
    scale: float = 100.0
    headline: bool = False


class Benchmark(ABC):
    """One benchmark, described. Subclasses override what differs from one function completed in one turn."""

    name: ClassVar[str]
    title: ClassVar[str]
    groups: ClassVar[tuple[str, ...]] = ("tests",)
    """Names of the test groups, in the order they run."""
    required: ClassVar[tuple[str, ...]]
    """Groups that must all pass for a sample to count; all of them unless a subclass says otherwise."""
    sources: ClassVar[tuple[Source, ...]] = ()
    """Published versions, the paper's first."""
    texts_url: ClassVar[str] = ""
    """Where its tasks lie to be kept out of data, if no version is published as one file to be asked."""
    sampling: ClassVar[Sampling] = Sampling()
    """The paper's sampling, the default."""
    island: ClassVar[str] = "evaluate"
    """Which environment its programs run in: an entry of the config's `containers`."""
    preload: ClassVar[tuple[str, ...]] = ("numpy",)
    """Modules that the sandbox imports once for the programs that mention them."""
    paper: ClassVar[tuple[str, str] | None] = None
    """(table, column) of the paper's results that the headline number compares with."""
    ks: ClassVar[tuple[int, ...]] = (1, 10, 100)

    reading: Literal["fixed", "reference"] = "fixed"
    """Which text of an answer is the program: see `evaluation/extraction.py`, or as the paper's code cuts it."""

    def __init_subclass__(cls) -> None:
        if "required" not in cls.__dict__ and "groups" in cls.__dict__:
            cls.required = cls.groups

    required = ("tests",)

    @abstractmethod
    def problems(self, path: Path) -> list[Problem]:
        """Read the published file into problems, in its order."""

    def untested(self, path: Path) -> list[str]:
        """Return the ids of the file's problems that `problems` leaves out, because they have no tests."""
        return []

    @abstractmethod
    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Yield what training data must not hold of a problem: its prompts, their docstrings, its solutions.

        Tests stay out of it: assertions are mostly literals, which other tests share by chance.
        """

    def source(self, version: str | None = None, given_by: str | None = None) -> Source:
        """Return the published version asked for, the paper's by default, or the one with the most tasks (`WHOLE`).

        `given_by` is the key or flag that names a file of one's own, for the sentence of the error.

        Raises:
            UserError: there is no such version, or the authors publish no single file.
        """
        if version == WHOLE:
            known = (source for source in self.sources if source.url)
            return max(known, key=lambda one: one.records, default=Source(WHOLE, self.texts_url, "", 0))
        if not self.sources:
            raise UserError(
                f"{self.title} is fetched from nowhere; give its file by {given_by or f'benchmarks.{self.name}.file'}"
            )
        found = next((source for source in self.sources if version in (None, source.version)), None)
        if found is None:
            known = ", ".join(source.version for source in self.sources)
            raise UserError(f"{self.title} has no version {version!r}; known versions: {known}")
        return found

    def tasks(self, path: Path) -> list[Problem]:
        """Read every task of a file, for `passages`: also those that are never asked, or that lack their tests."""
        return self.problems(path)

    @abstractmethod
    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Return what to ask next, given the texts so far; None when the sample is complete."""

    @abstractmethod
    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Turn a model's texts into the program that is tested; empty if there is no code in them."""

    @abstractmethod
    def canonical(self, problem: Problem) -> str:
        """Return the authors' own solution as a program."""

    def wanted(self, problem: Problem) -> Collection[str]:
        """Return the names that an answer must define, as far as they are known; `input` where it must read."""
        return {problem.record["entry_point"]} if problem.record.get("entry_point") else ()

    def code_in(self, problem: Problem, text: str) -> str:
        """Return the code in an answer; empty if there is none."""
        return last_python_block(text) if self.reading == "reference" else program_in(text, self.wanted(problem))

    def completed(self, head: str, text: str, stops: tuple[str, ...]) -> str:
        """Return a head and a base model's completion, up to where it leaves what it completes."""
        return head + cut(text, stops) if self.reading == "reference" else completed(head, text, stops)

    def empty(self, problem: Problem) -> str:
        """Return a program that solves nothing, for the check that a harness can fail."""
        return "pass\n"

    def published(self, problem: Problem, record: Mapping[str, Any]) -> str:
        """Turn one record of the benchmark's public sample format into a program.

        Raises:
            UserError: the record has none of the fields of that format.
        """
        if "solution" in record:
            return record["solution"]
        if "completion" in record:
            return self.program(problem, [record["completion"]], "base")
        raise UserError(f"a sample of {problem.id} has neither `solution` nor `completion`; give one of them")

    def repaired(self, problem: Problem, code: str) -> str:
        """Return the program for code that was found in the fences of a published sample."""
        return code

    def task_of(self, record: Mapping[str, Any]) -> str:
        """Return the id of the problem a published record answers."""
        if "task_id" not in record:
            raise UserError(f"a sample of {self.name} has no `task_id`; add it")
        return str(record["task_id"])

    def samples_in(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield one record a sample, for formats that keep several samples of a task in one record."""
        yield record

    def reference_case(self, problem: Problem) -> Case | None:
        """Return the run of the authors' solution that yields expected outputs, if the benchmark needs one."""
        return None

    @abstractmethod
    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Return the run that judges a program."""

    def groups_of(self, problem: Problem) -> tuple[str, ...]:
        """Return the names of a problem's test groups, for benchmarks where they differ."""
        return self.groups

    def joined(self, files: Sequence[Path]) -> list[dict[str, Any]]:
        """Return the records of several files as one, for benchmarks whose data lie in several.

        Raises:
            UserError: this benchmark's data lie in one.
        """
        raise UserError(f"{self.title} is one file; give one, not {len(files)}")

    measures_programs: ClassVar[bool] = False
    """Whether `follow_up` returns anything, so that verdicts on one task's samples depend on each other."""

    def follow_up(self, problem: Problem, passed: Sequence[str], correct: int) -> dict[str, Case]:
        """Return runs that measure correct programs: `program/<place>` and `reference/<place>`.

        Args:
            problem: whose samples were judged.
            passed: the different correct programs, in the order of samples.
            correct: number of correct samples.
        """
        return {}

    def passed(self, groups: Mapping[str, str]) -> bool:
        """Whether a sample with these group verdicts counts as solved."""
        return all(groups.get(name) == PASS for name in self.required)

    def metrics(self, problems: Sequence[Problem], verdicts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Metric]:
        """Turn verdicts into numbers: pass@k for every k that all tasks allow, also of the first group and each subset.

        Args:
            problems: in file order.
            verdicts: for each problem id its samples' rows with `groups`, `passed` and `measures`.
        """
        least = min((len(verdicts[problem.id]) for problem in problems), default=0)
        ks = [k for k in self.ks if k <= least]
        found = []
        for k in ks:
            by_task = {problem.id: rate(verdicts[problem.id], k) for problem in problems}
            found.append(Metric(f"pass@{k}", by_task, headline=k == ks[0]))
        if len(self.groups) > 1:
            first = self.groups[0]
            for k in ks:
                found.append(Metric(f"{first}_pass@{k}", {p.id: rate(verdicts[p.id], k, first) for p in problems}))
        subsets = sorted({problem.subset for problem in problems if problem.subset})
        for subset in subsets if len(subsets) > 1 and ks else []:
            inside = [problem for problem in problems if problem.subset == subset]
            found.append(Metric(f"{subset}_pass@{ks[0]}", {p.id: rate(verdicts[p.id], ks[0]) for p in inside}))
        return found


_DOCSTRING = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'', re.DOTALL)


def prompt_passages(task: str, *texts: str, kind: Literal["prompt", "text"] = "prompt") -> Iterator[Passage]:
    """Yield each text of a task, and the docstrings in it: copied out of their code they are a prompt still."""
    for text in texts:
        yield Passage(task, kind, text)
        for match in _DOCSTRING.finditer(text):
            yield Passage(task, kind, match[1] or match[2] or "")


def rate(samples: Sequence[Mapping[str, Any]], k: int, group: str | None = None) -> float:
    """Return one task's pass@k, of whole samples or of one group of tests."""
    if group is None:
        correct = sum(bool(row["passed"]) for row in samples)
    else:
        correct = sum(row["groups"].get(group) == PASS for row in samples)
    return pass_at_k(len(samples), correct, k)


BENCHMARKS: dict[str, tuple[str, str]] = {
    "demo": ("humaneval", "Demo"),
    "humaneval": ("humaneval", "HumanEval"),
    "humaneval_plus": ("evalplus", "HumanEvalPlus"),
    "mbpp": ("mbpp", "Mbpp"),
    "mbpp_plus": ("evalplus", "MbppPlus"),
    "evoeval_difficult": ("evoeval", "Difficult"),
    "evoeval_creative": ("evoeval", "Creative"),
    "evoeval_subtle": ("evoeval", "Subtle"),
    "evoeval_combine": ("evoeval", "Combine"),
    "evoeval_tool_use": ("evoeval", "ToolUse"),
    "evoeval_verbose": ("evoeval", "Verbose"),
    "evoeval_concise": ("evoeval", "Concise"),
    "evalperf": ("evalperf", "EvalPerf"),
    "canitedit": ("canitedit", "CanItEdit"),
    "livecodebench": ("livecodebench", "LiveCodeBench"),
    "classeval": ("classeval", "ClassEval"),
    "ds1000": ("ds1000", "Ds1000"),
    "bigcodebench": ("bigcodebench", "BigCodeBench"),
    "bigcodebench_hard": ("bigcodebench", "BigCodeBenchHard"),
}
"""Name → (module in `benchmarks/`, class). Modules are imported only when asked for."""


def names() -> list[str]:
    """List this project's benchmarks by name."""
    return list(BENCHMARKS)


def known() -> list[str]:
    """List all benchmarks by name: this project's, then those of other packages that are installed."""
    return [*BENCHMARKS, *plugins.named("benchmarks", BENCHMARKS)]


def find(name: str) -> Benchmark | None:
    """Return a benchmark by name, None if there is none; `humaneval+`, `MBPP+` and `DS-1000` are understood too.

    Raises:
        UserError: another package brings it, and what it brings is no benchmark.
    """
    key = name.lower().replace("+", "_plus").replace("ds-1000", "ds1000").replace("-", "_")
    if key in BENCHMARKS:
        module, kind = BENCHMARKS[key]
        return getattr(importlib.import_module(f"selfcodealign.evaluation.benchmarks.{module}"), kind)()
    kind = plugins.load("benchmarks", key, BENCHMARKS)
    if kind is None:
        return None
    if not (isinstance(kind, type) and issubclass(kind, Benchmark)) or kind.__abstractmethods__:
        missing = ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))
        why = f"it lacks {missing}" if missing else "it names no subclass of selfcodealign.Benchmark"
        raise plugins.broken("benchmarks", key, BENCHMARKS, why)
    if getattr(kind, "name", None) != key or not hasattr(kind, "title"):
        raise plugins.broken("benchmarks", key, BENCHMARKS, f"the class needs a title, and the name {key!r}")
    return kind()


def get(name: str) -> Benchmark:
    """Return a benchmark by name.

    Raises:
        UserError: there is no such benchmark.
    """
    found = find(name)
    if found is None:
        there = ", ".join(known())
        raise UserError(f"there is no benchmark {name!r}; choose one of {there}, or install the package that brings it")
    return found
