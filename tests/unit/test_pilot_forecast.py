"""What a pilot foresees, finds wrong and says follows from what it measured."""

import dataclasses
import json
import math

import pytest

from selfcodealign.__main__ import main as tool
from selfcodealign.config import load
from selfcodealign.evaluation.statistics import expected_distinct
from selfcodealign.pilot import findings, forecast
from selfcodealign.pilot.measure import Measured
from selfcodealign.pilot.page import page

# ---- what is foreseen ----


def pilot_of(**changes):
    """Make a pilot's figures: 40 judged, 10 written about, 8 rows."""
    chain = {
        **{"judge_seeds": (40, 20), "gather_seeds": (20, 10), "extract_concepts/self": (10, 10)},
        **{"write_instructions/self": (10, 9), "write_responses/self": (9, 9), "sanitize_responses/self": (18, 18)},
        **{
            "verify_responses/self": (18, 18),
            "select_responses/passing": (18, 9),
            "decontaminate_dataset/passing": (9, 8),
        },
        **{"dedup_dataset/passing": (8, 8), "augment_dataset/passing": (8, 8), "build_dataset/passing": (8, 8)},
        **{"train_sft/aligned": (8, 8), "sample_solutions/base/demo": (5, 5), "execute_programs/base/demo": (5, 5)},
    }
    found = {}
    for name, (entered, kept) in chain.items():
        stage, _, branch = name.partition("/")
        one = Measured(stage, branch, jobs=1, seconds=5.0, entered=entered, kept=kept, produced=kept, size=100)
        found[name] = one
    found["judge_seeds"].looped, found["judge_seeds"].looped_s = 40, 4.0
    responses = found["write_responses/self"]
    responses.produced, responses.looped, responses.looped_s, responses.tokens_out = 18, 18, 3.6, 900
    responses.finish_reasons = {"stop": 18}
    found["verify_responses/self"].verdicts = {"pass": 12, "fail": 6}
    found["train_sft/aligned"].steps = {"steps": 1, "tokens": 1600, "rows": 8, "seconds": 2.0, "row_s": 0.25}
    samples = found["sample_solutions/base/demo"]
    samples.looped, samples.looped_s, samples.finish_reasons = 5, 1.0, {"stop": 5}
    for name, values in changes.items():
        for key, value in values.items():
            setattr(found[name.replace("__", "/")], key, value)
    return found


def run_of(**values):
    config = load({"demo": True, "write_responses": {"samples": 2}, **values})
    return forecast.Run(config, 3, 4000, {"demo": 200}, {"generations.self": 2}, False)


def test_rows_go_from_stage_to_stage_by_the_shares_of_the_pilot():
    found = forecast.foreseen(run_of(), pilot_of(), (40, 40, 20))
    assert found.seeds == 2000
    costs = {(cost.stage, cost.branch): cost for cost in found.costs}
    assert costs["judge_seeds", ""].rows == 4000
    assert costs["write_responses", "self"].rows == 1800
    assert costs["verify_responses", "self"].rows == 3600
    assert costs["write_responses", "self"].tokens_out == 180_000
    rows, low, high = found.rows["passing"]
    assert rows == 1600
    # Of 20 of 40 seeds and 8 rows of 10 seeds, by hand.
    spread = 1.96 * math.sqrt(0.5 / 20 + 0.2 / 8)
    assert (low, high) == (round(1600 * (1 - spread)), round(1600 * (1 + spread)))


def test_a_job_takes_its_start_and_time_for_each_row():
    found = forecast.foreseen(run_of(), pilot_of(), (40, 40, 20))
    costs = {(cost.stage, cost.branch): cost for cost in found.costs}
    # One second before the 40 rows of 4 seconds, three shards, 4000 rows.
    assert costs["judge_seeds", ""].hours * 3600 == pytest.approx(3 * 1 + 4000 * 0.1)
    assert costs["write_responses", "self"].hours * 3600 == pytest.approx(2 * 1.4 + 1800 * 0.4)
    assert costs["build_dataset", "passing"].hours * 3600 == pytest.approx(5)
    # Four epochs of 1600 rows at 4 rows a second, and 3 seconds before the first step.
    assert costs["train_sft", "aligned"].hours * 3600 == pytest.approx(3 + 4 * 1600 / 4)
    assert costs["sample_solutions", "base/demo"].rows == 200
    # Of 100 tokens at the 250 a second of responses, where the five tasks alone took a second.
    pilot = pilot_of(sample_solutions__base__demo={"tokens_out": 100})
    quick = [cost for cost in forecast.foreseen(run_of(), pilot, (40, 40, 20)).costs if cost.branch == "base/demo"]
    assert quick[0].hours * 3600 == pytest.approx(4 + 200 * 0.4 / 5)
    asked = sum(cost.hours for cost in found.costs if cost.gpus == 2)
    assert found.gpu_hours == pytest.approx(2 * asked)
    assert {cost.stage for cost in found.costs if cost.gpus} == {
        *("extract_concepts", "write_instructions", "write_responses"),
    }
    assert found.cpu_hours + asked == pytest.approx(sum(cost.hours for cost in found.costs))
    assert found.size == sum(cost.size for cost in found.costs)
    assert any("upper bound" in note for note in found.notes)


