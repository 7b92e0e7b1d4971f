"""A complete run in miniature, written as the stages write it, for tests of everything that reads results."""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfcodealign.config import Config, Dataset, TrainedModel
from selfcodealign.ids import content_id, rng_for, seed_for
from selfcodealign.rows import (
    ConceptRow,
    DatasetRow,
    FunctionRow,
    InstructionRow,
    ResponseRow,
    Row,
    SeedRow,
    SelectedRow,
    VerdictRow,
)
from selfcodealign.rows_io import StageOutput, write_json, write_text

SEED = 11
NOUNS = ("lists", "words", "matrices", "intervals", "fractions", "dates")
VERBS = ("merge", "count", "rotate", "sort", "split", "reverse", "group", "filter")
CATEGORIES = ("function", "class", "program")
DIFFICULTIES = ("easy", "medium", "hard")


@dataclass
class SmallRun:
    """A folder of results and the rows in it."""

    folder: Path
    functions: list[dict[str, Any]] = field(default_factory=list)
    seeds: list[dict[str, Any]] = field(default_factory=list)
    concepts: list[dict[str, Any]] = field(default_factory=list)
    instructions: list[dict[str, Any]] = field(default_factory=list)
    responses: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    """Ids of the rows that each stage set aside."""

    @property
    def results(self) -> Path:
        """Where the stages wrote."""
        return self.folder / "results"

    def stage(
        self,
        name: str,
        place: str,
        rows: Iterable[dict[str, Any]],
        kind: type[Row],
        why: Callable[[dict[str, Any]], tuple[str, str] | None] = lambda row: None,
        shape: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row,
        rows_file: Path | None = None,
    ) -> list[dict[str, Any]]:
        """Write one stage's three files; rows for which `why` gives a reason and a detail are set aside."""
        base = self.results / name / place
        kept = []
        with StageOutput(
            name,
            rows=rows_file or base.with_name(base.name + ".parquet"),
            dropped=base.with_name(base.name + ".dropped.parquet"),
            funnel=base.with_name(base.name + ".funnel.json"),
            schema=kind,
        ) as output:
            for row in rows:
                fate = why(row)
                if fate:
                    output.drop(shape(row), *fate)
                    self.dropped.setdefault(name, []).append(row["id"])
                else:
                    kept.append(shape(row))
                    output.keep(kept[-1])
        return kept


def sampled(stage: str, row_id: str, tokens_out: int) -> dict[str, Any]:
    """Columns of a sampled row."""
    return {
        "model": "demo/model",
        "revision": "sha256:0f1e2d3c",
        "template": f"{stage}.md@1a2b3c4d",
        "examples": [3],
        "temperature": 0.7,
        "top_p": 1.0,
        "max_tokens": 512,
        "seed": seed_for(SEED, stage, row_id),
        "tokens_in": 240,
        "tokens_out": tokens_out,
    }


def provenance(**changes: Any) -> dict[str, Any]:
    """Return a record of provenance with the default config, some of its keys changed."""
    return {
        "hash": "sha256:77aa",
        "code": {"version": "0.1.0", "commit": "0123456789abcdef0123456789abcdef01234567"},
        "models": {"base": {"name": "demo/model", "sha256": "0f1e2d3c"}},
        "hardware": {"processor": "a small one", "cores": 2},
        "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
        "seeds": {"run": SEED},
        "config": Config(seed=SEED, demo=True).model_dump(mode="json") | changes,
    }


def make_run(folder: Path, functions: int = 48, samples: int = 4) -> SmallRun:
    """Write a run of two shards from functions to scores."""
    run = SmallRun(folder)
    _seeds(run, functions)
    _generation(run, samples)
    _dataset(run)
    _scores(run)
    _timings(run)
    write_json(run.results / "provenance.json", provenance())
    return run


