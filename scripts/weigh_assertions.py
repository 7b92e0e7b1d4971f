"""Run every response to an instruction against the single assertions of all of them, and weigh both by each other.

A response that fails its own tests may be right, and one that passes them wrong: both came from one mind. The
assertions of all responses are many minds' work. Those that the best responses hold are pooled, the others dropped, and
of the pool the few are kept that reject wrong responses and mutants; a response is credible if it holds them all. What
is computed of the matrix stands in `dataset/matrix.py` and docs/matrix.md.

Assertions share a program where that changes no verdict (`dataset/assertions.py`). A program that does not come to its
end is cut up: each of its assertions then runs by itself, as do all others.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from selfcodealign.config.dataset import WeighAssertions
from selfcodealign.config.execution import RunResponses
from selfcodealign.dataset.assertions import Check, checks, defined, is_pure, together
from selfcodealign.dataset.fences import unfenced
from selfcodealign.dataset.matrix import Outcome, Weighed, credible, pooled, weighed
from selfcodealign.ids import digest
from selfcodealign.rows import Row
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.sandbox import Settings
from selfcodealign.stage import run
from selfcodealign.verification import ONCE, UNUSABLE_TESTS, Item, grouped, judged, settings_of

log = logging.getLogger(__name__)

STAGE = "weigh_assertions"
COLUMNS = ("id", "instruction_id", "response", "tests", "verdict")
MOST_TOGETHER = 200
"""Assertions in one program: a time limit is for all of them."""


class WeighedRow(Row):
    """What the matrix says of a response; the id is the response's."""

    instruction_id: str
    score: float = Field(description="credibility of the assertions that it holds, as a share of all")
    credible: bool = Field(description="it holds all that the best responses agree on, and these are believed")
    pool_share: float | None = Field(description="share of the pooled assertions that it holds; empty without a pool")
    outcome: str = Field(description="what became of the instruction: `credible`, or why no response is")
    tests: str = Field(description="the instruction's pooled assertions, as tests; empty without a pool")
    programs: int = Field(description="programs that this response cost, the mutants of it included")
    cpu_s: float = Field(description="CPU seconds of these programs, without the mutants")


class WeighedAssertionRow(Row):
    """What the matrix says of an assertion; the id is made of the instruction's and its text."""

    instruction_id: str
    text: str = Field(description="the assertion with the statements before it, in one spelling")
    response_ids: list[str] = Field(description="responses that brought it")
    held: int = Field(description="responses that hold it")
    credibility: float = Field(description="weight of the responses that hold it, as a share of all")
    agreed: bool = Field(description="the best responses hold it, and are believed")
    pooled: bool = Field(description="it is one of the few that tell right from wrong")


NOTHING = Weighed({}, {}, [], [], 0.0, "no_assertion")


@dataclass(slots=True)
class Task:
    """The responses to one instruction, their assertions, and what is known of both so far.

    Args:
        id: the instruction's.
        codes: code of each response.
        checks: the assertions by their texts, in the order of these.
        authors: for each response that brought assertions, their texts.
        pure: responses whose assertions may share a program.
    """

    id: str
    codes: dict[str, str]
    checks: dict[str, Check]
    authors: dict[str, list[str]]
    pure: frozenset[str]
    held: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    programs: Counter[str] = field(default_factory=Counter)
    cpu_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    weighed: Weighed = NOTHING
    outcome: Outcome = "no_assertion"
    pool: list[str] = field(default_factory=list)
    tests: str = ""

    def note(self, response: str, verdict: Mapping[str, Any]) -> None:
        """Count a program of a response."""
        stub = verdict["stub_held"] is not None or verdict["verdict"] == "vacuous"
        self.programs[response] += 1 + stub + len(verdict["mutants_held"] or ())
        self.cpu_s[response].append(verdict["cpu_s"])


def task_of(instruction_id: str, group: Iterable[Mapping[str, Any]]) -> Task:
    """Collect an instruction's responses and their assertions, each once, that use what a response defines.

    Tests that are vacuous or flaky bring none; nor does a text that is no Python.
    """
    codes = {row["id"]: unfenced(row["response"] or "") for row in group}
    names = set().union(*map(defined, codes.values()))
    own = {
        row["id"]: {check.text: check for check in checks(unfenced(row["tests"] or "")) if names & check.names}
        for row in group
        if row["verdict"] not in UNUSABLE_TESTS
    }
    found = {text: check for each in own.values() for text, check in each.items()}
    authors = {response: sorted(each) for response, each in own.items() if each}
    pure = frozenset(response for response, code in codes.items() if is_pure(code))
    return Task(instruction_id, codes, dict(sorted(found.items())), authors, pure)


Programs = dict[str, tuple[Task, str, list[str]]]
"""What one program runs: a task, one of its responses, and texts of assertions; by the program's id."""


