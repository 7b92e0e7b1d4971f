"""Who is made from what, and what decides it."""

import ast
import re
from pathlib import Path

import pytest

from selfcodealign.config import load, placed
from selfcodealign.config.benchmarks import PAPER
from selfcodealign.errors import UserError
from selfcodealign.ids import KINDS
from selfcodealign.pipeline import RULES, STAGES, decided_by
from selfcodealign.plan import Plan, examples_of
from selfcodealign.planned_tables import PlannedTables

ROOT = Path(__file__).parent.parent.parent
TWO = ["results/make_demo_shards/00000.parquet", "results/make_demo_shards/00001.parquet"]
SEEDS = [
    *("extract_functions", "dedup_functions", "infer_imports", "typecheck_functions", "filter_seeds"),
    *("decontaminate_seeds", "judge_seeds", "gather_seeds"),
]
PLUMBING = {
    # Command line, errors, files and tables; what a ledger keeps and where; compiled code; which image.
    *("__init__.py", "stage.py", "errors.py", "rows.py", "rows_io.py", "ledger.py", "compiled.py", "images.py"),
    "compression.py",
    # Ids only join rows here. What people read of stages and funnels.
    *("ids.py", "pipeline.py", "dataset/funnels.py"),
    # Packages of others are found; their own files decide (tests/unit/test_plugins.py).
    "plugins.py",
    # Texts are carried to a model and back.
    *("generation/__init__.py", "generation/settings.py", "generation/backends/__init__.py"),
    *(f"generation/backends/{name}.py" for name in ("answers", "keeper", "openai", "refusals", "vllm")),
    # Verdicts are kept, the sandbox is tried, its layers have names; rules that run programs name its settings.
    *("sandbox/settings.py", "sandbox/__init__.py", "sandbox/cache.py", "sandbox/runner.py", "sandbox/selftest.py"),
    # Benchmarks bring their way to read programs along; only extract_programs uses it, and names it.
    *("evaluation/extraction.py", "dataset/fences.py"),
    # Training is started, watched, interrupted and described.
    *(f"training/{name}.py" for name in ("card", "checkpoints", "checks", "launch", "memory", "processes")),
    *("evaluation/rows.py", "evaluation/base.py", "evaluation/statistics.py", "paper.py", "seeds/raw.py"),
    *("models.py",),
}
"""Modules that may be imported by a script without deciding what it writes."""


def plan(shards=TWO, **values):
    return Plan(load({"demo": True, **values}), shards)


@pytest.mark.parametrize(
    ("mode", "chain"),
    [
        ("fixed", ["select_responses", "decontaminate_dataset", "dedup_dataset", "augment_dataset"]),
        ("reference", ["select_responses", "augment_dataset", "decontaminate_dataset", "dedup_dataset"]),
    ],
)
def test_a_dataset_goes_through_the_stages_of_its_mode(mode, chain):
    made = plan(mode=mode)
    assert made.chain == chain
    assert made.stages_before("passing")[-4:] == [f"{stage}/passing" for stage in chain]
    assert made.rows_before("build_dataset") == f"results/{chain[-1]}/{{dataset}}.parquet"
    assert made.verdicts == "verify_responses"


@pytest.mark.parametrize(
    ("generation", "branches"),
    [
        ({}, [*SEEDS, "extract_concepts/self", "write_instructions/self"]),
        ({"path": "direct"}, [*SEEDS, "write_instructions/self"]),
        (
            {"seeds": "snippets"},
            ["sample_snippets", "gather_snippets", "extract_concepts/self", "write_instructions/self"],
        ),
        ({"seeds": "snippets", "path": "direct"}, ["sample_snippets", "gather_snippets", "write_instructions/self"]),
    ],
)
def test_a_generation_grows_from_its_seeds_by_its_path(generation, branches):
    own = ["write_responses/self", "sanitize_responses/self", "verify_responses/self"]
    assert plan(generations={"self": generation}).branches("self") == [*branches, *own]


def test_given_seeds_take_the_place_of_the_stages_before_the_judge():
    made = plan(["a.parquet", "b.parquet"], data={"seeds": ["a.parquet", "b.parquet"]})
    assert made.branches("self")[:3] == ["judge_seeds", "gather_seeds", "extract_concepts/self"]
    assert made.unjudged("00001") == "b.parquet"
    assert plan().unjudged("00001") == "results/decontaminate_seeds/00001.parquet"
    assert "results/judge_seeds/00001.funnel.json" in made.funnels()
    assert not [link for link in made.funnel_links() if "decontaminate_seeds" in link]
    assert "decontaminate_seeds=judge_seeds" in plan().funnel_links()
    made.check_target("results/judge_seeds/00001.parquet")
    with pytest.raises(UserError, match="filter_seeds/00001.parquet: data.seeds of the config gives seeds, and this"):
        made.check_target("results/filter_seeds/00001.parquet")
    with pytest.raises(UserError, match="data.seeds of the config has no entry '00002'; it has 00000, 00001"):
        made.check_target("results/judge_seeds/00002.parquet")


