"""Measure how far the toy model's own tests can be trusted, with the oracle that only a toy domain has.

`python -m demo.measure results/verify_responses/*/*.parquet` reads verified responses and says how much of the code is
right (hidden tests of the instruction), and how often right and wrong code passes its own tests. The pipeline never
sees these figures. `by operation` says the same of right code for each operation that a task names, worst first: there
one sees which values the model computes wrongly.

With the files of `results/weigh_assertions` behind them, it says the same with the matrix's word in the place of own
tests, and how many of all assertions, of those agreed on and of the pooled ones right code fails.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.domain import function_of, hidden_tests, read_instruction, right_code
from selfcodealign.dataset.fences import python_code
from selfcodealign.rows_io import read_rows
from selfcodealign.sandbox import Settings, run_cases

PLAIN = Settings(vacuous=False)


def cases(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a case for the sandbox for each response whose instruction lies in the domain."""
    for row in rows:
        task = read_instruction(row["instruction"])
        tests = hidden_tests(task) if task else ""
        if tests:
            yield {"id": row["id"], "code": python_code(row["response"]), "test": tests}


def summary(rows: list[dict[str, Any]], right: dict[str, bool]) -> dict[str, float]:
    """Return the shares: passing, right, right among passing, passing among right and among wrong."""
    judged = [row for row in rows if row["id"] in right]
    good = [row for row in judged if right[row["id"]]]
    bad = [row for row in judged if not right[row["id"]]]
    passing = [row for row in judged if row["passed"]]
    return {
        "responses": len(rows),
        "in the domain": len(judged),
        "pass their own tests": len(passing) / len(judged),
        "code right": len(good) / len(judged),
        "code right, of passing": sum(right[row["id"]] for row in passing) / len(passing),
        "pass, of right code": sum(row["passed"] for row in good) / len(good),
        "pass, of wrong code": sum(row["passed"] for row in bad) / len(bad),
    }


def by_operation(rows: list[dict[str, Any]], right: dict[str, bool]) -> dict[str, dict[str, float]]:
    """Return for each operation the right responses whose task has it, and the share that passes; worst first."""
    verdicts: dict[str, list[bool]] = {}
    for row in rows:
        if right.get(row["id"]) and (task := read_instruction(row["instruction"])):
            for name in task.composition:
                verdicts.setdefault(name, []).append(row["passed"])
    table = {name: {"right": len(passed), "pass": sum(passed) / len(passed)} for name, passed in verdicts.items()}
    return dict(sorted(table.items(), key=lambda item: (item[1]["pass"], item[0])))


def weighed(rows: list[dict[str, Any]], weights: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with what the matrix believes in the place of what passes its own tests."""
    credible = {row["id"]: row["credible"] for row in weights}
    return [row | {"passed": credible[row["id"]]} for row in rows]


def of_assertions(rows: list[dict[str, Any]], assertions: list[dict[str, Any]]) -> dict[str, float]:
    """Return the shares of assertions that right code fails: of all, of those agreed on, of the pooled ones."""
    instructions = {row["instruction_id"]: row["instruction"] for row in rows}
    known = []
    for row in assertions:
        if task := read_instruction(instructions[row["instruction_id"]]):
            known.append((row, {"id": row["id"], "code": function_of(task, right_code(task)), "test": row["text"]}))
    wrong = {verdict["id"] for verdict in run_cases((case for _, case in known), PLAIN) if not verdict["passed"]}
    kinds = {"all": known, "agreed": [one for one in known if one[0]["agreed"]]}
    kinds["pooled"] = [one for one in known if one[0]["pooled"]]
    return {
        f"{name}, {what}": value
        for name, ones in kinds.items()
        for what, value in (
            ("assertions", len(ones)),
            ("fail right code", sum(row["id"] in wrong for row, _ in ones) / max(1, len(ones))),
        )
    }


def main(paths: list[Path]) -> None:
    """Print the shares as JSON."""
    weights = [path for path in paths if "weigh_assertions" in path.parts]
    of_responses = [path for path in weights if not path.name.endswith(".assertions.parquet")]
    columns = ["id", "instruction_id", "instruction", "response", "passed"]
    verdicts = [path for path in paths if path not in weights]
    rows = [row for row in read_rows(verdicts, columns) if row["response"]]
    right = {verdict["id"]: verdict["passed"] for verdict in run_cases(cases(rows), Settings())}
    found: dict[str, Any] = summary(rows, right) | {"by operation": by_operation(rows, right)}
    if weights:
        found["by the matrix"] = summary(weighed(rows, list(read_rows(of_responses))), right)
        found["assertions"] = of_assertions(rows, list(read_rows(path for path in weights if path not in of_responses)))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
