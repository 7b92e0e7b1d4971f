"""Run programs in the sandbox and turn what comes back into verdicts of test groups."""

import ast
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.evaluation.base import CRASHED, FAIL, MEMORY, PASS, TIMEOUT, Benchmark, Case, Outcome, Problem
from selfcodealign.ids import digest
from selfcodealign.rows_io import write_json
from selfcodealign.sandbox import Settings, run_cases
from selfcodealign.sandbox.inside import objects
from selfcodealign.sandbox.runner import environment
from selfcodealign.sandbox.settings import Isolation

log = logging.getLogger(__name__)

ORACLES = Path(__file__).parent / "oracles"
PINNED = Path("/opt/pinned/bin/python")
"""Interpreter of the images that carry a benchmark's pins."""
ROOT = Path(__file__).parent.parent.parent
REFERENCE_OUTPUT_KB = 64 * 1024
MET = "met"
"""Measure of an outcome that is not final: for each group, the places where the program decided a comparison."""
AGREES = "a compared value of the program would agree with any other"


@dataclass(frozen=True)
class Task:
    """One program to judge."""

    id: str
    problem: Problem
    program: str


def interpreter(benchmark: Benchmark, given: str | None) -> str | None:
    """Return what runs a benchmark's programs: the one given, its image's pinned one, or the checkout's of that name.

    None means the interpreter of this process, whose packages are not the benchmark's pins.
    """
    if given or benchmark.island == "evaluate":
        return given
    short = benchmark.island.removeprefix("evaluate-")
    for path in (PINNED, ROOT / f".venv-{short}" / "bin" / "python"):
        if path.exists():
            return str(path)
    log.warning(
        "%s needs pinned packages: run it in the image %s, or name an interpreter that has envs/%s.txt",
        benchmark.title,
        benchmark.island,
        benchmark.island,
    )
    return None


def sandbox_settings(
    benchmark: Benchmark,
    *,
    workers: int | None = None,
    isolation: Isolation = "auto",
    i_understand: bool = False,
    python: str | None = None,
) -> Settings:
    """Return how a benchmark's programs run.

    `auto` is bubblewrap: programs need the packages of this job, which runs in the benchmark's own image or
    environment, while the sandbox's image carries only what the model's own tests may use.
    """
    return Settings(
        isolation="bubblewrap" if isolation == "auto" else isolation,
        i_understand=i_understand,
        workers=workers or len(os.sched_getaffinity(0)),
        python=interpreter(benchmark, python),
        preload=benchmark.preload,
    )


@cache
def judge_text(name: str) -> str:
    """Return the source of a judge, what it imports here, and the driver: one script, the same for every case."""
    parts: dict[str, str] = {}
    for part in (name, "driver"):
        _collect(part, parts)
    return "\n\n".join(parts.values())


def _collect(name: str, parts: dict[str, str]) -> None:
    """Add a module's text after those of the modules of this package that it imports from, whose imports it loses."""
    if name in parts:
        return
    source = (ORACLES / f"{name}.py").read_text(encoding="utf-8")
    lines = source.split("\n")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("selfcodealign"):
            _collect(str(statement.module).rsplit(".", 1)[1], parts)
            for number in range(statement.lineno - 1, statement.end_lineno or statement.lineno):
                lines[number] = ""
    parts[name] = "\n".join(lines)


def mentions(program: str, preload: Sequence[str]) -> str:
    """Return a comment that makes the sandbox take the process in which a program's large packages are loaded."""
    return "".join(f"\n# import {name}" for name in preload if name in program)


def sandbox_case(name: str, case: Case, mark: str, function: str = "", preload: Sequence[str] = ()) -> dict[str, Any]:
    """Return a case as the sandbox takes it: the oracle as the script, the program as its data.

    What is wanted of the program comes `late`: after its processes have been set apart.
    """
    given = {
        "function": function or ("judge" if case.secret is None else "decide"),
        "program": case.program,
        "data": dict(case.data),
        "blobs": dict(case.blobs),
    }
    return {
        "id": name,
        "program": judge_text(case.judge) + mentions(f"{case.program}\n{case.data.get('tests')}", preload),
        "files": {"judge.json": json.dumps(given)},
        "late": json.dumps({"mark": mark, "secret": dict(case.secret or {})}),
        "timeout_s": case.limits.cpu_s,
        "memory_mb": case.limits.memory_mb,
        "output_kb": REFERENCE_OUTPUT_KB if function == "reference" else 64,
    }


def findings(stdout: str, mark: str) -> list[dict[str, Any]]:
    """Read a judge's marked lines; whatever else is there is ignored, as is a line cut short."""
    found = []
    for line in stdout.split("\n"):
        if line.startswith(mark):
            try:
                found.append(json.loads(line[len(mark) :]))
            except ValueError:
                continue
    return found


