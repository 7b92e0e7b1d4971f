"""Two models are compared on the tasks that both have."""

import json

import pytest

from scripts.compare_models import compared, main
from selfcodealign.errors import UserError
from selfcodealign.rows_io import write_json


def scores(model: str, values: dict[str, float], headline: str = "pass@1") -> dict:
    return {"model": model, "benchmark": "demo", "headline": headline, "by_task": {headline: values}}


def test_every_pair_gets_a_paired_test(tmp_path):
    for name, solved in (("base", 2), ("aligned", 9), ("other", 9)):
        write_json(tmp_path / f"{name}.json", scores(name, {f"t{n}": float(n < solved) for n in range(10)}))
    files = [tmp_path / f"{name}.json" for name in ("base", "aligned", "other")]
    main(files, tmp_path / "c.json", run_seed=1)
    found = json.loads((tmp_path / "c.json").read_text())
    assert [(pair["first"], pair["second"], round(pair["difference"], 6)) for pair in found["pairs"]] == [
        ("base", "aligned", -0.7),
        ("base", "other", -0.7),
        ("aligned", "other", 0.0),
    ]
    assert found["pairs"][0]["p_value"] == pytest.approx(2 / 2**7)


def test_only_shared_tasks_count():
    found = compared(scores("a", {"x": 1.0, "y": 0.0}), scores("b", {"y": 1.0, "z": 1.0}), 0)
    assert (found["tasks"], found["difference"]) == (1, -1.0)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [(scores("b", {"z": 1.0}), "share no task"), (scores("b", {"x": 1.0}, "pass@10"), "no number of demo in common")],
)
def test_what_cannot_be_compared_is_refused(second, sentence):
    with pytest.raises(UserError, match=sentence):
        compared(scores("a", {"x": 1.0}), second, 0)
