"""A pilot is the run with less of everything, and what it foresees follows from what it measured."""

import dataclasses
import json
import math

import pytest

from scripts.run_pilot import command, failed, gpus, main, prepared, seeing
from selfcodealign.__main__ import main as tool
from selfcodealign.commands.pilot import command as typed
from selfcodealign.config import Config, load
from selfcodealign.config.pilot import RunPilot
from selfcodealign.errors import UserError
from selfcodealign.evaluation.statistics import expected_distinct
from selfcodealign.pilot import findings, forecast, setup
from selfcodealign.pilot.measure import Measured, measured
from selfcodealign.pilot.page import page
from selfcodealign.plan import Plan
from selfcodealign.planned_pilot import PlannedPilot, passed_on
from selfcodealign.rows import ResponseRow, SeedRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import response_row
from tests.generation_rows import seed, write_seeds

# ---- what is tried ----


def test_seeds_are_drawn_by_their_ids_whatever_their_order_and_files(tmp_path):
    rows = [seed(number) for number in range(30)]
    write_rows(tmp_path / "all.parquet", SeedRow, rows)
    write_rows(tmp_path / "a.parquet", SeedRow, rows[20:])
    write_rows(tmp_path / "b.parquet", SeedRow, [*reversed(rows[:20]), rows[25]])
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    assert setup.choose([tmp_path / "all.parquet"], 7, 11, one) == 30
    assert setup.choose([tmp_path / "a.parquet", tmp_path / "b.parquet"], 7, 11, two) == 30
    assert one.read_bytes() == two.read_bytes()
    drawn = [row["id"] for row in read_rows(one)]
    assert len(drawn) == 7
    assert drawn == sorted(drawn) != sorted(row["id"] for row in rows)[:7]
    assert setup.choose([tmp_path / "all.parquet"], 7, 12, two) == 30
    assert drawn != [row["id"] for row in read_rows(two)]
    assert setup.choose([tmp_path / "all.parquet"], 99, 11, two) == 30
    assert len(list(read_rows(two))) == 30


def test_a_run_of_many_generations_is_tried_on_those_that_differ():
    config = load(
        {
            "demo": True,
            "generations": {
                "first": {},
                "again": {"seed": 5},
                "short": {"path": "direct"},
                "teacher": {"model": "org/teacher", "answers": "again"},
                "second": {"model": "aligned"},
                "late": {"model": "org/teacher", "answers": "second"},
            },
            "datasets": {
                "passing": {"generation": "again"},
                "more": {"generation": "first", "seed_shards": 1, "equal_rows_with": ["passing"]},
                "failing": {"generation": "first", "selection": "failing"},
            },
            "models": {"aligned": {"dataset": "more"}},
        }
    )
    assert setup.generations(config) == {
        **{"first": "first", "again": "first", "short": "short", "teacher": "teacher"},
        **{"second": "first", "late": "first"},
    }
    assert setup.datasets(config) == {"passing": "passing", "more": "passing", "failing": "failing"}
    few = setup.derived(config, setup.Path("results"), setup.Path("/somewhere/seeds.parquet"))
    assert {name: one.answers for name, one in few.generations.items()} == {
        **{"first": None, "short": None, "teacher": "first"},
    }
    assert {name: one.generation for name, one in few.datasets.items()} == {"passing": "first", "failing": "first"}
    assert few.models["aligned"].dataset == "passing"


def test_the_pilots_config_is_the_runs_with_less_of_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "passing"):
        (tmp_path / folder).mkdir()
    (tmp_path / "few.txt").write_text("")
    config = load(
        {
            "model": {"base": "mine"},
            "data": {"raw_shards": "x/*.parquet", "kept_out": ["mbpp"], "other_benchmarks": {"own": "few.txt"}},
            "prompts": {"examples": "few.txt"},
            "run_pilot": {"seeds": 12, "tasks": 3},
            "benchmarks": {"humaneval": {"benchmark": "humaneval_plus"}, "mbpp_plus": {"tasks": 2}},
            "gather_seeds": {"shards": 40},
            "datasets": {"passing": {"seed_shards": 3}},
            "models": {"aligned": {"settings": {"epochs": 3, "batch_rows": 8}}},
        }
    )
    few = setup.derived(config, setup.Path("results"), tmp_path / "seeds.parquet")
    assert few.data.seeds == str(tmp_path / "seeds.parquet")
    assert few.model.base == str(tmp_path / "mine")
    assert few.prompts.examples == str(tmp_path / "few.txt")
    assert few.datasets["passing"].generation == "self"  # A folder of a name's name is none of its business.
    assert few.models["aligned"].dataset == "passing"
    assert few.data.kept_out == []
    problems = tmp_path / "results/fetch_benchmark"
    assert few.data.other_benchmarks == {"own": str(tmp_path / "few.txt"), "mbpp": str(problems / "mbpp.gz")}
    assert few.benchmarks["humaneval"].file == str(problems / "humaneval.gz")
    assert few.benchmarks["humaneval"].benchmark == "humaneval_plus"
    assert (few.benchmarks["humaneval"].tasks, few.benchmarks["mbpp_plus"].tasks) == (3, 2)
    assert (few.gather_seeds.shards, few.gather_seeds.limit, few.judge_seeds.keep_at_least) == (1, 12, 12)
    assert few.datasets["passing"].seed_shards is None
    assert few.models["aligned"].settings == {
        **{"epochs": 2, "batch_rows": 8, "validation_share": 0.0, "keep": "last"},
        "save_every_steps": setup.STEPS_NEVER_SAVED,
    }
    assert Config.model_validate_json(setup.written(few)) == few
    assert setup.targets(few) == [
        *("results/verify_responses/self/00000.parquet", "results/build_dataset/passing"),
        *("results/execute_programs/base/humaneval.parquet", "results/execute_programs/base/mbpp_plus.parquet"),
        "results/train_sft/aligned",
    ]
    assert not setup.derived(load({"run_pilot": {"train": False}}), setup.Path("results"), tmp_path / "s").models
    assert load({"mode": "reference", "judge_seeds": {"keep_at_least": 3}}).judge_seeds.keep_at_least == 3


