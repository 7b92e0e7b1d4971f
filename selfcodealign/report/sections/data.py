"""What happened to the rows: funnel, verdicts, lengths, mix, judge, decontamination, and rows to read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from selfcodealign.config.benchmarks import PAPER
from selfcodealign.dataset.funnels import Funnel
from selfcodealign.evaluation.statistics import wilson
from selfcodealign.pipeline import SECTIONS, STAGES
from selfcodealign.report import charts
from selfcodealign.report.page import Figure, Section, count, percent, plural
from selfcodealign.report.results import Run, place_of
from selfcodealign.rows_io import column_names, read_rows

DECONTAMINATING = {"decontaminate_seeds": "function", "decontaminate_dataset": "row"}
"""Stages that compare with benchmarks, and what one of their rows is."""
OVERLAPS_SHOWN = 3
"""Overlaps shown of each benchmark and stage."""
DIFFICULTIES = ("easy", "medium", "hard")
ROWS_SHOWN = 5
DROPPED_SHOWN = 4
LONGEST_TEXT = 4_000
"""Characters of a row's text in the page; the whole text is in the parquet file."""


def funnel(run: Run, paper: Mapping[str, Any]) -> Section:
    """Show every stage's fate as a bar, branch by branch, beside the paper's milestones."""
    section = Section("funnel", "From source files to training rows")
    if not run.funnels:
        section.missing = "No stage has written a funnel yet."
        return section
    branches: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in run.funnels:
        stage = STAGES.get(one.stage)
        branches.setdefault(_branch(run, one.stage, place_of(one)), []).append(
            {
                "name": one.stage if stage else one.name,
                "done": stage.done if stage else "",
                "noun": stage.noun if stage else "row",
                "entered": one.entered,
                "kept": one.kept,
                "produced": one.produced,
                "reasons": _reasons(one),
            }
        )
    kinds = [kind for kind, _ in branches]
    section.values = {
        "branches": [
            {"name": f"{kind} {name}".strip(), "first": kinds.index(kind) == number, "stages": stages}
            for number, ((kind, name), stages) in enumerate(branches.items())
        ],
        "paper": [
            {"stage": stage, "here": total.produced if stage != "verify_responses" else _passed(run), **facts}
            for stage, facts in paper["rows"].items()
            if (total := run.funnel(stage))
        ],
    }
    totals = [total for stage in dict.fromkeys(one.stage for one in run.funnels) if (total := run.funnel(stage))]
    section.files["funnel"] = charts.funnel([bar for total in totals for bar in _bars(total)])
    return section


def _reasons(one: Funnel) -> list[tuple[str, int]]:
    return sorted(one.dropped.items(), key=lambda item: (-item[1], item[0]))


def _branch(run: Run, stage: str, place: str) -> tuple[str, str]:
    """Name kind and place of a branch of the data path, where there is more than one of its kind."""
    per = STAGES[stage].per if place else ""
    return (per, place) if place and len(run.config[SECTIONS[per]]) > 1 else ("", "")


def _bars(one: Funnel) -> list[dict[str, Any]]:
    whole = max(one.entered, 1)
    note = f"{count(one.kept)} of {count(one.entered)}"
    first = {"name": one.stage, "fate": "kept", "share": one.kept / whole, "order": 0, "note": note}
    rest = [
        {"name": one.stage, "fate": "dropped", "share": number / whole, "order": place + 1, "note": ""}
        for place, (_, number) in enumerate(_reasons(one))
    ]
    return [first, *rest]


def _verdicts(run: Run) -> Counter[tuple[str, str, str]]:
    """Count the responses executed, by category, difficulty and verdict, whether they were kept or set aside.

    Where tasks were asked about until enough responses passed, those of the first round count: of the others, hard
    tasks have more.
    """
    counted: Counter[tuple[str, str, str]] = Counter()
    columns = ["category", "difficulty", "verdict", "sample"]
    for generation in run.config["generations"]:
        first = run.first_round(generation)
        for dropped in (False, True):
            for path in run.files("verify_responses", generation, dropped=dropped):
                if set(columns) <= set(column_names(path)):
                    counted.update(
                        (row["category"], row["difficulty"], row["verdict"])
                        for row in read_rows(path, columns)
                        if first is None or row["sample"] in first
                    )
    return counted


def _passed(run: Run) -> int:
    return sum(row["passed"] for row in run.rows("verify_responses", ["passed"]))


