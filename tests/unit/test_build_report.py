"""The report shows what the run did, says what is missing, and never leans on the network."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from scripts.build_report import main
from selfcodealign import __main__ as command
from selfcodealign.config import load
from selfcodealign.errors import UserError
from selfcodealign.evaluation.statistics import Estimate, difference, mean_over_tasks_and_seeds, wilson
from selfcodealign.paper import published
from selfcodealign.report import charts
from selfcodealign.report.results import Run
from selfcodealign.report.sections import data, models, record
from selfcodealign.rows_io import write_json
from tests.small_run import SmallRun, add_ablation, make_run, provenance

SECTIONS = (
    *(
        "benchmarks",
        "tables",
        "does-it-pay",
        "arms",
        "funnel",
        "pass-rates",
        "mix",
        "lengths",
        "judge",
        "decontamination",
        "training",
        "rows",
    ),
    *("dropped-rows", "isolation", "time", "provenance"),
)
FIGURES = ("funnel", "verdicts", "lengths", "judge_scores", "loss", "scores")


def build(run: SmallRun, **changes: Any) -> str:
    """Build the report of a run and return its page."""
    out = run.results
    write_json(out / "provenance.json", provenance(**changes))
    main(
        results=out,
        timings=run.folder / "timings",
        provenance=out / "provenance.json",
        report=out / "report.html",
        summary=out / "build_report/summary.json",
        **{name: out / f"build_report/{name}.svg" for name in FIGURES},
    )
    return (out / "report.html").read_text(encoding="utf-8")


def opened(run: SmallRun, **changes: Any) -> Run:
    """Open a run for the functions that build one section each."""
    return Run(run.results, run.folder / "timings", provenance(**changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> SmallRun:
    return make_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def page(finished: SmallRun) -> str:
    return build(finished)


@pytest.fixture
def copy(finished: SmallRun, tmp_path: Path) -> SmallRun:
    """A run that a test may change."""
    shutil.copytree(finished.folder, tmp_path / "run")
    return SmallRun(tmp_path / "run", verdicts=finished.verdicts, rows=finished.rows)


class Outline(HTMLParser):
    """Collect the ids of sections, addresses, and tags left open."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "section":
            self.sections.append(found["id"] or "")
        self.scripts += tag == "script"
        self.addresses += [found[name] or "" for name in ("src", "href", "xlink:href") if name in found]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_section_is_on_the_page_and_every_tag_is_closed(page: str) -> None:
    outline = Outline(page)
    assert tuple(outline.sections) == SECTIONS
    assert outline.open == []


def test_the_page_needs_no_network_and_no_script(page: str) -> None:
    outline = Outline(page)
    assert outline.scripts == 0
    assert [address for address in outline.addresses if not address.startswith(("#", "data:"))] == []
    assert "@import" not in page
    assert "url(" not in page


def test_the_same_run_gives_the_same_page(finished: SmallRun, page: str) -> None:
    assert build(finished) == page


def test_the_demo_is_called_a_toy_and_another_run_is_not(finished: SmallRun, page: str) -> None:
    assert "the effect is planted" in page[: page.index("<main>")]
    assert [notice.kind for notice in record.notices(opened(finished))] == ["note"]
    assert record.notices(opened(finished, demo=False)) == []


def test_the_funnel_counts_every_row_that_entered(finished: SmallRun, page: str) -> None:
    run = opened(finished)
    for one in run.funnels:
        assert one.entered == one.kept + one.dropped.total()
    first = run.funnel("extract_functions")
    assert first is not None
    assert first.entered == 48
    assert "near duplicate" in page


def test_pass_rates_agree_with_the_verdicts(finished: SmallRun, page: str) -> None:
    passed = sum(row["passed"] for row in finished.verdicts)
    assert f"{passed} of {len(finished.verdicts)} responses executed in the sandbox passed their own tests" in page


def test_five_rows_of_a_stage_and_a_dropped_one_of_each_reason_are_shown(finished: SmallRun, page: str) -> None:
    rows = page[page.index('<section id="rows">') : page.index('<section id="dropped-rows">')]
    assert len({row["id"] for row in finished.seeds if row["id"] in rows}) >= 5
    dropped = page[page.index('<section id="dropped-rows">') : page.index('<section id="isolation">')]
    for stage, reason in (("filter_seeds", "too short"), ("filter_seeds", "no return"), ("judge_seeds", "judge score")):
        assert stage in dropped
        assert reason in dropped


def test_rows_are_drawn_by_seed_and_id_whatever_the_shards(finished: SmallRun) -> None:
    run = opened(finished)
    drawn = [row["id"] for row in run.pick("gather_seeds", 5)]
    other = opened(finished, seed=12)
    assert drawn == [row["id"] for row in run.pick("gather_seeds", 5)]
    assert drawn != [row["id"] for row in other.pick("gather_seeds", 5)]


