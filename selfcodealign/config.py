"""The whole configuration as one typed model: validation, defaults, JSON schema and documentation come from here.

A section named like a rule holds that rule's settings; its keys are the script's flags. Nothing heavy is imported,
because Snakemake reads this module at every start.
"""

import glob
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from selfcodealign.errors import UserError
from selfcodealign.evaluation.base import BENCHMARKS
from selfcodealign.generation.settings import EngineSettings, read_settings

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REPLACED = ("generations", "datasets", "models", "benchmarks", "categories", "difficulties")
"""Sections of named entries: a config that has one means these entries and no others."""
ISLANDS = (
    *("data", "generate", "sandbox", "train", "evaluate"),
    *("evaluate-ds1000", "evaluate-classeval", "evaluate-bigcodebench"),
)
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the config; unknown keys are an error, so that a misspelt key cannot pass silently."""

    model_config = ConfigDict(extra="forbid")


class Model(Section):
    """The base model: the one that is aligned and, unless a generation says otherwise, writes its own data."""

    base: str = Field(default="demo/model", description="local folder or Hub id of the base model")
    revision: str = Field(default="main", description="commit, tag or branch on the Hub; ignored for a local folder")
    trust_remote_code: bool = Field(
        default=False,
        description="run Python code that comes with the model; only for a model and revision you have read",
    )


class Data(Section):
    """The raw source files that seeds are gathered from."""

    raw_shards: str | list[str] = Field(
        default=["results/make_demo_shards/00000.parquet", "results/make_demo_shards/00001.parquet"],
        description=(
            "parquet or JSONL files: a list, a glob, or a pattern "
            "hf://datasets/ORG/NAME@REVISION/PATH-*-of-00144.parquet"
        ),
    )
    content_column: str = Field(default="content", description="column with a file's text")
    repo_column: str = Field(default="max_stars_repo_name", description="column with the repository, may be absent")
    path_column: str = Field(default="max_stars_repo_path", description="column with the path, may be absent")
    licence_column: str = Field(
        default="max_stars_repo_licenses", description="column with the licences, may be absent"
    )
    other_benchmarks: dict[str, str] = Field(
        default={},
        description=(
            "further benchmark files to keep out of the data, as name: file; "
            "every benchmark of this run is kept out anyway"
        ),
    )


# ---- seeds ----------------------------------------------------------------------------------------------------------


class ExtractFunctions(Section):
    """Cut documented top-level functions out of the raw source files."""

    max_file_mb: float = Field(
        default=5.0, gt=0, description="files above this many megabytes are set aside; unused in mode `reference`"
    )


class SignFunctions(Section):
    """Compute the MinHash band keys of the functions."""

    permutations: Count | None = Field(
        default=None, description="values in a signature; 300, and 250 in mode `reference`, if empty"
    )
    bands: Count | None = Field(
        default=None, description="bands of a signature; 60, and 41 in mode `reference`, if empty"
    )
    rows: Count | None = Field(default=None, description="rows of a band; 5, and 6 in mode `reference`, if empty")
    ngram: Count = Field(default=5, description="words in a shingle")
    min_tokens: Count = Field(default=5, description="functions of fewer words are compared for equality only")
    permutation_seed: int = Field(default=42, description="seed of the permutations")


class MatchFunctions(Section):
    """Merge the band keys of all shards into candidates for near-duplicates."""

    groups: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="jobs that share the bands; as many as bands for a corpus of 10^8 functions"
    )


class ClusterFunctions(Section):
    """Compare candidates exactly and join near-duplicates."""

    threshold: Share = Field(default=0.5, description="least Jaccard index of near-duplicates (paper B.2)")


class TypecheckFunctions(Section):
    """Keep functions in which pyright finds no error."""

    batch_size: Count = Field(default=4_000, description="functions per pyright process; verdicts do not depend on it")
    python: str | None = Field(
        default=None,
        description=(
            "interpreter whose packages imports resolve to, made from envs/typecheck.txt; the running one if empty"
        ),
    )
    start_s: float = Field(default=120.0, gt=0, description="seconds a pyright process may take, whatever its batch")
    function_s: float = Field(default=0.2, gt=0, description="further seconds for each function of the batch")
    heap_mb: Count = Field(default=1_200, description="most memory for Node's heap; caches go before it is full")


class FilterSeeds(Section):
    """Keep functions worth learning from; mode `reference` uses the published lists instead."""

    min_lines: Count = Field(default=1, description="fewest lines of a function with its imports")
    max_lines: Count = Field(default=150, description="most lines of a function with its imports")
    banned_modules: list[str] = Field(
        default=["argparse", "os", "subprocess", "sys", "setuptools", "distutils", "matplotlib", "seaborn"],
        description="a function that imports one of these modules is dropped",
    )


class DecontaminateSeeds(Section):
    """Drop functions that overlap with a benchmark; mode `reference` looks for the published substrings instead."""

    ngram: Count = Field(default=10, description="words in a run that is compared")
    overlap: float = Field(
        default=0.5, gt=0, description="share of a task's runs that makes an overlap; above 1 looks for exact text only"
    )
    min_tokens: Count = Field(default=8, description="prompts and solutions of fewer words are not looked for exactly")


class SampleSnippets(Section):
    """Cut random runs of lines out of source files, for the ablation without functions (paper, table 10)."""

    min_file_lines: Count = Field(default=10, description="fewest lines of a file")
    max_file_lines: Count = Field(default=5_000, description="most lines of a file")
    chunk_lines: Count = Field(default=100, description="one snippet is taken from each chunk of this many lines")
    min_lines: Count = Field(default=5, description="fewest lines of a snippet")
    max_lines: Count = Field(default=30, description="most lines of a snippet")


class GatherSeeds(Section):
    """Collect the judged seeds of all shards, ordered by id, and cut them into seed shards."""

    shards: Count = Field(default=2, description="seed shards: the unit of parallel work in generation and execution")
    limit: Count | None = Field(default=None, description="most seeds to keep; all if empty")


# ---- generation -----------------------------------------------------------------------------------------------------


class Prompts(Section):
    """The prompt template and the examples shown in every prompt."""

    template: str = Field(
        default="prompts/selfcodealign.yaml", description="layout of the examples file and of the prompts"
    )
    examples: str | None = Field(
        default=None, description="examples file to use in place of the template's own, for example the paper's"
    )


class JudgeSeeds(Section):
    """Let a model judge whether a function's docstring says what it does (paper B.2)."""

    model: str | None = Field(
        default=None,
        description="judging model: a local folder or Hub id; the base model if empty (paper: starcoder2-15b)",
    )
    revision: str | None = Field(default=None, description="revision of a judge from the Hub")
    prompts: str = Field(default="prompts/judge.yaml", description="layout of the judge's prompt")
    examples: str | None = Field(default=None, description="examples file to use in place of the layout's own")
    threshold: float = Field(
        default=0.0,
        description="least log P(yes) - log P(no), in nats, at which a seed is kept; unused in mode `reference`",
    )
    reference_seed: int = Field(
        default=0,
        description="seed of the chained shuffles in mode `reference`; 0 is what the published run most likely had",
    )


