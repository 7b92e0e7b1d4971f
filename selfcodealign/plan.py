"""Who is made from what: the pure functions of a config from which the rules take their inputs and settings.

Paths are those of a run's own folder of results, so that the pipeline may be a module of another workflow.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from selfcodealign.config import Config
from selfcodealign.config.benchmarks import only_kept_out
from selfcodealign.config.cells import evaluated
from selfcodealign.config.dataset import SelectResponses
from selfcodealign.config.given import GivenTasks, TaskColumns
from selfcodealign.config.lineage import equal_rows
from selfcodealign.config.tables import BASE
from selfcodealign.errors import UserError
from selfcodealign.pipeline import RULES, STAGES, before
from selfcodealign.planned_models import PlannedModels, entry

FIRST_WITH_SEEDS = "judge_seeds"  # where a run begins that is given seeds (`data.seeds`)
ORIGINS = ("gather_", "import_tasks/")
"""How branches begin whose rows lead to the source and the licence of what is published."""


class Plan:
    """What a run makes from what.

    Args:
        config: a checked config, whose paths under results/ have been placed.
        raw_shards: files or Hub paths of the raw shards, or files of given seeds; a shard's number is its place.
        results: folder of the run's results.
        timings: folder of its jobs' timings.
    """

    def __init__(
        self, config: Config, raw_shards: Sequence[str], results: str = "results", timings: str = "timings"
    ) -> None:
        self.config = config
        self.raw_shards = raw_shards
        self.results = results
        self.timings = timings
        self.models = PlannedModels(config, results)
        self.shards = [f"{number:05d}" for number in range(len(raw_shards))]
        self.seed_shards = [f"{number:05d}" for number in range(config.gather_seeds.shards)]
        self.chain = self._chain()
        self.evaluated = evaluated(config)
        self.fetched = {**config.benchmarks, **only_kept_out(config)}
        """Benchmarks whose problems are fetched: those that are measured, and those that are only kept out."""
        self.kept_out = {
            **{name: f"{results}/fetch_benchmark/{name}.gz" for name in self.fetched},
            **config.data.other_benchmarks,
        }
        """Benchmarks that no row may overlap with, those of this run and others that the config names: name → file."""

    @property
    def compared(self) -> list[str]:
        """Benchmarks that no row may overlap with, as NAME=FILE words.

        An entry that runs a benchmark under another name says which: NAME:BENCHMARK=FILE.
        """
        kinds = {name: f":{one.benchmark}" for name, one in self.config.benchmarks.items() if one.benchmark}
        return [f"{name}{kinds.get(name, '')}={file}" for name, file in self.kept_out.items()]

    def check_targets(self, words: Iterable[str]) -> None:
        """Check every word of a command line that names a file of this run."""
        for word in words:
            self.check_target(word)

    def check_target(self, target: str) -> None:
        """Check that what a person asks for can be made, as far as its name tells.

        Raises:
            UserError: it is of an entry that the config does not have, or of one that the rule cannot work on.
        """
        rule, _, rest = target.removeprefix(f"{self.results}/").partition("/")
        if not target.startswith(f"{self.results}/") or rule not in RULES or not rest:
            return
        config, per = self.config, RULES[rule].per
        if config.data.seeds is not None and per == "raw_shard" and rule != FIRST_WITH_SEEDS:
            raise UserError(f"{target}: data.seeds of the config gives seeds, and this stage comes before them")
        name, _, shard = rest.partition("/")
        sections: dict[str, tuple[str, Any]] = {
            "raw_shard": (f"data.{'raw_shards' if config.data.seeds is None else 'seeds'}", self.shards),
            "seed_shard": ("gather_seeds.shards", self.seed_shards),
            "generation": ("generations", config.generations),
            "dataset": ("datasets", config.datasets),
            "other_dataset": ("other_datasets", config.other_datasets),
            "model": ("models", config.models),
            "evaluation": ("models and other_models", self.evaluated),
            "benchmark": ("benchmarks", config.benchmarks),
            "table": ("tables", config.tables),
        }
        wanted = [(name, *sections[per])] if per in sections else []
        if per == "generation":
            wanted.append((shard.rpartition("/")[2], *sections["seed_shard"]))
        if per == "evaluation":
            wanted.append((shard, *sections["benchmark"]))
        if rule == "fetch_benchmark":
            wanted = [(name, "benchmarks", self.fetched)]
        for asked, section, known in wanted:
            if not any(asked == one or asked.startswith(f"{one}.") for one in known):
                raise UserError(
                    f"{target}: {section} of the config has no entry {asked.partition('.')[0]!r}; "
                    f"it has {', '.join(known) or 'none'}"
                )
        if rule == "import_tasks":
            self.given_tasks(name)
        if rule in ("extract_concepts", "write_instructions") and config.generations[name].tasks:
            raise UserError(f"{target}: generations.{name}.tasks of the config gives tasks, so no model writes them")
        if per == "model":
            # Names may have dots: of those that fit, the longest is meant.
            fitting = (one for one in config.models if name == one or name.startswith(f"{one}."))
            self.models.check_rule(target, rule, max(fitting, key=len))

    # ---- stages ----

    def _chain(self) -> list[str]:
        """Order the stages from a generation to a dataset, as the mode has them."""
        found = ["build_dataset"]
        while RULES[found[0]].per == "dataset":
            found.insert(0, before(found[0], self.config.mode)[0])
        return found[1:-1]

    def before(self, stage: str) -> str:
        """Name the stage that comes before one in the mode, where all ways are one."""
        (found,) = before(stage, self.config.mode)
        return found

    def rows_before(self, stage: str) -> str:
        """Pattern of the rows that a stage takes, with the wildcards of the stage before it."""
        found = self.before(stage)
        wildcards = {"generation": "{generation}/{shard}", "dataset": "{dataset}"}
        return f"{self.results}/{found}/{wildcards.get(RULES[found].per, '{shard}')}.parquet"

    @property
    def verdicts(self) -> str:
        """Stage that datasets select from."""
        return self.before(self.chain[0])

    def branches(self, name: str) -> list[str]:
        """Name the branches of funnels that lead to a generation's verdicts, in order."""
        generation = entry(self.config.generations, "generations", name)
        author = generation.answers or name
        generation = self.config.generations[author]
        ways = ("write_instructions", "import_tasks")
        shut = {"gather_seeds" if generation.seeds == "snippets" else "gather_snippets"}
        if generation.path == "direct":
            shut.add("extract_concepts")
        if self.config.data.seeds is not None:
            shut.update(before(FIRST_WITH_SEEDS, self.config.mode))
        shut.add(ways[generation.tasks is None])
        found: list[str] = []
        stage: str | None = self.verdicts
        writer = name
        while stage:
            writer = author if stage in ways else writer
            found.insert(0, f"{stage}/{writer}" if RULES[stage].per == "generation" else stage)
            stage = next((one for one in before(stage, self.config.mode) if one not in shut), None)
        return found

    def stages_before(self, dataset: str) -> list[str]:
        """Name the branches of funnels that lead to a dataset, in order."""
        generation = entry(self.config.datasets, "datasets", dataset).generation
        return [*self.branches(generation), *(f"{stage}/{dataset}" for stage in self.chain)]

    def files(self, branch: str, suffix: str, shards: Iterable[str] | None = None) -> list[str]:
        """List the files of a branch: one for each raw shard, each of the seed shards (all by default), or just one."""
        stage = branch.partition("/")[0]
        if STAGES[stage].per == "raw_shard":
            shards = self.shards
        elif STAGES[stage].per == "dataset":
            return [f"{self.results}/{branch}{suffix}"]
        shards = self.seed_shards if shards is None else shards
        return [f"{self.results}/{branch}/{shard}{suffix}" for shard in shards]

    # ---- shards ----

    def raw_shard(self, shard: str) -> list[str]:
        """File of a raw shard; a Hub path is no input file, the job streams it."""
        path = self.raw_shards[int(shard)]
        return [] if path.startswith("hf://") else [path]

    def unjudged(self, shard: str) -> str:
        """Seeds that the judge reads: those that the stages before it left, or given ones."""
        if self.config.data.seeds is not None:
            return self.raw_shards[int(shard)]
        return self.rows_before(FIRST_WITH_SEEDS).format(shard=shard)

    def earlier(self, shard: str, shards: Iterable[str] | None = None) -> list[str]:
        """Shards before one, seed shards by default: mode `reference` draws from line numbers over all of them."""
        shards = self.seed_shards if shards is None else shards
        return [] if self.config.mode == "fixed" else [number for number in shards if number < shard]

    # ---- models ----

    def judge(self) -> tuple[str, str, bool]:
        """Folder or Hub id of the model that judges seeds, its revision, and whether it may run its own code."""
        judge, model = self.config.judge_seeds, self.config.model
        if judge.model:
            return judge.model, judge.revision or "main", False
        return model.base, model.revision, model.trust_remote_code

    def writer(self, generation: str) -> tuple[str, str, bool]:
        """Folder or Hub id of the model that writes a generation, its revision, and whether it may run its own code."""
        one, model = entry(self.config.generations, "generations", generation), self.config.model
        if not one.model:
            return model.base, model.revision, model.trust_remote_code
        name = self.models.tuned(one.model) if one.model in self.config.models else one.model
        return name, one.revision, one.trust_remote_code

    def writer_files(self, generation: str) -> list[str]:
        """What the model that writes a generation is, as inputs."""
        return self.models.files(self.writer(generation)[0])

    def engine(self, generation: str) -> dict[str, Any]:
        """How a generation's model is run."""
        entry(self.config.generations, "generations", generation)
        return self.config.engines[f"generations.{generation}.engine"]

    def judges_engine(self) -> dict[str, Any]:
        """How the model that judges seeds is run."""
        return self.config.engines["engine" if self.config.judge_seeds.model else "model.engine"]

    def subjects_engine(self, model: str) -> dict[str, Any]:
        """How a model under evaluation is run."""
        key = "model.engine" if model == BASE else f"other_models.{model}.engine"
        return self.config.engines.get(key, self.config.engines["engine"])

    def subject(self, model: str) -> tuple[str, str, bool, str]:
        """The model under evaluation: folder or Hub id, revision, whether it may run its own code, how it is asked."""
        given, base = self.config.other_models.get(model), self.config.model
        if given:
            return given.model, given.revision, False, given.style
        if model == BASE:
            return base.base, base.revision, base.trust_remote_code, base.style or "base"
        return self.models.tuned(model), base.revision, base.trust_remote_code, self.models.style(model)

    # ---- generations ----

    def template(self, generation: str) -> str:
        """Layout of a generation's prompts."""
        return entry(self.config.generations, "generations", generation).template or self.config.prompts.template

    def examples(self, generation: str) -> list[str]:
        """Examples file of a generation's prompts; none if they have none."""
        return examples_of(self.template(generation), self.config.prompts.examples)

    def generation_seed(self, generation: str) -> int:
        """Run seed of a generation."""
        seed = entry(self.config.generations, "generations", generation).seed
        return self.config.seed if seed is None else seed

    def seeds(self, generation: str, shard: str) -> str:
        """Seed shard that a generation starts from: functions or random snippets."""
        kind = entry(self.config.generations, "generations", generation).seeds
        return f"{self.results}/gather_{'seeds' if kind == 'functions' else 'snippets'}/{shard}.parquet"

    def source(self, generation: str, shard: str) -> str:
        """What a generation's tasks are written from: its concepts, or its seeds on the direct path."""
        if entry(self.config.generations, "generations", generation).path == "direct":
            return self.seeds(generation, shard)
        return f"{self.results}/extract_concepts/{generation}/{shard}.parquet"

    def author(self, generation: str) -> str:
        """Generation whose tasks one answers: itself, or another in a distillation."""
        return entry(self.config.generations, "generations", generation).answers or generation

    def tasks(self, generation: str, shard: str) -> str:
        """The tasks that a generation answers, which a model wrote or which were given."""
        author = self.author(generation)
        stage = "write_instructions" if self.config.generations[author].tasks is None else "import_tasks"
        return f"{self.results}/{stage}/{author}/{shard}.parquet"

    def given_tasks(self, generation: str) -> GivenTasks:
        """Where the tasks lie that a generation answers.

        Raises:
            UserError: a model writes them.
        """
        given = entry(self.config.generations, "generations", self.author(generation)).tasks
        if given is None:
            raise UserError(f"generations.{generation} of the config names no tasks, so there are none to read")
        return given

    def import_settings(self, generation: str) -> dict[str, Any]:
        """Where a generation's given tasks are, and in which columns."""
        return self.given_tasks(generation).model_dump(mode="json", include=set(TaskColumns.model_fields))

    def task_files(self, generation: str) -> list[str]:
        """Local files of a generation's given tasks; none when the job reads them from the Hub."""
        return self._local(self.given_tasks(generation).sources)

    def given_tests(self, generation: str, shard: str) -> list[str]:
        """Tasks whose own tests the responses of a generation are run against too; none where none were given."""
        given = entry(self.config.generations, "generations", self.author(generation)).tasks
        return [self.tasks(generation, shard)] if given and given.tests else []

    def use_of_tests(self, generation: str) -> str:
        """What given tests are for: to be run after a response's own, or in their place."""
        given = entry(self.config.generations, "generations", self.author(generation)).tasks
        return given.given_tests if given else "join"

    # ---- datasets ----

    def shards_of(self, dataset: str) -> list[str]:
        """Seed shards that a dataset is made from: all, or the first so many."""
        return self.seed_shards[: entry(self.config.datasets, "datasets", dataset).seed_shards]

    def of_generation(self, rule: str, dataset: str, suffix: str = ".parquet") -> list[str]:
        """Files that a rule made for a dataset's generation, one for each seed shard."""
        name = entry(self.config.datasets, "datasets", dataset).generation
        return [f"{self.results}/{rule}/{name}/{shard}{suffix}" for shard in self.shards_of(dataset)]

    def agreement(self, dataset: str) -> list[str]:
        """Scores of cross_verify_responses, for a dataset that is selected by them."""
        chosen = entry(self.config.datasets, "datasets", dataset).selection == "consensus"
        return self.of_generation("cross_verify_responses", dataset) if chosen else []

    def assertion_counts(self, dataset: str) -> list[str]:
        """Counts of count_assertions, for a dataset that accepts a share of the assertions."""
        strict = entry(self.config.datasets, "datasets", dataset).pass_threshold >= 1
        return [] if strict else self.of_generation("count_assertions", dataset)

    def selection(self, dataset: str) -> dict[str, Any]:
        """Keys of a dataset by which its responses are selected, and the rule of form that belongs to them."""
        values = entry(self.config.datasets, "datasets", dataset).model_dump(mode="json")
        chosen = {key: values[key] for key in SelectResponses.model_fields}
        return chosen | self.config.sanitize_responses.model_dump(mode="json")

    def augmentation(self, dataset: str) -> dict[str, float]:
        """Keys of augment_dataset that differ for a dataset."""
        share = entry(self.config.datasets, "datasets", dataset).augment_share
        return {} if share is None else {"share": share}

    def siblings(self, dataset: str) -> list[str]:
        """Rows of the datasets that a dataset must have equally many rows as, directly or by way of others."""
        entry(self.config.datasets, "datasets", dataset)
        return [f"{self.results}/{self.chain[-1]}/{name}.parquet" for name in equal_rows(self.config.datasets, dataset)]

    def gathered(self, dataset: str, suffix: str) -> list[str]:
        """Files of the seed shards that a dataset's generation grew from."""
        branch = next(one for one in self.stages_before(dataset) if one.startswith(ORIGINS))
        return self.files(branch, suffix, self.shards_of(dataset))

    def funnels(self) -> list[str]:
        """Funnels of all stages that lead to the datasets, and theirs; seeds are gathered whole."""
        found = set()
        for name in self.config.datasets:
            for branch in [*self.stages_before(name), f"build_dataset/{name}"]:
                shards = None if branch.startswith("gather_") else self.shards_of(name)
                found.update(self.files(branch, ".funnel.json", shards))
        return sorted(found)

    def files_before(self, dataset: str, suffix: str, first: str | None = None) -> list[str]:
        """Files of all stages that lead to a dataset, from the stage `first` on if it is named."""
        branches = self.stages_before(dataset)
        stages = [branch.partition("/")[0] for branch in branches]
        start = stages.index(first) if first else 0
        return [path for branch in branches[start:] for path in self.files(branch, suffix, self.shards_of(dataset))]

    def funnel_links(self) -> list[str]:
        """Words BEFORE=AFTER or BEFORE=AFTER@SHARDS: what the first branch produced entered the second.

        From the gathered seeds on, a dataset may be made from the first so many seed shards only.
        """
        links = set()
        for name in self.config.datasets:
            path = [*self.stages_before(name), f"build_dataset/{name}"]
            gathered = next(number for number, branch in enumerate(path) if branch.startswith(ORIGINS))
            count = len(self.shards_of(name))
            for number, (first, second) in enumerate(pairwise(path)):
                part = f"@{count}" if number >= gathered and count < len(self.seed_shards) else ""
                links.add(f"{first}={second}{part}")
        return sorted(links)

    def recipe(self, dataset: str) -> list[str]:
        """Settings for a dataset's card, as KEY=VALUE words."""
        config = self.config
        one = config.datasets[dataset]
        keys: dict[str, Any] = {"seed": config.seed, "mode": config.mode}
        sections = {
            f"generations.{one.generation}": config.generations[one.generation],
            f"datasets.{dataset}": one,
            "sanitize_responses": config.sanitize_responses,
            "dedup_dataset": config.dedup_dataset,
            "augment_dataset": config.augment_dataset,
        }
        for name, section in sections.items():
            keys |= {f"{name}.{key}": value for key, value in section.model_dump(mode="json").items()}
        words = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in keys.items()}
        return [f"{key}={value}" for key, value in words.items() if value not in (None, "", {})]

    # ---- evaluation, tables ----

    def benchmark(self, name: str) -> str:
        """Which benchmark an entry of the config's `benchmarks` runs, or which is only kept out."""
        return entry(self.fetched, "benchmarks", name).benchmark or name

    def benchmark_settings(self, name: str, *keys: str) -> dict[str, Any]:
        """Some keys of a benchmark's entry."""
        values = entry(self.fetched, "benchmarks", name).model_dump(mode="json")
        return {key: values[key] for key in keys}

    def island(self, name: str) -> str:
        """Island of packages that a benchmark's programs need."""
        from selfcodealign.evaluation import base

        return base.get(self.benchmark(name)).island

    def given_files(self, dataset: str) -> list[str]:
        """Local files of a dataset of others; none when the job reads it from the Hub."""
        return self._local(entry(self.config.other_datasets, "other_datasets", dataset).sources)

    def _local(self, paths: list[str]) -> list[str]:
        """Sources that are files here, or that a rule makes."""
        return [path for path in paths if Path(path).is_file() or path.startswith(f"{self.results}/")]

    def scores(self, benchmark: str | None = None) -> list[str]:
        """Scores of every evaluated model, on every benchmark that it is evaluated on or on one."""
        return [
            f"{self.results}/score_benchmark/{model}/{name}.json"
            for model, names in self.evaluated.items()
            for name in names
            if benchmark in (None, name)
        ]


def examples_of(template: str, examples: str | None) -> list[str]:
    """Examples file of a prompt template: the one that the config names, or the template's own; none if it has none."""
    if examples:
        return [examples]
    layout = yaml.safe_load(Path(template).read_text()) if Path(template).is_file() else {}
    return [str(Path(template).with_name(layout["examples"]["file"]))] if "examples" in layout else []