def pass_rates(run: Run) -> Section:
    """Show how many responses pass their own tests: in all, by category, by difficulty, and by instruction."""
    section = Section("pass-rates", "Responses that pass their own tests")
    counted = _verdicts(run)
    total = counted.total()
    if not total:
        section.missing = "No response has been executed in this run."
        return section
    passed = sum(number for (_, _, verdict), number in counted.items() if verdict == "pass")
    whole = wilson(passed, total)
    section.values["rate"] = whole
    section.values["sentence"] = (
        f"{count(passed)} of {count(total)} responses executed in the sandbox passed their own tests: "
        f"{percent(whole.value)} (95 % interval {percent(whole.low)} to {percent(whole.high)}). "
        "Whiskers in the charts are Wilson intervals over responses."
    )
    if any(map(run.first_round, run.config["generations"])):
        section.values["sentence"] += (
            " They are the responses of the first round, which every task has: with write_responses.enough, hard tasks "
            "have more responses than easy ones."
        )
    verdicts: Counter[str] = Counter()
    for (_, _, verdict), number in counted.items():
        verdicts[verdict] += number
    chart = charts.counts(sorted(verdicts.items(), key=lambda item: (-item[1], item[0])), "responses")
    section.figures["verdicts"] = Figure(chart, "Verdicts of the sandbox.")
    section.files["verdicts"] = chart
    for place, name in ((0, "category"), (1, "difficulty")):
        by_name = _rates(counted, place)
        if by_name:
            chart = charts.shares(by_name, "pass rate")
            section.figures[name] = Figure(chart, f"Pass rate by {name} asked for.")
    if spread := _by_instruction(run):
        section.figures["instructions"] = Figure(
            charts.counts([(f"{number} passed", of) for number, of in spread], "instructions"),
            "Instructions by how many of their responses passed: those at the ends do not tell good from bad.",
        )
    return section


def _rates(counted: Counter[tuple[str, str, str]], place: int) -> list[dict[str, Any]]:
    totals: Counter[str] = Counter()
    passes: Counter[str] = Counter()
    for key, number in counted.items():
        totals[key[place]] += number
        passes[key[place]] += number if key[2] == "pass" else 0
    found = []
    for name in in_order(totals):
        if name:
            rate = wilson(passes[name], totals[name])
            found.append({"name": name, "value": rate.value, "low": rate.low, "high": rate.high})
    return found


def in_order(counted: Mapping[str, int]) -> list[str]:
    """Sort difficulties from easy to hard, and anything else by its count."""
    if set(counted) - {""} <= set(DIFFICULTIES):
        return [name for name in DIFFICULTIES if name in counted]
    return sorted(counted, key=lambda name: (-counted[name], name))


def _by_instruction(run: Run) -> list[tuple[int, int]]:
    """Count instructions by their number of passing responses; none where that number ended their rounds."""
    if any(map(run.first_round, run.config["generations"])):
        return []
    passes: Counter[str] = Counter()
    for row in run.rows("verify_responses", ["instruction_id", "passed"]):
        passes[row["instruction_id"]] += row["passed"]
    return sorted(Counter(passes.values()).items()) if passes else []


