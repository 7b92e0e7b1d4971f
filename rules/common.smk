"""What every module of rules shares: a valid config, shards, and who is made from what."""

import json
import os
import shlex
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

ROOT = Path(workflow.current_basedir).parent
sys.path.insert(0, str(ROOT))

from selfcodealign import config as schema
from selfcodealign import images, preflight
from selfcodealign.config.tables import cells, evaluated
from selfcodealign.errors import UserError

try:
    CONFIG = schema.located(schema.load(schema.extended(config, (Path(), ROOT))), ROOT)
    RAW_SHARDS = schema.raw_shards(CONFIG)
    schema.check_models(CONFIG)
    schema.check_given_datasets(CONFIG)
    schema.check_benchmarks(CONFIG)
except UserError as error:
    raise WorkflowError(str(error))

# From here on every key is present, so that rules may look anything up.
config.update(CONFIG.model_dump(mode="json"))

SHARDS = [f"{number:05d}" for number in range(len(RAW_SHARDS))]
SEED_SHARDS = [f"{number:05d}" for number in range(CONFIG.gather_seeds.shards)]
BASE = "base"

# A failed job ends its log with one command that runs it again by hand: the shell knows the command it was given.
BY_HAND = (
    '[ "$?" = 0 ] || { printf "To run this job by hand: cd %q && " "$PWD"; '
    '[ -z "${APPTAINER_CONTAINER:-}" ] || printf "apptainer exec --bind %q --home %q %s %q " "${APPTAINER_BIND:-}" '
    f'"$PWD" {shlex.quote(workflow.deployment_settings.apptainer_args)} "$APPTAINER_CONTAINER"; '
    'printf "bash -c %q\\n" "$BASH_EXECUTION_STRING"; } >&2'
)
# shell.prefix formats its text, as shell commands are.
AT_EXIT = shlex.quote(BY_HAND).replace("{", "{{").replace("}", "}}")

# Every job sees the repository's own packages. Outside a container it has this very interpreter first, inside one the
# image's own. Bytes must not depend on a machine's hash seed or locale.
HUB_HOME = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(ROOT))} PYTHONHASHSEED=0 PYTHONNOUSERSITE=1 "
    f"TOKENIZERS_PARALLELISM=false LC_ALL=C.UTF-8 HF_HOME={shlex.quote(HUB_HOME)}; "
    '[ -n "${{APPTAINER_CONTAINER:-}}" ] || '
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    f"trap {AT_EXIT} EXIT; "
)

# What a container must see besides the working folder and /tmp; Apptainer reads this variable in every job.
IN_CONTAINERS = "apptainer" in {str(method) for method in workflow.deployment_settings.deployment_method}
if IN_CONTAINERS:
    seen = [os.environ.get("APPTAINER_BIND", ""), str(ROOT), *(path for path in [HUB_HOME] if Path(path).is_dir())]
    os.environ.update(APPTAINER_BIND=",".join(dict.fromkeys(filter(None, seen))))


wildcard_constraints:
    shard=r"\d{5}",
    generation=r"[a-z0-9][a-z0-9_.-]*",
    dataset=r"[a-z0-9][a-z0-9_.-]*",
    model=r"[a-z0-9][a-z0-9_.-]*",
    benchmark=r"[a-z0-9][a-z0-9_-]*",


def script(name):
    """Path of a stage's script; naming it as input makes its edits visible."""
    return os.path.relpath(ROOT / "scripts" / f"{name}.py")


def shipped(path):
    """Path of a file that comes with the pipeline, also for a run in another folder."""
    return os.path.relpath(ROOT / path)


def flags(section, changes=None):
    """Turn the config section of a rule into command-line flags; empty values are left out.

    With `changes`, a function of the wildcards that returns the keys which differ for one entry, a params function.
    """
    if changes is not None:
        return lambda wildcards: written_flags(config[section] | changes(wildcards))
    return written_flags(config[section])


def written_flags(values):
    """Write settings as command-line flags; empty values are left out."""
    words = []
    for key, value in values.items():
        if value is None or value == []:
            continue
        words.append(f"--{key.replace('_', '-')}")
        if isinstance(value, dict):
            words += [f"{name}={text}" for name, text in value.items()]
        elif isinstance(value, list):
            words += value
        else:
            words.append(str(value).lower() if isinstance(value, bool) else value)
    return " ".join(shlex.quote(str(word)) for word in words)


