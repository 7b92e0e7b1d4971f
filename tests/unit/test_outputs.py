"""A trace names the figures that moved, and only those."""

import json
import shutil
import sys

import pytest

from tests import outputs
from tests.small_run import make_run


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run")).results


def test_funnels_are_added_up_over_shards_and_name_what_was_dropped(results):
    found = outputs.figures(results)
    funnels = [json.loads(path.read_text()) for path in results.glob("filter_seeds/*.funnel.json")]
    assert len(funnels) == 2
    assert found["filter_seeds: kept"] == sum(funnel["kept"] for funnel in funnels)
    assert found["filter_seeds: dropped too_short"] == sum(funnel["dropped"].get("too_short", 0) for funnel in funnels)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        pytest.param({"a: kept": 3}, {"a: kept": 3}, [], id="equal"),
        pytest.param({"a: kept": 3}, {"a: kept": 4}, ["a: kept: 3 -> 4"], id="count"),
        pytest.param({"a: kept": 3}, {}, ["a: kept: 3 -> nothing"], id="gone"),
        pytest.param({}, {"a: kept": 3}, ["a: kept: nothing -> 3"], id="new"),
        pytest.param({"m: loss": [1.0, 0.5]}, {"m: loss": [1.0, 0.500001]}, [], id="within-tolerance"),
        pytest.param(
            {"m: loss": [1.0, 0.5]},
            {"m: loss": [1.0, 0.6]},
            ["m: loss: step 2 0.500000 -> 0.600000; 1 differ, at most by 0.2"],
            id="loss",
        ),
        pytest.param({"m: loss": [1.0, 0.5]}, {"m: loss": [1.0]}, ["m: loss: 2 steps -> 1"], id="fewer-steps"),
    ],
)
def test_a_line_for_each_figure_that_moved(before, now, said):
    assert outputs.moved(before, now, 1e-4) == said


def test_a_recorded_run_compares_equal_and_a_changed_count_is_named(results, tmp_path, monkeypatch, capsys):
    shutil.copytree(results / "filter_seeds", tmp_path / "results" / "filter_seeds")
    results = tmp_path / "results"
    monkeypatch.setattr(outputs, "RECORDED", tmp_path / "outputs")
    monkeypatch.setattr(outputs, "TRACES", tmp_path / "traces")
    monkeypatch.setattr(sys, "argv", ["outputs", str(results), "--name", "small", "--record"])
    outputs.main()
    monkeypatch.setattr(sys, "argv", ["outputs", str(results), "--name", "small"])
    with pytest.raises(SystemExit) as ended:
        outputs.main()
    assert ended.value.code == 0
    trace = tmp_path / "traces" / "small.json"
    recorded = json.loads(trace.read_text())
    trace.write_text(json.dumps(recorded | {"filter_seeds: kept": recorded["filter_seeds: kept"] + 1}))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        outputs.main()
    assert ended.value.code == 1
    assert f"filter_seeds: kept: {recorded['filter_seeds: kept'] + 1} -> " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["demo", "ablation"])
def test_the_recorded_traces_have_funnels_verdicts_losses_scores_and_hashes(name):
    recorded = json.loads((outputs.TRACES / f"{name}.json").read_text())
    assert recorded["verify_responses: kept"] == sum(
        count for figure, count in recorded.items() if figure.startswith("verify_responses: verdicts")
    )
    for part in ("train_sft/", "score_benchmark/", "sha256 of the rows"):
        assert any(part in figure for figure in recorded), part
