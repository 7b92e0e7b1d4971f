"""Read what a run has left behind, for the report.

Files of a run that the config no longer names (an earlier model, another generation) are passed over. Reading streams:
memory does not grow with the number of rows.
"""

import heapq
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from selfcodealign.config.dataset import Selection
from selfcodealign.config.tables import BASE, DOES_IT_PAY
from selfcodealign.dataset.funnels import Funnel, read_funnels
from selfcodealign.errors import UserError
from selfcodealign.ids import digest
from selfcodealign.pipeline import RULES, SECTIONS, STAGES, position
from selfcodealign.rows_io import column_names, read_rows
from selfcodealign.sample_rounds import rounds

SUFFIX = re.compile(r"\.(dropped\.parquet|parquet|funnel\.json|overlaps\.json)$")
SELECTIONS = get_args(Selection)
"""Selections in the order of the report."""


@dataclass(frozen=True)
class Score:
    """How one model did on one benchmark.

    Args:
        value, low, high: the headline number in percent, and its 95 % interval.
        by_task: task → value of the headline metric, 0…1.
        paper: table and column of the paper's results that compare with it; None if the paper has no such number.
        warnings: what the scorer says about the number.
    """

    model: str
    benchmark: str
    title: str
    metric: str
    value: float
    low: float
    high: float
    by_task: dict[str, float]
    paper: tuple[str, str] | None
    warnings: list[str]


