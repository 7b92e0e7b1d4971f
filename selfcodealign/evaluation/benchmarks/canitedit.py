"""CanItEdit (arXiv 2312.12450): edit a program by an instruction, descriptive or lazy, with hidden tests."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    prompt_passages,
)
from selfcodealign.evaluation.data import need, records
from selfcodealign.evaluation.extraction import Piece
from selfcodealign.evaluation.statistics import mean

KINDS = ("descriptive", "lazy")
TESTS = "### START TESTS ###"
KIND_AT_END = re.compile(r"(?:^|_)(?:instruction_)?(descriptive|lazy)$")
STOP = ("## Code After:", "## Instruction:", "## Code Before:", "## Test Case:", "## Explanation:")
"""Where the authors stop a model that is asked in their direct format."""


class CanItEdit(Benchmark):
    """105 edits, each asked for twice; corrective, adaptive and perfective ones in equal parts."""

    name = "canitedit"
    title = "CanItEdit"
    groups = ("tests",)
    paper = ("canitedit", "average")
    sampling = Sampling(n=20, temperature=0.2, top_p=0.95, max_tokens=2048)
    preload = ("numpy", "pandas", "scipy")
    ks = (1, 10, 20)
    sources = (
        Source(
            version="rebuilt",
            url="",
            sha256="e4f0bd7ef933fd4838d444c3ef74bc63cdc75439f6bb0b870ba54a01779c7364",
            records=105,
        ),
    )
    texts_url = "https://huggingface.co/api/datasets/nuprl/CanItEdit/parquet/default/test/0.parquet"

    def problems(self, path: Path) -> list[Problem]:
        """Read edits; each becomes two problems, `<full name>/descriptive` and `<full name>/lazy`."""
        fields = ("full_name", "before", "after", "tests", "instruction_descriptive", "instruction_lazy", "taxonomy")
        return [
            Problem(f"{record['full_name']}/{kind}", record, record["taxonomy"]["change_kind"], kind)
            for record in need(records(path), path, *fields)
            for kind in KINDS
        ]

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out the instruction, and the program before and after the edit."""
        record = problem.record
        yield from prompt_passages(record["full_name"], record[f"instruction_{problem.variant}"], record["before"])
        yield Passage(record["full_name"], "solution", record["after"])

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask in the authors' direct format, or with the instruction and the program in a fence."""
        if earlier:
            return None
        before, wanted = problem.record["before"], problem.record[f"instruction_{problem.variant}"]
        if style == "base":
            return Prompt(f"## Code Before:\n{before}\n## Instruction:\n{wanted}\n## Code After:\n", stop=STOP)
        text = f"Change the Python program below as asked, and write out the whole program.\n\n{wanted}"
        return Prompt(f"{text}\n\n```python\n{before}\n```", prefix="```python", stop=("\n```\n",))

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Take the completion, or the code in the answer: the whole program after the edit."""
        return self.completed("", texts[0], STOP) if style == "base" else self.code_in(problem, texts[0])

    def wanted(self, problem: Problem) -> Collection[str]:
        """Return the names that the tests use."""
        return Piece(problem.record["tests"]).used

    def canonical(self, problem: Problem) -> str:
        """Return the authors' program after the edit."""
        return problem.record["after"]

    def task_of(self, record: Mapping[str, Any]) -> str:
        """Name the problem by `task_id`, or as the authors' result files do: by name and kind of instruction.

        The kind stands in `instr_kind`, at the end of the name, or at the end of the file's name.
        """
        if "task_id" in record:
            return str(record["task_id"])
        name = str(record.get("full_name") or record.get("name") or "")
        if "full_name" not in record and "id" in record and not name.startswith(f"{record['id']}_"):
            name = f"{record['id']}_{name}"
        file = str(record.get("_file", "")).split(".")[0]
        for text in (str(record.get("instr_kind") or ""), name, file):
            if found := KIND_AT_END.search(text):
                kind = found[1]
                return f"{KIND_AT_END.sub('', name) or KIND_AT_END.sub('', file)}/{kind}"
        return f"{name}/"

    def samples_in(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield each sample of the authors' files (MultiPL-E's layout): `results` after execution, else `completions`.

        A program of `results` holds the tests; a completion stands after the file's `prompt`, unless that is the
        request to edit.
        """
        head = {"task_id": self.task_of(record)}
        if record.get("results"):
            tests = str(record.get("tests") or "")
            for result in record["results"]:
                program = result["program"].split(TESTS)[0]
                program = program.removesuffix(tests) if tests else program
                yield {**head, "solution": program.removesuffix("\n")}
        elif "completions" in record:
            prompt = str(record.get("prompt") or "")
            prompt = "" if any(mark in prompt for mark in STOP) else prompt
            for completion in record["completions"]:
                text = completion["content"] if isinstance(completion, Mapping) else completion
                yield {**head, "solution": prompt + text}
        else:
            yield record

    def published(self, problem: Problem, record: Mapping[str, Any]) -> str:
        """Take `solution` or `completion`: both are the whole program after the edit."""
        return super().published(
            problem, {"solution": record["completion"], **record} if "completion" in record else record
        )

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Run program and tests as one script; measure what the tests do not reach if they pass."""
        data = {"tail": "\n" + problem.record["tests"], "limit_s": 60.0}
        return Case(program, "script", data, Limits(cpu_s=250.0), secret={"before": problem.record["before"]})

    def metrics(self, problems: Sequence[Problem], verdicts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Metric]:
        """Return pass@k by change kind and by instruction, and ExcessCode over problems with any passing sample."""
        found = super().metrics(problems, verdicts)
        by_task = next((metric.by_task for metric in found if metric.headline), {})
        for kind in KINDS:
            inside = {problem.id: by_task[problem.id] for problem in problems if problem.variant == kind}
            found.append(Metric(f"{kind}_pass@1", inside))
        excess = {}
        for problem in problems:
            values = [row["measures"]["excess"] for row in verdicts[problem.id] if "excess" in row["measures"]]
            if values:
                excess[problem.id] = mean(values)
        found.append(Metric("excess_code", excess))
        return found