def shared(task: Task, response: str, wanted: Iterable[str]) -> Iterator[list[str]]:
    """Divide assertions among as few programs as can hold them without a change of any verdict."""
    groups: dict[str, list[str]] = defaultdict(list)
    for text in wanted:
        check = task.checks[text]
        if response in task.pure and check.plain:
            groups[check.preamble].append(text)
        else:
            yield [text]
    for group in groups.values():
        yield from (group[start : start + MOST_TOGETHER] for start in range(0, len(group), MOST_TOGETHER))


def named(task: Task, response: str, texts: list[str]) -> str:
    """Name a program by the response and the assertions that it runs."""
    return f"{response}|{digest(task.id, *texts)[:20]}"


def case(kind: str, code: str, *parts: str) -> dict[str, Any]:
    """Make the sandbox's case of a program: assertions that share one, each judged by itself, or tests as they are."""
    return {"code": code, "test": "\n".join(filter(None, parts)), **({"each": True} if kind == "each" else {})}


def texts_of(task: Task, response: str, texts: list[str]) -> list[str]:
    """List what the case of a program is made of."""
    if len(texts) == 1:
        return ["whole", task.codes[response], *texts]
    first = task.checks[texts[0]]
    return ["each", task.codes[response], first.preamble, *(task.checks[text].statement for text in texts)]


