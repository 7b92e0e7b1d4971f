"""Tasks of one's own, some with tests, become a dataset: answered, run against both kinds of tests, published."""

import json
import random

from demo import domain
from selfcodealign.rows_io import read_rows
from tests.e2e.conftest import Checkout

CONFIG = """\
extends: tests/e2e/small.yaml
gather_seeds: {shards: 2}
augment_dataset: {share: 0}
generations:
  given: {tasks: {source: tasks.jsonl, tests: tests, licence: licence, given_tests: join}}
datasets:
  passing: {generation: given}
models: {}
"""
DATASET = "results/build_dataset/passing"


def tasks() -> list[dict[str, str | None]]:
    """Return tasks that the toy model can answer, every second one with tests, and one that is empty."""
    drawn = [domain.draw_task(random.Random(number), steps=1) for number in range(24)]
    rows: list[dict[str, str | None]] = [
        {
            "instruction": domain.instruction_of(task),
            "tests": domain.hidden_tests(task) if number % 2 else None,
            "licence": "MIT",
        }
        for number, task in enumerate(drawn)
    ]
    return [*rows, rows[0], {"instruction": "", "tests": None, "licence": "MIT"}]


def test_given_tasks_are_answered_verified_and_published(tmp_path):
    checkout = Checkout(tmp_path / "checkout", "given.yaml")
    (checkout.folder / "given.yaml").write_text(CONFIG)
    (checkout.folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tasks()))
    checkout.run("--cores", "2", DATASET, "results/check_funnels/totals.json")
    assert not (checkout.folder / "results" / "write_instructions").exists()
    funnels = [json.loads(text) for text in checkout.bytes_of("results/import_tasks/given/*.funnel.json").values()]
    dropped = [reason for funnel in funnels for reason in funnel["dropped"].items()]
    assert dict(dropped)["no_instruction"] == 1
    assert sum(count for reason, count in dropped if reason == "duplicate") >= 1
    rows = list(read_rows(checkout.folder / DATASET / "sft" / "train.parquet"))
    given = {row["instruction"]: row["tests"] for row in tasks()}
    assert rows
    assert {row["licence"] for row in rows} == {"MIT"}
    assert any(given[row["instruction"]] for row in rows)
    for row in rows:
        tests = given[row["instruction"]]
        assert tests is None or tests.strip() in row["tests"]
