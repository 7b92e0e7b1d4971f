"""Write the demo's benchmark: held-out tasks of the toy domain in HumanEval's format.

Each task composes two operations that neither the corpus nor the seed functions compose; both operations are known. The
tests are drawn from the specification, half of them such that the operations' common mistakes show.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo import domain
from demo.domain import Task
from selfcodealign.config.demo import MakeDemoBenchmark
from selfcodealign.errors import UserError
from selfcodealign.rows_io import write_text
from selfcodealign.stage import run

FEWEST_CASES = 6


def held_out_tasks(split: str, seed: int | str) -> Iterator[Task]:
    """Yield a task for each held-out composition that can be tested well, in random order."""
    rng = random.Random(f"benchmark:{split}:{seed}")
    pairs = domain.compositions(split)
    rng.shuffle(pairs)
    for pair in pairs:
        steps = tuple((operation, rng.choice(operation.parameters)) for operation in pair)
        task = Task(steps, "_".join(operation.name for operation in pair), rng.randrange(len(domain.LEADS)))
        if len(domain.hidden_cases(task)) >= FEWEST_CASES:
            yield task


def row_of(number: int, task: Task) -> dict[str, Any]:
    """Return a task as a row of HumanEval, with its text as an instruction added."""
    checks = domain.hidden_tests(task, "candidate").replace("\n", "\n    ")
    return {
        "task_id": f"Demo/{number}",
        "prompt": f'{domain.signature_of(task)}\n    """{domain.docstring_of(task)}"""\n',
        "entry_point": task.name,
        "canonical_solution": domain.body_of(task, domain.right_code(task)) + "\n",
        "test": f"def check(candidate):\n    {checks}\n",
        "instruction": domain.instruction_of(task),
    }


def main(tasks: Path, *, settings: MakeDemoBenchmark) -> None:
    """Write held-out tasks as JSON lines; no composition is in both splits."""
    split, count = settings.split, settings.count
    found = list(held_out_tasks(split, settings.seed))
    if len(found) < count:
        raise UserError(f"make_demo_benchmark: the {split} split has {len(found)} tasks, not {count}; lower `count`")
    rows = (row_of(number, task) for number, task in enumerate(found[:count]))
    write_text(tasks, "".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    run(main)
