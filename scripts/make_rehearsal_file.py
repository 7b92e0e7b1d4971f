"""Write toy tasks as a file in the format of one of the paper's benchmarks, or as an instruction dataset of others.

The rehearsal of the paper's tables reads them in place of the published files, so that every benchmark's own reader,
prompts and judge run. Benchmark tasks are held-out compositions; the dataset's are compositions of the corpus.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from demo import domain
from demo.domain import Task
from demo.formats import FORMATS
from scripts.make_demo_benchmark import held_out_tasks
from selfcodealign.config.demo import MakeRehearsalFile
from selfcodealign.errors import UserError
from selfcodealign.rows_io import write_text
from selfcodealign.stage import run


def training_tasks(seed: int) -> Iterator[Task]:
    """Yield tasks of the corpus without end."""
    rng = random.Random(f"instructions:{seed}")
    while True:
        yield domain.draw_task(rng)


def main(format: str, file: Path, *, settings: MakeRehearsalFile) -> None:
    """Write a file of records in a format.

    Args:
        format: a benchmark, or `instructions`.
        file: where to write the records, as JSON lines.
        settings: how many records, and which.

    Raises:
        UserError: the format is not known, or the domain has not so many held-out tasks.
    """
    if format not in FORMATS:
        raise UserError(f"there is no format {format!r}; choose one of {', '.join(FORMATS)}")
    write, each = FORMATS[format]
    # Each format has its own tasks: a benchmark must not be solved by another one's data.
    seed = settings.seed
    tasks = training_tasks(seed) if format == "instructions" else held_out_tasks("test", f"{seed}:{format}")
    records = []
    for number in range(settings.count):
        chosen = [task for task, _ in zip(tasks, range(each), strict=False)]
        if len(chosen) < each:
            raise UserError(f"make_rehearsal_file: there are held-out tasks for {number} records; lower `count`")
        records.append(write(number, *chosen))
    write_text(file, "".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    run(main)