def image(name):
    """Image of an island of dependencies, as the config names it and where it lies."""
    return images.locate(CONFIG.containers[name])


def image_digests(wildcards):
    """Digests of the images that a run in containers uses, as ISLAND=DIGEST words; nothing outside containers."""
    if not IN_CONTAINERS:
        return []
    there = {island: images.locate(name) for island, name in CONFIG.containers.items()}
    return [f"{island}={images.digest(path)}" for island, path in there.items() if "://" in path or Path(path).exists()]


def by_attempt(mb):
    """Memory of a job: as much again each time that it is tried."""
    return lambda wildcards, attempt: mb * attempt


def raw_shard(wildcards):
    """File of a raw shard; a Hub path is not an input file, the job streams it."""
    path = RAW_SHARDS[int(wildcards.shard)]
    return [] if path.startswith("hf://") else path


# ---- who is made from what ----


def writer(wildcards):
    """Folder of a generation's model when this run trains it; nothing when it is a given model."""
    name = CONFIG.generations[wildcards.generation].model
    return f"results/train_sft/{name}" if name in CONFIG.models else []


def writer_model(wildcards):
    """Local folder or Hub id of the model that writes a generation."""
    name = CONFIG.generations[wildcards.generation].model
    if name in CONFIG.models:
        return f"results/train_sft/{name}"
    return name or CONFIG.model.base


def writer_revision(wildcards):
    """Revision of the model that writes a generation."""
    generation = CONFIG.generations[wildcards.generation]
    return generation.revision if generation.model else CONFIG.model.revision


def generation_seed(wildcards):
    """Run seed of a generation."""
    seed = CONFIG.generations[wildcards.generation].seed
    return CONFIG.seed if seed is None else seed


def writer_trust(wildcards):
    """Whether a generation's model may run its own Python code: only if the config says so for it by name."""
    generation = CONFIG.generations[wildcards.generation]
    return generation.trust_remote_code if generation.model else CONFIG.model.trust_remote_code


def pairs(values):
    """Write settings as NAME=VALUE words; empty values are left out."""
    written = {name: json.dumps(value) if isinstance(value, bool | dict) else value for name, value in values.items()}
    return " ".join(shlex.quote(f"{name}={value}") for name, value in written.items() if value not in ("", None))


def template_of(wildcards):
    """Layout of a generation's prompts."""
    return CONFIG.generations[wildcards.generation].template or CONFIG.prompts.template


def examples_of_generation(wildcards):
    """Examples file of a generation's prompts."""
    return examples_of(template_of(wildcards), CONFIG.prompts.examples)


def engine(wildcards):
    """How a generation's model is run: the global settings, and what differs for it."""
    return pairs(config["engine"] | CONFIG.generations[wildcards.generation].engine)


def examples_of(template, examples):
    """Examples file of a prompt template: the one that the config names, or the template's own."""
    if examples:
        return examples
    layout = yaml.safe_load(Path(template).read_text()) if Path(template).is_file() else {}
    return str(Path(template).with_name(layout["examples"]["file"])) if "examples" in layout else []


def tasks_of(wildcards):
    """Name of the generation whose tasks a generation answers: its own, or another's in a distillation."""
    return CONFIG.generations[wildcards.generation].answers or wildcards.generation


def generation_path(wildcards):
    """Path of a generation: `concepts` or `direct`."""
    return CONFIG.generations[wildcards.generation].path


def seeds_of(wildcards):
    """Seed shard that a generation starts from: functions or random snippets."""
    kind = "gather_seeds" if CONFIG.generations[wildcards.generation].seeds == "functions" else "gather_snippets"
    return f"results/{kind}/{wildcards.shard}.parquet"


def inspiration(wildcards):
    """What a generation's tasks are written from: its concepts, or its seeds on the direct path."""
    if generation_path(wildcards) == "direct":
        return seeds_of(wildcards)
    return f"results/extract_concepts/{wildcards.generation}/{wildcards.shard}.parquet"


def tasks(wildcards):
    """The tasks that a generation answers."""
    return f"results/write_instructions/{tasks_of(wildcards)}/{wildcards.shard}.parquet"