def test_the_text_of_a_row_cannot_become_part_of_the_page() -> None:
    from selfcodealign.report.page import Section, render

    row = data.shown({"id": "fn-0", "content": "</pre><script>alert(1)</script>"})
    section = Section("rows", "Rows", values={"stages": [{"name": "x", "note": "", "rows": [row]}]})
    text = render(title="t", subtitle="s", notices=[], headlines=[], sections=[section], footer="f")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_the_loss_mask_marks_what_is_trained_on(page: str) -> None:
    assert '<span class="on">def f</span>' in page
    assert '<span class="off">### Instruction\nRotate.\n### Response\n</span>' in page


@pytest.mark.parametrize(
    ("folder", "section", "sentence"),
    [
        ("score_benchmark", lambda run: models.benchmarks(run, published()), "No model was evaluated in this run."),
        ("train_sft", models.training, "No model was trained in this run."),
        ("verify_responses", data.pass_rates, "No response has been executed in this run."),
        ("judge_seeds", data.judge, "No seed was judged by log-probability in this run."),
        ("write_instructions", data.mix, "No instruction was written in this run."),
    ],
)
def test_a_section_without_inputs_says_so_in_a_sentence(copy: SmallRun, folder: str, section, sentence: str) -> None:
    assert section(opened(copy)).missing == ""
    shutil.rmtree(copy.results / folder)
    assert section(opened(copy)).missing == sentence


def test_an_empty_run_still_gives_a_page_and_every_declared_figure(tmp_path: Path) -> None:
    run = SmallRun(tmp_path)
    page = build(run)
    assert "No stage has written a funnel yet." in page
    assert "Snakemake has measured no job of this run." in page
    for name in FIGURES:
        assert (run.results / f"build_report/{name}.svg").read_text().startswith("<svg")


def test_programs_run_without_isolation_are_a_warning_at_the_head(copy: SmallRun) -> None:
    from selfcodealign.rows import VerdictRow
    from selfcodealign.rows_io import write_rows

    rows = [row | {"isolation": "none"} for row in copy.verdicts]
    write_rows(copy.results / "verify_responses/self/00000.parquet", VerdictRow, rows)
    warnings = [notice.text for notice in record.notices(opened(copy)) if notice.kind == "warning"]
    assert len(warnings) == 1
    assert f"{len(rows)} programs written by a model ran WITHOUT isolation" in warnings[0]


def test_files_of_generations_and_models_that_the_config_no_longer_names_are_passed_over(copy: SmallRun) -> None:
    shutil.copytree(copy.results / "verify_responses/self", copy.results / "verify_responses/before")
    shutil.copytree(copy.results / "score_benchmark/aligned", copy.results / "score_benchmark/before")
    run = opened(copy)
    assert f"of {len(copy.verdicts)} responses executed" in data.pass_rates(run).values["sentence"]
    assert {score.model for score in run.scores} == {"base", "aligned"}


def test_where_hard_tasks_have_more_responses_the_first_round_gives_the_pass_rate(copy: SmallRun) -> None:
    shutil.copytree(copy.results / "verify_responses/self", copy.results / "verify_responses/self/samples-0")
    asked = provenance()["config"]["write_responses"] | {"samples": 4, "enough": 1}
    run = opened(copy, write_responses=asked)
    first = [row for row in copy.verdicts if row["sample"] == 0]
    section = data.pass_rates(run)
    passed = sum(row["passed"] for row in first)
    assert section.values["sentence"].startswith(f"{passed} of {len(first)} responses executed in the sandbox passed")
    assert "They are the responses of the first round" in section.values["sentence"]
    assert "instructions" not in section.figures
    assert "instructions" in data.pass_rates(opened(copy)).figures
    funnel = run.funnel("verify_responses")
    assert funnel is not None
    assert funnel.produced == len(copy.verdicts), "the files of a round are not counted beside those of the last"
    assert "samples-0" not in str(run.files("verify_responses"))


def test_jobs_of_models_that_the_config_no_longer_names_are_not_timed(copy: SmallRun) -> None:
    before = len(opened(copy).jobs)
    for job in ("train_sft/before", "train_sft/aligned", "score_benchmark/before/demo", "score_benchmark/base/demo"):
        source = copy.folder / "timings/write_responses/self/00000.jsonl"
        (copy.folder / f"timings/{job}").parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy.folder / f"timings/{job}.jsonl")
    timed = [f"{job['rule']}/{job['job']}" for job in opened(copy).jobs]
    assert len(timed) == before + 2
    assert {"train_sft/aligned", "score_benchmark/base/demo"} <= set(timed)