def test_a_run_from_snippets_is_tried_on_snippets():
    config = {"demo": True, "generations": {"self": {"seeds": "snippets"}}}
    assert PlannedPilot(Plan(load(config), ["a"])).seeds == [
        f"results/gather_snippets/0000{number}.parquet" for number in range(2)
    ]
    few = setup.derived(load(config), setup.Path("results"), setup.Path("/s.parquet"))
    assert few.generations["self"].seeds == "functions"
    assert PlannedPilot(Plan(load({"demo": True}), ["a"])).seeds == ["results/decontaminate_seeds/00000.parquet"]


def test_a_pilot_needs_the_runs_benchmarks_and_examples():
    config = load({"demo": True, "prompts": {"examples": "results/fetch_reference_prompts/shots.txt"}})
    assert PlannedPilot(Plan(config, ["a"])).needed[:2] == [
        *("results/fetch_benchmark/demo.gz", "results/fetch_benchmark/demo.json"),
    ]
    assert "results/fetch_reference_prompts/shots.txt" in PlannedPilot(Plan(config, ["a"])).needed


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["pilot", "--cores", "2"], ["--cores", "2"]),
        (["--cores=all", "--configfile", "a.yaml", "b.yaml", "-p", "pilot"], ["--cores=all", "-p"]),
        (
            ["-d", "run", "--profile", "profiles/slurm", "--sdm", "apptainer"],
            ["--profile", "profiles/slurm", "--sdm", "apptainer"],
        ),
        (["--config", "seed=3", "run_pilot={seeds: 3}", "-j4"], ["-j4"]),
        (["results/run_pilot/pilot.json", "-c2", "--forcerun", "run_pilot", "-F"], ["-c2"]),
        (["--set-resources", "write_responses:gpu=1", "pilot"], ["--set-resources", "write_responses:gpu=1"]),
    ],
    ids=["cores", "config files", "cluster", "config", "targets", "resources"],
)
def test_where_and_with_how_much_jobs_run_is_passed_on(words, kept):
    assert passed_on(words) == kept


@pytest.mark.parametrize(
    ("values", "there", "counts"),
    [
        ({}, False, (0, 0, 0)),
        ({}, True, (1, 1, 1)),
        ({"engine": {"device": "cpu"}}, True, (0, 0, 0)),
        ({"engine": {"backend": "vllm", "tensor_parallel": 4}}, False, (4, 4, 4)),
        ({"engine": {"backend": "openai", "base_url": "http://localhost:1/v1"}}, True, (0, 0, 0)),
        ({"generations": {"self": {"engine": {"device": "cuda:1"}}}}, False, (0, 1, 0)),
        ({"model": {"engine": {"backend": "vllm"}}, "judge_seeds": {"model": "org/judge"}}, False, (0, 1, 1)),
    ],
    ids=["no GPU", "a GPU", "CPU asked for", "vLLM", "server", "a writer's", "the base model's"],
)
def test_a_job_holds_the_gpus_of_its_engine(values, there, counts):
    found = gpus(load({"demo": True, **values}), there)
    assert (found["judge_seeds"], found["generations.self"], found["models.base"]) == counts
    assert set(found) == {"judge_seeds", "generations.self", "models.base", "models.aligned"}