class Sampled(Section):
    """How the prompts of a stage are made and its answers sampled."""

    few_shots: int = Field(default=8, ge=0, description="examples in a prompt")
    example_sets: int = Field(
        default=64,
        ge=0,
        description="different ordered sets of examples; rows that share one share the prompt's beginning, which a "
        "model then encodes once; 0 draws a set for each row; unused in mode `reference`",
    )
    temperature: float = Field(default=0.7, ge=0, description="0 is greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus: least probability mass sampled from")
    max_tokens: Count = Field(default=1536, description="most new tokens; an answer that reaches it is dropped")


class ExtractConcepts(Sampled):
    """Read the programming concepts off each seed (S→C)."""


class WriteInstructions(Sampled):
    """Write a task from each list of concepts (C→I), or from each seed (S→I)."""

    language: str = Field(default="Python", description="programming language asked for")
    categories: dict[str, float] = Field(
        default={"function implementation": 2, "class implementation": 1, "program implementation": 1},
        description="weight of each category of task; whole numbers in mode `reference`",
    )
    difficulties: dict[str, float] = Field(
        default={"easy": 1, "medium": 1, "hard": 1},
        description="weight of each difficulty; whole numbers in mode `reference`",
    )


class WriteResponses(Sampled):
    """Answer each task several times, each answer with its own tests (I→R)."""

    few_shots: int = Field(default=1, ge=0, description="examples in a prompt")
    samples: Count = Field(default=10, description="answers per task")