def test_a_distillation_answers_the_tasks_of_another():
    made = plan(generations={"self": {}, "teacher": {"model": "org/teacher", "answers": "self"}})
    assert made.branches("teacher")[-5:] == [
        *("extract_concepts/self", "write_instructions/self"),
        *("write_responses/teacher", "sanitize_responses/teacher", "verify_responses/teacher"),
    ]
    assert made.tasks("teacher", "00001") == "results/write_instructions/self/00001.parquet"
    assert made.writer("teacher") == ("org/teacher", "main", False)
    assert made.writer("self")[0] == "demo/model"


@pytest.mark.parametrize(
    ("branch", "files"),
    [
        ("filter_seeds", ["results/filter_seeds/00000.x", "results/filter_seeds/00001.x"]),
        ("verify_responses/self", [f"results/verify_responses/self/0000{n}.x" for n in range(3)]),
        ("gather_seeds", [f"results/gather_seeds/0000{n}.x" for n in range(3)]),
        ("build_dataset/passing", ["results/build_dataset/passing.x"]),
    ],
)
def test_a_branch_has_a_file_for_each_part_it_works_on(branch, files):
    assert plan(gather_seeds={"shards": 3}).files(branch, ".x") == files


def test_a_smaller_dataset_takes_the_first_seed_shards():
    made = plan(gather_seeds={"shards": 3}, datasets={"passing": {}, "small": {"seed_shards": 1}})
    assert made.of_generation("verify_responses", "small") == ["results/verify_responses/self/00000.parquet"]
    assert made.gathered("small", ".parquet") == ["results/gather_seeds/00000.parquet"]
    links = made.funnel_links()
    assert "gather_seeds=extract_concepts/self@1" in links
    assert "gather_seeds=extract_concepts/self" in links
    assert "judge_seeds=gather_seeds" in links, "seeds are gathered whole"
    assert "results/gather_seeds/00002.funnel.json" in made.funnels()


def test_datasets_of_equal_rows_are_siblings_both_ways_and_by_way_of_others():
    one, two = {"equal_rows_with": ["b"]}, {"equal_rows_with": ["c"]}
    made = plan(datasets={"a": one, "b": two, "c": {}, "d": {}, "passing": {}})
    rows = "results/augment_dataset/{}.parquet".format
    assert made.siblings("a") == [rows("b"), rows("c")]
    assert made.siblings("c") == [rows("a"), rows("b")]
    assert made.siblings("d") == []


@pytest.mark.parametrize(("mode", "before"), [("fixed", []), ("reference", ["00000", "00001"])])
def test_only_the_reference_counts_the_lines_of_earlier_shards(mode, before):
    assert plan(mode=mode, gather_seeds={"shards": 3}).earlier("00002") == before


def test_the_subject_of_an_evaluation():
    made = plan(other_models={"chat": {"model": "org/chat", "revision": "abc"}}, model={"trust_remote_code": True})
    assert made.subject("base") == ("demo/model", "main", True, "base")
    assert made.subject("aligned") == ("results/train_sft/aligned", "main", True, "instruct")
    assert made.subject("chat") == ("org/chat", "abc", False, "chat")
    assert plan(model={"style": "chat"}).subject("base")[3] == "chat"
    assert made.scores("demo") == [f"results/score_benchmark/{name}/demo.json" for name in ("base", "aligned", "chat")]


def test_a_model_is_its_folder_its_files_or_nothing(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "notes.md").touch()
    made = plan()
    assert made.models.files("results/pretrain_demo_model") == ["results/pretrain_demo_model"]
    assert made.models.files(str(tmp_path)) == [str(tmp_path / name) for name in ("config.json", "model.safetensors")]
    assert made.models.files("org/name") == []