def test_the_pilots_own_run_uses_the_same_rules(tmp_path):
    few = load({"demo": True})
    words = command(tmp_path, few, ["--cores", "2"])
    assert words[3 : 3 + len(setup.targets(few))] == setup.targets(few)
    assert words[words.index("--directory") + 1] == str(tmp_path)
    assert words[-2:] == ["--cores", "2"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], ["--cores", "all"]),
        (["--cores", "2"], ["--cores", "2"]),
        (["--profile", "profiles/slurm"], ["--profile", "profiles/slurm"]),
        (["--seeds", "8", "-n"], ["-n", "--config", "run_pilot={seeds: 8}", "--cores", "all"]),
        (["--seeds", "8", "-c1", "--config", "seed=3"], ["-c1", "--config", "run_pilot={seeds: 8}", "seed=3"]),
        (["--configfile", "a.yaml", "b.yaml", "-j", "1"], ["--configfile", "a.yaml", "b.yaml", "-j", "1"]),
    ],
    ids=["nothing", "cores", "profile", "seeds", "two configs", "config files"],
)
def test_the_tool_starts_snakemake(given, words, monkeypatch):
    seen = []
    monkeypatch.setattr("selfcodealign.commands.pilot.main", lambda arguments: seen.append(typed(arguments)))
    tool(["pilot", *given])
    (found,) = seen
    assert found[1:4] == ["-m", "snakemake", "pilot"]
    assert found[6:] == words


def test_the_tool_refuses_a_pilot_of_no_seeds(capsys):
    with pytest.raises(SystemExit):
        tool(["pilot", "--seeds", "0"])
    assert capsys.readouterr().err == "error: --seeds is 0; give at least 1\n"
    with pytest.raises(SystemExit):
        tool(["status", "--nonsense"])
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err


# ---- what goes wrong ----


def refused(tmp_path, **changes):
    given = {
        **{"before_judge": [write_seeds(tmp_path / "seeds.parquet", 3)], "pilot": tmp_path / "pilot.json"},
        **{"page": tmp_path / "pilot.md", "work": tmp_path / "work", "results": tmp_path / "results"},
        **{"config": '{"demo": true}', "arguments": ["--cores", "1"], "settings": RunPilot()},
    }
    with pytest.raises(UserError) as told:
        main(**given | changes)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_no_seeds_at_all_are_one_sentence(tmp_path):
    empty = write_seeds(tmp_path / "none.parquet", 0)
    assert refused(tmp_path, before_judge=[empty]).startswith("there is no seed to try: the 1 files ")


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    told = refused(tmp_path, work=tmp_path / "file/work")
    assert told == f"the pilot's folder {tmp_path}/file/work cannot be written to: Not a directory; mend that"


def test_a_pilot_goes_on_only_under_the_same_config_with_the_same_seeds(tmp_path):
    seeds, work = write_seeds(tmp_path / "seeds.parquet", 9), tmp_path / "work"
    config = load({"demo": True})

    def again(count, config):
        config = config.model_copy(update={"run_pilot": RunPilot(seeds=count, judged=1)})
        done = prepared([seeds], config, tmp_path / "results", work)
        kept = (work / "results").exists()
        (work / "results").mkdir(exist_ok=True)
        return done, kept, len(list(read_rows(work / "seeds.parquet"))), (work / "seeds.parquet").stat().st_mtime_ns

    first, same = again(4, config), again(4, config)
    assert first[:3] == (9, False, 4)
    assert same[:3] == (9, True, 4)
    assert same[3] == first[3], "Snakemake would judge them again"
    assert again(5, config)[:3] == (9, False, 5)
    assert again(5, load({"demo": True, "write_responses": {"max_tokens": 9}}))[:3] == (9, False, 5)
    assert sorted(path.name for path in work.iterdir()) == ["config.json", "results", "seeds.parquet"]


def test_containers_see_the_run_that_a_pilot_is_of(tmp_path, monkeypatch):
    monkeypatch.delenv("APPTAINER_BIND", raising=False)
    assert seeing(tmp_path)["APPTAINER_BIND"] == str(tmp_path)
    monkeypatch.setenv("APPTAINER_BIND", "/data")
    assert seeing(tmp_path)["APPTAINER_BIND"] == f"/data,{tmp_path}"


def test_the_first_job_that_failed_says_why(tmp_path):
    ended = "error: the server refuses the key\nTo run this job by hand: cd /x && y\n"
    for name, text in (("judge_seeds/00000", ended), ("write_responses/self/00000", "kept 3 of 4 rows\n")):
        path = tmp_path / f"logs/{name}.log"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert failed(tmp_path) == ["judge_seeds/00000: the server refuses the key"]


# ---- what is measured ----