class Generation(Section):
    """One way of writing data: which model writes, from which seeds, by which path."""

    model: str | None = Field(
        default=None,
        description="writer: a local folder or Hub id, or the name of an entry of `models`; the base model if empty",
    )
    revision: str = Field(default="main", description="revision of a writer from the Hub")
    seeds: Literal["functions", "snippets"] = Field(
        default="functions",
        description="what seeds are: filtered functions, or random snippets (ablation, paper table 10)",
    )
    path: Literal["concepts", "direct"] = Field(
        default="concepts", description="seed → concepts → instruction, or seed → instruction (ablation)"
    )
    seed: int | None = Field(default=None, description="run seed of this generation; the global seed if empty")
    trust_remote_code: bool = Field(default=False, description="run Python code that comes with this writer's model")
    answers: str | None = Field(
        default=None,
        description="name of another generation whose tasks this one answers instead of writing its own (distillation, "
        "paper table 11)",
    )
    engine: dict[str, str | int | float | bool] = Field(
        default={}, description="keys of `engine` that differ for this writer, for example a teacher's server"
    )


class Dataset(Section):
    """One training set: a selection of a generation's responses."""

    generation: str = Field(default="self", description="name of an entry of `generations`")
    selection: Literal["passing", "random", "failing", "shortest", "highest_mutation", "consensus"] = Field(
        default="passing", description="which responses of an instruction may be chosen, and how"
    )
    per_instruction: Count = Field(default=1, description="most responses of one instruction (mode fixed)")
    pass_threshold: Share = Field(
        default=1.0, description="share of a response's assertions that must hold for it to count as passing"
    )
    min_pass_rate: Share = Field(
        default=0.0, description="lowest share of an instruction's responses that pass: leaves out tasks too hard"
    )
    max_pass_rate: Share = Field(
        default=1.0, description="highest share of an instruction's responses that pass: leaves out tasks too easy"
    )
    equal_rows_with: list[str] = Field(
        default=[], description="datasets to cut to the same number of rows, for fair ablations"
    )


class TrainedModel(Section):
    """One fine-tuned model: a base and a dataset."""

    base: str | None = Field(default=None, description="local folder or Hub id to start from; the base model if empty")
    revision: str = Field(default="main", description="revision of a base from the Hub")
    dataset: str = Field(default="passing", description="name of an entry of `datasets`")
    seed: int | None = Field(default=None, description="training seed; the global seed if empty")


# ---- dataset --------------------------------------------------------------------------------------------------------


class SanitizeResponses(Section):
    """Split generations into response and tests, and drop those that break a rule of form."""

    most_words: Count = Field(default=200, description="longest instruction, in words")


class VerifyResponses(Section):
    """Run every response with its tests in the sandbox, and keep every row with its verdict."""

    timeout_s: float = Field(default=4.0, gt=0, description="CPU seconds a program may use; mode reference has 10")
    memory_mb: Count = Field(default=1024, description="memory of a program and its children; mode reference has 4096")
    reruns: int = Field(
        default=0, ge=0, description="further runs of each passing response; a changed verdict is flaky"
    )
    mutants: int = Field(
        default=0,
        ge=0,
        description="mutants of each passing response that its tests should reject; 0: no mutation_score",
    )
    isolation: Literal["auto", "apptainer", "bubblewrap", "none"] = Field(
        default="auto",
        description="the layer that keeps programs apart from the machine: the first that works, or this one",
    )
    i_understand: bool = Field(
        default=False, description="allow isolation none: model-written code may then do anything"
    )
    image: str | None = Field(
        default=None, description="image folder or SIF whose Python runs the programs; the sandbox image if empty"
    )


class DecontaminateDataset(Section):
    """Drop rows that overlap with one of the benchmarks that seeds are compared with."""

    ngram: Count = Field(default=10, description="words in a run")
    overlap: float = Field(
        default=0.5,
        gt=0,
        description="share of a task's runs of words that makes an overlap; above 1: whole texts only",
    )
    min_tokens: Count = Field(default=8, description="fewest words of a prompt or solution that is looked for exactly")