def test_a_damaged_score_is_named(copy: SmallRun) -> None:
    (copy.results / "score_benchmark/base/demo.json").write_text('{"metrics": {}}')
    with pytest.raises(UserError, match=r"base/demo\.json is no score of a benchmark"):
        models.benchmarks(opened(copy), published())


def test_a_damaged_training_log_is_named(copy: SmallRun) -> None:
    (copy.results / "train_sft/aligned.metrics.jsonl").write_text('{"step": 1, "loss"')
    with pytest.raises(UserError, match=r"aligned\.metrics\.jsonl is not one JSON object a line"):
        models.training(opened(copy))


def test_benchmarks_of_the_paper_stand_beside_its_numbers(copy: SmallRun) -> None:
    for model in ("base", "aligned"):
        score = json.loads((copy.results / f"score_benchmark/{model}/demo.json").read_text())
        score["paper"] = {"table": "evalplus", "column": "humaneval_plus"}
        write_json(copy.results / f"score_benchmark/{model}/demo.json", score)
    table = models.benchmarks(opened(copy), published()).values["table"]
    found = {line["name"]: line["cells"][0]["value"] for line in table if line["paper"]}
    assert found == {"CodeQwen1.5-7B-Base": "45.7", "SelfCodeAlign-CQ-7B": "67.1"}


def arms_of(run: SmallRun, shares: dict[str, float]) -> dict[str, Any]:
    """Compare arms whose models score near the given shares."""
    return models.arms(opened(run, **add_ablation(run, shares)), published()).values["parts"][0]


def test_arms_that_differ_are_ranked_and_said_not_to_touch(copy: SmallRun) -> None:
    part = arms_of(copy, {"passing": 0.88, "random": 0.62, "failing": 0.40})
    assert [arm["name"] for arm in part["arms"]] == ["passing", "random", "failing", "base"]
    assert [arm["paper"] for arm in part["arms"]] == ["65.2", "61.6", "57.9", "–"]
    assert re.fullmatch(
        r"passing [\d.]+ % > random [\d.]+ % > failing [\d.]+ %; the 95 % intervals do not touch\. "
        r"Passing is above the base model \([\d.]+ %\), without overlap\.",
        part["verdict"],
    )


@pytest.mark.parametrize(
    ("model", "arm"),
    [
        ("plain", "passing"),
        ("mixed", "passing and random"),
        ("preferring", "passing + DPO"),
        ("rewarded", "passing + DPO + GRPO"),
        ("again", "passing, then random"),
        ("theirs", None),
        ("after-theirs", None),
    ],
)
def test_an_arm_is_named_after_what_a_model_learned(finished: SmallRun, model: str, arm: str | None) -> None:
    values = {
        "datasets": {"passing": {}, "random": {"selection": "random"}},
        "other_datasets": {"others": {"source": "org/others"}},
        "models": {
            "plain": {},
            "mixed": {"dataset": {"passing": 1, "random": 0.5}},
            "preferring": {"from": "plain", "objective": "dpo"},
            "rewarded": {"from": "preferring", "objective": "grpo"},
            "again": {"from": "plain", "dataset": "random"},
            "theirs": {"dataset": "others"},
            "after-theirs": {"from": "theirs", "objective": "dpo"},
        },
    }
    config = load(values).model_dump(mode="json")
    opened_run = opened(finished, **{key: config[key] for key in values})
    assert opened_run.arm(model) == arm
    assert opened_run.data("mixed") == "passing × 1, random × 0.5"
    assert opened_run.models[:2] == ["base", "plain"]
    assert opened_run.trained("rewarded", "metrics.jsonl").parent.name == "train_grpo"


def test_arms_that_do_not_differ_are_said_to_overlap(copy: SmallRun) -> None:
    verdict = arms_of(copy, {"passing": 0.60, "random": 0.60, "failing": 0.60})["verdict"]
    assert "overlap" in verdict
    assert "do not touch" not in verdict


@pytest.mark.parametrize(
    ("means", "base", "words"),
    [
        (
            {"passing": (0.8, 0.7, 0.9), "failing": (0.5, 0.4, 0.6)},
            (0.6, 0.5, 0.65),
            "above the base model (60.0 %), without",
        ),
        ({"passing": (0.5, 0.4, 0.6), "failing": (0.8, 0.7, 0.9)}, (0.6, 0.5, 0.7), "below the base model"),
        (
            {"passing": (0.5, 0.4, 0.6), "failing": (0.8, 0.7, 0.9)},
            None,
            "failing 80.0 % > passing 50.0 %; the 95 % intervals do",
        ),
        ({"passing": (0.5, 0.4, 0.6), "random": (0.45, 0.4, 0.6)}, None, "intervals of passing and random overlap"),
    ],
)
def test_the_verdict_on_the_arms_says_what_was_measured_whatever_it_is(means, base, words: str) -> None:
    given = {name: Estimate(*values) for name, values in means.items()}
    assert words in models.verdict(given, Estimate(*base) if base else None)


