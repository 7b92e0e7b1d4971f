"""A model trained on a dataset of others goes through the same training and evaluation as one's own."""

import json

from tests.e2e.conftest import Checkout

CONFIG = """\
extends: tests/e2e/small.yaml
other_datasets:
  published: {source: published.jsonl, instruction: [problem, hint], response: solution}
models:
  aligned: {dataset: passing}
  baseline: {dataset: published}
"""
SCORE = "results/score_benchmark/baseline/demo.json"


def row(number: int) -> dict[str, str | None]:
    """Return a row as other people name its columns."""
    code = f"```python\ndef add_{number}(value):\n    return value + {number}\n```"
    return {"problem": f"Write a function that adds {number}.", "hint": None, "solution": code}


def test_a_dataset_of_others_is_trained_on_and_evaluated(tmp_path):
    checkout = Checkout(tmp_path / "checkout", "baseline.yaml")
    (checkout.folder / "baseline.yaml").write_text(CONFIG)
    rows = [json.dumps(row(number % 40)) + "\n" for number in range(50)]
    (checkout.folder / "published.jsonl").write_text("".join(rows))
    checkout.run("--cores", "2", SCORE)
    funnels = checkout.bytes_of("results/*/*.funnel.json")
    imported = json.loads(funnels["results/import_dataset/published.funnel.json"])
    assert (imported["kept"], imported["dropped"]) == (40, {"duplicate": 10})
    assert json.loads(funnels["results/train_sft/baseline.funnel.json"])["entered"] == 40
    score = json.loads((checkout.folder / SCORE).read_text())
    assert (score["model"], score["metrics"]["pass@1"]["tasks"]) == ("baseline", 30)
    assert "other_datasets" in checkout.run("--cores", "1", "--dry-run", "results/provenance.json")