class DedupDataset(Section):
    """Drop rows that say again what another row says."""

    columns: list[Literal["instruction", "response", "code_representation"]] = Field(
        default=["instruction", "response", "code_representation"],
        description="texts compared for near-duplicates, in this order; none switches the comparison off",
    )
    names: bool = Field(
        default=True, description="drop a row that defines exactly the names another defines (mode fixed)"
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.7, description="least Jaccard index of a near-duplicate; also decides the bands of the MinHash search"
    )
    permutations: Count = Field(default=250, description="values in a MinHash signature")
    ngram: Count = Field(default=5, description="tokens in a shingle")
    min_tokens: Count = Field(
        default=5, description="shorter texts have no near-duplicates; mode reference deletes them"
    )


class AugmentDataset(Section):
    """Show some of the tests in the instruction, as the paper's main run does."""

    share: Share = Field(default=0.5, description="share of the eligible instructions that are augmented; 0 for none")
    most_lines: Count = Field(default=5, description="most lines of tests to show (mode fixed)")


class BuildPreferences(Section):
    """Turn passing and failing responses into preference pairs, labelled responses and tasks with tests."""

    labels_per_class: Count = Field(
        default=2, description="most passing, and most failing, labelled responses of an instruction"
    )


class BuildViewer(Section):
    """Write a page in which a dataset's responses, kept and dropped, can be searched."""

    most_rows: Count = Field(
        default=50_000, description="rows on the page; all kept rows first, then a sample of the rest"
    )


# ---- training -------------------------------------------------------------------------------------------------------


class TrainSft(Section):
    """Fine-tune a base model on a dataset. The defaults suit models of 0.5 to 15 billion parameters on GPUs."""

    epochs: Count = Field(default=4, description="how often each row is trained on")
    learning_rate: float = Field(
        default=1e-5, gt=0, description="peak learning rate (paper: 1e-5, and 2e-5 for another model's data)"
    )
    optimizer: Literal["adamw", "adafactor"] = Field(
        default="adamw", description="adafactor needs the least memory, and ZeRO stage 0 or no DeepSpeed"
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="how the learning rate falls after warm-up"
    )
    warmup_share: Share = Field(default=0.05, description="share of the steps over which the learning rate rises")
    batch_rows: Count = Field(default=64, description="rows an optimizer step learns from, over all processes")
    max_tokens: Count = Field(default=1_280, description="longest row, prompt and response together, in tokens")
    truncation: Literal["drop", "cut", "cut_without_end"] = Field(
        default="drop",
        description="rows over max_tokens are left out, shortened before the end token, or, as the reference does, "
        "shortened without an end token",
    )
    loss: Literal["reference", "token"] = Field(
        default="token",
        description="mean over rows of each row's mean, as the paper's runs computed it, or mean over all tokens",
    )
    packing: bool = Field(
        default=True, description="lay several rows end to end in a micro-batch: faster, the same loss and gradients"
    )
    micro_batch_tokens: Count = Field(
        default=5_120, description="tokens of a packed micro-batch; as many as memory allows, at least max_tokens"
    )
    precision: Literal["fp32", "bf16", "bf16_pure"] = Field(
        default="bf16",
        description="bf16 computes in bf16 and keeps fp32 weights for the optimizer; bf16_pure keeps none, "
        "as the paper's runs did",
    )
    attention: str = Field(default="auto", description="auto, sdpa_per_document, flash_attention_2, sdpa or eager")
    max_grad_norm: float = Field(default=0.0, ge=0, description="gradients are scaled down to this norm; 0 leaves them")
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of AdamW")
    activation_checkpointing: bool = Field(
        default=False, description="compute activations again in the backward pass: a third slower, far less memory"
    )
    deepspeed: str = Field(
        default="config/deepspeed/zero0.json", description="a DeepSpeed configuration file, or none for plain torch"
    )
    lora_rank: int = Field(
        default=0, ge=0, description="rank of LoRA adapters, merged at the end; 0 trains all weights"
    )
    lora_alpha: Count = Field(default=32, description="adapters are scaled by lora_alpha / lora_rank")
    validation_share: float = Field(
        default=0.0, ge=0, lt=1, description="share of the rows held out to measure the loss on, chosen by row id"
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="which weights to export: the last, or those of the lowest validation loss"
    )
    save_every_steps: Count = Field(default=100, description="steps between checkpoints (and validations)")
    checkpoints_kept: int = Field(
        default=2, ge=2, description="checkpoints on disk; with 2, one survives damage to the other"
    )
    stored_precision: Literal["base", "fp32", "bf16"] = Field(
        default="base", description="precision of the exported weights; base: that of the base model"
    )
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        default="tensorboard", description="where curves are drawn besides metrics.jsonl"
    )
    processes: Count = Field(default=1, description="processes on each node: one a GPU, or on CPUs one a core")
    nodes: Count = Field(default=1, description="SLURM nodes that train together")