def clean_seeds(wildcards):
    """Filtered and decontaminated functions of a source shard, ready for the judge."""
    return f"results/decontaminate_seeds/{wildcards.shard}.parquet"


def earlier(files, shards=SEED_SHARDS):
    """Input function: what `files` gives for the shards before this one.

    Their rows count towards the absolute line numbers from which mode `reference` draws.
    """

    def before(wildcards):
        if CONFIG.mode == "fixed":
            return []
        numbers = [number for number in shards if number < wildcards.shard]
        return [files(Wildcards(fromdict=dict(wildcards.items()) | {"shard": number})) for number in numbers]

    return before


def dataset_generation(wildcards):
    """Name of the generation that a dataset selects from."""
    return CONFIG.datasets[wildcards.dataset].generation


def shards_of(dataset):
    """Seed shards that a dataset is made from: all, or the first so many."""
    return SEED_SHARDS[: CONFIG.datasets[dataset].seed_shards]


def of_generation(rule, shard="{shard}", suffix=".parquet"):
    """Input function: the files that `rule` made for a dataset's generation, one per seed shard."""

    def files(wildcards):
        name = dataset_generation(wildcards)
        return [f"results/{rule}/{name}/{number}{suffix}" for number in shards_of(wildcards.dataset)]

    return files


def trained_base(wildcards):
    """Local folder or Hub id that a model's training starts from."""
    return CONFIG.models[wildcards.model].base or CONFIG.model.base


def trained_revision(wildcards):
    """Revision of the base that a model's training starts from."""
    model = CONFIG.models[wildcards.model]
    return model.revision if model.base else CONFIG.model.revision


def training_dataset(wildcards):
    """Folder of the dataset that a model is trained on: one of this run's, or one of others."""
    name = CONFIG.models[wildcards.model].dataset
    return f"results/{'build' if name in CONFIG.datasets else 'import'}_dataset/{name}"


def given_files(wildcards):
    """Local files of a dataset of others; nothing when the job reads it from the Hub."""
    source = config["other_datasets"][wildcards.dataset]["source"]
    return [
        path
        for path in ([source] if isinstance(source, str) else source)
        if Path(path).is_file() or path.startswith("results/")
    ]


def given_flags(wildcards):
    """Settings of a dataset of others, as flags."""
    return written_flags(config["other_datasets"][wildcards.dataset])


def training_seed(wildcards):
    """Seed of a model's training."""
    seed = CONFIG.models[wildcards.model].seed
    return CONFIG.seed if seed is None else seed


def training_settings(wildcards):
    """Keys of train_sft that differ for a model."""
    return CONFIG.models[wildcards.model].settings


def trained_with(key):
    """Resource function: a key of train_sft as it is for a model."""
    return lambda wildcards: (config["train_sft"] | training_settings(wildcards))[key]


EVALUATED = evaluated(CONFIG)
SCORES = [f"results/score_benchmark/{model}/{name}.json" for model, names in EVALUATED.items() for name in names]


def scores_of_benchmark(wildcards):
    """Scores of every model that is evaluated on a benchmark."""
    return [
        f"results/score_benchmark/{model}/{wildcards.benchmark}.json"
        for model, names in EVALUATED.items()
        if wildcards.benchmark in names
    ]


def evaluated_model(wildcards):
    """Folder of a model that this run trains, as an input; nothing for a given model."""
    return f"results/train_sft/{wildcards.model}" if wildcards.model in CONFIG.models else []


def evaluated_path(wildcards):
    """Local folder or Hub id of the model under evaluation."""
    if wildcards.model in CONFIG.other_models:
        return CONFIG.other_models[wildcards.model].model
    return CONFIG.model.base if wildcards.model == BASE else f"results/train_sft/{wildcards.model}"


def evaluated_revision(wildcards):
    """Revision of the model under evaluation."""
    given = CONFIG.other_models.get(wildcards.model)
    return given.revision if given else CONFIG.model.revision


def evaluated_style(wildcards):
    """How the model under evaluation is asked."""
    given = CONFIG.other_models.get(wildcards.model)
    return given.style if given else "base" if wildcards.model == BASE else "instruct"


def benchmark_of(wildcards):
    """Which benchmark an entry of the config's `benchmarks` runs."""
    return CONFIG.benchmarks[wildcards.benchmark].benchmark or wildcards.benchmark


