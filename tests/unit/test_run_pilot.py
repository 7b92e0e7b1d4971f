"""A pilot is the run with less of everything, and is measured by what its jobs leave."""

import json

import pytest

from scripts.run_pilot import command, failed, gpus, main, prepared, seeing
from selfcodealign.__main__ import main as tool
from selfcodealign.commands.pilot import command as typed
from selfcodealign.config import Config, load
from selfcodealign.config.pilot import RunPilot
from selfcodealign.errors import UserError
from selfcodealign.pilot import setup
from selfcodealign.pilot.measure import measured
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