def kept(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a verdict what the matrix takes."""
    return {name: verdict.get(name) for name in ("verdict", "passed", "each", "stub_held", "mutants_held", "cpu_s")}


def run_programs(
    programs: Programs, settings: Settings, work: Path, unit: str = "programs"
) -> Iterator[tuple[Task, str, list[str], dict[str, Any]]]:
    """Run programs that have no verdict yet; yield each with its verdict."""

    def items() -> Iterator[Item]:
        for name, program in programs.items():
            yield name, texts_of(*program)

    with judged(STAGE, items, case, settings, work, kept=kept, unit=unit) as verdict_of:
        for name, (task, response, texts) in programs.items():
            verdict = verdict_of(name)
            task.note(response, verdict)
            yield task, response, texts, verdict


def run_each(
    wanted: Iterable[tuple[Task, str]], settings: Settings, work: Path
) -> Iterator[tuple[Task, str, list[str], dict[str, Any]]]:
    """Run responses against all assertions of their tasks, and yield as `run_programs` does.

    First come the programs that assertions share. Of one that does not come to its end, nothing is believed: each of
    its assertions has a program of its own then.
    """
    programs = {
        named(task, response, texts): (task, response, texts)
        for task, response in wanted
        for texts in shared(task, response, task.checks)
    }
    alone: Programs = {}
    for task, response, texts, verdict in run_programs(programs, settings, work):
        if len(texts) == 1 or verdict["passed"]:
            yield task, response, texts, verdict
        else:
            alone |= {named(task, response, [text]): (task, response, [text]) for text in texts}
    yield from run_programs(alone, settings, work)


def sift(tasks: list[Task], settings: Settings, work: Path) -> None:
    """Drop the assertions that cannot fail, or that a stub holds too: all would hold them, and they prove nothing."""
    one_each = [(task, min(task.pure or task.codes)) for task in tasks if task.checks]
    idle: dict[str, set[str]] = defaultdict(set)
    for task, _, texts, verdict in run_each(one_each, settings, work):
        if len(texts) == 1:
            idle[task.id].update(texts if verdict["verdict"] == "vacuous" else ())
        else:
            idle[task.id].update(texts[int(number)] for number in (verdict["stub_held"] or "").split())
    for task in tasks:
        task.checks = {text: check for text, check in task.checks.items() if text not in idle[task.id]}
        left = {response: [text for text in own if text in task.checks] for response, own in task.authors.items()}
        task.authors = {response: own for response, own in left.items() if own}


def fill(tasks: list[Task], settings: Settings, work: Path) -> None:
    """Fill the matrix of each task."""
    everyone = [(task, response) for task in tasks for response in task.codes]
    for task, response, texts, verdict in run_each(everyone, settings, work):
        if len(texts) == 1:
            task.held[response].update(texts if verdict["passed"] else ())
        else:
            task.held[response].update(texts[int(number)] for number in verdict["each"].split())


def weigh(task: Task, least_evidence: float) -> None:
    """Weigh a task's responses and assertions, once its matrix is filled."""
    held = {response: task.held[response] for response in task.codes}
    expected = {text: check.expected for text, check in task.checks.items()}
    task.weighed = weighed(held, task.authors, expected, least_evidence)
    task.outcome = task.weighed.outcome


def prune(tasks: list[Task], settings: Settings, work: Path, rejections: int) -> None:
    """Choose each task's pool, by wrong responses and by mutants of one of the best."""
    programs = {}
    survivors: dict[str, dict[str, list[bool | None]]] = defaultdict(dict)
    for task in tasks:
        if task.weighed.agreed:
            best = task.weighed.best[0]
            for texts in shared(task, best, task.weighed.agreed):
                programs[named(task, best, texts)] = (task, best, texts)
    for task, _, texts, verdict in run_programs(programs, settings, work, "tasks to prune"):
        for number, text in enumerate(texts):
            # A mutant under which one program of many assertions ends early says nothing of any of them.
            survivors[task.id][text] = [
                (None if len(texts) > 1 else False) if each is None else str(number) in each.split()
                for each in verdict["mutants_held"] or ()
            ]
    for task in tasks:
        if task.weighed.agreed:
            held = {response: task.held[response] for response in task.codes}
            task.pool = pooled(task.weighed.agreed, held, survivors[task.id], rejections)
            task.tests = together(task.checks[text] for text in task.pool)
            task.outcome = task.outcome if task.pool else "no_discrimination"


def confirm(tasks: list[Task], settings: Settings, work: Path) -> None:
    """Run each pool as the one text of tests that it is from now on; what fails so, or cannot fail, is no pool."""
    programs = {}
    for task in tasks:
        if task.pool:
            programs[named(task, task.weighed.best[0], ["pool"])] = (task, task.weighed.best[0], [task.tests])
    for task, _, _, verdict in run_programs(programs, settings, work, "pools"):
        if not verdict["passed"]:
            task.outcome = "pool_fails"


def responses_of(task: Task) -> Iterator[dict[str, Any]]:
    """Make the rows of a task's responses."""
    believed = task.outcome == "credible"
    right = credible(task.weighed, task.held) if believed else []
    for response in sorted(task.codes):
        yield {
            "id": response,
            "instruction_id": task.id,
            "score": task.weighed.scores[response],
            "credible": response in right,
            "pool_share": len(task.held[response].intersection(task.pool)) / len(task.pool) if believed else None,
            "outcome": task.outcome,
            "tests": f"```python\n{task.tests}\n```" if believed else "",
            "programs": task.programs[response],
            "cpu_s": round(sum(sorted(task.cpu_s[response])), 4),
        }


def assertions_of(task: Task) -> Iterator[dict[str, Any]]:
    """Make the rows of a task's assertions."""
    believed = task.outcome == "credible"
    for text in task.checks:
        yield {
            "id": f"{task.id}|{digest(text)[:20]}",
            "instruction_id": task.id,
            "text": text,
            "response_ids": sorted(response for response, own in task.authors.items() if text in own),
            "held": sum(text in task.held[response] for response in task.codes),
            "credibility": task.weighed.credibility[text],
            "agreed": believed and text in task.weighed.agreed,
            "pooled": believed and text in task.pool,
        }


def main(
    verdicts: Path,
    rows: Path,
    assertions: Path,
    work: Path,
    *,
    workers: int = 1,
    settings: RunResponses,
    weighing: WeighAssertions,
) -> None:
    """Run every response to an instruction against the single assertions of all of them, and weigh both by each other.

    Args:
        verdicts: a shard of executed responses (VerdictRow).
        rows: score, credibility and pooled tests for each response (WeighedRow).
        assertions: credibility of each assertion (WeighedAssertionRow).
        work: folder of the ledgers that let a killed run continue.
        workers: programs that run at the same time.
        settings: how programs run.
        weighing: when responses are believed, and how many mutants prune their pool.
    """
    tasks = [task_of(name, group) for name, group in grouped(read_rows(verdicts, COLUMNS)).items()]
    once = settings_of(settings, workers, work, **ONCE)
    with_stub = replace(once, vacuous=True)
    sift(tasks, with_stub, work / "stubs")
    fill(tasks, once, work / "matrix")
    for task in tasks:
        weigh(task, weighing.least_evidence)
    prune(tasks, replace(once, mutants=weighing.mutants), work / "mutants", weighing.rejections)
    confirm(tasks, with_stub, work / "pools")
    count = write_rows(rows, WeighedRow, (row for task in tasks for row in responses_of(task)))
    write_rows(assertions, WeighedAssertionRow, (row for task in tasks for row in assertions_of(task)))
    programs = sum(task.programs.total() for task in tasks)
    cpu_s = sum(second for task in tasks for each in task.cpu_s.values() for second in each)
    outcomes = Counter(task.outcome for task in tasks)
    log.info(
        "weighed %d responses and %d assertions of %d instructions: %s; %.1f programs and %.3f CPU seconds each",
        *(count, sum(len(task.checks) for task in tasks), len(tasks)),
        ", ".join(f"{name} {number}" for name, number in outcomes.most_common()) or "none",
        *(programs / max(1, len(tasks)), cpu_s / max(1, len(tasks))),
    )


if __name__ == "__main__":
    run(main)
