"""Arms that differ in what a model learns from are compared; a win of unverified data is not hidden."""

import json
import random
from pathlib import Path

import pytest

from scripts.build_report import sections_of
from scripts.build_table import main
from selfcodealign.config import extended, load, read
from selfcodealign.errors import UserError
from selfcodealign.paper import published
from selfcodealign.plan import Plan
from selfcodealign.planned_tables import PlannedTables
from selfcodealign.report import does_it_pay
from selfcodealign.report.results import Run
from selfcodealign.report.sections import models, tables
from selfcodealign.rows_io import write_json, write_text
from tests.small_run import SmallRun, make_run, provenance, score

ROOT = Path(__file__).parent.parent.parent
SHARDS = ["results/make_demo_shards/00000.parquet", "results/make_demo_shards/00001.parquet"]
KINDS = ("self-distillation", "random", "passing")
ARMS = {
    "base": ["base"],
    **{kind: [f"{kind}-{seed}" for seed in range(3)] for kind in KINDS},
    "passing + DPO": [f"dpo-{seed}" for seed in range(3)],
}
VALUES = {
    "demo": True,
    "datasets": {name: {} for kind in KINDS for name in ARMS[kind]},
    "models": {
        **{name: {"dataset": name} for kind in KINDS for name in ARMS[kind]},
        **{f"dpo-{n}": {"from": f"passing-{n}", "dataset": f"passing-{n}", "objective": "dpo"} for n in range(3)},
    },
    "tables": {"does_it_pay": {"arms": ARMS}},
}


def fill(results: Path, shares: dict[str, float], rows: dict[str, int] | None = None) -> dict:
    """Write what the table is read from, scores near the given shares, and build it; return the table."""
    plan = Plan(load(VALUES), SHARDS, str(results))
    for arm, names in ARMS.items():
        for name in names:
            draw = random.Random(name)
            tasks = {f"toy/{number}": float(draw.random() < shares[arm]) for number in range(160)}
            write_json(results / f"score_benchmark/{name}/demo.json", score(name, "demo", tasks))
            if arm in KINDS:
                count = (rows or {}).get(name, 40)
                write_json(
                    results / f"train_sft/{name}.funnel.json",
                    {"stage": "train_sft", "entered": count, "kept": count, "produced": count, "dropped": {}},
                )
                lines = [json.dumps({"step": step, "response_tokens": 100}) + "\n" for step in (1, 2)]
                write_text(results / f"train_sft/{name}.metrics.jsonl", "".join(lines))
    cells = json.dumps(PlannedTables(plan).cells("does_it_pay"))
    numbers, page = results / "build_table/does_it_pay.json", results / "build_table/does_it_pay.md"
    main("does_it_pay", cells, numbers, page, run_seed=1, demo=True)
    assert page.read_text().startswith("# Does verification pay?\n\n* ")
    return json.loads(numbers.read_text())


FAR = {"base": 0.3, "self-distillation": 0.4, "random": 0.45, "passing": 0.7, "passing + DPO": 0.9}


def test_verification_that_pays_is_said_with_paired_intervals(tmp_path):
    found = fill(tmp_path, FAR)
    first, best, *answers = found["sentences"]
    assert first == "Self-distillation on responses that nobody verified lies above no arm of verified ones."
    assert best.startswith("On demo (160 tasks) passing + DPO is the best arm, with ")
    beginnings = ["passing is above base: +", "passing is above random: +", "passing is above self-distillation: +"]
    beginnings.append("passing + DPO is above passing: +")
    assert len(answers) == len(beginnings)
    assert all(answer.startswith(words) for answer, words in zip(answers, beginnings, strict=True))
    assert not found["unverified_wins"]


def test_whether_arms_have_equally_many_rows_is_read_not_promised(tmp_path):
    assert fill(tmp_path, FAR)["notes"][-1] == does_it_pay.EQUAL
    seeds = {"random-0": 39, "random-1": 41}
    assert fill(tmp_path, FAR, seeds)["notes"][-1] == does_it_pay.UNEQUAL, "the means are the same"


def test_self_distillation_that_wins_is_the_first_sentence(tmp_path):
    found = fill(tmp_path, FAR | {"self-distillation": 0.97})
    assert found["unverified_wins"]
    assert found["sentences"][0].startswith("Self-distillation on responses that nobody verified wins: +")
    assert "above passing on demo" in found["sentences"][0]
    assert "above passing + DPO on demo" in found["sentences"][0]


def test_a_lead_that_chance_explains_is_no_win(tmp_path):
    plan = {"self-distillation": 0.705, "passing": 0.7, "passing + DPO": 0.99}
    found = fill(tmp_path, FAR | plan)
    (line,) = (
        one
        for one in found["benchmarks"][0]["differences"]
        if (one["first"], one["second"]) == ("passing", "self-distillation")
    )
    assert line["low"] < 0 < line["high"]
    assert "wins" not in found["sentences"][0]
    assert any(text.startswith("passing and self-distillation cannot be told apart") for text in found["sentences"])