class TrainDpo(Section):
    """Train a fine-tuned model on pairs of a passing and a failing response (an optional target)."""

    epochs: Count = Field(default=1, description="how often each pair is trained on")
    learning_rate: float = Field(default=1e-6, gt=0, description="peak learning rate")
    beta: float = Field(default=0.1, gt=0, description="how strongly the model is held to where it started")
    warmup_share: Share = Field(default=0.05, description="share of the steps over which the learning rate rises")
    batch_rows: Count = Field(default=32, description="pairs an optimizer step learns from, over all processes")
    max_tokens: Count = Field(default=1_280, description="longest prompt with a response, in tokens; the rest is cut")
    max_grad_norm: float = Field(default=1.0, ge=0, description="gradients are scaled down to this norm; 0 leaves them")
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="precision to compute in")
    deepspeed: str = Field(
        default="config/deepspeed/zero0.json", description="a DeepSpeed configuration file, or none for plain torch"
    )
    save_every_steps: Count = Field(default=100, description="steps between checkpoints")
    checkpoints_kept: int = Field(default=2, ge=2, description="checkpoints on disk")
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        default="tensorboard", description="where curves are drawn besides metrics.jsonl"
    )
    processes: Count = Field(default=1, description="processes on each node")
    nodes: Count = Field(default=1, description="SLURM nodes that train together")


# ---- evaluation -----------------------------------------------------------------------------------------------------


class BenchmarkRun(Section):
    """One benchmark as this run uses it. Empty sampling keys take what the paper used."""

    benchmark: str | None = Field(
        default=None,
        description="which benchmark; the entry's own name if empty, so that one may be run in several ways",
    )
    file: str | list[str] | None = Field(
        default=None,
        description="local file of problems, in place of the authors' published one; several are joined (evalperf)",
    )
    version: str | None = Field(default=None, description="published version to fetch; the paper's if empty")
    samples: Count | None = Field(default=None, description="samples of each task")
    temperature: float | None = Field(default=None, ge=0, description="0 is greedy")
    top_p: float | None = Field(default=None, gt=0, le=1, description="nucleus: least probability mass sampled from")
    max_tokens: Count | None = Field(default=None, description="most new tokens of a turn")


class GivenModel(Section):
    """A model that is evaluated beside the ones trained here, for example the one the paper compares with."""

    model: str = Field(description="local folder or Hub id")
    revision: str = Field(default="main", description="revision of a model from the Hub")
    style: Literal["base", "instruct", "chat"] = Field(
        default="chat",
        description="asked by raw completion, in this project's training layout, or in its own chat template",
    )


class ExecutePrograms(Section):
    """Judge the programs in the sandbox."""

    isolation: Literal["auto", "apptainer", "bubblewrap", "none"] = Field(
        default="auto",
        description="the layer that keeps programs apart from the machine: the first that works, or this one",
    )
    i_understand: bool = Field(
        default=False, description="allow isolation none: model-written code may then do anything"
    )
    python: str | None = Field(
        default=None,
        description="interpreter that runs the programs; the job's own if empty (an island's image has its own)",
    )


class ScoreBenchmark(Section):
    """Turn verdicts into pass@k with intervals."""

    missing: Literal["exclude", "fail"] = Field(
        default="exclude", description="leave tasks without samples out of the means, or count them as failures"
    )