def job(work, name, seconds, log="", funnel=None, place=None):
    """Write what a finished job leaves."""
    for path, text in (
        (work / f"timings/{name}.jsonl", json.dumps({"s": seconds}) + "\n"),
        (work / f"logs/{name}.log", log),
        (work / f"results/{place or name}.funnel.json", json.dumps(funnel or {})),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_training_is_measured_by_the_steps_after_the_first(tmp_path):
    job(tmp_path, "train_sft/aligned", 12.0, "", {"entered": 8, "kept": 8, "produced": 8, "dropped": {}})
    lines = [{"tokens": 100, "documents": 4, "wall_s": 3.0}, {"tokens": 80, "documents": 4, "wall_s": 4.0}]
    path = tmp_path / "results/train_sft/aligned.metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    few = load({"demo": True})
    one = measured(tmp_path, few)["train_sft/aligned"]
    assert one.steps == {"row_s": 0.25, "steps": 2, "tokens": 180, "rows": 8, "seconds": 4.0}
    path.write_text(json.dumps(lines[0]))
    assert measured(tmp_path, few)["train_sft/aligned"].steps["row_s"] == 0.75


def test_a_stage_is_measured_by_its_timing_its_log_and_its_funnel(tmp_path):
    funnel = {
        "entered": 9,
        "kept": 8,
        "produced": 16,
        "dropped": {"length": 1},
        "finish_reasons": {"stop": 17, "length": 1},
    }
    log = "12:00:00 INFO write_responses: 18 answers took 2.50 s\n"
    job(tmp_path, "write_responses/self/00000", 10.5, log, funnel | {"tokens_out": 500, "duplicates": 2})
    job(
        tmp_path,
        "gather_seeds",
        1.0,
        "",
        {"entered": 20, "kept": 9, "produced": 9, "dropped": {}},
        "gather_seeds/00000",
    )
    few = load({"demo": True, "models": {}})
    found = measured(tmp_path, few)
    assert list(found) == ["gather_seeds", "write_responses/self"]
    one = found["write_responses/self"]
    assert (one.jobs, one.seconds, one.looped, one.looped_s, one.tokens_per_s) == (1, 10.5, 18, 2.5, 200.0)
    assert (one.entered, one.produced, one.dropped, one.duplicates) == (9, 16, {"length": 1}, 2)
    assert one.share(one.finish_reasons, "length") == pytest.approx(1 / 18)
    assert found["gather_seeds"].kept == 9
    job(tmp_path, "write_responses/self/00000", 10.5, log.replace("18 answers", "9 answers"), funnel)
    assert measured(tmp_path, few)["write_responses/self"].looped_s == 5.0


def test_a_stage_in_rounds_is_measured_by_all_its_jobs_and_the_rows_of_the_last(tmp_path):
    log = "12:00:00 INFO write_responses: {} answers took {} s\n"
    whole = {"entered": 9, "kept": 9, "produced": 14, "dropped": {}, "finish_reasons": {"stop": 14}, "tokens_out": 700}
    first = whole | {"produced": 9, "finish_reasons": {"stop": 9}, "tokens_out": 450}
    job(tmp_path, "write_responses/self/samples-0/00000", 4.0, log.format(9, 1.5), first)
    job(tmp_path, "write_responses/self/00000", 3.0, log.format(5, 1.0), whole)
    one = measured(tmp_path, load({"demo": True, "models": {}}))["write_responses/self"]
    assert (one.jobs, one.seconds, one.looped, one.looped_s) == (2, 7.0, 14, 2.5)
    assert (one.entered, one.produced, one.tokens_out, one.finish_reasons) == (9, 14, 700, {"stop": 14})


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


def test_names_are_counted_once_for_each_task(tmp_path):
    def response(number, task, code):
        return response_row(id=f"res-{number}", instruction_id=f"ins-{task}", response=f"```python\n{code}\n```")

    path = tmp_path / "results/sanitize_responses/self/00000.parquet"
    path.parent.mkdir(parents=True)
    write_rows(
        path,
        ResponseRow,
        [
            *(response(1, 1, "def f():\n    pass"), response(2, 1, "def g():\n    pass")),
            *(response(3, 2, "def f():\n    return 1"), response(4, 3, "def h():\n    pass")),
            *(response(5, 4, "print(1)"), response(6, 5, "print(1)")),
        ],
    )
    job(tmp_path, "sanitize_responses/self/00000", 1.0, "", {"entered": 6, "kept": 6, "produced": 6, "dropped": {}})
    assert measured(tmp_path, load({"demo": True}))["sanitize_responses/self"].same_names == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ({}, 128),
        ({"judge_seeds": {"keep_share": 0.8}}, 50),
        ({"judge_seeds": {"keep_share": 0.1}}, 128),
        ({"generations": {"self": {"seeds": "snippets"}}}, 32),
    ],
    ids=["threshold", "share", "small share", "no judge"],
)
def test_no_more_seeds_are_judged_than_are_needed(values, drawn):
    assert setup.shown(load({"demo": True, **values})) == drawn


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