def test_every_path_follows_the_folder_of_results():
    values = {"demo": True, "data": {"kept_out": ["mbpp"]}}
    values |= {"other_datasets": {"theirs": {"source": "results/make_rehearsal_file/instructions.jsonl"}}}
    values["data"] |= {"other_benchmarks": {"b": "results/make_rehearsal_file/b.jsonl"}}
    values |= {"model": {"base": "results/pretrain_demo_model"}, "mode": "reference"}
    values |= {"models": {"aligned": {}, "theirs": {"dataset": "theirs"}}}
    values |= {"tables": {"cost": {"rows": {"CodeQwen1.5-7B": "aligned"}}}}
    config = placed(load(values), "out/x")
    made = Plan(config, config.data.raw_shards, "out/x", "out/t")
    found = [
        *made.raw_shard("00000"),
        *made.funnels(),
        *made.scores(),
        *made.kept_out.values(),
        *made.models.files(made.judge()[0]),
        *made.given_files("theirs"),
        *made.models.datasets("aligned"),
        *made.models.datasets("theirs"),
        *made.models.all_tuned(),
        *PlannedTables(made).inputs("cost"),
        made.source("self", "00000"),
        made.tasks("self", "00000"),
        *made.models.pairs("aligned"),
        made.rows_before("verify_responses"),
        config.benchmarks["demo"].file,
    ]
    assert [path for path in found if not path.startswith("out/x/")] == []
    hours = [path for cell in PlannedTables(made).cells("cost") for path in cell["files"] if path.startswith("out/t/")]
    assert "out/t/train_sft/aligned.jsonl" in hours


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("results/build_viewer/nonsense", "datasets of the config has no entry 'nonsense'; it has passing"),
        ("results/import_dataset/passing", "other_datasets of the config has no entry 'passing'; it has theirs"),
        ("results/train_sft/none", "models of the config has no entry 'none'"),
        ("results/train_dpo/theirs", "objective of the config is sft, so that this model is results/train_sft/theirs"),
        ("results/train_sft/b.metrics.jsonl", "models.b.objective of the config is dpo, so .* results/train_dpo/b$"),
        ("results/write_responses/other/00000.parquet", "generations of the config has no entry 'other'"),
        ("results/write_responses/self/00009.parquet", "gather_seeds.shards of the config has no entry '00009'"),
        ("results/filter_seeds/00002.parquet", "data.raw_shards of the config has no entry '00002'"),
        ("results/score_benchmark/none/demo.json", "models and other_models of the config has no entry 'none'"),
        ("results/score_benchmark/base/none.json", "benchmarks of the config has no entry 'none'; it has demo"),
        ("results/fetch_benchmark/none.gz", "benchmarks of the config has no entry 'none'"),
        ("results/build_table/none.md", "tables of the config has no entry 'none'; it has none"),
    ],
)
def test_a_target_of_no_entry_is_one_sentence(target, sentence):
    made = plan(
        other_datasets={"theirs": {"source": "org/theirs"}},
        models={"aligned": {}, "theirs": {"dataset": "theirs"}, "b": {"objective": "dpo", "from": "aligned"}},
    )
    with pytest.raises(UserError, match=sentence):
        made.check_target(target)


@pytest.mark.parametrize(
    "target",
    [
        *("results/build_dataset/passing", "results/train_sft/aligned.metrics.jsonl", "results/report.html"),
        *("results/train_dpo/preferring", "results/train_dpo/preferring.funnel.json", "all", "tables", "--cores"),
        *("results/train_dpo/aligned.1", "results/train_dpo/aligned.1.funnel.json"),
        "results/filter_seeds/00001.dropped.parquet",
        *("results/score_benchmark/base/demo.json", "results/gather_seeds/00001.parquet"),
    ],
)
def test_a_target_that_can_be_made_passes(target):
    preferring = {"from": "aligned", "objective": "dpo"}
    plan(models={"aligned": {}, "aligned.1": preferring, "preferring": preferring}).check_target(target)


def test_a_template_without_examples_has_none(tmp_path):
    layout = tmp_path / "layout.yaml"
    layout.write_text("examples: {file: shots.txt}\n")
    assert examples_of(str(layout), None) == [str(tmp_path / "shots.txt")]
    assert examples_of(str(layout), "mine.txt") == ["mine.txt"]
    assert examples_of(str(tmp_path / "absent.yaml"), None) == []


@pytest.mark.parametrize(
    ("values", "measured", "kept"),
    [
        ({"demo": True}, ["demo"], []),
        ({}, ["humaneval_plus", "mbpp_plus"], [name for name in PAPER if not name.endswith("_plus")]),
        ({"data": {"kept_out": []}}, ["humaneval_plus", "mbpp_plus"], []),
        ({"data": {"kept_out": ["ds1000", "mbpp_plus"]}}, ["humaneval_plus", "mbpp_plus"], ["ds1000"]),
        ({"benchmarks": {"classeval": {}}, "data": {"kept_out": ["ds1000"]}}, ["classeval"], ["ds1000"]),
        ({"benchmarks": {"mine": {"benchmark": "mbpp"}}, "data": {"kept_out": ["mbpp"]}}, ["mine"], []),
        ({"demo": True, "data": {"kept_out": "paper"}}, ["demo"], list(PAPER)),
        ({"benchmarks": {}, "data": {"kept_out": []}}, [], []),
    ],
    ids=["demo", "own", "waived", "named", "other", "alias", "demo-paper", "nothing"],
)
def test_what_is_measured_and_what_is_only_kept_out_follows_from_what_runs(values, measured, kept):
    made = Plan(load(values), TWO)
    assert list(made.config.benchmarks) == measured
    assert list(made.kept_out) == [*measured, *kept]
    assert all(not made.scores(name) for name in kept)
    for name in kept:
        made.check_target(f"results/fetch_benchmark/{name}.gz")
        assert made.benchmark_settings(name, "version") == {"version": "whole"}
    assert Plan(load(made.config.model_dump()), TWO).kept_out == made.kept_out, "a dumped config says the same"