# ---- the demo -------------------------------------------------------------------------------------------------------


class MakeDemoShards(Section):
    """Write the demo's raw shards (toy functions and modules of the standard library)."""

    seed: int = Field(default=0, description="another seed gives other toy functions")
    functions: Count = Field(default=560, description="good functions of the toy domain, before any filter")
    library_files: int = Field(default=150, ge=0, description="modules of the running interpreter's standard library")


class MakeDemoBenchmark(Section):
    """Write the demo's benchmark of held-out toy tasks."""

    split: Literal["test", "dev"] = Field(
        default="test", description="dev is for choosing settings, test for reporting"
    )
    count: Count = Field(default=200, description="tasks")
    seed: int = Field(default=0, description="another seed gives other parameters and another order")


class PretrainDemoModel(Section):
    """Train the demo's base model from scratch; not part of any other target."""

    seed: int = Field(default=0, description="seed of weights and corpus")
    steps: Count = Field(default=4_200, description="optimizer steps; about 3,500 tokens each")


# ---- everything -----------------------------------------------------------------------------------------------------


class Config(Section):
    """All settings of a run. Every key has a default; the default runs the embedded demo."""

    seed: int = Field(default=3407, description="run seed; every random choice derives from it")
    mode: Literal["fixed", "reference"] = Field(
        default="fixed", description="fixed: this project's rules; reference: the published code's, defects included"
    )
    demo: bool = Field(default=False, description="the run uses the embedded toy model; the report says so")
    rounds: Count = Field(
        default=1, description="rounds of self-alignment; from the second on, the fine-tuned model writes the data"
    )
    model: Model = Model()
    data: Data = Data()
    make_demo_shards: MakeDemoShards = MakeDemoShards()
    make_demo_benchmark: MakeDemoBenchmark = MakeDemoBenchmark()
    pretrain_demo_model: PretrainDemoModel = PretrainDemoModel()
    judge_seeds: JudgeSeeds = JudgeSeeds()
    extract_functions: ExtractFunctions = ExtractFunctions()
    sign_functions: SignFunctions = SignFunctions()
    match_functions: MatchFunctions = MatchFunctions()
    cluster_functions: ClusterFunctions = ClusterFunctions()
    typecheck_functions: TypecheckFunctions = TypecheckFunctions()
    filter_seeds: FilterSeeds = FilterSeeds()
    decontaminate_seeds: DecontaminateSeeds = DecontaminateSeeds()
    sample_snippets: SampleSnippets = SampleSnippets()
    gather_seeds: GatherSeeds = GatherSeeds()
    engine: EngineSettings = EngineSettings()
    prompts: Prompts = Prompts()
    extract_concepts: ExtractConcepts = ExtractConcepts()
    write_instructions: WriteInstructions = WriteInstructions()
    write_responses: WriteResponses = WriteResponses()
    generations: dict[str, Generation] = {"self": Generation()}
    datasets: dict[str, Dataset] = {"passing": Dataset()}
    models: dict[str, TrainedModel] = {"aligned": TrainedModel()}
    sanitize_responses: SanitizeResponses = SanitizeResponses()
    decontaminate_dataset: DecontaminateDataset = DecontaminateDataset()
    verify_responses: VerifyResponses = VerifyResponses()
    dedup_dataset: DedupDataset = DedupDataset()
    augment_dataset: AugmentDataset = AugmentDataset()
    build_preferences: BuildPreferences = BuildPreferences()
    build_viewer: BuildViewer = BuildViewer()
    train_sft: TrainSft = TrainSft()
    train_dpo: TrainDpo = TrainDpo()
    evaluate_base: bool = Field(default=True, description="evaluate the base model too")
    other_models: dict[str, GivenModel] = Field(default={}, description="models that are only evaluated")
    paper_models: dict[str, str] = Field(
        default={}, description="for a model evaluated here, the name under which the paper's tables have it"
    )
    benchmarks: dict[str, BenchmarkRun] = Field(
        default={"demo": BenchmarkRun(file="results/make_demo_benchmark/tasks.jsonl")},
        description="benchmarks that every model is evaluated on",
    )
    execute_programs: ExecutePrograms = ExecutePrograms()
    score_benchmark: ScoreBenchmark = ScoreBenchmark()
    containers: dict[str, str] = Field(
        default={name: f"containers/{name}.sif" for name in ISLANDS},
        description="image of each island of dependencies, used with --sdm apptainer: a file, a folder or docker://…",
    )

    @model_validator(mode="after")
    def _names_resolve(self) -> "Config":
        """Check that every name used is defined, and that names can be file names."""
        for section in ("generations", "datasets", "models"):
            for name in getattr(self, section):
                if not NAME.fullmatch(name):
                    raise ValueError(f"{section}.{name}: use lower-case letters, digits, '.', '_' and '-' in a name")
        for name, generation in self.generations.items():
            read_settings(EngineSettings, f"generations.{name}.engine", self.engine.model_dump() | generation.engine)
            if generation.answers is not None:
                _known(f"generations.{name}.answers", generation.answers, self.generations)
                if self.generations[generation.answers].answers is not None:
                    raise ValueError(f"generations.{name}.answers: {generation.answers!r} writes no tasks of its own")
        for name, dataset in self.datasets.items():
            _known(f"datasets.{name}.generation", dataset.generation, self.generations)
            for sibling in dataset.equal_rows_with:
                _known(f"datasets.{name}.equal_rows_with", sibling, self.datasets)
        for name, model in self.models.items():
            _known(f"models.{name}.dataset", model.dataset, self.datasets)
        if "base" in self.models:
            raise ValueError("models.base: 'base' names the untrained base model; choose another name")
        for name, run in self.benchmarks.items():
            _known(f"benchmarks.{name}", run.benchmark or name, BENCHMARKS)
        for name in self.other_models:
            if name == "base" or name in self.models or not NAME.fullmatch(name):
                raise ValueError(f"other_models.{name}: choose a file name that no entry of models has")
        for name in self.paper_models:
            _known(f"paper_models.{name}", name, {"base": 0, **self.models, **self.other_models})
        return self

    @model_validator(mode="after")
    def _expand_rounds(self) -> "Config":
        """Turn `rounds: k` into k generations, datasets and models, each written by the model before it.

        Round r > 1 adds `<name>-round<r>` for every model whose dataset comes from a generation of the base model.
        """
        if self.rounds == 1:
            return self
        for name, model in list(self.models.items()):
            dataset = self.datasets[model.dataset]
            generation = self.generations[dataset.generation]
            previous = name
            for number in range(2, self.rounds + 1):
                label = f"{name}-round{number}"
                if label in self.models:
                    return self  # A dumped config is already expanded.
                self.generations[label] = generation.model_copy(update={"model": previous})
                self.datasets[label] = dataset.model_copy(update={"generation": label, "equal_rows_with": []})
                self.models[label] = model.model_copy(update={"dataset": label})
                previous = label
        return self


