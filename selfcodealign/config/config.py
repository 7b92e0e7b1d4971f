"""All sections together, and what must hold between them."""

import re
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from selfcodealign.config import lineage
from selfcodealign.config.benchmarks import default_benchmarks
from selfcodealign.config.dataset import (
    AugmentDataset,
    BuildPreferences,
    BuildViewer,
    Dataset,
    DecontaminateDataset,
    DedupDataset,
    SanitizeResponses,
    WeighAssertions,
)
from selfcodealign.config.demo import MakeDemoBenchmark, MakeDemoShards, MakeRehearsalFile, PretrainDemoModel
from selfcodealign.config.evaluation import BenchmarkRun, GivenModel, ScoreBenchmark
from selfcodealign.config.execution import ExecutePrograms, VerifyResponses
from selfcodealign.config.generation import (
    ExtractConcepts,
    Generation,
    JudgeSeeds,
    Prompts,
    WriteInstructions,
    WriteResponses,
)
from selfcodealign.config.pilot import RunPilot
from selfcodealign.config.section import RUN_SEED, Count, Mode, Section
from selfcodealign.config.seeds import (
    ClusterFunctions,
    Data,
    DecontaminateSeeds,
    ExtractFunctions,
    FilterSeeds,
    GatherSeeds,
    MakeLibraryShards,
    MatchFunctions,
    SampleSnippets,
    SignFunctions,
    TypecheckFunctions,
)
from selfcodealign.config.tables import BASE, DOES_IT_PAY, Table
from selfcodealign.config.training import GivenDataset, Model, TrainDpo, TrainedModel, TrainGrpo, TrainSft
from selfcodealign.evaluation import base
from selfcodealign.generation.settings import EngineSettings, read_settings
from selfcodealign.paper import COLUMNS

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
ISLANDS = (
    *("data", "generate", "sandbox", "train", "evaluate"),
    *("evaluate-ds1000", "evaluate-classeval", "evaluate-bigcodebench"),
)