def outcome(groups: Sequence[str], verdict: Mapping[str, Any], mark: str) -> Outcome:
    """Turn the sandbox's verdict and the judge's findings into the status of each group.

    A group that was not decided takes the reason why the run ended: the sandbox's limits, or a failure.
    """
    statuses: dict[str, str] = {}
    measures: dict[str, Any] = {}
    found = findings(verdict["stdout"], mark)
    for finding in found:
        if finding.get("group"):
            statuses[finding["group"]] = finding["status"]
        measures |= finding.get("measures", {})
    ended = {"timeout": TIMEOUT, "memory": MEMORY, "internal": CRASHED}.get(verdict["verdict"], FAIL)
    if any(finding.get("ended") == "timeout" for finding in found):
        ended = TIMEOUT
    open_groups = [name for name in groups if name not in statuses]
    error = measures.pop("error", "")
    details = [text for name in groups if (text := measures.pop(f"{name}_detail", ""))]
    met = {name: told for name in groups if (told := measures.pop(f"{name}_met", None)) and statuses[name] == PASS}
    reason = error or "; ".join(details)
    if open_groups and not reason:
        reason = verdict["reason"] or verdict["stderr"].strip().split("\n")[-1][:300]
    return Outcome(
        groups={name: statuses.get(name, ended) for name in groups},
        reason=reason if set(statuses.values()) != {"pass"} or open_groups else "",
        measures={**measures, MET: met} if met else measures,
        cpu_s=verdict["cpu_s"],
        wall_s=verdict["wall_s"],
        memory_mb=verdict["memory_mb"],
        isolation=verdict["isolation"],
    )


class References:
    """Expected outputs of the authors' solutions, computed once and kept under the hash of everything they depend on.

    They stay the byte strings that left the sandbox: nothing outside it decodes them.
    """

    def __init__(self, benchmark: Benchmark, folder: Path, settings: Settings) -> None:
        self.benchmark = benchmark
        self.folder = folder
        self.settings = settings
        self._environment = environment(settings)
        self._paths: dict[str, Path | None] = {}
        self._read = lru_cache(maxsize=4)(self._load)

    def _path(self, problem: Problem) -> Path | None:
        if problem.id not in self._paths:
            case = self.benchmark.reference_case(problem)
            self._paths[problem.id] = None if case is None else self._hashed(case)
        return self._paths[problem.id]

    def _hashed(self, case: Case) -> Path:
        key = digest(case.program, case.judge, judge_text(case.judge), dict(case.data), self._environment)
        return self.folder / key[:2] / f"{key}.json"

    def prepare(self, problems: Iterable[Problem]) -> None:
        """Compute what is not there yet.

        Raises:
            UserError: an authors' solution does not run; the sentence names the task.
        """
        missing: dict[str, tuple[Case, Path]] = {}
        for problem in problems:
            path = self._path(problem)
            if path is not None and not path.exists():
                case = self.benchmark.reference_case(problem)
                assert case is not None
                missing[problem.id] = case, path
        if not missing:
            return
        log.info("computing the expected outputs of %d tasks", len(missing))
        mark = secrets.token_hex(16)
        cases = (sandbox_case(name, case, mark, "reference") for name, (case, _) in missing.items())
        for verdict in run_cases(cases, self.settings):
            found = findings(verdict["stdout"], mark)
            blobs = {finding["blob"]: finding["text"] for finding in found if "blob" in finding}
            if len(blobs) < 2:
                error = next((f["measures"].get("error", "") for f in found if "measures" in f), "")
                raise UserError(
                    f"the reference solution of {verdict['id']} gave no outputs ({error or verdict['reason']}): "
                    "the file of problems is damaged, or the environment lacks a package it needs"
                )
            write_json(missing[verdict["id"]][1], blobs)

    def get(self, problem: Problem) -> Mapping[str, str] | None:
        """Return a task's `inputs` and `expected` outputs, still packed; None if the benchmark has no need of them."""
        path = self._path(problem)
        return None if path is None else self._read(path)

    def _load(self, path: Path) -> Mapping[str, str]:
        return json.loads(path.read_text(encoding="utf-8"))