def _known(key: str, name: str, entries: dict[str, Any]) -> None:
    if name not in entries:
        raise ValueError(f"{key}: no entry named {name!r}; there are {', '.join(sorted(entries))}")


def load(values: dict[str, Any]) -> Config:
    """Validate a config as read from YAML.

    Raises:
        UserError: one sentence for each wrong key or value, naming it.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError("; ".join(_sentence(item) for item in error.errors())) from None


def extended(values: dict[str, Any], roots: tuple[Path, ...] = (Path(),)) -> dict[str, Any]:
    """Lay a config over the file that its key `extends` names, and over the file which that one extends, and so on.

    Args:
        values: a config as read from YAML.
        roots: folders that `extends` is looked up in, in order.

    Raises:
        UserError: a file is missing, is no YAML, or extends itself.
    """
    seen = []
    while "extends" in values:
        name = values["extends"]
        path = next((root / name for root in roots if (root / name).is_file()), None)
        if path is None or path in seen:
            problem = "extends itself" if path else "does not exist"
            raise UserError(f"config key extends: {name} {problem}; name another file")
        seen.append(path)
        values = merged(read(path), {key: value for key, value in values.items() if key != "extends"})
    return values


def read(path: Path) -> dict[str, Any]:
    """Read one YAML config file.

    Raises:
        UserError: the file is missing or is no YAML mapping.
    """
    import yaml

    if not path.is_file():
        raise UserError(f"config file {path} does not exist; name one with --configfile")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"config file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"config file {path} must hold keys and values, not {type(values).__name__}")
    return values


def merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one config over another, section by section; `generations`, `datasets` and `models` are replaced whole."""
    result = dict(values)
    for key, value in over.items():
        mergeable = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if mergeable and key not in REPLACED else value
    return result


