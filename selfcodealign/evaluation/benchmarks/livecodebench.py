"""LiveCodeBench code generation (arXiv 2403.07974): contest problems by date, with stdin or functional tests."""

import base64
import io
import json
import pickle
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
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
from selfcodealign.evaluation.data import records
from selfcodealign.evaluation.extraction import between_last_fences
from selfcodealign.evaluation.oracles.common import packed
from selfcodealign.evaluation.oracles.livecodebench import DEPTH, NAMES

STARTS = ("2023-09-01", "2023-07-01", "2023-05-01")
"""First contest dates of the paper's three windows."""

END = "2024-02-29"
"""Last contest date of the paper's windows; both ends count."""

TEST_S = 6
"""CPU seconds a test may take."""

LEAD = (
    "You will be given a programming question and write a correct Python program that meets it and passes all tests. "
    "Return nothing but the program."
)


class LiveCodeBench(Benchmark):
    """Problems of release_v1 (400, May 2023 to February 2024), or any later release; windows by contest date."""

    name = "livecodebench"
    title = "LiveCodeBench"
    groups = ("tests",)
    paper = ("livecodebench", "2023-09-01")
    sampling = Sampling(n=10, temperature=0.2, top_p=0.95, max_tokens=2000)
    ks = (1, 5, 10)
    sources = (
        Source(
            version="release_v1",
            url="https://huggingface.co/datasets/livecodebench/code_generation_lite/resolve/main/test.jsonl",
            sha256="",
            records=400,
        ),
    )

    _packed: tuple[Problem | None, str] = (None, "")

    def problems(self, path: Path) -> list[Problem]:
        """Read the hub's records, or files with only texts and public tests; problems without tests are left out."""
        found = [
            Problem(problem.id, {**problem.record, "tests": tests}, str(problem.record.get("difficulty") or ""))
            for problem in self.tasks(path)
            if (tests := tests_of(problem.record))
        ]
        if not found:
            raise UserError(
                f"{path} has no problem with tests: this is not a file of LiveCodeBench; name the right file"
            )
        return found

    def untested(self, path: Path) -> list[str]:
        """Return the ids of problems without tests."""
        return [problem.id for problem in self.tasks(path) if not tests_of(problem.record)]

    def tasks(self, path: Path) -> list[Problem]:
        """Read problems, with tests or not."""
        return [Problem(name_of(record, number), record) for number, record in enumerate(records(path))]

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out the question: solutions are not published."""
        yield from prompt_passages(problem.id, text_of(problem))

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask for a program in a fence, with the starter code where there is one."""
        if earlier:
            return None
        text, starter = text_of(problem), problem.record.get("starter_code") or ""
        if style == "base":
            head = f"### Question\n{text}\n\n" + (f"### Starter Code\n{starter}\n\n" if starter else "")
            return Prompt(f"{head}### Answer\n\n```python\n", stop=("\n```", "\n### Question"))
        if starter:
            ask = f"Begin with this code, and enclose the program in a fence:\n```python\n{starter}\n```"
        else:
            ask = "Read the input from stdin, write the answer to stdout, and enclose the program in a fence."
        return Prompt(f"{LEAD}\n\n### Question\n{text}\n\n### Format\n{ask}")

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Take the completion of the open fence, or the code in the answer: the authors' last two fences."""
        if style == "base":
            return texts[0]
        return between_last_fences(texts[0]) if self.reading == "reference" else self.code_in(problem, texts[0])

    def wanted(self, problem: Problem) -> Collection[str]:
        """Return the function that is called and the class it stands in, or `input`."""
        calls = problem.record["tests"][0].get("testtype") == "functional"
        return {"Solution", function_of(problem)} if calls else {"input"}

    def canonical(self, problem: Problem) -> str:
        """Raise: the authors publish no solutions."""
        raise UserError("LiveCodeBench publishes no solutions; score samples instead")

    def empty(self, problem: Problem) -> str:
        """Return a program that prints nothing, or a function that returns nothing."""
        starter = problem.record.get("starter_code") or ""
        return f"{starter.rstrip()}\n        pass\n" if starter else "pass\n"

    def task_of(self, record: Mapping[str, Any]) -> str:
        """Name the problem by `question_id`, as the authors do, or by `task_id`."""
        return str(record["question_id"]) if "question_id" in record else super().task_of(record)

    def samples_in(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield each entry of the authors' `code_list`."""
        if "code_list" in record:
            for code in record["code_list"]:
                yield {"question_id": record["question_id"], "solution": code}
        else:
            yield record

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Run all tests until one fails."""
        tests = problem.record["tests"]
        calls = tests[0].get("testtype") == "functional"
        entry_point = f"Solution.{function_of(problem)}" if calls else ""
        data = {"entry_point": entry_point, "limit_s": float(TEST_S), "names": NAMES, "depth": DEPTH, "lines": True}
        wanted = [test["output"] for test in tests]
        limits = Limits(cpu_s=(TEST_S + 1.0) * len(tests) + 10)
        inputs = {"inputs": self._inputs(problem, calls)}
        return Case(program, "livecodebench", data, limits, inputs, {"wanted": wanted})

    def _inputs(self, problem: Problem, calls: bool) -> str:
        """Return the tests' inputs, packed; the last problem's are kept, for its samples follow each other."""
        if self._packed[0] is not problem:
            texts = [test["input"] for test in problem.record["tests"]]
            self._packed = problem, packed({"tests": [(text, TEST_S, False) for text in texts] if calls else texts})
        return self._packed[1]

    def metrics(self, problems: Sequence[Problem], verdicts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Metric]:
        """Return pass@k over all problems, and pass@1 over each of the paper's windows where dates are known."""
        found = super().metrics(problems, verdicts)
        by_task = next((metric.by_task for metric in found if metric.headline), {})
        dated = {problem.id: str(problem.record.get("contest_date") or "")[:10] for problem in problems}
        for start in STARTS:
            inside = {name: by_task[name] for name, date in dated.items() if date and start <= date <= END}
            if inside:
                found.append(Metric(f"from_{start}_pass@1", inside))
        return found


def name_of(record: Mapping[str, Any], number: int) -> str:
    """Return a problem's id: the hub's, or its place in the file."""
    return str(record.get("question_id") or record.get("id") or f"problem-{number}")


def text_of(problem: Problem) -> str:
    """Return the question's text."""
    return (
        problem.record.get("question_content") or problem.record.get("problem") or problem.record.get("content") or ""
    )


def function_of(problem: Problem) -> str:
    """Return the name of the function that functional tests call: from the metadata, or from the starter code."""
    metadata = problem.record.get("metadata") or "{}"
    name = (json.loads(metadata) if isinstance(metadata, str) else metadata).get("func_name")
    if name:
        return name
    starter = problem.record.get("starter_code") or problem.record.get("main.py") or ""
    found = re.findall(r"^\s*def (\w+)\(self", starter, re.MULTILINE) or re.findall(
        r"^def (\w+)\(", starter, re.MULTILINE
    )
    if not found:
        raise UserError(
            f"LiveCodeBench problem {problem.id} has functional tests but names no function; correct its record"
        )
    return found[-1]


def tests_of(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a record's tests, public then private, whatever the file's form."""
    if "public_test_cases" in record:
        return listed(record["public_test_cases"]) + listed(record.get("private_test_cases") or "[]")
    if "tests.json" in record:
        return listed(json.loads(record["tests.json"])["tests"]) if record["tests.json"] else []
    return listed(record.get("tests") or [])


def listed(tests: str | list[dict[str, str]]) -> list[dict[str, str]]:
    """Read a list of tests: as it is, from JSON, or from the hub's compressed form."""
    if isinstance(tests, list):
        return tests
    if not tests.strip():
        return []
    try:
        return json.loads(tests)
    except ValueError:
        pass
    try:
        return json.loads(TextOnly(io.BytesIO(zlib.decompress(base64.b64decode(tests)))).load())
    except (ValueError, zlib.error, pickle.UnpicklingError, EOFError) as error:
        raise UserError(
            f"tests are neither JSON nor in the hub's packed form ({error}); fetch the file again"
        ) from None


class TextOnly(pickle.Unpickler):
    """Unpickle plain values only: the hub's private tests are one pickled text, and a file is not to be trusted."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function."""
        raise UserError(f"the private tests hold {module}.{name}, not text; fetch the file again")