def execute(
    benchmark: Benchmark,
    tasks: Sequence[Task],
    settings: Settings,
    cache: Path,
    finished: Callable[[str, Outcome], None] = lambda name, outcome: None,
) -> dict[str, Outcome]:
    """Judge programs and return each one's outcome by id.

    Equal programs of one task run once. An empty program fails without a run.

    Args:
        benchmark: whose rules decide.
        tasks: in any order.
        settings: of the sandbox.
        cache: folder of expected outputs, shared by all runs.
        finished: called with each id and outcome as soon as it is known, for progress and ledgers.
    """
    outcomes: dict[str, Outcome] = {}
    twins: dict[str, list[str]] = {}
    unique: dict[str, Task] = {}
    for task in tasks:
        if not task.program.strip():
            outcomes[task.id] = Outcome(
                dict.fromkeys(benchmark.groups_of(task.problem), FAIL), "no program in the sample"
            )
            finished(task.id, outcomes[task.id])
            continue
        key = hashlib.sha256(f"{task.problem.id}\0{task.program}".encode("utf-8", "surrogatepass")).hexdigest()
        twins.setdefault(key, []).append(task.id)
        unique.setdefault(key, task)
    # Tasks of one problem follow each other, so that its expected outputs are read once.
    order = sorted(unique, key=lambda key: unique[key].problem.id)
    references = References(benchmark, cache, settings)
    references.prepare({unique[key].problem.id: unique[key].problem for key in order}.values())
    marks = {key: secrets.token_hex(16) for key in order}

    def cases() -> Iterator[dict[str, Any]]:
        for key in order:
            task = unique[key]
            case = benchmark.case(task.problem, task.program, references.get(task.problem))
            yield sandbox_case(key, case, marks[key], preload=settings.preload)

    judged: dict[str, Outcome] = {}

    def settled(key: str, result: Outcome) -> None:
        for name in twins[key]:
            finished(name, result)
        judged[key] = result

    doubtful: dict[str, Outcome] = {}
    for verdict in run_cases(cases(), settings):
        key = verdict["id"]
        result = outcome(benchmark.groups_of(unique[key].problem), verdict, marks[key])
        if MET in result.measures:
            doubtful[key] = result
        else:
            settled(key, result)
    for key, result in doubted(benchmark, unique, doubtful, settings).items():
        settled(key, result)
    counts = {key: len(names) for key, names in twins.items()}
    for key, measures in measured(benchmark, unique, counts, judged, settings).items():
        judged[key] = replace(judged[key], measures={**judged[key].measures, **measures})
        for name in twins[key]:
            finished(name, judged[key])
    for key, result in judged.items():
        for name in twins[key]:
            outcomes[name] = result
    return outcomes


def doubted(
    benchmark: Benchmark, tasks: Mapping[str, Task], outcomes: Mapping[str, Outcome], settings: Settings
) -> dict[str, Outcome]:
    """Return final outcomes of programs whose values decided what their tests compared.

    The tests run again with other values in the place of their own, in sandboxes that the program cannot tell from the
    first. A group of tests in which a place agrees with other values in all of these runs has failed.
    """
    met = {key: result.measures[MET] for key, result in outcomes.items()}
    places = {(key, group): set(found) for key, groups in met.items() for group, found in groups.items()}
    for number in range(objects.RUNS):
        keys = list(dict.fromkeys(key for key, _ in places))
        mark = secrets.token_hex(16)

        def cases(keys: Sequence[str] = keys, mark: str = mark, number: int = number) -> Iterator[dict[str, Any]]:
            for key in keys:
                case = benchmark.case(tasks[key].problem, tasks[key].program, None)
                again = [group for other, group in places if other == key]
                case = replace(case, data={**case.data, "other": number, "again": again})
                yield sandbox_case(key, case, mark, preload=settings.preload)

        lying: dict[tuple[str, str], set[str]] = {}
        for verdict in run_cases(cases(), settings) if keys else ():
            for finding in findings(verdict["stdout"], mark):
                group = str(finding.get("group"))
                lying[verdict["id"], group] = set(finding.get("measures", {}).get(f"{group}_lying", ()))
        for name, found in list(places.items()):
            told = lying.get(name, set())
            places[name] = told if objects.ANYWHERE in found else found & told
            if not places[name]:
                del places[name]
    settled = {}
    for key, result in outcomes.items():
        refused = {group for other, group in places if other == key}
        settled[key] = replace(
            result,
            groups={group: FAIL if group in refused else status for group, status in result.groups.items()},
            reason=AGREES if refused else result.reason,
            measures={name: value for name, value in result.measures.items() if name != MET},
        )
    return settled


def measured(
    benchmark: Benchmark,
    tasks: Mapping[str, Task],
    counts: Mapping[str, int],
    judged: Mapping[str, Outcome],
    settings: Settings,
) -> dict[str, dict[str, Any]]:
    """Run what a benchmark wants measured of its correct programs, and return the measures by key.

    One program runs at a time: what is measured is time, or may be. `counts` says how many samples each program stands
    for.
    """
    if not benchmark.measures_programs:
        return {}
    by_problem: dict[str, list[str]] = {}
    for key, task in tasks.items():
        if benchmark.passed(judged[key].groups):
            by_problem.setdefault(task.problem.id, []).append(key)
    found: dict[str, dict[str, Any]] = {}
    for keys in by_problem.values():
        problem = tasks[keys[0]].problem
        correct = sum(counts[key] for key in keys)
        cases = benchmark.follow_up(problem, [tasks[key].program for key in keys], correct)
        if not cases:
            continue
        mark = secrets.token_hex(16)
        results = {
            verdict["id"]: outcome(("profile",), verdict, mark).measures
            for verdict in run_cases(
                (sandbox_case(name, case, mark) for name, case in cases.items()), replace(settings, workers=1)
            )
        }
        references = [results[name].get("cost") for name in cases if name.startswith("reference/")]
        for place, key in enumerate(keys):
            if f"program/{place}" in results:
                found[key] = {**results[f"program/{place}"], "reference_costs": references}
    return found