@dataclass(frozen=True)
class Run:
    """The folders of a run and what was recorded about it.

    Args:
        results: where the rules wrote.
        timings: where Snakemake measured the jobs.
        provenance: the content of provenance.json.
    """

    results: Path
    timings: Path
    provenance: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The whole config of the run, defaults included."""
        return self.provenance["config"]

    @property
    def seed(self) -> int:
        """The run seed."""
        return self.config["seed"]

    @property
    def models(self) -> list[str]:
        """Models in the order of the report: the base, those trained, by selection of their data, and others."""
        base = [BASE] if self.config["evaluate_base"] else []
        trained = sorted(self.config["models"], key=lambda name: (rank(self.arm(name)), name))
        return [*base, *trained, *self.config["other_models"]]

    def arm(self, model: str) -> str | None:
        """Name what a trained model learned from: how its data were selected, and objectives that came after.

        The arms of `does_it_pay` have names of their own. None for data of others.
        """
        for arm, models in self.config["tables"].get(DOES_IT_PAY, {}).get("arms", {}).items():
            if model in models:
                return arm
        one, datasets = self.config["models"][model], self.config["datasets"]
        if not set(self.weights(model)) <= set(datasets):
            return None
        before = self.arm(one["from"]) if one["from"] in self.config["models"] else BASE
        if one["objective"] != "sft":
            return before and f"{before} + {one['objective'].upper()}"
        own = " and ".join(dict.fromkeys(datasets[name]["selection"] for name in self.weights(model)))
        return own if before == BASE else before and f"{before}, then {own}"

    def weights(self, model: str) -> dict[str, float]:
        """Weight of each dataset that a model was trained on, by name."""
        dataset = self.config["models"][model]["dataset"]
        return {dataset: 1.0} if isinstance(dataset, str) else dataset

    def data(self, model: str) -> str:
        """Name the datasets that a model was trained on, with weights where they are several."""
        weights = self.weights(model)
        return ", ".join(f"{name} × {weight:g}" if len(weights) > 1 else name for name, weight in weights.items())

    def _current(self, stage: str, place: str) -> bool:
        """Whether the config still names the generation or dataset that a file belongs to."""
        section = STAGES[stage].section if stage in STAGES else None
        return section is None or place in self.config[section]

    def _place(self, path: Path) -> tuple[str, str]:
        """Return stage, and generation or dataset, of a file under results/.

        A round of a generation's responses is no generation of the config: the last round's files hold all of them.
        """
        stage, *parts = path.relative_to(self.results).parts
        if stage in STAGES and STAGES[stage].per == "generation":
            return stage, "/".join(parts[:-1])
        named = stage in STAGES and STAGES[stage].section
        return stage, SUFFIX.sub("", parts[0]) if named else ""

    def first_round(self, generation: str) -> range | None:
        """Samples that every task of a generation was asked for; None where that is all of them."""
        asked = self.config["write_responses"] | self.config["generations"][generation]["responses"]
        if not asked.get("enough"):
            return None
        return rounds(asked["samples"], asked["enough"], asked["samples_per_round"])[0]

    @cached_property
    def funnels(self) -> list[Funnel]:
        """Funnels of the data path, the shards of a branch added up; stages beside the path are left out."""
        found = [path for stage in STAGES for path in sorted((self.results / stage).rglob("*.funnel.json"))]
        files = [path for path in found if self._current(*self._place(path))]
        places = [place for section in SECTIONS.values() for place in self.config[section]]
        order = {place: number for number, place in enumerate(places)}

        def rank(funnel: Funnel) -> tuple[Any, ...]:
            return (*position(funnel.stage), order.get(place_of(funnel), -1), funnel.name)

        return sorted(read_funnels(files).values(), key=rank)

    def funnel(self, stage: str) -> Funnel | None:
        """Return the funnel of a stage, all branches added up; None if the stage did not run."""
        found = [one for one in self.funnels if one.stage == stage]
        if not found:
            return None
        total = Funnel(stage, stage)
        for one in found:
            total.entered += one.entered
            total.kept += one.kept
            total.produced += one.produced
            total.dropped.update(one.dropped)
        return total

    def files(self, stage: str, place: str | None = None, *, dropped: bool = False) -> list[Path]:
        """List the parquet files of a stage, in order: its rows, or those that it set aside."""
        found = []
        # A published dataset is a folder of configurations; its rows in the sense of the data path are those of "sft".
        pattern = "*/sft/*.parquet" if stage == "build_dataset" and not dropped else "**/*.parquet"
        for path in sorted((self.results / stage).glob(pattern)):
            _, of = self._place(path)
            if path.name.endswith(".dropped.parquet") == dropped and self._current(stage, of) and place in (None, of):
                found.append(path)
        return found

    def rows(self, stage: str, columns: Sequence[str], place: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield some columns of a stage's rows; nothing where the stage did not run or lacks a column."""
        for path in self.files(stage, place):
            if set(columns) <= set(column_names(path)):
                yield from read_rows(path, columns)

    def pick(self, stage: str, count: int) -> list[dict[str, Any]]:
        """Draw rows of a stage at random by the run seed and their ids, whatever their order and files."""
        return self._fetch(self.files(stage), self._draw(stage, self.files(stage), count))

    def pick_dropped(self, stage: str, count: int) -> list[dict[str, Any]]:
        """Draw set-aside rows of a stage, one for each reason as far as they go, the commonest reasons first."""
        files = [path for path in self.files(stage, dropped=True) if "reason" in column_names(path)]
        best: dict[str, tuple[str, str]] = {}
        reasons: Counter[str] = Counter()
        for path in files:
            for row in read_rows(path, ["id", "reason"]):
                reasons[row["reason"]] += 1
                draw = (digest(self.seed, stage, row["id"]), row["id"])
                best[row["reason"]] = min(best.get(row["reason"], draw), draw)
        chosen = [
            best[reason][1] for reason, _ in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:count]
        ]
        return self._fetch(files, chosen)

    def _draw(self, stage: str, files: list[Path], count: int) -> list[str]:
        ids = (row["id"] for path in files if "id" in column_names(path) for row in read_rows(path, ["id"]))
        draws = heapq.nsmallest(count, {(digest(self.seed, stage, row_id), row_id) for row_id in ids})
        return [row_id for _, row_id in draws]

    @staticmethod
    def _fetch(files: list[Path], ids: list[str]) -> list[dict[str, Any]]:
        """Read whole rows by id, in the order of `ids`."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        found: dict[str, dict[str, Any]] = {}
        for path in files if ids else []:
            for row in pq.read_table(path, filters=pc.field("id").isin(ids)).to_pylist():
                found.setdefault(row["id"], row)
        return [found[row_id] for row_id in ids if row_id in found]

    @cached_property
    def scores(self) -> list[Score]:
        """Scores of the models that the config names, by benchmark and model."""
        found = []
        for path in sorted((self.results / "score_benchmark").glob("*/*.json")):
            if path.parent.name in self.models and path.stem in self.config["benchmarks"]:
                found.append(_score(path))
        models, benchmarks = self.models, list(self.config["benchmarks"])
        return sorted(found, key=lambda score: (benchmarks.index(score.benchmark), models.index(score.model)))

    def trained(self, model: str, suffix: str) -> Path:
        """Name a file that training leaves beside a model."""
        return self.results / f"train_{self.config['models'][model]['objective']}" / f"{model}.{suffix}"

    def metrics(self, model: str) -> list[dict[str, Any]]:
        """Read the training metrics of a model, one record a logged step; empty if it was not trained here."""
        path = self.trained(model, "metrics.jsonl")
        return read_jsonl(path) if path.is_file() else []

    def overlaps(self, stage: str) -> list[dict[str, Any]]:
        """Read what a decontaminating stage found, one report for each of its files; empty if it did not run."""
        paths = sorted((self.results / stage).glob("*.overlaps.json"))
        return [read_json(path) for path in paths if self._current(*self._place(path))]

    @cached_property
    def jobs(self) -> list[dict[str, Any]]:
        """What Snakemake measured of each job: rule, seconds, CPU seconds, peak memory in MB."""
        found = []
        for path in sorted(self.timings.rglob("*.jsonl")):
            parts = path.relative_to(self.timings).with_suffix("").parts
            for record in read_jsonl(path) if self._wanted(*parts[:2]) else ():
                found.append(
                    {
                        "rule": parts[0],
                        "job": "/".join(parts[1:]),
                        "s": number(record.get("s")),
                        "cpu_s": number(record.get("cpu_time")),
                        "memory_mb": number(record.get("max_rss")),
                    }
                )
        return found

    def _wanted(self, rule: str, place: str = "") -> bool:
        """Whether a measured job belongs to something that the config still names."""
        if rule in RULES and RULES[rule].per == "evaluation":
            return place in self.models
        return self._current(rule, place)


def rank(arm: str | None) -> tuple[int, str]:
    """Return a sort key that puts selections in the order of the report, then all else, then data of others."""
    if arm is None:
        return len(SELECTIONS) + 1, ""
    return (SELECTIONS.index(arm), "") if arm in SELECTIONS else (len(SELECTIONS), arm)


def place_of(funnel: Funnel) -> str:
    """Name the generation, dataset or model of a funnel; empty for the stages before them."""
    named = funnel.stage in STAGES and STAGES[funnel.stage].section
    return funnel.name.partition("/")[2] if named else ""


def _score(path: Path) -> Score:
    value = read_json(path)
    try:
        metric = value["headline"]
        headline = value["metrics"][metric]
        paper = value.get("paper")
        return Score(
            model=path.parent.name,
            benchmark=path.stem,
            title=value.get("title") or path.stem,
            metric=metric,
            value=headline["value"],
            low=headline["low"],
            high=headline["high"],
            by_task=value["by_task"][metric],
            paper=(paper["table"], paper["column"]) if paper else None,
            warnings=value["warnings"],
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no score of a benchmark ({error}); delete it and score again") from None


def number(value: Any) -> float | None:
    """Read a measurement; Snakemake writes NA for what it could not measure."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: it is missing or damaged; the sentence names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the rule that makes it, or correct the path") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and make it again") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line, with the errors of `read_json`."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise UserError(f"{path} is not one JSON object a line ({error}); delete it and make it again") from None
