"""Which files the tables of a run are read from: for each cell that the run fills, its number's sources."""

from collections.abc import Iterator
from typing import TypedDict

from selfcodealign.config.cells import Cell, benchmarks_of_arms, cells
from selfcodealign.config.tables import DOES_IT_PAY
from selfcodealign.pipeline import WRITING
from selfcodealign.plan import Plan, entry
from selfcodealign.planned_samples import PlannedSamples


class PlannedCell(TypedDict):
    """One number of a table, as `build_table` takes it; `divide` is the jobs that ran side by side."""

    row: str
    column: str
    model: str
    kind: str
    metric: str
    files: list[str]
    divide: int


class PlannedTables:
    """What the tables of a run are made from.

    Args:
        plan: the plan of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.samples = PlannedSamples(plan)

    def cells(self, table: str) -> list[PlannedCell]:
        """Every cell that this run fills of a table, with the files that its number is read from."""
        if table == DOES_IT_PAY:
            return list(self._arms())
        parallel = entry(self.plan.config.tables, "tables", table).parallel_jobs
        found = cells(self.plan.config, table)
        players = list(dict.fromkeys(cell.model for cell in found if cell.source.kind == "wins"))
        return [
            {
                "row": cell.row,
                "column": cell.column,
                "model": cell.model,
                "kind": cell.source.kind,
                "metric": cell.source.metric,
                "files": self._files_of_cell(cell, players),
                "divide": parallel if cell.source.kind == "generation_h" else 1,
            }
            for cell in found
        ]

    def _files_of_cell(self, cell: Cell, players: list[str]) -> list[str]:
        """Files of a cell's number; `players` are the models that EvalPerf's wins are counted against."""
        kind, model, scores = cell.source.kind, cell.model, f"{self.plan.results}/score_benchmark"
        if kind == "score":
            return [f"{scores}/{model}/{name}.json" for name in cell.source.benchmarks]
        if kind == "wins":
            others = [other for other in players if other != model]
            return [f"{scores}/{player}/{cell.source.benchmarks[0]}.json" for player in [model, *others]]
        (dataset,) = self.plan.config.models[model].weights
        if kind == "pass_rate":
            return [f"{self.plan.results}/build_dataset/{dataset}/sft/train.parquet"]
        if kind == "rows":
            return [f"{self.plan.results}/build_dataset/{dataset}.funnel.json"]
        if kind == "finetune_h":
            return [f"{self.plan.timings}/{self.plan.config.models[model].rule}/{model}.jsonl"]
        if kind == "generation_h":
            written = [one for one in self.plan.stages_before(dataset) if one.partition("/")[0] in WRITING]
            jobs = [
                f"{stage}/{job}"
                for stage, _, generation in (one.partition("/") for one in written)
                for job in (self.samples.rounds(generation) if stage == WRITING[-1] else [generation])
            ]
            return [
                f"{self.plan.timings}/{job}/{shard}.jsonl" for job in jobs for shard in self.plan.shards_of(dataset)
            ]
        return self.plan.gathered(dataset, ".funnel.json")

    def _arms(self) -> Iterator[PlannedCell]:
        """Yield for each arm its scores on each benchmark, and what its models were fine-tuned on."""
        config = self.plan.config
        for arm, models in config.tables[DOES_IT_PAY].arms.items():
            wanted = [
                (name, "score", [f"{self.plan.results}/score_benchmark/{model}/{name}.json" for model in models])
                for name in benchmarks_of_arms(config)
            ]
            if all(model in config.models and config.models[model].objective == "sft" for model in models):
                for kind, suffix in (("rows", ".funnel.json"), ("tokens", ".metrics.jsonl")):
                    wanted.append(("", kind, [self.plan.models.tuned(model, suffix) for model in models]))
            for column, kind, files in wanted:
                yield {
                    "row": arm,
                    "column": column,
                    "model": ", ".join(models),
                    "kind": kind,
                    "metric": "",
                    "files": files,
                    "divide": 1,
                }

    def inputs(self, table: str) -> list[str]:
        """Inputs of a table: what its cells are read from, and the models whose jobs were timed."""
        found: list[str] = []
        for cell in self.cells(table):
            if cell["kind"] == "pass_rate":
                found += self.plan.models.datasets(cell["model"])
            elif cell["kind"] in ("generation_h", "finetune_h"):
                found.append(self.plan.models.tuned(cell["model"]))
            else:
                found += cell["files"]
        return list(dict.fromkeys(found))