def test_an_interval_over_seeds_is_wider_when_the_seeds_disagree() -> None:
    tasks = [f"t{n}" for n in range(200)]
    agree = [{task: float(int(task[1:]) % 2) for task in tasks} for _ in range(3)]
    apart = [{task: level for task in tasks} for level in (0.2, 0.5, 0.8)]
    one, other = mean_over_tasks_and_seeds(agree), mean_over_tasks_and_seeds(apart)
    assert one.value == pytest.approx(0.5)
    assert one.high - one.low == pytest.approx(2 * 1.96 * 0.5 / 200**0.5, rel=0.1)
    assert other.high - other.low > 0.5


def test_a_difference_is_paired_by_task() -> None:
    """Two models that differ by the same amount on every task differ by exactly that, however hard the tasks are."""
    low = {f"t{n}": (n % 2) * 0.5 for n in range(50)}
    high = {task: value + 0.25 for task, value in low.items()}
    found = difference([high], [low])
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_scores_of_different_tasks_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different tasks"):
        difference([{"a": 1.0}], [{"b": 1.0}])


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_intervals_have_their_known_bounds(successes: int, total: int, low: float, high: float) -> None:
    found = wilson(successes, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([3, 3, 3], [(3, 4, 3)]),
        ([0, 1, 2], [(0, 1, 1), (1, 2, 1), (2, 3, 1)]),
        ([-0.5, 0.5], None),
        ([0, 1000], None),
    ],
)
def test_bins_hold_every_value_once(values: list[float], edges: list[tuple[float, float, int]] | None) -> None:
    found = data.bins(values)
    assert sum(count for _, _, count in found) == len(values)
    assert all(low < high for low, high, _ in found)
    assert len(found) <= 26
    assert edges is None or found == edges


def test_overlaps_are_counted_by_benchmark_and_shown_with_their_text(page: str) -> None:
    part = page[page.index('<section id="decontamination">') : page.index('<section id="training">')]
    assert re.search(r"<td>humaneval</td><td class=\"n\">164</td><td class=\"n\">2</td><td class=\"n\">0</td>", part)
    assert "result = list(items)" in part
    assert "Kept out of the data: humaneval." in part
    assert "does not keep out" not in part, "the toy is compared with its own tasks"


def test_the_papers_benchmarks_that_the_data_may_hold_are_named(finished: SmallRun) -> None:
    said = data.decontamination(opened(finished, demo=False, benchmarks={"mine": {"benchmark": "mbpp"}})).values
    assert (
        "Of the paper's, the config does not keep out humaneval_plus, mbpp_plus, evoeval_difficult" in said["sentence"]
    )
    assert "evalperf." in said["sentence"]


def test_a_run_that_names_no_benchmark_to_compare_with_says_so(copy: SmallRun) -> None:
    for path in copy.results.glob("decontaminate_*/*.overlaps.json"):
        write_json(path, {"rows_searched": 9, "benchmarks": {}})
    assert "overlaps were not looked for" in data.decontamination(opened(copy)).missing


def test_a_chart_in_the_page_follows_the_theme_and_has_words_for_those_who_cannot_see_it() -> None:
    svg = charts.counts([("pass", 3), ("fail", 1)], "responses")
    inline = charts.inline(svg, 'Verdicts & "more"')
    assert not re.search(r"#[0-9a-f]{6}", inline, re.IGNORECASE)
    assert "var(--c1)" in inline
    assert 'aria-label="Verdicts &amp; &quot;more&quot;"' in inline
    assert svg == charts.counts([("pass", 3), ("fail", 1)], "responses")


def test_the_summary_prints_the_headline_numbers_and_where_the_report_is(finished: SmallRun, page: str, capsys) -> None:
    command.main(["summary", "--results", str(finished.results)])
    printed = capsys.readouterr().out
    assert str((finished.results / "report.html").resolve()) in printed
    assert "the effect is planted" in " ".join(printed.split())
    for headline in json.loads((finished.results / "build_report/summary.json").read_text())["headlines"]:
        assert headline["label"] in page
        assert headline["value"] in printed


def test_the_summary_of_an_unfinished_run_says_what_to_do(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(["summary", "--results", str(tmp_path)])
    assert "run `snakemake --cores all` to the end" in capsys.readouterr().err