def benchmark_settings(*keys):
    """Params function: the keys of a benchmark's entry that are set, as flags."""

    def written(wildcards):
        entry = CONFIG.benchmarks[wildcards.benchmark]
        values = {key: getattr(entry, key) for key in keys}
        return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in values.items() if value is not None)

    return written


# ---- seeds ----


# Numbers over all shards meet in two places only: match_functions and cluster_functions.
BAND_GROUPS = [f"{number:02d}" for number in range(CONFIG.match_functions.groups)]


wildcard_constraints:
    group=r"\d{2}",
    format=r"[a-z0-9_]+",


def raw_shard_path(wildcards):
    """Path or Hub address of a raw shard."""
    return RAW_SHARDS[int(wildcards.shard)]


def benchmarks_kept_out(wildcards=None):
    """Files of the benchmarks that no row may overlap with: those of this run, and others that are named."""
    return [f"results/fetch_benchmark/{name}.gz" for name in CONFIG.benchmarks] + list(
        CONFIG.data.other_benchmarks.values()
    )


def benchmark_words(wildcards):
    """The same as NAME=FILE words."""
    return benchmark_pairs()


# ---- from a generation to a dataset ----


# The reference augments before it compares rows, and decontaminates before it deduplicates.
CHAINS = {
    "fixed": [
        "select_responses",
        "decontaminate_dataset",
        "dedup_dataset",
        "augment_dataset",
    ],
    "reference": [
        "select_responses",
        "augment_dataset",
        "decontaminate_dataset",
        "dedup_dataset",
    ],
}


CHAIN = CHAINS[CONFIG.mode]


SEED_STAGES = [
    "extract_functions",
    "dedup_functions",
    "infer_imports",
    "typecheck_functions",
    "filter_seeds",
    "decontaminate_seeds",
    "judge_seeds",
]


def before(rule):
    """Rows of the stage that comes before a rule in the mode's chain."""
    return f"<results>/{CHAIN[CHAIN.index(rule) - 1]}/{{dataset}}.parquet"


def setting(key):
    """Params function: one key of a dataset's config."""
    return lambda wildcards: getattr(CONFIG.datasets[wildcards.dataset], key)


def augmentation(wildcards):
    """Keys of augment_dataset that differ for a dataset."""
    share = CONFIG.datasets[wildcards.dataset].augment_share
    return {} if share is None else {"share": share}


def agreement(wildcards):
    """Scores of cross_verify_responses, for a dataset that is selected by them."""
    if CONFIG.datasets[wildcards.dataset].selection != "consensus":
        return []
    return of_generation("cross_verify_responses")(wildcards)


def assertion_counts(wildcards):
    """Counts of count_assertions, for a dataset that accepts a share of the assertions."""
    if CONFIG.datasets[wildcards.dataset].pass_threshold >= 1:
        return []
    return of_generation("count_assertions")(wildcards)


def siblings(wildcards):
    """Rows of the datasets that a dataset must have equally many rows as."""
    wanted, group = [wildcards.dataset], set()
    while wanted:
        name = wanted.pop()
        if name not in group:
            group.add(name)
            wanted += CONFIG.datasets[name].equal_rows_with
            wanted += [other for other, kept in CONFIG.datasets.items() if name in kept.equal_rows_with]
    return [f"results/{CHAIN[-1]}/{name}.parquet" for name in sorted(group - {wildcards.dataset})]


def seeds_of_dataset(wildcards):
    """Seed shards that a dataset's generation grew from."""
    gathered = next(branch for branch in branches(dataset_generation(wildcards)) if branch.startswith("gather_"))
    return files_of(gathered, ".parquet", shards_of(wildcards.dataset))


def stages_before(name):
    """Name the branches of funnels that lead to a dataset, in order."""
    generation = CONFIG.datasets[name].generation
    return [*branches(generation), *(f"{stage}/{name}" for stage in CHAIN)]


def branches(name):
    """Name the branches of funnels that lead to a generation's verdicts, in order."""
    author = CONFIG.generations[name].answers or name
    generation = CONFIG.generations[author]
    snippets = generation.seeds == "snippets"
    seeds = ["sample_snippets", "gather_snippets"] if snippets else [*SEED_STAGES, "gather_seeds"]
    concepts = [f"extract_concepts/{author}"] if generation.path == "concepts" else []
    own = [f"{stage}/{name}" for stage in ("write_responses", "sanitize_responses", "verify_responses")]
    return [*seeds, *concepts, f"write_instructions/{author}", *own]


