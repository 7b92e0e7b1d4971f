"""EvalPerf (arXiv 2408.06450): how fast correct solutions are, beside reference solutions from slow to fast."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.evaluation.base import (
    Benchmark,
    Case,
    Limits,
    Metric,
    Passage,
    Problem,
    Prompt,
    Sampling,
    Source,
    Style,
)
from selfcodealign.evaluation.benchmarks.evalplus import HumanEvalPlus, MbppPlus
from selfcodealign.evaluation.data import need
from selfcodealign.evaluation.data import records as read
from selfcodealign.evaluation.statistics import mean, pass_at_k

FEWEST_CORRECT = 10
MOST_PROFILED = 20
PROFILE_S = 20.0
"""CPU seconds that one measured call may take."""

FIELDS = ("task_id", "entry_point", "reference", "scores", "pe_input")
PLUS_FIELDS = ("prompt", "canonical_solution", "base_input", "plus_input", "atol")


class EvalPerf(Benchmark):
    """118 tasks of HumanEval+ and MBPP+ with one costly input each; 100 samples a task."""

    name = "evalperf"
    title = "EvalPerf"
    groups = ("base", "plus")
    required = ("base", "plus")
    paper = ("evalperf", "dps")
    sampling = Sampling(n=100, temperature=1.0, max_tokens=1024)
    sources = (Source(version="hub", url="", sha256="", records=118),)
    texts_url = "https://huggingface.co/api/datasets/evalplus/evalperf/parquet/default/test/0.parquet"
    measures_programs = True
    unit = "instructions"
    """What cost is measured in: `instructions` where the processor's counter is readable, else `cpu_s`."""

    def problems(self, path: Path) -> list[Problem]:
        """Read tasks that `joined` gave their HumanEval+ or MBPP+ inputs."""
        return [Problem(record["task_id"], record) for record in need(read(path), path, *FIELDS, *PLUS_FIELDS)]

    def joined(self, files: Sequence[Path]) -> list[dict[str, Any]]:
        """Join EvalPerf's published records with the HumanEval+ and MBPP+ records of the same tasks."""
        perf: list[dict[str, Any]] = []
        plus: dict[str, dict[str, Any]] = {}
        for file in files:
            for record in read(file):
                if "pe_input" in record:
                    perf.append(record)
                else:
                    plus[record["task_id"]] = record
        for record in perf:
            if isinstance(record["pe_input"], str):
                record["pe_input"] = json.loads(record["pe_input"])
            wanted = plus.get(record["task_id"], {})
            record |= {name: wanted[name] for name in PLUS_FIELDS if name in wanted and name not in record}
        return perf

    def tasks(self, path: Path) -> list[Problem]:
        """Read tasks also before they are joined: the authors publish their solutions alone."""
        return [Problem(record["task_id"], record) for record in need(read(path), path, "task_id", "reference")]

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out all reference solutions, and what HumanEval+ or MBPP+ keeps out."""
        if "prompt" in problem.record:
            yield from self._plus(problem).passages(problem)
        for solution in problem.record["reference"]:
            yield Passage(problem.id, "solution", solution)

    def _plus(self, problem: Problem) -> HumanEvalPlus | MbppPlus:
        plus = MbppPlus() if problem.id.startswith("Mbpp/") else HumanEvalPlus()
        plus.reading = self.reading
        return plus

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask as HumanEval+ or MBPP+ does."""
        return self._plus(problem).prompt(problem, style, earlier)

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Read the program as HumanEval+ or MBPP+ does."""
        return self._plus(problem).program(problem, texts, style)

    def published(self, problem: Problem, record: Mapping[str, Any]) -> str:
        """Take `solution`, or the head and a `completion`."""
        return self._plus(problem).published(problem, record)

    def task_of(self, record: Mapping[str, Any]) -> str:
        """Accept `HumanEval_0` for `HumanEval/0`, as the authors' harness does."""
        return super().task_of(record).replace("_", "/")

    def canonical(self, problem: Problem) -> str:
        """Return the fastest reference solution."""
        return problem.record["reference"][-1]

    def reference_case(self, problem: Problem) -> Case | None:
        """Run HumanEval+'s or MBPP+'s reference for expected outputs."""
        return self._plus(problem).reference_case(problem)

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Check correctness first."""
        return self._plus(problem).case(problem, program, reference)

    def follow_up(self, problem: Problem, passed: Sequence[str], correct: int) -> dict[str, Case]:
        """Measure up to 20 correct programs and all references, slowest first, if at least 10 samples are correct."""
        if correct < FEWEST_CORRECT:
            return {}
        found = {f"reference/{j}": text for j, text in enumerate(problem.record["reference"])}
        found |= {f"program/{j}": text for j, text in enumerate(passed[:MOST_PROFILED])}
        data = {
            "entry_point": problem.record["entry_point"],
            "dataset": "mbpp" if problem.id.startswith("Mbpp/") else "humaneval",
            "task": int(problem.id.split("/")[-1]),
            "inputs": problem.record["pe_input"],
            "limit_s": PROFILE_S,
            "unit": self.unit,
        }
        limits = Limits(cpu_s=PROFILE_S + 10.0)
        return {name: Case(text, "evalperf", data, limits) for name, text in found.items()}

    def metrics(self, problems: Sequence[Problem], verdicts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Metric]:
        """Return DPS and DPS_norm over the measured tasks, and pass@1 over all of them."""
        dps, normed, correct, counted = {}, {}, {}, {}
        for problem in problems:
            rows = verdicts[problem.id]
            correct[problem.id] = pass_at_k(len(rows), sum(bool(row["passed"]) for row in rows), 1)
            found = [differential(problem.record["scores"], row["measures"]) for row in rows]
            measured = [pair for pair in found if pair is not None]
            if measured:
                dps[problem.id] = mean([pair[0] for pair in measured]) / 100
                normed[problem.id] = mean([pair[1] for pair in measured]) / 100
                units = {row["measures"].get("unit") for row in rows if "cost" in row["measures"]}
                counted[problem.id] = float(units == {"instructions"})
        return [
            Metric("dps", dps, headline=True),
            Metric("dps_norm", normed),
            Metric("pass@1", correct),
            Metric("measured_in_instructions", counted),
        ]


def differential(scores: Sequence[float], measures: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return a program's DPS and DPS_norm in percent; None if it was not measured, 0 if it failed to run.

    References are scanned from fast to slow; the first that the program is no slower than sets the score.

    Args:
        scores: the references' published scores, slowest first.
        measures: `cost`, and `reference_costs` in the same order.
    """
    if "reference_costs" not in measures:
        return None
    cost = measures.get("cost")
    if cost is None:
        return 0.0, 0.0
    for j in range(len(scores) - 1, -1, -1):
        reference = measures["reference_costs"][j]
        if reference is not None and cost <= reference:
            return float(scores[j]), 100 * (j + 1) / len(scores)
    return 0.0, 0.0
