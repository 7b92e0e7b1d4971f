"""The dataset stages one after the other, as the rules call them: same bytes in any order, no row lost, both modes."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from scripts import (
    augment_dataset,
    build_dataset,
    build_preferences,
    check_funnels,
    decontaminate_dataset,
    dedup_dataset,
    sanitize_responses,
    select_responses,
)
from selfcodealign.config.dataset import (
    AugmentDataset,
    BuildPreferences,
    DecontaminateDataset,
    DedupDataset,
    SanitizeResponses,
    SelectResponses,
)
from selfcodealign.config.generation import Stopping
from selfcodealign.dataset import sanitizing
from selfcodealign.ids import content_id
from selfcodealign.rows import ResponseRow, SeedRow, VerdictRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import raw_of, response_row, seed_row, verdict_row

CHAINS = {
    "fixed": ("select_responses", "decontaminate_dataset", "dedup_dataset", "augment_dataset"),
    "reference": ("select_responses", "augment_dataset", "decontaminate_dataset", "dedup_dataset"),
}
TOPICS = ("prices", "names", "dates", "scores", "words", "angles", "weights", "cities", "ages", "tones")
VERBS = ("sort", "count", "merge", "rotate")
BENCHMARK = "Given a nonempty list of tones return the loudest tone that is heard at least three times in a row."


def generations() -> list[dict[str, Any]]:
    """Make four samples of forty instructions: malformed, repeated, contaminated and good ones among them."""
    rows = []
    for number, (verb, topic) in enumerate(itertools.product(VERBS, TOPICS)):
        text = (
            f"Write a function that will {verb} all of the {topic} it is given, and return them as a list of its own."
        )
        text = BENCHMARK if number == 17 else text
        text = " word" * 250 if number == 23 else text
        instruction_id = content_id("ins", number)
        for sample in range(4):
            name = f"{verb}_{topic}" if number % 3 else f"helper_{sample}"
            code = f"def {name}({topic}):\n    # step {sample}\n    return sorted({topic})[{sample}:] + [{number}]"
            tests = f"```python\nassert {name}([]) == [{number}]\nassert {name}([1]) != []\n```"
            raw = raw_of(f"Here it is.\n\n```python\n{code}\n```", tests)
            raw = "no tests at all" if (number + sample) % 11 == 0 else raw
            row = response_row(number, instruction_id=instruction_id, sample=sample, instruction=text, raw=raw)
            rows.append(row | {"id": content_id("res", instruction_id, sample)})
    return rows


def passed(row: dict[str, Any]) -> bool:
    """Decide a verdict by the row's content, as execution would: the same wherever the row stands."""
    return int(row["id"][-2:], 16) % 3 != 0


def executed(row: dict[str, Any]) -> dict[str, Any]:
    verdict = verdict_row(0, passed=passed(row))
    return {name: row.get(name, verdict[name]) for name in VerdictRow.model_fields} | {
        name: verdict[name] for name in ("verdict", "passed", "reason")
    }