def files_of(branch, suffix, shards=SEED_SHARDS):
    """Files of a branch: one for each raw shard, each of the seed shards, or just one."""
    stage, _, name = branch.partition("/")
    if stage in [*SEED_STAGES, "sample_snippets"]:
        return [f"results/{stage}/{shard}{suffix}" for shard in SHARDS]
    if name in CONFIG.datasets and stage in [*CHAIN, "build_dataset"]:
        return [f"results/{branch}{suffix}"]
    return [f"results/{branch}/{shard}{suffix}" for shard in shards]


def funnels_of(name):
    """Funnels of all stages that lead to a dataset, and its own; seeds are gathered whole."""
    found = []
    for branch in [*stages_before(name), f"build_dataset/{name}"]:
        found += files_of(branch, ".funnel.json", SEED_SHARDS if branch.startswith("gather_") else shards_of(name))
    return found


def funnels_before(wildcards):
    """Funnels of all stages that lead to a dataset."""
    shards = shards_of(wildcards.dataset)
    return [path for branch in stages_before(wildcards.dataset) for path in files_of(branch, ".funnel.json", shards)]


def dropped_before(wildcards):
    """Dropped rows of the stages from sanitising on, for examples in the card."""
    branches = stages_before(wildcards.dataset)
    start = next(number for number, name in enumerate(branches) if name.startswith("sanitize_responses"))
    shards = shards_of(wildcards.dataset)
    return [path for branch in branches[start:] for path in files_of(branch, ".dropped.parquet", shards)]


def funnel_links():
    """Words BEFORE=AFTER or BEFORE=AFTER@SHARDS: what the first branch produced entered the second.

    From the gathered seeds on, a dataset may be made from the first so many seed shards only.
    """
    links = set()
    for name in CONFIG.datasets:
        path = [*stages_before(name), f"build_dataset/{name}"]
        gathered = next(number for number, branch in enumerate(path) if branch.startswith("gather_"))
        for number, (first, second) in enumerate(zip(path, path[1:])):
            part = f"@{len(shards_of(name))}" if number >= gathered and len(shards_of(name)) < len(SEED_SHARDS) else ""
            links.add(f"{first}={second}{part}")
    return sorted(links)


COMPARED = {name: f"results/fetch_benchmark/{name}.gz" for name in CONFIG.benchmarks} | CONFIG.data.other_benchmarks


def benchmark_pairs():
    """Benchmarks that rows are compared with, as NAME=FILE words: those of this run and any other given.

    An entry that runs a benchmark under another name says which: NAME:BENCHMARK=FILE.
    """
    kinds = {name: f":{entry.benchmark}" for name, entry in CONFIG.benchmarks.items() if entry.benchmark}
    return [f"{name}{kinds.get(name, '')}={file}" for name, file in COMPARED.items()]


def recipe(wildcards):
    """Settings for the card, as KEY=VALUE words."""
    dataset = CONFIG.datasets[wildcards.dataset]
    generation = CONFIG.generations[dataset.generation]
    pairs = {"seed": CONFIG.seed, "mode": CONFIG.mode}
    pairs |= {f"generations.{dataset.generation}.{key}": value for key, value in generation.model_dump().items()}
    pairs |= {f"datasets.{wildcards.dataset}.{key}": value for key, value in dataset.model_dump().items()}
    for section in ("sanitize_responses", "dedup_dataset", "augment_dataset"):
        pairs |= {f"{section}.{key}": value for key, value in config[section].items()}
    words = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in pairs.items()}
    return [f"{key}={value}" for key, value in words.items() if value not in (None, "", {})]


def local_base(wildcards):
    """Folder of the base model as an input, so that a changed one trains anew; nothing when it comes from the Hub."""
    base = trained_base(wildcards)
    return base if Path(base).is_dir() or base.startswith("results/") else []


# ---- benchmarks ----


def island(wildcards):
    """Image whose packages a benchmark's programs need."""
    from selfcodealign.evaluation import base

    return image(base.get(benchmark_of(wildcards)).island)


def problems_file(wildcards):
    """Local file of a benchmark's problems; nothing when they are fetched."""
    return CONFIG.benchmarks[wildcards.benchmark].file or []