def lengths(run: Run) -> Section:
    """Show how long seeds, instructions and responses are."""
    section = Section("lengths", "Lengths")
    measured: list[tuple[str, str, str, list[int]]] = [
        (
            "seeds",
            "lines of a seed",
            "Seeds.",
            _measure(run, "gather_seeds", "content", lambda text: text.count("\n") + 1),
        ),
        (
            "instructions",
            "words of an instruction",
            "Instructions as written.",
            _measure(run, "write_instructions", "instruction", lambda text: len(text.split())),
        ),
        (
            "responses",
            "tokens of a response with its tests",
            "Responses as generated.",
            [row["tokens_out"] for row in run.rows("write_responses", ["tokens_out"])],
        ),
        (
            "rows",
            "lines of a training response",
            "Responses in the training set.",
            _measure(run, "build_dataset", "response", lambda text: text.count("\n") + 1),
        ),
    ]
    told = []
    for name, title, caption, values in measured:
        if values:
            middle = sorted(values)[len(values) // 2]
            told.append(f"{title} {count(middle)}")
            chart = charts.histogram(bins(values), title)
            section.figures[name] = Figure(chart, f"{caption} Median {count(middle)}.")
            if name == "responses":
                section.files["lengths"] = chart
    if not section.figures:
        section.missing = "There are no rows to measure in this run."
    section.values["sentence"] = "Medians: " + ", ".join(told) + "."
    return section


def _measure(run: Run, stage: str, column: str, measure: Any) -> list[int]:
    return [measure(row[column]) for row in run.rows(stage, [column]) if row[column]]


def bins(values: Sequence[float], most: int = 24) -> list[tuple[float, float, int]]:
    """Count values in equal bins with round edges, at most about `most` of them."""
    low, high = min(values), max(values)
    step = _round_step((high - low) / most)
    if all(float(value).is_integer() for value in values):
        step = max(1.0, step)
    first = math.floor(low / step)
    counted = Counter(math.floor(value / step) - first for value in values)
    return [((first + n) * step, (first + n + 1) * step, counted[n]) for n in range(max(counted) + 1)]


def _round_step(step: float) -> float:
    """Round a width up to 1, 2 or 5 times a power of ten."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def mix(run: Run) -> Section:
    """Compare what was asked for with what reached the training set, by category and difficulty."""
    section = Section("mix", "Categories and difficulties")
    for name in ("category", "difficulty"):
        asked = Counter(row[name] for row in run.rows("write_instructions", [name]) if row[name])
        trained = Counter(row[name] for row in run.rows("build_dataset", [name]) if row[name])
        if not asked:
            continue
        names = in_order(asked)
        rows = [
            {"name": key, "series": series, "value": counted[key] / counted.total()}
            for series, counted in (("instructions", asked), ("training rows", trained))
            if counted
            for key in names
        ]
        section.figures[name] = Figure(
            charts.compared(rows, "share", ["instructions", "training rows"], names),
            f"By {name}: share of the instructions written, and of the training rows.",
        )
    written = run.funnel("write_instructions")
    if not written or not written.produced:
        section.missing = "No instruction was written in this run."
    elif not section.figures:
        section.missing = "The instructions of this run carry no category and no difficulty."
    section.values["sentence"] = (
        "Category and difficulty are drawn by the weights of the config and asked for in the prompt. "
        "Where the two bars of a pair differ, the filters favoured one kind of task."
    )
    return section


def judge(run: Run) -> Section:
    """Show the scores of the seed judge and where the threshold cuts them."""
    section = Section("judge", "How the model judged the seeds")
    scores: list[float] = []
    for dropped in (False, True):
        for path in run.files("judge_seeds", dropped=dropped):
            if "judge_score" in column_names(path):
                found = (row["judge_score"] for row in read_rows(path, ["judge_score"]))
                scores += [score for score in found if score is not None and math.isfinite(score)]
    if not scores:
        section.missing = "No seed was judged by log-probability in this run."
        return section
    settings = run.config.get("judge_seeds", {})
    share = settings.get("keep_share")
    threshold = None if share else settings.get("threshold") or 0.0
    kept = run.funnel("judge_seeds")
    cut_at = f" at the threshold {threshold:g}" if threshold is not None else f", the best {share:.0%} of each shard"
    tail = f" {count(kept.kept)} of {count(kept.entered)} functions were kept{cut_at}." if kept else ""
    section.values["sentence"] = (
        "For each function the model says whether its docstring suffices to write it. The score is "
        f"log P(yes) − log P(no), in nats; above 0 the model leans to yes.{tail} A judge that cannot tell gives "
        "one narrow hill across the threshold; a useful one spreads, and kept and dropped rows read differently below."
    )
    section.files["judge_scores"] = charts.histogram(bins(scores), "log P(yes) − log P(no)", threshold)
    section.figures["judge"] = Figure(
        section.files["judge_scores"],
        f"Scores of {count(len(scores))} functions"
        + (", with the threshold as a dashed line." if threshold is not None else "."),
    )
    return section


def decontamination(run: Run) -> Section:
    """Count overlaps with each benchmark, among seeds and among training rows."""
    section = Section("decontamination", "Overlap with benchmarks")
    found = {stage: reports for stage in DECONTAMINATING if (reports := run.overlaps(stage))}
    if not found:
        section.missing = "No rows were compared with benchmarks in this run."
        return section
    names = sorted({name for reports in found.values() for one in reports for name in one["benchmarks"]})
    if not names:
        section.missing = "The config names no benchmark to compare with, so overlaps were not looked for."
        return section
    table, examples = [], []
    for name in names:
        parts = {stage: [one["benchmarks"][name] for one in reports] for stage, reports in found.items()}
        table.append(
            {
                "benchmark": name,
                "passages": max(part["passages"] for reports in parts.values() for part in reports),
                "hits": [sum(part["rows_hit"] for part in reports) for reports in parts.values()],
            }
        )
        for stage, reports in parts.items():
            shown = [example for part in reports for example in part["examples"]][:OVERLAPS_SHOWN]
            examples += [{**one, "stage": stage, "benchmark": name, "text": cut(one["text"], 300)} for one in shown]
    looked = ", ".join(
        plural(sum(one["rows_searched"] for one in reports), DECONTAMINATING[stage]) for stage, reports in found.items()
    )
    hits = sum(sum(line["hits"]) for line in table)
    section.values = {
        "sentence": f"Compared with the prompts and solutions of each benchmark: {looked}. "
        + ("What overlapped was removed." if hits else "Nothing overlapped.")
        + f" Kept out of the data: {', '.join(names)}."
        + _not_kept_out(run, names),
        "stages": list(found),
        "table": table,
        "examples": examples,
    }
    return section


def _not_kept_out(run: Run, names: list[str]) -> str:
    """Say which of the paper's benchmarks the data may hold; the toy is compared with none of them."""
    known = {*names, *(one["benchmark"] for one in run.config["benchmarks"].values())}
    absent = [name for name in PAPER if name not in known]
    return (
        f" Of the paper's, the config does not keep out {', '.join(absent)}."
        if absent and not run.config["demo"]
        else ""
    )


def rows(run: Run) -> Section:
    """Show rows of each stage, drawn at random by the run seed."""
    section = Section("rows", "Rows of each stage")
    stages = []
    for stage, facts in STAGES.items():
        drawn = run.pick(stage, ROWS_SHOWN)
        total = run.funnel(stage)
        if drawn:
            note = facts.done + (f"; {ROWS_SHOWN} of {count(total.produced)}" if total else "")
            stages.append({"name": stage, "note": note, "rows": [shown(row) for row in drawn]})
    section.values["stages"] = stages
    if not stages:
        section.missing = "No stage has written rows yet."
    return section


def dropped_rows(run: Run) -> Section:
    """Show a few rows that each stage set aside, with the reason."""
    section = Section("dropped-rows", "Rows that were dropped, and why")
    stages = []
    for stage in STAGES:
        drawn = run.pick_dropped(stage, DROPPED_SHOWN)
        total = run.funnel(stage)
        if drawn:
            note = f"{plural(total.dropped.total(), 'row')} dropped" if total else ""
            stages.append({"name": stage, "note": note, "rows": [shown(row) for row in drawn]})
    section.values["stages"] = stages
    if not stages:
        section.missing = "No stage has dropped a row."
    return section


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one row of any stage out: tags for its fate, facts on a line, its texts as blocks."""
    tags = []
    if row.get("verdict"):
        tags.append({"text": row["verdict"], "kind": "good" if row["verdict"] == "pass" else "bad"})
    if row.get("reason"):
        tags.append({"text": str(row["reason"]).replace("_", " "), "kind": "bad"})
    if row.get("response") and "raw" in row:
        texts = [("instruction", True), ("response", False), ("tests", False)]
    elif "raw" in row:
        texts = [("instruction", True), ("raw", False)]
    else:
        texts = [("instruction", True), ("response", False), ("tests", False), ("content", False)]
    facts = [cut(str(row["detail"]), 300)] if row.get("detail") else []
    if row.get("concepts"):
        facts.append("concepts: " + ", ".join(row["concepts"]))
    facts += [str(row[name]) for name in ("category", "difficulty") if row.get(name)]
    if row.get("judge_score") is not None:
        facts.append(f"judged {row['judge_score']:+.2f}")
    if row.get("pass_rate") is not None:
        facts.append(f"pass rate {percent(row['pass_rate'], 0)}")
    source = "/".join(part for part in (row.get("repo"), row.get("path")) if part)
    if source:
        facts.append(f"{source}:{row['line']}" if row.get("line") else source)
    return {
        "id": row["id"],
        "tags": tags,
        "facts": " · ".join(facts),
        "texts": [{"text": cut(row[name], LONGEST_TEXT), "prose": prose} for name, prose in texts if row.get(name)],
    }


def cut(text: str, most: int) -> str:
    """Shorten a text, saying by how much."""
    return text if len(text) <= most else f"{text[:most]}\n… {count(len(text) - most)} more characters"
