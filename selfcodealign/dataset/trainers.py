"""Tasks for reinforcement learning in the columns that the trainers of others read: verl's, and open-r1's.

They lie beside `rl/train.parquet`, under names of their own, so that who reads that configuration sees no difference.
"""

import ast
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from selfcodealign.dataset import fences
from selfcodealign.dataset.rows import turn
from selfcodealign.rows import Message, Row
from selfcodealign.rows_io import write_rows

DATA_SOURCE = "selfcodealign"
"""verl chooses its reward by this name. It knows none under it and says so, rather than take one that does not fit."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class RewardModel(BaseModel):
    """What verl hands to a reward."""

    style: str
    ground_truth: str


class ExtraInfo(BaseModel):
    """What else verl hands to a reward: everything that `POST /run` needs beside the answer."""

    split: str
    index: int
    id: str
    tests: str
    pass_rate: float


class VerlRow(BaseModel):
    """A row of verl's `RLHFDataset`."""

    data_source: str
    prompt: list[Message]
    ability: str
    reward_model: RewardModel
    extra_info: ExtraInfo


class TestCase(BaseModel):
    """A test of open-r1's `verification_info`."""

    type: str
    input: str
    output: str


class VerificationInfo(BaseModel):
    """What open-r1's rewards for code read."""

    language: str
    test_cases: list[TestCase]


class OpenR1Row(Row):
    """A row that open-r1 reads, by `dataset_prompt_column: prompt` or `problem`."""

    prompt: str
    problem: str
    verification_info: VerificationInfo
    pass_rate: float


def script(tests: str) -> str | None:
    """Make tests of code that runs them when a plain interpreter comes to its end, as sandboxes of others ask for.

    Returns:
        The code, with a call of each test function that nobody calls; None where only a test runner could run them
        (classes, fixtures, parameters, coroutines), or where nothing that runs can fail.
    """
    code = fences.unfenced(tests)
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    called = {node.func.id for node in _run(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    calls = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (node.name.startswith("Test") or node.bases):
            return None
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test"):
            continue
        if isinstance(node, ast.AsyncFunctionDef) or node.decorator_list:
            return None
        if node.name not in called:
            needed = node.args.posonlyargs + node.args.args
            if len(needed) > len(node.args.defaults) or None in node.args.kw_defaults:
                return None
            calls.append(f"{node.name}()")
    text = "\n".join([code.rstrip("\n"), *calls, ""])
    checked = any(isinstance(node, ast.Assert | ast.Raise) or _may_check(node) for node in _run(ast.parse(text)))
    return text if checked else None


def _run(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what runs when a module does: all but the functions at its top that no running part names."""
    waiting: list[ast.AST] = [node for node in tree.body if not isinstance(node, FUNCTIONS)]
    left = {node.name: node for node in tree.body if isinstance(node, FUNCTIONS)}
    waiting += [decorator for node in left.values() for decorator in node.decorator_list]
    while waiting:
        for node in ast.walk(waiting.pop()):
            yield node
            if isinstance(node, ast.Name) and node.id in left:
                waiting.append(left.pop(node.id))


def _may_check(node: ast.AST) -> bool:
    """Tell whether a node is a call of something that may assert by itself, as those of numpy.testing do."""
    if not isinstance(node, ast.Call):
        return False
    words = (getattr(part, key, None) for part in ast.walk(node.func) for key in ("id", "attr", "value"))
    return any(isinstance(word, str) and "assert" in word for word in words)


def verl_row(task: dict[str, Any], index: int, code: str) -> dict[str, Any]:
    """Make verl's row of a task (its documentation, "Prepare data for post-training").

    `ground_truth` is what its `sandbox_fusion` reward reads: one case without input, whose output does not matter, and
    an assertion that is run after the answer.
    """
    truth = {"inputs": [None], "outputs": [None], "assert_case": [code]}
    return {
        "data_source": DATA_SOURCE,
        "prompt": [turn("user", task["instruction"])],
        "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": json.dumps(truth)},
        "extra_info": {
            **{"split": "train", "index": index, "id": task["id"]},
            **{"tests": code, "pass_rate": task["pass_rate"]},
        },
    }


def open_r1_row(task: dict[str, Any], index: int, code: str) -> dict[str, Any]:
    """Make open-r1's row of a task (its README, `verification_info`).

    Its own reward feeds `input` to the answer and compares what is printed with `output`. Assertions cannot be asked
    so; the output therefore is one that no answer prints by accident, and that reward is 0 rather than wrongly 1.
    """
    case = {"type": "assertion", "input": code, "output": f"passed {task['id']}"}
    return {
        "id": task["id"],
        "prompt": task["instruction"],
        "problem": task["instruction"],
        "verification_info": {"language": "python", "test_cases": [case]},
        "pass_rate": task["pass_rate"],
    }


FILES: dict[str, tuple[type[BaseModel], Callable[[dict[str, Any], int, str], dict[str, Any]]]] = {
    "train.verl.parquet": (VerlRow, verl_row),
    "train.open_r1.parquet": (OpenR1Row, open_r1_row),
}
"""Files beside `rl/train.parquet`, what their rows are, and how one is made."""


def write(tasks: Iterable[dict[str, Any]], folder: Path) -> dict[str, int]:
    """Write the tasks whose tests run as a script to one file for each trainer.

    Returns:
        How many tasks were written, and how many left out, because only a test runner could run their tests.
    """
    found = [(task, script(task["tests"])) for task in tasks]
    kept = [(task, code) for task, code in found if code is not None]
    for name, (schema, row) in FILES.items():
        write_rows(folder / name, schema, (row(task, index, code) for index, (task, code) in enumerate(kept)))
    return {"written": len(kept), "left_out": len(found) - len(kept)}
