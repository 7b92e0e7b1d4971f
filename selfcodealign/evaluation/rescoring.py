"""Score samples that are there already: what the command `evaluate` does, as a function."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from selfcodealign.evaluation import base, data, published_samples
from selfcodealign.evaluation.base import Benchmark, Outcome, Problem
from selfcodealign.evaluation.execution import Task, execute, sandbox_settings
from selfcodealign.evaluation.scoring import score
from selfcodealign.sandbox.settings import Isolation, Settings
from selfcodealign.stage import progress


def evaluate(
    benchmark: str | Benchmark,
    problems: Path,
    samples: Path,
    *,
    as_is: bool = False,
    missing: Literal["exclude", "fail"] = "exclude",
    workers: int | None = None,
    isolation: Isolation = "auto",
    i_understand: bool = False,
    python: str | None = None,
    work: Path = Path("work/evaluate"),
    seed: int = 3407,
) -> dict[str, Any]:
    """Run published samples of a benchmark in the sandbox, and score them.

    Args:
        benchmark: a benchmark or its name.
        problems: file of its problems, as its authors publish it.
        samples: file or folder of samples in the benchmark's public format.
        as_is: whether Markdown around samples stays where it is.
        missing: what a task without samples counts as.
        workers: programs that run at once; all cores by default.
        isolation: layer of the sandbox.
        i_understand: needed for isolation `none`: programs may then do anything to this machine.
        python: interpreter that runs the programs, where they need other packages than this one has.
        work: folder where expected outputs are kept.
        seed: of the bootstrap.

    Returns:
        `metrics` (name → value and interval, in percent), `tasks` (id → verdicts), `benchmark`, `title`, `isolation`
        and `warnings`.

    Raises:
        UserError: there is no such benchmark, a file is none of its own, or no isolation works here.
    """
    kind = base.get(benchmark) if isinstance(benchmark, str) else benchmark
    data.refuse_other_benchmark(kind, problems)
    asked = kind.problems(problems)
    published = published_samples.read(kind, asked, samples, as_is=as_is, untested=kind.untested(problems))
    programs = [
        {"id": one.id, "task_id": one.task_id, "sample": one.sample, "program": one.program, "note": one.note}
        for one in published
    ]
    settings = sandbox_settings(kind, workers=workers, isolation=isolation, i_understand=i_understand, python=python)
    results = results_of(kind, asked, programs, settings, work, missing=missing, seed=seed)
    return results | {"warnings": published_samples.warnings(published, asked) + results["warnings"]}


def results_of(
    benchmark: Benchmark,
    problems: Sequence[Problem],
    programs: Sequence[Mapping[str, Any]],
    settings: Settings,
    work: Path,
    *,
    missing: str,
    seed: int,
) -> dict[str, Any]:
    """Judge programs and score them.

    Args:
        benchmark: whose programs they are.
        problems: in file order.
        programs: `id`, `task_id`, `sample`, `program` and `note` of each.
        settings: how they run.
        work: folder where expected outputs are kept.
        missing: what a task without samples counts as, `exclude` or `fail`.
        seed: of the bootstrap.
    """
    by_id = {problem.id: problem for problem in problems}
    tasks = [Task(row["id"], by_id[row["task_id"]], row["program"]) for row in programs]
    shown = progress(range(len(tasks)), total=len(tasks), unit="programs", label=benchmark.name)

    def count(name: str, outcome: Outcome) -> None:
        next(shown, None)

    outcomes = execute(benchmark, tasks, settings, work / "references", count)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(programs, key=lambda row: row["sample"]):
        one = outcomes[row["id"]]
        verdict = {
            "sample": row["sample"],
            "passed": benchmark.passed(one.groups),
            "groups": dict(one.groups),
            "measures": dict(one.measures),
            "reason": one.reason,
            "note": row["note"],
        }
        rows.setdefault(row["task_id"], []).append(verdict)
    found = score(benchmark, problems, rows, seed=seed, missing=missing)
    for task, record in found["tasks"].items():
        # Tasks without samples that count as failures have verdicts of the same form.
        blank = {"passed": False, "reason": "no sample", "note": ""}
        absent = [{"sample": place, "groups": groups, **blank} for place, groups in enumerate(record["verdicts"])]
        record["verdicts"] = [
            {key: verdict[key] for key in ("sample", "passed", "groups", "reason", "note")}
            for verdict in rows.get(task) or absent
        ]
    return {
        **found,
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "isolation": sorted(Counter(one.isolation for one in outcomes.values() if one.isolation)),
    }