def test_a_file_takes_the_place_of_what_cannot_be_fetched():
    made = Plan(load({"data": {"other_benchmarks": {"canitedit": "mine.parquet"}}}), TWO)
    assert made.kept_out["canitedit"] == "mine.parquet"
    assert "canitedit" not in made.fetched


# ---- what decides ----


def imported(path: Path, seen: set[Path]) -> set[Path]:
    """Collect the modules of this repository that a file imports, directly or later."""
    names = set()
    tree = ast.parse(path.read_text())
    # What only a type checker sees is imported by nobody.
    tree.body = [one for one in tree.body if not (isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    for name in names:
        place = ROOT / name.replace(".", "/")
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if name.split(".")[0] in ("selfcodealign", "scripts", "demo") and file.is_file() and file not in seen:
                seen.add(file)
                imported(file, seen)
    return seen


@pytest.mark.parametrize("rule", RULES)
def test_what_a_script_imports_decides_or_is_known_not_to(rule):
    decides = set(decided_by(rule))
    for file in imported(ROOT / "scripts" / f"{rule}.py", set()) - decides:
        name = file.relative_to(ROOT).as_posix().removeprefix("selfcodealign/")
        known = name in PLUMBING or name.startswith("config/") or name.endswith("__init__.py")
        assert known, f"{name}: name it in decided_by of {rule}, or among the modules that decide nothing"


def test_every_rule_is_in_the_list_and_names_files_that_exist():
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} - {"__init__"} == set(RULES)
    for rule in RULES:
        files = decided_by(rule)
        assert files[0].stem == rule
        assert all(file.is_file() and file.is_absolute() for file in files)
    with pytest.raises(UserError, match="has no rule nothing: add it to RULES"):
        decided_by("nothing")


def test_kinds_of_ids_are_the_kinds_of_rows_in_the_order_of_the_stages():
    nouns = list(dict.fromkeys(stage.noun for stage in STAGES.values()))
    assert nouns == ["concept list" if kind == "con" else name.split()[-1] for kind, name in KINDS.items()]


def test_the_list_is_in_order():
    for stage, one in RULES.items():
        names = list(RULES)
        assert all(names.index(earlier) < names.index(stage) for earlier in one.after), stage
    assert all(one.done for one in RULES.values())


def test_the_pages_show_stages_of_the_list_in_its_order():
    readme = (ROOT / "README.md").read_text()
    table = readme[readme.index("## Stages") : readme.index("## Where things are")]
    named = [name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)]
    shown = re.findall(r'class="rule"[^>]*>(\w+)<', (ROOT / "docs" / "pipeline.svg").read_text())
    for names in (named, shown):
        assert set(names) <= set(RULES)
        assert [name for name in RULES if name in names] == names, "in the order of the data's way"
    ways = {"sample_snippets", "gather_snippets", "import_dataset", "import_tasks"}
    assert set(STAGES) - set(shown) == ways, "every stage that counts rows, but those of other ways, is a station"


def test_each_model_is_run_as_its_own_key_says():
    config = load(
        {
            "data": {"raw_shards": TWO},
            "engine": {"backend": "vllm", "concurrency": 8},
            "model": {"base": "demo/model", "engine": {"backend": "transformers"}},
            "judge_seeds": {"model": "org/judge"},
            "generations": {"self": {}, "teacher": {"model": "org/teacher", "engine": {"concurrency": 2}}},
            "other_models": {"rival": {"model": "large", "engine": {"backend": "openai", "base_url": "http://a/v1"}}},
        }
    )
    made = Plan(config, TWO)
    assert made.judges_engine()["backend"] == "vllm"
    assert (made.engine("self")["backend"], made.engine("teacher")["concurrency"]) == ("transformers", 2)
    found = {name: made.subjects_engine(name)["backend"] for name in ("base", "aligned", "rival")}
    assert found == {"base": "transformers", "aligned": "vllm", "rival": "openai"}
    assert made.subjects_engine("rival")["concurrency"] == 8


def test_an_unknown_key_of_a_models_engine_is_named():
    wrong = {"rival": {"model": "large", "engine": {"base_link": "http://a/v1"}}}
    with pytest.raises(UserError, match=r"other_models\.rival\.engine.*base_link"):
        load({"data": {"raw_shards": TWO}, "other_models": wrong})