def test_every_round_of_a_shard_is_a_job_with_a_start_of_its_own():
    pilot = pilot_of(write_responses__self={"jobs": 3, "seconds": 7.8})
    costs = forecast.foreseen(run_of(), pilot, (40, 40, 20)).costs
    (cost,) = (cost for cost in costs if cost.stage == "write_responses")
    # Two shards, three rounds of 1.4 seconds before the rows, which take 0.4 seconds each.
    assert cost.jobs == 6
    assert cost.hours * 3600 == pytest.approx(6 * 1.4 + 1800 * 0.4)


def test_rounds_are_those_of_each_shard_of_the_pilot():
    run = dataclasses.replace(run_of(), pilot_shards=2)
    costs = forecast.foreseen(run, pilot_of(write_responses__self={"jobs": 6, "seconds": 12.0}), (40, 40, 20)).costs
    assert next(cost.jobs for cost in costs if cost.stage == "write_responses") == 6


def test_a_batch_takes_its_time_however_few_its_rows_are():
    loops = [(10, 15.0), (20, 20.0), (30, 25.0), (40, 30.0)]
    values = {"jobs": 4, "seconds": 98.0, "looped": 100, "looped_s": 90.0, "entered": 100, "tokens_out": 1000}

    def hours(**changes):
        pilot = pilot_of(write_responses__self=values | {"loops": loops} | changes)
        run = run_of(engine={"batch_size": 50})
        return next(cost.hours for cost in forecast.foreseen(run, pilot, (40, 40, 20)).costs if cost.rows == 1800)

    # Two seconds of start for each of 8 jobs; 5 batches in each, of 10 seconds and half a second for each row.
    assert hours() * 3600 == pytest.approx(8 * 2 + 8 * 5 * 10 + 1800 * 0.5)
    proportional = 8 * 2 + 1800 * 0.9
    assert hours(loops=loops[:3]) * 3600 == pytest.approx(proportional), "not all loops are known"
    alike = [(25, 22.0), (24, 23.0), (26, 22.0), (25, 23.0)]
    assert hours(loops=alike) * 3600 == pytest.approx(proportional), "all alike"


def test_more_programs_define_the_same_names_among_more_rows():
    pilot = pilot_of(
        sanitize_responses__self={"same_names": [2, 2, *[1] * 16]},
        dedup_dataset__passing={"dropped": {"same_names": 3, "near_instruction": 1}, "entered": 10, "produced": 6},
    )
    rows = forecast.foreseen(run_of(), pilot, (40, 40, 20)).rows["passing"][0]
    costs = forecast.foreseen(run_of(), pilot, (40, 40, 20)).costs
    entering = next(cost.rows for cost in costs if cost.stage == "dedup_dataset")
    # The two names that are there twice stand for 61 that were not seen; one of seven others was alike otherwise.
    assert expected_distinct([2, 2, *[1] * 16], entering) == pytest.approx(18 + 60.8, abs=0.1)
    assert rows == round((18 + 60.8) * 6 / 7)
    unlike = forecast.foreseen(run_of(dedup_dataset={"names": False}), pilot, (40, 40, 20)).rows["passing"][0]
    assert unlike == round(0.6 * entering)


@pytest.mark.parametrize(
    ("values", "seeds", "rows"),
    [
        ({"gather_seeds": {"limit": 500}}, 500, 400),
        ({"judge_seeds": {"keep_share": 0.1}}, 400, 320),
        ({"gather_seeds": {"shards": 4}, "datasets": {"passing": {"seed_shards": 1}}}, 2000, 400),
    ],
    ids=["limit", "share", "shards"],
)
def test_what_the_config_cuts_is_cut(values, seeds, rows):
    found = forecast.foreseen(run_of(**values), pilot_of(), (40, 40, 20))
    assert (found.seeds, found.rows["passing"][0]) == (seeds, rows)