# ---- training on several nodes ----


# srun is a program of the host. A job on one node runs in its container as every other; one on several runs outside, and
# srun enters the container on each node.


def around(nodes):
    """Image that Snakemake starts a training job in: none for a job on several nodes."""
    return image("train") if nodes == 1 else None


def inside(nodes):
    """Command with which srun enters the container on each node; nothing on one node or without containers."""
    if nodes == 1 or not IN_CONTAINERS:
        return ""
    words = shlex.split(workflow.deployment_settings.apptainer_args)
    return shlex.join(["apptainer", "exec", "--home", os.getcwd(), *words, image("train")])


# ---- tables ----


WRITING_STAGES = ("extract_concepts", "write_instructions", "write_responses")


def files_of_cell(cell, wins):
    """Files that a cell's number is read from; `wins` are the models that EvalPerf's wins are counted against."""
    kind, model = cell.source.kind, cell.model
    if kind == "score":
        return [f"results/score_benchmark/{model}/{name}.json" for name in cell.source.benchmarks]
    if kind == "wins":
        players = [model, *(other for other in wins if other != model)]
        return [f"results/score_benchmark/{player}/{cell.source.benchmarks[0]}.json" for player in players]
    dataset = CONFIG.models[model].dataset
    if kind == "pass_rate":
        return [f"results/build_dataset/{dataset}/sft/train.parquet"]
    if kind == "rows":
        return [f"results/build_dataset/{dataset}.funnel.json"]
    if kind == "finetune_h":
        return [workflow.pathvars.apply(f"<timings>/train_sft/{model}.jsonl")]
    written = [branch for branch in stages_before(dataset) if branch.partition("/")[0] in WRITING_STAGES]
    if kind == "generation_h":
        return [
            workflow.pathvars.apply(f"<timings>/{branch}/{shard}.jsonl")
            for branch in written
            for shard in shards_of(dataset)
        ]
    gathered = next(branch for branch in stages_before(dataset) if branch.startswith("gather_"))
    return files_of(gathered, ".funnel.json", shards_of(dataset))


def planned_cells(wildcards):
    """Every cell that this run fills of a table, with the files that its number is read from."""
    found = cells(CONFIG, wildcards.table)
    wins = list(dict.fromkeys(cell.model for cell in found if cell.source.kind == "wins"))
    parallel = CONFIG.tables[wildcards.table].parallel_jobs
    return [
        {
            "row": cell.row,
            "column": cell.column,
            "model": cell.model,
            "kind": cell.source.kind,
            "metric": cell.source.metric,
            "files": files_of_cell(cell, wins),
            "divide": parallel if cell.source.kind == "generation_h" else 1,
        }
        for cell in found
    ]


def files_of_table(wildcards):
    """Inputs of a table: what its cells are read from, and the models whose jobs were timed."""
    found = []
    for cell in planned_cells(wildcards):
        if cell["kind"] == "pass_rate":
            found += [f"results/build_dataset/{CONFIG.models[cell['model']].dataset}"]
        elif cell["kind"] in ("generation_h", "finetune_h"):
            found += [f"results/train_sft/{cell['model']}"]
        else:
            found += cell["files"]
    return list(dict.fromkeys(found))


# ---- before the first job ----


def check_before_start():
    """Stop now for what would stop the run hours later; a dry run is not stopped."""
    jobs = list(workflow.dag.needrun_jobs())
    try:
        if IN_CONTAINERS:
            used = {job.container_img_url for job in jobs}
            images.check(
                {island: name for island, name in CONFIG.containers.items() if image(island) in used},
                CONFIG.container_digests,
            )
        if workflow.executor_plugin.name == "slurm":
            partitions, with_gpu = {}, set()
            for job in jobs:
                partition = str(job.resources.get("slurm_partition") or "")
                partitions.setdefault(partition, set()).add(job.rule.name)
                if job.resources.get("gpu") or "gpu" in str(job.resources.get("gres", "")):
                    with_gpu.add(partition)
            preflight.check_partitions(partitions, with_gpu)
        else:
            preflight.check_gpu(CONFIG)
        preflight.check_hub(preflight.hub_models(CONFIG), Path(HUB_HOME))
    except UserError as error:
        raise WorkflowError(str(error))