def _function(number: int) -> dict[str, Any]:
    verb, noun = VERBS[number % len(VERBS)], NOUNS[number // len(VERBS) % len(NOUNS)]
    content = (
        f"def {verb}_{noun}(items, times={number}):\n"
        f'    """{verb.title()} {noun} as often as asked, and return the result as a new list."""\n'
        "    result = list(items)\n    for _ in range(times):\n        result = result[1:] + result[:1]\n"
        "    return result"
    )
    return {
        "id": content_id("fn", content, number),
        "content": content,
        "repo": f"someone/{noun}",
        "path": f"src/{noun}/{verb}.py",
        "line": 10 + number,
        "licence": "MIT",
    }


def _seeds(run: SmallRun, functions: int) -> None:
    made = [_function(number) for number in range(functions)]
    run.functions = made
    judged: list[dict[str, Any]] = []
    for shard in range(2):
        place = f"{shard:05d}"
        rows = run.stage("extract_functions", place, made[shard::2], FunctionRow)
        rows = run.stage(
            "dedup_functions",
            place,
            rows,
            FunctionRow,
            lambda row: ("near_duplicate", f"of {made[0]['id']}") if row["line"] % 12 == 5 else None,
        )
        rows = run.stage("infer_imports", place, rows, SeedRow, shape=_seed)
        rows = run.stage(
            "typecheck_functions",
            place,
            rows,
            SeedRow,
            lambda row: (
                ("type_error", 'reportUndefinedVariable: "np" is not defined') if row["line"] % 9 == 0 else None
            ),
        )
        rows = run.stage(
            "filter_seeds",
            place,
            rows,
            SeedRow,
            lambda row: (
                ("too_short", "") if row["line"] % 11 == 0 else ("no_return", "") if row["line"] % 23 == 0 else None
            ),
        )
        already = len(run.dropped.get("decontaminate_seeds", []))
        rows = run.stage(
            "decontaminate_seeds",
            place,
            rows,
            SeedRow,
            lambda row: (
                ("in_humaneval", "humaneval: HumanEval/0 solution, substring: result = list(items)")
                if row["line"] % 17 == 0
                else None
            ),
        )
        hit = run.dropped.get("decontaminate_seeds", [])[already:]
        _overlaps(run.results / f"decontaminate_seeds/{place}.overlaps.json", hit)
        rows = [row | {"judge_score": round(random.Random(row["id"]).gauss(0.8, 1.2), 3)} for row in rows]
        judged += run.stage(
            "judge_seeds",
            place,
            rows,
            SeedRow,
            lambda row: (
                ("judge_score_below_threshold", f"{row['judge_score']} < 0") if row["judge_score"] < 0 else None
            ),
        )
    judged.sort(key=lambda row: row["id"])
    for shard in range(2):
        run.seeds += run.stage("gather_seeds", f"{shard:05d}", judged[shard::2], SeedRow)


def _overlaps(path: Path, hit: list[str]) -> None:
    """Write the report of a decontaminating stage; each of the rows `hit` overlaps with HumanEval/0."""
    example = {
        "task": "HumanEval/0",
        "kind": "solution",
        "how": "substring",
        "overlap": 1.0,
        "text": "result = list(items)",
    }
    found = {
        "passages": 164,
        "tasks": 164,
        "rows_hit": len(hit),
        "tasks_hit": min(len(hit), 1),
        "how": {"substring": len(hit)},
        "examples": [{"row": row_id, **example} for row_id in hit],
    }
    write_json(path, {"rows_searched": 16, "benchmarks": {"humaneval": found}})


def _seed(function: dict[str, Any]) -> dict[str, Any]:
    return {
        **{column: function[column] for column in ("content", "repo", "path", "line", "licence")},
        "id": content_id("seed", function["id"], function["content"]),
        "function_id": function["id"],
        "imports": [],
        "judge_score": None,
    }


def _generation(run: SmallRun, samples: int) -> None:
    for shard in range(2):
        place = f"self/{shard:05d}"
        seeds = run.seeds[: len(run.seeds) // 2] if shard == 0 else run.seeds[len(run.seeds) // 2 :]
        concepts = [_concepts(seed) for seed in seeds]
        concepts = run.stage(
            "extract_concepts",
            place,
            concepts,
            ConceptRow,
            lambda row: ("malformed", "") if row["id"][-1] == "0" else None,
        )
        instructions = [_instruction(row) for row in concepts]
        instructions = run.stage(
            "write_instructions",
            place,
            instructions,
            InstructionRow,
            lambda row: ("length", "512 tokens") if row["id"][-1] == "1" else None,
        )
        responses = [_response(row, sample) for row in instructions for sample in range(samples)]
        responses = run.stage("write_responses", place, responses, ResponseRow)
        responses = run.stage(
            "sanitize_responses",
            place,
            responses,
            ResponseRow,
            lambda row: ("no_assertion", "") if row["id"][-1] == "3" else None,
            _split,
        )
        verdicts = [_verdict(row) for row in responses]
        run.concepts += concepts
        run.instructions += instructions
        run.responses += responses
        run.verdicts += run.stage("verify_responses", place, verdicts, VerdictRow)


def _concepts(seed: dict[str, Any]) -> dict[str, Any]:
    row_id = content_id("con", seed["id"], SEED)
    return {
        "id": row_id,
        "seed_id": seed["id"],
        "concepts": ["lists", "rotation"],
        **sampled("extract_concepts", row_id, 12),
    }


def _instruction(concepts: dict[str, Any]) -> dict[str, Any]:
    row_id = content_id("ins", concepts["id"], SEED)
    draw = rng_for(SEED, "write_instructions", row_id)
    noun = draw.choice(NOUNS)
    times = draw.randint(1, 9)
    return {
        "id": row_id,
        "concept_id": concepts["id"],
        "seed_id": concepts["seed_id"],
        "instruction": f"Write a function `rotate_{noun}` that moves the first of the {noun} it is given to the end, "
        f"{times} times over. An empty list stays empty."
        + " Do not change the list you are given."
        * draw.randint(0, 3),
        "concepts": concepts["concepts"],
        "category": draw.choices(CATEGORIES, (6, 2, 2))[0],
        "difficulty": draw.choice(DIFFICULTIES),
        "language": "Python",
        **sampled("write_instructions", row_id, 40),
    }


def _response(instruction: dict[str, Any], sample: int) -> dict[str, Any]:
    row_id = content_id("res", instruction["id"], sample)
    carried = ("seed_id", "concept_id", "instruction", "concepts", "category", "difficulty", "language")
    code = f"def rotate(items):\n    return items[{sample % 2}:] + items[:{sample % 2}]"
    return {
        "id": row_id,
        "instruction_id": instruction["id"],
        **{column: instruction[column] for column in carried},
        "sample": sample,
        "raw": f"```python\n{code}\n```\n\n### Tests\n```python\nassert rotate([1, 2]) == [2, 1]\n```",
        "response": None,
        "tests": None,
        "finish_reason": "stop",
        **sampled("write_responses", row_id, 60 + 5 * sample + len(instruction["instruction"]) // 8),
    }


def _split(row: dict[str, Any]) -> dict[str, Any]:
    response, tests = row["raw"].split("\n\n### Tests\n")
    return row | {"response": response, "tests": tests}


def _verdict(row: dict[str, Any]) -> dict[str, Any]:
    passed = "items[1:]" in row["raw"]
    timeout = not passed and row["id"][-1] in "45"
    return row | {
        "verdict": "pass" if passed else "timeout" if timeout else "fail",
        "passed": passed,
        "reason": "" if passed else "4 s" if timeout else "AssertionError",
        "stdout": "",
        "stderr": "" if passed else "AssertionError: assert [1, 2] == [2, 1]",
        "cpu_s": 4.0 if timeout else 0.01,
        "wall_s": 4.1 if timeout else 0.02,
        "memory_mb": 21.5,
        "isolation": "bubblewrap",
        "mutation_score": None,
    }


def _dataset(run: SmallRun) -> None:
    by_id = {row["id"]: row for row in run.seeds}
    first: dict[str, dict[str, Any]] = {}
    selected = []
    for verdict in run.verdicts:
        chosen = verdict["passed"] and first.setdefault(verdict["instruction_id"], verdict) is verdict
        selected.append(_selected(verdict) | {"_fate": None if chosen else ("not_chosen", "")})
    kept = run.stage(
        "select_responses",
        "passing",
        selected,
        SelectedRow,
        lambda row: row["_fate"],
        lambda row: {name: value for name, value in row.items() if name != "_fate"},
    )
    kept = run.stage(
        "dedup_dataset",
        "passing",
        kept,
        SelectedRow,
        lambda row: ("near_duplicate", "") if row["id"][-1] == "2" else None,
    )
    kept = run.stage("decontaminate_dataset", "passing", kept, SelectedRow)
    _overlaps(run.results / "decontaminate_dataset/passing.overlaps.json", [])
    kept = run.stage("augment_dataset", "passing", kept, SelectedRow)
    run.rows = run.stage(
        "build_dataset",
        "passing/dataset",
        kept,
        DatasetRow,
        shape=lambda row: _published(row, by_id[row["seed_id"]]),
        rows_file=run.results / "build_dataset/passing/sft/train.parquet",
    )


def _selected(verdict: dict[str, Any]) -> dict[str, Any]:
    carried = (
        *("instruction", "response", "tests", "instruction_id", "concept_id", "seed_id", "category", "difficulty"),
        *("concepts", "model", "revision", "passed", "verdict", "mutation_score"),
    )
    return {
        "id": content_id("row", verdict["id"]),
        **{column: verdict[column] for column in carried},
        "code_representation": "def rotate(items)",
        "response_id": verdict["id"],
        "pass_rate": 0.5,
    }


def _published(row: dict[str, Any], seed: dict[str, Any]) -> dict[str, Any]:
    turns = [("user", row["instruction"]), ("assistant", row["response"])]
    return {
        **{column: value for column, value in row.items() if column in DatasetRow.model_fields},
        "messages": [{"role": role, "content": content} for role, content in turns],
        "function_id": seed["function_id"],
        **{column: seed[column] for column in ("repo", "path", "licence")},
    }


def _scores(run: SmallRun) -> None:
    metrics = [
        {
            "step": step,
            "epoch": step / 10,
            "loss": round(2.1 * 0.93**step + 0.3, 4),
            "learning_rate": 5e-4,
            "response_tokens": 640,
        }
        for step in range(1, 41)
    ]
    write_text(run.results / "train_sft/aligned.metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics))
    example = {
        "row_id": run.rows[0]["id"],
        "tokens": [
            ["### Instruction\n", False],
            ["Rotate.", False],
            ["\n### Response\n", False],
            ["def", True],
            [" f", True],
        ],
        "loss_tokens": 2,
        "context_tokens": 3,
    }
    write_json(run.results / "train_sft/aligned.example.json", example)
    for model, share in (("base", 0.6), ("aligned", 0.85)):
        tasks = {f"toy/{n}": float(random.Random(f"{model}{n}").random() < share) for n in range(160)}
        write_json(run.results / f"score_benchmark/{model}/demo.json", score(model, "demo", tasks))


def score(model: str, benchmark: str, tasks: dict[str, float]) -> dict[str, Any]:
    """Build a score file in the layout of `score_benchmark`."""
    values = sorted(tasks.values())
    mean = 100 * sum(values) / len(values)
    return {
        "benchmark": benchmark,
        "title": "Toy tasks",
        "model": model,
        "headline": "pass@1",
        "metrics": {
            "pass@1": {"value": mean, "low": mean - 7, "high": mean + 7, "interval": "wilson", "tasks": len(tasks)}
        },
        "by_task": {"pass@1": tasks},
        "warnings": [],
    }


def _timings(run: SmallRun) -> None:
    for stage in ("extract_functions", "write_responses/self", "verify_responses/self"):
        for shard in range(2):
            record = {"s": 3.5 + shard, "h:m:s": "0:00:03", "max_rss": 150.5, "cpu_time": 3.1, "threads": 1}
            write_text(run.folder / f"timings/{stage}/{shard:05d}.jsonl", json.dumps(record) + "\n")


def add_ablation(run: SmallRun, shares: dict[str, float], seeds: int = 3) -> dict[str, Any]:
    """Add models of several selections, some seeds each, with scores near the given shares; return their config."""
    datasets, models = {}, {}
    for selection, share in shares.items():
        for seed in range(seeds):
            name = f"{selection}-{seed}"
            datasets[name] = Dataset(selection=selection).model_dump(mode="json")
            models[name] = TrainedModel(dataset=name, seed=seed).model_dump(mode="json")
            draw = random.Random(name)
            tasks = {f"toy/{n}": float(draw.random() < share) for n in range(160)}
            write_json(run.results / f"score_benchmark/{name}/demo.json", score(name, "demo", tasks))
            lines = [{"step": step, "epoch": step / 10, "loss": 1 / step + 0.1 * seed} for step in range(1, 20)]
            metrics = run.results / f"train_sft/{name}.metrics.jsonl"
            write_text(metrics, "".join(json.dumps(line) + "\n" for line in lines))
    return {"datasets": datasets, "models": models}