def _sentence(item: Any) -> str:
    """Say what is wrong with one key."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = _keys_at(item["loc"][:-1])
        return f"config key {key} is unknown" + (f"; known keys there: {', '.join(known)}" if known else "")
    message = item["msg"].removeprefix("Value error, ")
    return f"config key {key}: {message}, not {item['input']!r}" if key else f"config: {message}"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """List the keys that a section of the config may have."""
    kind: Any = Config
    for part in location:
        annotation = kind.model_fields[part].annotation if part in getattr(kind, "model_fields", {}) else None
        if annotation is None:
            return []
        kind = annotation.__args__[-1] if getattr(annotation, "__origin__", None) is dict else annotation
    return sorted(getattr(kind, "model_fields", {}))


def raw_shards(config: Config) -> list[str]:
    """List the raw shards in a stable order; a shard's number is its place in this list.

    A Hub pattern must show how many shards there are (`*-of-00144.parquet`), so that planning a run needs no network.

    Raises:
        UserError: nothing matches, or a file that no rule makes is missing.
    """
    wanted = config.data.raw_shards
    if isinstance(wanted, str):
        wanted = [wanted]
    shards: list[str] = []
    for item in wanted:
        shards += _expand(item)
    if len(set(shards)) != len(shards):
        raise UserError("config key data.raw_shards names the same file twice; name each file once")
    return shards


def _expand(item: str) -> list[str]:
    if item.startswith("hf://"):
        found = re.search(r"\*-of-(\d{5})", item)
        if found:
            return [item.replace("*", f"{number:05d}", 1) for number in range(int(found[1]))]
        if "*" in item:
            raise UserError(f"config key data.raw_shards: write {item} with its count, as in data-*-of-00144.parquet")
        return [item]
    if glob.has_magic(item):
        found = sorted(glob.glob(item, recursive=True))
        if not found:
            raise UserError(f"config key data.raw_shards: no file matches {item} in {Path.cwd()}; correct the glob")
        return found
    if not Path(item).exists() and not item.startswith("results/"):
        raise UserError(f"config key data.raw_shards: {item} does not exist in {Path.cwd()}; correct the path")
    return [item]


def check_models(config: Config) -> None:
    """Check every model that is written as a path, before any job starts; Hub ids are checked when they are loaded.

    Raises:
        UserError: a path leads nowhere, or to a folder without a model.
    """
    named = {"model.base": config.model.base}
    named |= {f"generations.{name}.model": entry.model for name, entry in config.generations.items() if entry.model}
    named |= {f"models.{name}.base": entry.base for name, entry in config.models.items() if entry.base}
    for key, model in named.items():
        folder = Path(model).expanduser()
        if model in config.models or (not folder.exists() and HUB_ID.fullmatch(model)):
            continue
        if not folder.is_dir():
            raise UserError(f"config key {key}: there is no folder {model} in {Path.cwd()}; name a folder or a Hub id")
        if not (folder / "config.json").is_file():
            raise UserError(f"config key {key}: {model} has no config.json; name a folder with a model in it")


def located(config: Config, root: Path) -> Config:
    """Find the files that come with the pipeline when it runs in another folder than its own.

    A relative path that leads nowhere from the working folder, but somewhere from `root`, is replaced by the way there.
    """
    found = config.model_copy(deep=True)
    shipped = (
        (found.model, "base"),
        (found.prompts, "template"),
        (found.prompts, "examples"),
        (found.judge_seeds, "prompts"),
        (found.judge_seeds, "examples"),
        (found.train_sft, "deepspeed"),
    )
    for section, key in shipped:
        path = getattr(section, key)
        if path and not Path(path).exists() and (root / path).exists():
            setattr(section, key, os.path.relpath(root / path))
    return found


def schema() -> dict[str, Any]:
    """Return the JSON schema of the config, for editors and for `config/config.schema.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