def test_datasets_of_equal_rows_get_those_of_the_least():
    half = {"seed_shards": 1, "equal_rows_with": ["passing"]}
    run = run_of(datasets={"passing": {}, "whole": {"equal_rows_with": ["passing"]}, "half": half})
    found = forecast.foreseen(run, pilot_of(), (40, 40, 20))
    assert {name: rows[0] for name, rows in found.rows.items()} == {"passing": 800, "whole": 800, "half": 800}


def test_what_was_not_measured_is_said():
    pilot = pilot_of()
    del pilot["train_sft/aligned"], pilot["build_dataset/passing"]
    found = forecast.foreseen(run_of(), pilot, (40, 40, 20))
    assert found.rows["passing"] == (0, 0, 0)
    assert any("Training is not in these hours" in note for note in found.notes)


# ---- what looks wrong ----


@pytest.mark.parametrize(
    ("changes", "judged", "values", "sentence", "key"),
    [
        ({}, (40, 40, 1), {"train_sft": {"batch_rows": 4}}, "says no to nearly all: 1 of 40", "judge_seeds.keep_share"),
        ({}, (40, 40, 40), {}, "says yes to nearly all: 40 of 40", "judge_seeds.keep_share"),
        (
            {"write_responses__self": {"finish_reasons": {"stop": 6, "length": 12}}},
            *(
                (40, 40, 20),
                {},
                "67% of the answers of write_responses/self reach max_tokens",
                "write_responses.max_tokens",
            ),
        ),
        (
            {"write_responses__self": {"finish_reasons": {"length": 18}}},
            *((40, 40, 20), {}, "No answer of write_responses/self ended by itself", "prompts.template"),
        ),
        (
            {"sample_solutions__base__demo": {"finish_reasons": {"length": 9}}},
            *(
                (40, 40, 20),
                {},
                "No answer of sample_solutions/base/demo ended by itself",
                "benchmarks.demo.max_tokens",
            ),
        ),
        (
            {"extract_concepts__self": {"finish_reasons": {"stop": 10}, "kept": 5, "dropped": {"malformed": 5}}},
            *(
                (40, 40, 20),
                {},
                "50% of the answers of extract_concepts/self are empty or run on",
                "extract_concepts.few_shots",
            ),
        ),
        (
            {"write_responses__self": {"duplicates": 15}},
            *((40, 40, 20), {}, "15 of 18 answers of write_responses/self repeat", "write_responses.temperature"),
        ),
        (
            {"judge_seeds": {"dropped": {"prompt_too_long": 20}}},
            *((40, 20, 10), {}, "50% of the prompts of judge_seeds do not fit", "engine.max_model_len"),
        ),
        (
            {"write_instructions__self": {"dropped": {"server_error": 9}}},
            *((40, 40, 20), {}, "50% of the requests of write_instructions/self failed for good", "engine"),
        ),
        (
            {"sanitize_responses__self": {"dropped": {"not_split": 11, "no_assertion": 3, "unfinished": 1}}},
            *((40, 40, 20), {}, "14 of 18 responses of self break it, most often by not_split", "prompts.template"),
        ),
        (
            {"verify_responses__self": {"verdicts": {"pass": 9, "vacuous": 9}}},
            *((40, 40, 20), {}, "tests of 50% of the responses of self test nothing", "prompts.examples"),
        ),
        (
            {"verify_responses__self": {"verdicts": {"error": 18}}},
            *(
                (40, 40, 20),
                {},
                "Only 0% of the responses of self pass their own tests, most end as error",
                "model.base",
            ),
        ),
        (
            {},
            *((40, 40, 20), {"gather_seeds": {"limit": 20}}, "for about 1 steps on 16 rows", "train_sft.batch_rows"),
        ),
    ],
    ids=[
        *("judge no", "judge yes", "cut off", "never ends", "benchmark never ends", "runs on", "alike", "too long"),
        *("refused", "format", "vacuous", "failing", "few rows"),
    ],
)
def test_what_looks_wrong_is_one_sentence_with_the_key_to_change(changes, judged, values, sentence, key):
    pilot, run = pilot_of(**changes), run_of(**values)
    (one,) = findings.found(run.config, pilot, judged, forecast.foreseen(run, pilot, judged))
    assert sentence in one.sentence
    assert one.sentence.endswith(".")
    assert key in one.keys
    for name in one.keys:
        assert known(run.config, name), name