class Stages:
    """A run of the stages in a folder."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.results = folder / "results"
        self.mode = mode
        self.benchmark = folder / "benchmark.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.benchmark.write_text(
            json.dumps({"task_id": 11, "text": BENCHMARK, "code": "def loudest(tones):\n    return max(tones)"}) + "\n"
        )

    def outputs(self, stage: str, place: str) -> list[Path]:
        base = self.results / stage / place
        return [base.with_name(base.name + suffix) for suffix in (".parquet", ".dropped.parquet", ".funnel.json")]

    def run(self, shards: list[list[dict[str, Any]]]) -> None:
        verdicts = []
        for number, rows in enumerate(shards):
            place = f"self/{number:05d}"
            source = self.outputs("write_responses", place)[0]
            write_rows(source, ResponseRow, rows)
            outputs = self.outputs("sanitize_responses", place)
            sanitize_responses.main(source, *outputs, mode=self.mode, settings=SanitizeResponses())
            verdicts.append(self.outputs("verify_responses", place)[0])
            write_rows(verdicts[-1], VerdictRow, (executed(row) for row in read_rows(outputs[0])))
        benchmarks = {"tones": str(self.benchmark)}
        common = {"mode": self.mode, "run_seed": 3407}
        chosen = {"settings": SelectResponses(), "sanitizing": SanitizeResponses(), "stopping": Stopping()}
        select_responses.main(verdicts, *self.outputs("select_responses", "passing"), **common, **chosen)
        for before, stage in itertools.pairwise(CHAINS[self.mode]):
            source = self.outputs(before, "passing")[0]
            outputs = self.outputs(stage, "passing")
            if stage == "decontaminate_dataset":
                overlaps = self.results / "overlaps.json"
                kept_out = {"benchmarks": benchmarks, "settings": DecontaminateDataset()}
                decontaminate_dataset.main(source, *outputs, overlaps, mode=self.mode, **kept_out)
            elif stage == "dedup_dataset":
                dedup_dataset.main(source, *outputs, mode=self.mode, settings=DedupDataset())
            else:
                augment_dataset.main(source, *outputs, **common, settings=AugmentDataset())
        last = self.outputs(CHAINS[self.mode][-1], "passing")[0]
        names = ("pairs", "labels", "tasks", "dropped", "funnel")
        preferences = [self.results / "build_preferences" / f"passing.{name}.parquet" for name in names]
        settings = {"settings": BuildPreferences(), "decontamination": DecontaminateDataset()}
        build_preferences.main(last, verdicts, *preferences, benchmarks=benchmarks, **common, **settings)
        seeds = self.results / "seeds.parquet"
        write_rows(seeds, SeedRow, [seed_row(number) for number in range(40)])
        build_dataset.main(
            last,
            [seeds],
            self.results / "build_dataset" / "passing",
            *self.outputs("build_dataset", "passing")[1:],
            name="passing",
            run_seed=3407,
            pairs=preferences[0],
            labels=preferences[1],
            tasks=preferences[2],
            funnels=self.funnels(),
        )

    def funnels(self) -> list[Path]:
        stages = ("sanitize_responses", *CHAINS[self.mode], "build_dataset")
        return [path for stage in stages for path in sorted((self.results / stage).rglob("*.funnel.json"))]

    def published(self) -> dict[str, bytes]:
        folder = self.results / "build_dataset" / "passing"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}

    def rows(self) -> list[dict[str, Any]]:
        return list(read_rows(self.results / "build_dataset" / "passing" / "sft" / "train.parquet"))


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_published_bytes_depend_on_neither_order_nor_shards(tmp_path, mode):
    rows = generations()
    runs = []
    for attempt, cuts in enumerate(((80,), (10, 50, 120), ())):
        random.Random(attempt).shuffle(rows)
        edges = [0, *cuts, len(rows)]
        path = Stages(tmp_path / str(attempt), mode)
        path.run([rows[start:end] for start, end in itertools.pairwise(edges)])
        runs.append(path.published())
    assert runs[0] == runs[1] == runs[2]
    assert runs[0].keys() >= {"sft/train.parquet", "dpo/train.parquet", "kto/train.parquet", "rl/train.parquet"}


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_every_row_has_one_fate(tmp_path, mode):
    path = Stages(tmp_path, mode)
    path.run([generations()])
    chain = [f"{stage}/passing" for stage in (*CHAINS[mode], "build_dataset")]
    links = [f"{first}={second}" for first, second in itertools.pairwise(chain)]
    links.append("sanitize_responses/self=select_responses/passing")  # Execution passes every row on.
    check_funnels.main(path.funnels(), tmp_path / "totals.json", links=links)
    totals = {item["name"]: item for item in json.loads((tmp_path / "totals.json").read_text())}
    assert totals["sanitize_responses/self"]["entered"] == 160
    assert totals["decontaminate_dataset/passing"]["dropped"] == {"in_tones": 1}
    assert totals["build_dataset/passing"]["produced"] == len(path.rows()) > 5


def test_each_instruction_has_at_most_one_row_and_it_passed(tmp_path):
    path = Stages(tmp_path, "fixed")
    path.run([generations()])
    rows = path.rows()
    assert len({row["instruction_id"] for row in rows}) == len(rows)
    assert all(row["passed"] for row in rows)
    assert BENCHMARK not in {row["instruction"] for row in rows}
    assert sum("Your code should pass" in row["instruction"] for row in rows) > 0


def test_sanitising_before_execution_changes_nothing_in_reference_mode(tmp_path):
    """The reference executes first, then filters by form, then by verdict, then shuffles: the same rows are chosen."""
    path = Stages(tmp_path, "reference")
    path.run([generations()])
    ran = [row | {"passed": passed(row)} for row in sorted(generations(), key=lambda row: row["id"])]
    formed = []
    for row in ran:
        draft = sanitize_responses.draft_of(row)
        if sanitize_responses.why_dropped(draft, sanitizing.rules("reference", max_words=200)) is None:
            formed.append(row | {"response": draft.response, "tests": draft.tests})
    shuffled = select_responses.reference_shuffle([row for row in formed if row["passed"]])
    expected = [row["id"] for row, reason in select_responses.reference_choice(shuffled, 200) if reason is None]
    chosen = [row["response_id"] for row in read_rows(path.outputs("select_responses", "passing")[0])]
    assert chosen == expected
    assert len(chosen) > 10