def test_arms_are_shown_with_what_they_learned_from(tmp_path):
    part = fill(tmp_path, FAR)["benchmarks"][0]
    by_name = {arm["name"]: arm for arm in part["arms"]}
    assert list(by_name) == list(ARMS)
    assert (by_name["passing"]["rows"], by_name["passing"]["tokens"], by_name["passing"]["seeds"]) == (40, 200, 3)
    assert (by_name["passing + DPO"]["rows"], by_name["base"]["tokens"], by_name["base"]["seeds"]) == (None, None, 1)
    assert len(part["differences"]) == 10


def test_only_tasks_that_all_were_measured_on_count(tmp_path):
    fill(tmp_path, FAR)
    path = tmp_path / "score_benchmark/random-1/demo.json"
    value = json.loads(path.read_text())
    del value["by_task"][value["headline"]]["toy/3"]
    write_json(path, value)
    cells = PlannedTables(Plan(load(VALUES), SHARDS, str(tmp_path))).cells("does_it_pay")
    assert does_it_pay.table_of(cells, seed=1, demo=False)["benchmarks"][0]["tasks"] == 159


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SmallRun:
    return make_run(tmp_path_factory.mktemp("pays"))


@pytest.mark.parametrize(("share", "kind"), [(0.97, "warning"), (0.4, "note")], ids=["wins", "loses"])
def test_the_report_begins_with_what_the_arms_came_to(run, share, kind):
    found = fill(run.results, FAR | {"self-distillation": share})
    config = load(VALUES).model_dump(mode="json")
    opened = Run(run.results, run.folder / "timings", provenance(**{key: config[key] for key in VALUES}))
    (section,) = (one for one in sections_of(opened, published()) if one.id == "does-it-pay")
    assert (section.missing, list(section.figures)) == ("", ["demo"])
    (notice,) = tables.first_lines(opened)
    assert (notice.kind, notice.text) == (kind, found["sentences"][0])
    assert "section above" in models.arms(opened, published()).missing
    assert any(label.endswith("trained on self-distillation") for label, _, _ in models.best_known(opened))


def test_a_run_without_arms_says_which_preset_has_them(run):
    opened = Run(run.results, run.folder / "timings", provenance())
    assert "config/does-it-pay.yaml" in tables.arms(opened).missing
    assert tables.first_lines(opened) == []


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        ({}, "tables.does_it_pay.arms: name two arms or more"),
        ({"a": ["base"], "b": []}, "tables.does_it_pay.arms.b: names no model"),
        ({"a": ["base"], "b": ["nobody"]}, "tables.does_it_pay.arms.b: no model named 'nobody' is evaluated"),
        ({"a": ["base"], "b": ["base"]}, "tables.does_it_pay.arms.a: 'base' stands in the arms twice"),
    ],
    ids=["none", "empty", "unknown", "twice"],
)
def test_arms_that_cannot_be_compared_are_one_sentence(arms, sentence):
    with pytest.raises(UserError, match=sentence):
        load(VALUES | {"tables": {"does_it_pay": {"arms": arms}}})


def test_arms_without_a_common_benchmark_are_named():
    values = {**VALUES, "models": {**VALUES["models"], "passing-1": {"dataset": "passing-1", "benchmarks": []}}}
    with pytest.raises(UserError, match="no benchmark is one that all of these models are evaluated on"):
        load(values)


# ---- the preset ----


@pytest.fixture(params=["config.yaml", "config/smollm2.yaml"], ids=["toy", "smollm2"])
def plan(request) -> Plan:
    values = read(ROOT / "config/does-it-pay.yaml") | {"extends": request.param}
    return Plan(load(extended(values, (ROOT,))), SHARDS)


ARMS_OF_PRESET = ("self-distillation", "random", "failing", "passing", "matrix")


def test_the_preset_compares_its_arms_over_three_seeds(plan):
    table = plan.config.tables["does_it_pay"]
    assert list(table.arms) == ["base", *ARMS_OF_PRESET, "matrix + DPO", "matrix + GRPO"]
    assert {len(names) for arm, names in table.arms.items() if arm != "base"} == {3}
    assert {name for names in table.arms.values() for name in names} == {"base", *plan.config.models}


def test_the_arms_of_a_seed_share_instructions_and_number_of_rows(plan):
    for seed in range(3):
        names = [f"{arm}-{seed}" for arm in ARMS_OF_PRESET]
        for name in names:
            others = {Path(path).stem for path in plan.siblings(name)}
            assert others == {*names} - {name}
            assert plan.author(plan.config.datasets[name].generation) == f"self-{seed}"


def test_self_distillation_is_one_sample_a_task_under_its_own_sampling(plan):
    asked = plan.config.responses_of("ssd-1")
    assert (asked.samples, asked.temperature, asked.top_p) == (1, 0.6, 0.95)
    assert (plan.engine("ssd-1")["top_k"], plan.engine("self-1")["top_k"]) == (20, 0)
    assert plan.config.datasets["self-distillation-1"].selection == "random"


def test_preferences_and_rewards_go_on_from_the_matrix(plan):
    for seed in range(3):
        for objective in ("dpo", "grpo"):
            assert plan.models.start(f"matrix-{objective}-{seed}")[0] == f"results/train_sft/matrix-{seed}"
            assert plan.models.seed(f"matrix-{objective}-{seed}") == seed
    assert plan.models.pairs("matrix-dpo-2") == ["results/build_preferences/matrix-2.pairs.parquet"]
    assert plan.models.tasks("matrix-grpo-2") == ["results/build_preferences/matrix-2.tasks.parquet"]