def known(config, key):
    """Whether a config has a key."""
    value = config
    for part in key.split("."):
        fields = type(value).model_fields if hasattr(type(value), "model_fields") else value
        if part not in fields:
            return False
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return True


def test_nothing_looks_wrong_in_a_pilot_as_it_should_be():
    run, pilot = run_of(), pilot_of()
    whole = forecast.foreseen(run, pilot, (40, 40, 20))
    assert findings.found(run.config, pilot, (40, 40, 20), whole) == []
    (style,) = findings.found(run.config, pilot, (40, 40, 20), whole, "it has a chat template")
    assert (style.sentence, style.keys) == ("it has a chat template.", ("model.style",))
    # What is judged by a share is never yes or no to nearly all.
    shared = run_of(judge_seeds={"keep_share": 0.5})
    assert findings.found(shared.config, pilot, (40, 40, 40), forecast.foreseen(shared, pilot, (40, 40, 40))) == []


# ---- what is said ----


def written_pilot(**changes):
    return {
        **{"model": "demo/model", "judged": True, "failed": [], "findings": [], "stages": [], "texts": []},
        "seeds": {"before_judge": 4000, "shown": 40, "scored": 40, "kept": 20, "written_about": 10},
        "forecast": {
            **{"seeds": 2000, "rows": {"passing": [1600, 1200, 2000]}, "gpu_hours": 3.5, "cpu_hours": 0.5, "gb": 0.25},
            "stages": [
                {
                    **{"stage": "write_responses", "branch": "self", "jobs": 2, "rows": 1800, "hours": 1.75, "gpus": 2},
                    **{"tokens_out": 180_000, "size": 2.5e8, "gb": 0.25},
                },
                {
                    **{"stage": "verify_responses", "branch": "self", "jobs": 2, "rows": 3600, "hours": 0.5, "gpus": 0},
                    **{"tokens_out": 0, "size": 0.0, "gb": 0.0},
                },
            ],
            "notes": [],
        },
    } | changes


def test_the_page_says_what_was_seen_and_what_is_to_come():
    text = page(
        written_pilot(
            failed=["train_sft/aligned: no memory is left"],
            findings=[{"stage": "judge_seeds", "sentence": "The judge says no.", "keys": ["judge_seeds.keep_share"]}],
            texts=[{"stage": "write_responses", "id": "res-1", "text": "````\nx\n````" + "y" * 2000}],
        )
    )
    assert "40 of 4,000 seeds were judged, and 20 of them would stay. 10 were written about." in text
    assert "* **A job failed.** train_sft/aligned: no memory is left" in text
    assert "* The judge says no. (`judge_seeds.keep_share`)" in text
    assert "* `passing`: about 1,600 rows (1,200 to 2,000)" in text
    assert "3.5 GPU-hours, 0.5 hours of CPU jobs and 0.25 GB" in text
    assert "| `write_responses` | self | 1,800 | 180,000 | 3.5 |  | 0.25 |" in text
    assert "\n`````text\n````\nx\n````y" in text
    assert "… 511 characters more" in text
    assert "Nothing that this page looks for." in page(written_pilot())


def test_cost_goes_by_a_pilot_where_there_is_one(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("model: {base: org/unknown}\n")
    file = tmp_path / "results/run_pilot/pilot.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(written_pilot(model="org/unknown")))
    tool(["cost", "--configfile", "run.yaml", "--gpus", "2", "--cores", "4"])
    printed = capsys.readouterr().out
    assert "org/unknown: about 2,000 seeds, extrapolated from a pilot of 10 (results/run_pilot/pilot.json)" in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("write_responses self"))
    assert line.split()[2:] == ["1,800", "0", "180,000", "3.5", "0", "1.8", "0.25"]
    assert "in all 3.5 GPU-hours" in printed
    assert "passing: about 1,600 rows (1,200 to 2,000)" in printed
    tool(["cost", "--configfile", "run.yaml", "--parameters-b", "7"])
    assert "Calibrated on the paper's cost table" in capsys.readouterr().out
    (tmp_path / "run.yaml").write_text("model: {base: org/other}\n")
    with pytest.raises(SystemExit):
        tool(["cost", "--configfile", "run.yaml"])
    assert "pilot.json is of org/unknown, not of org/other; make the pilot again" in capsys.readouterr().err
    file.write_text("{}")
    with pytest.raises(SystemExit):
        tool(["cost", "--configfile", "run.yaml"])
    assert "pilot.json is no pilot's figures" in capsys.readouterr().err
