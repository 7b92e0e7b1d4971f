"""ClassEval (arXiv 2308.01861): whole classes, written in one go, method by method, or each method alone."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfcodealign.evaluation.base import (
    PASS,
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
from selfcodealign.evaluation.extraction import compiles, cut
from selfcodealign.evaluation.statistics import mean, pass_at_k

STRATEGIES = ("holistic", "incremental", "compositional")
CLASS_S = 5
"""CPU seconds a unittest class may take."""

NEXT_CLASS = ("\nclass ", "\nif __name__", "\nprint(", "\n# Test", "\n#Test")


class ClassEval(Benchmark):
    """100 classes by three strategies; 502 unittest classes, one for each method and one for each whole class."""

    name = "classeval"
    title = "ClassEval"
    groups = ()
    island = "evaluate-classeval"
    preload = ("numpy",)
    paper = ("classeval", "class_level")
    sampling = Sampling(n=1, temperature=0.0, max_tokens=1024)
    sources = (
        Source(
            version="2023-09",
            url="https://github.com/FudanSELab/ClassEval/raw/de74aae97ae7d8639d251d99bd75a2a5cfac4f6b/data/ClassEval_data.json",
            sha256="50a1ac0e4d0c238573c10c0ab11feae00b14a80ae9e4c9cc28148707ecf0b6a2",
            records=100,
        ),
    )

    def problems(self, path: Path) -> list[Problem]:
        """Read classes; each becomes a problem for each strategy, `ClassEval_0/holistic` and so on."""
        fields = ("task_id", "skeleton", "test", "solution_code", "import_statement", "class_name", "test_classes")
        found = need(need(records(path), path, *fields), path, "class_constructor", "methods_info", "class_description")
        return [
            Problem(f"{record['task_id']}/{strategy}", record, strategy, strategy)
            for strategy in STRATEGIES
            for record in found
        ]

    def passages(self, problem: Problem) -> Iterator[Passage]:
        """Keep out the skeleton, the class, and each of its methods."""
        record = problem.record
        task = record["task_id"]
        yield from prompt_passages(task, record["skeleton"], record["class_description"])
        yield Passage(task, "solution", record["solution_code"])
        for method in record["methods_info"]:
            place = f"{task}.{method['method_name']}"
            yield Passage(place, "prompt", method["method_description"])
            # The rehearsal's toy classes have no solutions of single methods.
            yield Passage(place, "solution", method.get("solution_code") or "")

    def groups_of(self, problem: Problem) -> tuple[str, ...]:
        """Return the names of the class's unittest classes."""
        return tuple(name.strip() for name in problem.record["test_classes"])

    def passed(self, groups: Mapping[str, str]) -> bool:
        """A class is solved when every one of its unittest classes passes."""
        return bool(groups) and all(status == PASS for status in groups.values())

    def prompt(self, problem: Problem, style: Style, earlier: Sequence[str] = ()) -> Prompt | None:
        """Ask for the whole class once, or for one method a turn."""
        record = problem.record
        methods = record["methods_info"]
        if problem.variant == "holistic":
            if earlier:
                return None
            if style == "base":
                return Prompt(record["skeleton"].rstrip() + "\n", stop=NEXT_CLASS)
            ask = f"Complete the class {record['class_name']} in the following code."
            return Prompt(f"{ask}\n```python\n{record['skeleton'].strip()}\n```", prefix="```python", stop=("\n```\n",))
        if len(earlier) == len(methods):
            return None
        method = methods[len(earlier)]
        if problem.variant == "incremental":
            context = self._assembled(problem, earlier, described=True)
        else:
            others = [other for other in methods if other is not method]
            context = head(record, described=True) + "".join(stub(other["method_description"]) for other in others)
        text = f"{context.rstrip()}\n\n    {method['method_description'].rstrip()}\n"
        if style == "base":
            return Prompt(text, stop=("\n    def ", "\n    @", "\nclass ", "\ndef ", "\nif __name__"))
        ask = f"Complete the method {method['method_name']} of the following class {record['class_name']}."
        return Prompt(f"{ask}\n```python\n{text.strip()}\n```", prefix="```python", stop=("\n```\n",))

    def program(self, problem: Problem, texts: Sequence[str], style: Style) -> str:
        """Assemble the class from the texts: the whole of it, or its imports, constructor and extracted methods."""
        if problem.variant == "holistic":
            skeleton = problem.record["skeleton"].rstrip() + "\n"
            code = skeleton + cut(texts[0], NEXT_CLASS) if style == "base" else self.code_in(problem, texts[0])
            return self._finished(problem, code)
        codes = [text if style == "base" else self.code_in(problem, text) for text in texts]
        return self._finished(problem, self._assembled(problem, self._whole(problem, codes, style), described=False))

    def _whole(self, problem: Problem, codes: Sequence[str], style: Style) -> list[str]:
        """Put a method's signature and docstring back before a base model's body."""
        if style != "base":
            return list(codes)
        described = [method["method_description"] for method in problem.record["methods_info"]]
        return [f"    {text.rstrip()}\n{code}" for text, code in zip(described, codes, strict=False)]

    def _assembled(self, problem: Problem, texts: Sequence[str], *, described: bool) -> str:
        """Return imports, constructor and the methods found in the texts so far."""
        names = [method["method_name"] for method in problem.record["methods_info"]]
        methods = [method_in(text, name) for text, name in zip(texts, names, strict=False)]
        return head(problem.record, described=described) + "".join(f"\n\n{method}" for method in methods)

    def wanted(self, problem: Problem) -> Collection[str]:
        """Return the names of the class and its methods, which may be written without it."""
        record = problem.record
        return {record["class_name"], *(method["method_name"] for method in record["methods_info"])}

    def _finished(self, problem: Problem, code: str) -> str:
        if not code.strip():
            return ""
        return "\n".join(problem.record["import_statement"]) + "\n" + static_marked(code)

    def canonical(self, problem: Problem) -> str:
        """Return the published class."""
        return self._finished(problem, problem.record["solution_code"])

    def empty(self, problem: Problem) -> str:
        """Return the skeleton: methods with docstrings only."""
        return self._finished(problem, problem.record["skeleton"])

    def task_of(self, record: Mapping[str, Any]) -> str:
        """Name the problem by `task_id` and `strategy` (holistic if not given)."""
        task = super().task_of(record)
        return task if "/" in task else f"{task}/{record.get('strategy', 'holistic')}"

    def samples_in(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield each of the authors' `predict` texts: a whole class, however it came about."""
        if "predict" in record:
            for text in record["predict"]:
                yield {"task_id": self.task_of(record), "completion": text}
        else:
            yield record

    def published(self, problem: Problem, record: Mapping[str, Any]) -> str:
        """Take a whole class as code or as an answer with a fence in it."""
        text = record.get("solution", record.get("completion"))
        if not isinstance(text, str):
            return super().published(problem, record)
        return self._finished(problem, (not compiles(text) and self.code_in(problem, text)) or text)

    def case(self, problem: Problem, program: str, reference: Mapping[str, str] | None) -> Case:
        """Run every unittest class of the task."""
        names = list(self.groups_of(problem))
        data = {"tests": problem.record["test"], "classes": names, "groups": names, "limit_s": CLASS_S}
        return Case(program, "unittests", data, Limits(cpu_s=CLASS_S * (len(names) + 2.0)))

    def metrics(self, problems: Sequence[Problem], verdicts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Metric]:
        """Return class- and method-level pass@1 of each strategy, and of the best one, which the paper reports."""
        found: dict[str, tuple[Metric, Metric]] = {}
        for strategy in STRATEGIES:
            inside = [problem for problem in problems if problem.variant == strategy]
            if not inside:
                continue
            classes, methods = {}, {}
            for problem in inside:
                rows = verdicts[problem.id]
                classes[problem.id] = pass_at_k(len(rows), sum(row["passed"] for row in rows), 1)
                for name in self.groups_of(problem):
                    passed = sum(row["groups"].get(name) == PASS for row in rows)
                    methods[f"{problem.id}/{name}"] = pass_at_k(len(rows), passed, 1)
            found[strategy] = Metric(f"{strategy}_class_level", classes), Metric(f"{strategy}_method_level", methods)
        metrics = [metric for pair in found.values() for metric in pair]
        if found:
            best = max(found.values(), key=lambda pair: mean(list(pair[0].by_task.values())))
            by_class = {name.rsplit("/", 1)[0]: value for name, value in best[0].by_task.items()}
            metrics = [
                Metric("class_level", by_class, headline=True),
                Metric("method_level", best[1].by_task),
                *metrics,
            ]
        return metrics


def head(record: Mapping[str, Any], *, described: bool) -> str:
    """Return imports and constructor, with the class's docstring when it is shown to a model."""
    constructor = record["class_constructor"].rstrip()
    if described:
        first, _, rest = constructor.partition("\n")
        constructor = f"{first}\n{record['class_description'].rstrip()}\n{rest}"
    return "\n".join(record["import_statement"]) + f"\n\n{constructor}\n"


def stub(description: str) -> str:
    """Return a method's signature with an empty body."""
    signature = description.split('"""')[0].rstrip()
    return f"\n    {signature}\n        pass\n"


def method_in(text: str, name: str) -> str:
    """Find a method in a text and return it indented as a member; empty if it is not there.

    It ends before the first line that is indented no deeper than its `def`; without `self` or `cls` it becomes static.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    start = next((number for number, line in enumerate(lines) if re.match(rf"\s*(async )?def {name}\(", line)), None)
    if start is None:
        return ""
    indent = len(lines[start]) - len(lines[start].lstrip())
    found = [lines[start]]
    for line in lines[start + 1 :]:
        # A signature may close on a line of its own at the margin of its `def`.
        closes = line.strip().startswith(")") and not any(before.rstrip().endswith(":") for before in found)
        if line.strip() and len(line) - len(line.lstrip()) <= indent and not closes:
            break
        found.append(line)
    moved = [" " * 4 + line[indent:] if line.strip() else "" for line in found]
    if "self" not in moved[0] and "cls" not in moved[0]:
        moved.insert(0, "    @staticmethod")
    return "\n".join(moved).rstrip() + "\n"


def static_marked(code: str) -> str:
    """Take every `@staticmethod` off and put it before members without `self` or `cls`, as the authors' scorer does."""
    found = []
    for line in code.split("\n"):
        if "@staticmethod" in line:
            continue
        if line.strip().startswith("def ") and "self" not in line and "cls" not in line and line[:5].strip(" ") == "d":
            found.append("    @staticmethod")
        found.append(line)
    return "\n".join(found)
