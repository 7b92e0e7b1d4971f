"""The estimate before a run agrees with the hours that the paper's authors measured."""

import pytest

from selfcodealign.__main__ import main
from selfcodealign.cost import PAPER, TABLE_SAMPLES, TABLE_SEEDS, estimate
from selfcodealign.pipeline import STAGES, WRITING

NAME = "Qwen/CodeQwen1.5-7B"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work where no pilot has been, whose figures would be taken."""
    monkeypatch.chdir(tmp_path)


def hours(name, without=None):
    row = PAPER[name]
    stages = estimate(row.parameters_b, TABLE_SEEDS, TABLE_SAMPLES, rows=row.rows, without=without)
    training = sum(stage.gpu_hours for stage in stages if stage.name == "train_sft")
    return sum(stage.gpu_hours for stage in stages) - training, training


@pytest.mark.parametrize("name", PAPER)
def test_calibration_reproduces_the_rows_it_was_made_from(name):
    generation, training = hours(name)
    assert generation == pytest.approx(PAPER[name].generation_gpu_hours, rel=0.01)
    assert training == pytest.approx(PAPER[name].training_gpu_hours, rel=0.01)


def test_a_row_left_out_is_predicted_within_30_percent():
    generation, training = hours(NAME, without=NAME)
    assert generation == pytest.approx(7 * 4, rel=0.3)
    assert training == pytest.approx(0.5 * 4, rel=0.3)


def test_costs_grow_with_seeds_samples_and_size():
    total = lambda *run: sum(stage.gpu_hours for stage in estimate(*run))  # noqa: E731
    assert total(7, 1000, 10) < total(7, 2000, 10) < total(7, 2000, 20)
    assert total(1, 1000, 10) < total(7, 1000, 10) < total(33, 1000, 10) < total(70, 1000, 10)


def test_the_stages_are_those_of_the_pipeline_in_its_order():
    names = [stage.name for stage in estimate(7, 1000, 10, functions=5000)]
    assert names == [name for name in STAGES if name in names]
    assert {"gather_seeds", *WRITING, "verify_responses", "train_sft"} == set(names)


def test_the_table_is_printed_for_a_config(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(f"model: {{base: {NAME}}}\ngather_seeds: {{limit: 37340}}\n")
    main(["cost", "--configfile", str(file), "--gpus", "4"])
    printed = capsys.readouterr().out
    assert "7.25 B parameters, 37,340 seeds" in printed
    assert "GPU-hours" in printed


def test_responses_that_may_stop_early_are_an_upper_bound(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(f"model: {{base: {NAME}}}\nwrite_responses: {{samples: 8, enough: 1}}\n")
    main(["cost", "--configfile", str(file)])
    printed = capsys.readouterr().out
    assert "at most 8 responses each" in printed
    assert "Responses are an upper bound: after 1 that pass, a task gets no more (write_responses.enough)." in printed


def test_an_unknown_size_is_asked_for(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("model: {base: someone/unknown-model}\n")
    with pytest.raises(SystemExit):
        main(["cost", "--configfile", str(file)])
    assert "name it with --parameters-b" in capsys.readouterr().err