class Config(Section):
    """All settings of a run. Every key has a default; the default runs the embedded demo."""

    extends: str | None = Field(
        default=None,
        exclude=True,
        description="config file from which this one takes all keys that it does not set, searched in the "
        "working folder, then beside the Snakefile; if empty, a file given with --configfile is "
        "used alone",
    )
    seed: int = Field(default=RUN_SEED, description="random seed of the run; every random choice is derived from it")
    mode: Mode = "fixed"
    demo: bool = Field(default=False, description="the run uses the embedded toy model; the report states this")
    rounds: Count = Field(
        default=1, description="rounds of self-alignment; from the second on, the trained model writes the data"
    )
    rounds_learn_from: Literal["last", "all"] = Field(
        default="last", description="data that a round trains on: only its own, or that of all rounds so far"
    )
    model: Model = Model()
    data: Data = Data()
    make_demo_shards: MakeDemoShards = MakeDemoShards()
    make_demo_benchmark: MakeDemoBenchmark = MakeDemoBenchmark()
    make_rehearsal_file: MakeRehearsalFile = MakeRehearsalFile()
    pretrain_demo_model: PretrainDemoModel = PretrainDemoModel()
    make_library_shards: MakeLibraryShards = MakeLibraryShards()
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
    generations: dict[str, Generation] = Field(default={"self": Generation()})
    datasets: dict[str, Dataset] = Field(default={"passing": Dataset()})
    other_datasets: dict[str, GivenDataset] = Field(
        default={}, description="instruction datasets of other authors, for training of entries of `models`"
    )
    models: dict[str, TrainedModel] = Field(default={"aligned": TrainedModel()})
    sanitize_responses: SanitizeResponses = SanitizeResponses()
    decontaminate_dataset: DecontaminateDataset = DecontaminateDataset()
    verify_responses: VerifyResponses = VerifyResponses()
    weigh_assertions: WeighAssertions = WeighAssertions()
    dedup_dataset: DedupDataset = DedupDataset()
    augment_dataset: AugmentDataset = AugmentDataset()
    build_preferences: BuildPreferences = BuildPreferences()
    build_viewer: BuildViewer = BuildViewer()
    train_sft: TrainSft = TrainSft()
    train_dpo: TrainDpo = TrainDpo()
    train_grpo: TrainGrpo = TrainGrpo()
    evaluate_base: bool = Field(default=True, description="also evaluate the base model")
    other_models: dict[str, GivenModel] = Field(default={}, description="models that are only evaluated")
    paper_models: dict[str, str] = Field(
        default={}, description="for a model evaluated here, its name in the paper's tables"
    )
    benchmarks: dict[str, BenchmarkRun] = Field(
        default={},
        description=(
            "benchmarks on which every model is evaluated; if the config has none, that of the toy "
            "domain with `demo: true`, otherwise HumanEval+ and MBPP+"
        ),
    )
    tables: dict[str, Table] = Field(default={}, description="tables of the paper to fill with this run's numbers")
    execute_programs: ExecutePrograms = ExecutePrograms()
    score_benchmark: ScoreBenchmark = ScoreBenchmark()
    run_pilot: RunPilot = RunPilot()
    containers: dict[str, str] = Field(
        default={name: f"containers/{name}.sif" for name in ISLANDS},
        description="image of each set of dependencies, used with --sdm apptainer: a file, a folder or docker://…",
    )
    container_digests: dict[str, str] = Field(
        default={}, description="sha256 that an image must have; a run with another image stops before it starts"
    )

    @property
    def engines(self) -> dict[str, dict[str, Any]]:
        """How each model of the run is run, by the key that says so: the global settings with what differs for it."""
        all_models = self.engine.model_dump(mode="json")
        base = all_models | self.model.engine
        found = {"engine": all_models, "model.engine": base}
        for name, writer in self.generations.items():
            found[f"generations.{name}.engine"] = (all_models if writer.model else base) | writer.engine
        for name, other in self.other_models.items():
            found[f"other_models.{name}.engine"] = all_models | other.engine
        return found

    def training_of(self, model: str) -> Section:
        """How a model is trained: the section of its objective, with what differs for this model."""
        one = self.models[model]
        section: Section = getattr(self, one.rule)
        return type(section).model_validate(section.model_dump() | one.settings)

    def responses_of(self, generation: str) -> WriteResponses:
        """How a generation's responses are written: the section, with what differs for this writer."""
        changes = self.generations[generation].responses
        return WriteResponses.model_validate(self.write_responses.model_dump() | changes)

    @field_validator("containers")
    @classmethod
    def _other_images_stay(cls, given: dict[str, str]) -> dict[str, str]:
        """Let a config that names one island's image leave the others as they are."""
        return {**cls.model_fields["containers"].default, **given}

    @model_validator(mode="after")
    def _benchmarks_by_what_runs(self) -> "Config":
        """Measure the toy by its own benchmark, any other model by those that everybody knows."""
        if "benchmarks" not in self.model_fields_set:
            self.benchmarks = default_benchmarks(self.demo)
        return self

    @model_validator(mode="after")
    def _names_resolve(self) -> "Config":
        """Check that every name used is defined, and that names can be file names."""
        for section in ("generations", "datasets", "other_datasets", "models"):
            for name in getattr(self, section):
                if not NAME.fullmatch(name):
                    raise ValueError(f"{section}.{name}: use lower-case letters, digits, '.', '_' and '-' in a name")
        for key, engine in self.engines.items():
            read_settings(EngineSettings, key, engine)
        for name, generation in self.generations.items():
            if generation.answers is not None:
                _known(f"generations.{name}.answers", generation.answers, self.generations)
                if self.generations[generation.answers].answers is not None:
                    raise ValueError(f"generations.{name}.answers: {generation.answers!r} writes no tasks of its own")
                if generation.tasks is not None:
                    raise ValueError(f"generations.{name}.tasks: answers is given too; leave one of them out")
            if generation.tasks is not None and self.mode == "reference":
                raise ValueError(
                    f"generations.{name}.tasks: mode reference answers only tasks that it wrote; leave it out"
                )
            for key in ("path", "seeds") if generation.tasks is not None else ():
                if getattr(generation, key) != Generation.model_fields[key].default:
                    raise ValueError(
                        f"generations.{name}.{key}: given tasks need no seeds and no path from them; leave {key} out"
                    )
            _settings(f"generations.{name}.responses", generation.responses, self.write_responses)
        for name, dataset in self.datasets.items():
            _known(f"datasets.{name}.generation", dataset.generation, self.generations)
            if (dataset.seed_shards or 1) > self.gather_seeds.shards:
                raise ValueError(
                    f"datasets.{name}.seed_shards: there are {self.gather_seeds.shards} (gather_seeds.shards), "
                    f"not {dataset.seed_shards}"
                )
            for sibling in dataset.equal_rows_with:
                _known(f"datasets.{name}.equal_rows_with", sibling, self.datasets)
        for name, model in self.models.items():
            for dataset in lineage.checked_weights(name, model, self.datasets):
                _known(f"models.{name}.dataset", dataset, {**self.datasets, **self.other_datasets})
            _settings(f"models.{name}.settings", model.settings, getattr(self, model.rule))
            if "nodes" in model.settings:
                raise ValueError(f"models.{name}.settings: nodes are the same for all models; set {model.rule}.nodes")
        for name in self.other_datasets:
            if name in self.datasets:
                raise ValueError(f"other_datasets.{name}: datasets has an entry of this name too; choose another")
        if BASE in self.models:
            raise ValueError(f"models.{BASE}: {BASE!r} names the untrained base model; choose another name")
        for name, run in self.benchmarks.items():
            _is_benchmark(f"benchmarks.{name}", run.benchmark or name)
        for name in self.data.kept_out if isinstance(self.data.kept_out, list) else ():
            _is_benchmark("data.kept_out", name)
        for name in self.other_models:
            if name == BASE or name in self.models or not NAME.fullmatch(name):
                raise ValueError(f"other_models.{name}: choose a file name that no entry of models has")
        for key in ("containers", "container_digests"):
            for name in getattr(self, key):
                _known(f"{key}.{name}", name, dict.fromkeys(ISLANDS))
        for section in ("models", "other_models"):
            for name, model in getattr(self, section).items():
                for benchmark in model.benchmarks or ():
                    _known(f"{section}.{name}.benchmarks", benchmark, self.benchmarks)
        for name in self.paper_models:
            _known(f"paper_models.{name}", name, {BASE: 0, **self.models, **self.other_models})
        for name in self.tables:
            _known(f"tables.{name}", name, {**COLUMNS, DOES_IT_PAY: 0})
        return self

    @model_validator(mode="after")
    def _expand_rounds(self) -> "Config":
        """Turn `rounds: k` into k generations, datasets and models, each written by the model before it.

        Round r > 1 adds `<name>-round<r>` for every model that is trained on one dataset of this run. A fine-tuned
        model starts each round from where it started first; another objective goes on from the round before.
        """
        for name, model in list(self.models.items()) if self.rounds > 1 else ():
            if not isinstance(model.dataset, str) or model.dataset not in self.datasets:
                continue  # Nobody here wrote it, so no round can write it anew; or it is a mixture, with its own plan.
            if f"{name}-round2" in self.models:
                break  # A dumped config is already expanded.
            dataset = self.datasets[model.dataset]
            generation = self.generations[dataset.generation]
            previous, seen = name, [model.dataset]
            for number in range(2, self.rounds + 1):
                label = f"{name}-round{number}"
                seen.append(label)
                learned = label if self.rounds_learn_from == "last" else dict.fromkeys(seen, 1.0)
                changes = {"dataset": learned} | ({} if model.objective == "sft" else {"start": previous})
                self.generations[label] = generation.model_copy(update={"model": previous})
                self.datasets[label] = dataset.model_copy(update={"generation": label, "equal_rows_with": []})
                self.models[label] = model.model_copy(update=changes)
                previous = label
        return self

    @model_validator(mode="after")
    def _nothing_comes_from_itself(self) -> "Config":
        """Check that models, and the data that they write and learn from, can be made one after another."""
        lineage.check(self)
        return self


def _known(key: str, name: str, entries: dict[str, Any]) -> None:
    if name not in entries:
        raise ValueError(f"{key}: no entry named {name!r}; there are {', '.join(sorted(entries))}")


def _is_benchmark(key: str, name: str) -> None:
    if name not in base.BENCHMARKS:  # The installed packages are asked only then.
        _known(key, name, dict.fromkeys(base.known()))


def _settings(key: str, values: dict[str, Any], section: Section) -> None:
    """Check keys of a section that differ for one entry."""
    known = type(section).model_fields
    for name in values:
        _known(key, name, known)
    try:
        type(section).model_validate(section.model_dump() | values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{key}.{first['loc'][-1]}: {first['msg']}, not {first['input']!r}") from None
