"""What would stop a run hours after its start, looked for before its first job: partitions, GPUs, access to models."""

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from selfcodealign import images
from selfcodealign.config import (
    Config,
    TrainDpo,
    TrainGrpo,
    TrainSft,
    check_benchmarks,
    check_chats,
    check_files,
    check_given_datasets,
    check_models,
    models,
    raw_shards,
)
from selfcodealign.config.benchmarks import only_kept_out
from selfcodealign.config.paths import has_chat_template
from selfcodealign.errors import UserError, first_line
from selfcodealign.evaluation import base
from selfcodealign.pipeline import WRITING

TIMEOUT_S = 10


def check_config(config: Config) -> None:
    """Stop at every start, dry runs included, for what can be seen in the config and the files that it names.

    Raises:
        UserError: the first fault, naming its key.
    """
    check_models(config)
    check_chats(config)
    check_given_datasets(config)
    check_benchmarks(config)
    check_files(config)
    check_prompts(config)
    check_training(config)
    if config.sign_functions != type(config.sign_functions)():
        from selfcodealign.seeds.neardup import hasher_of

        hasher_of(config.mode, config.sign_functions)


def check_prompts(config: Config) -> None:
    """Read every layout and examples file, and count the examples that prompts ask for.

    Raises:
        UserError: a file is malformed, or has fewer examples than a stage shows.
    """
    from selfcodealign.generation.judge import load_judge
    from selfcodealign.generation.prompts import Layout, load_layout, load_template

    def given(file: str | None) -> Path | None:
        return Path(file) if file else None

    load_judge(Path(config.judge_seeds.prompts), given(config.judge_seeds.examples))
    examples = given(config.prompts.examples)
    for name, generation in config.generations.items():
        layout = Path(generation.template or config.prompts.template)
        if examples and examples.parts[0] == "results":  # A rule fetches it.
            load_layout(layout, Layout)
            continue
        template = load_template(layout, examples)
        shots = {"write_responses.few_shots": config.write_responses.few_shots}
        if generation.answers is None and generation.tasks is None:
            shots["write_instructions.few_shots"] = config.write_instructions.few_shots
            if generation.path == "concepts":
                shots["extract_concepts.few_shots"] = config.extract_concepts.few_shots
        if "few_shots" in generation.responses:
            shots[f"generations.{name}.responses.few_shots"] = config.responses_of(name).few_shots
        for key, wanted in shots.items():
            if wanted > len(template.examples):
                raise UserError(
                    f"config key {key}: is {wanted}, but {examples or template.layout.examples.file} has "
                    f"{len(template.examples)} examples; lower it, or write more"
                )


def check_training(config: Config) -> None:
    """Check the settings that each model is trained with, and the DeepSpeed files.

    Raises:
        UserError: settings contradict each other, or a file is missing or no JSON.
    """
    from selfcodealign.training.checks import agree, read_deepspeed

    for name, model in config.models.items():
        settings = config.training_of(name)
        try:
            if isinstance(settings, TrainSft):
                agree(settings)
            elif isinstance(settings, TrainDpo | TrainGrpo) and settings.deepspeed != "none":
                read_deepspeed(settings.deepspeed, f"{model.rule}.deepspeed")
        except UserError as error:
            raise UserError(f"config key models.{name}.settings: {error}" if model.settings else str(error)) from None
    for rule, section in (("train_dpo", config.train_dpo), ("train_grpo", config.train_grpo)):
        if section.deepspeed != "none":
            read_deepspeed(section.deepspeed, f"{rule}.deepspeed")


def check_before_start(
    config: Config, results: str, hub: str, *, jobs: Iterable[Any], executor: str, in_containers: bool
) -> None:
    """Stop now for what would stop the run hours later.

    Args:
        config: the run's config.
        results: folder of the run's results.
        hub: folder of the Hub's cache (HF_HOME).
        jobs: Snakemake's jobs that are to run.
        executor: name of the executor that runs them.
        in_containers: whether they run in the config's images.

    Raises:
        UserError: given seeds lack a column; an image, an interpreter, an API key, a partition, a GPU, a model of the
            Hub or a benchmark's file is not there.
    """
    jobs = list(jobs)
    if config.data.seeds is not None:
        check_seeds(raw_shards(config, results))
    check_keys(config, {job.rule.name for job in jobs})
    if in_containers:
        used = {job.container_img_url for job in jobs}
        needed = {island: name for island, name in config.containers.items() if images.locate(name) in used}
        images.check(needed, config.container_digests)
    else:
        check_interpreters(config)
    if executor == "slurm":
        partitions: dict[str, set[str]] = {}
        with_gpu: set[str] = set()
        for job in jobs:
            partition = str(job.resources.get("slurm_partition") or "")
            partitions.setdefault(partition, set()).add(job.rule.name)
            if job.resources.get("gpu") or "gpu" in str(job.resources.get("gres", "")):
                with_gpu.add(partition)
        check_partitions(partitions, with_gpu)
    else:
        check_gpu(config)
    check_hub(hub_models(config, results), Path(hub))
    check_fetches(config, [job.wildcards.benchmark for job in jobs if job.rule.name == "fetch_benchmark"])
    if warning := style_warning(config, Path(hub)):
        print(f"warning: {warning}", file=sys.stderr)


def check_seeds(files: Iterable[str]) -> None:
    """Check that given seeds have the columns of a seed.

    Raises:
        UserError: a file is no parquet or lacks columns; the sentence names them.
    """
    from selfcodealign.rows import SeedRow
    from selfcodealign.rows_io import column_names

    for file in files:
        there = column_names(Path(file))
        absent = [name for name in SeedRow.model_fields if name not in there]
        if absent:
            raise UserError(
                f"config key data.seeds: {file} has no column {', '.join(absent)}; give rows as decontaminate_seeds "
                f"leaves them, with the columns {', '.join(SeedRow.model_fields)}"
            )


def hub_models(config: Config, results: str = "results") -> dict[str, tuple[str, str]]:
    """List the models that a run takes from the Hub: config key → name and revision; rules make those in `results`."""
    return {
        key: (name, revision)
        for key, (name, revision) in models(config).items()
        if not name.startswith(f"{results}/") and not Path(name).expanduser().exists()
    }


def check_hub(models: Mapping[str, tuple[str, str]], cache: Path) -> None:
    """Check that every Hub model can be read: from the cache, or with this person's token.

    A Hub that cannot be reached is no error here: the login node may be offline and the compute nodes not.

    Args:
        models: config key → name and revision.
        cache: HF_HOME, with perhaps a token and, unless HF_HUB_CACHE names another folder, what has been fetched.

    Raises:
        UserError: a model is gated for this person, does not exist, or is not in the cache of an offline run.
    """
    for key, (name, revision) in models.items():
        fetched = Path(os.environ.get("HF_HUB_CACHE", cache / "hub"))
        if (_snapshot(fetched, name, revision) / "config.json").exists():
            continue
        if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
            raise UserError(
                f"config key {key}: HF_HUB_OFFLINE is set, but {name} at revision {revision} is not in {fetched}: run "
                "`snakemake --cores 1 prefetch` on a machine with internet first"
            )
        answer = _asked(name, revision, _token(cache))
        if answer == "GatedRepo":
            raise UserError(
                f"config key {key}: {name} is gated: accept its terms on its Hub page, then set HF_TOKEN to an access "
                "token of that account, or run `hf auth login`"
            )
        if answer in ("RepoNotFound", "RevisionNotFound"):
            raise UserError(
                f"config key {key}: the Hub has no {name} at revision {revision}, or not for you: correct the key, "
                "or set HF_TOKEN to a token that may read it"
            )


def check_fetches(config: Config, names: Iterable[str]) -> None:
    """Check that the files of benchmarks can be fetched from here, all at a time.

    Args:
        config: the run's config.
        names: benchmarks that are to be fetched, measured or only kept out.

    Raises:
        UserError: some are not to be had; the sentence names them all, and how to bring or waive them.
    """
    kept = only_kept_out(config)
    wanted = set(names)
    urls: dict[str, str] = {}
    for name, one in {**config.benchmarks, **kept}.items():
        if name in wanted and not one.file:
            urls[name] = base.get(one.benchmark or name).source(one.version).url
    with ThreadPoolExecutor(max_workers=16) as pool:
        told = dict(zip(urls, pool.map(_absent, urls.values()), strict=True))
    absent = {name: why for name, why in told.items() if why}
    if not absent:
        return
    measured = [name for name in absent if name not in kept]
    others = [name for name in absent if name in kept]
    ways = []
    if measured:
        ways.append(f"bring {', '.join(measured)} with benchmarks.<name>.file")
    if others:
        ways.append(
            f"bring {', '.join(others)}, which {'is' if len(others) == 1 else 'are'} kept out of the data, with "
            "data.other_benchmarks.<name>, or name in data.kept_out only what shall be kept out ([] waives all)"
        )
    why = "; ".join(dict.fromkeys(absent.values()))
    raise UserError(f"the tasks of {len(absent)} benchmarks cannot be fetched from here ({why}): {', and '.join(ways)}")


def _absent(url: str) -> str:
    """Ask for a file's head; returns why it cannot be had, empty if it can."""
    if not url:
        return "not published as one file"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        # Some servers answer only to GET.
        return f"{url} answers {error.code}" if error.code in (401, 403, 404, 410) else ""
    except (OSError, ValueError) as error:
        return first_line(error)


def style_warning(config: Config, hub: Path) -> str:
    """Say that a base model with a chat template is asked without it, if nobody has decided so; empty if all is well.

    Args:
        config: the run's config.
        hub: HF_HOME, where a model of the Hub may lie already.
    """
    model = config.model
    if model.style or not config.evaluate_base or not config.benchmarks:
        return ""
    folder = Path(model.base).expanduser()
    if not folder.is_dir():
        folder = _snapshot(Path(os.environ.get("HF_HUB_CACHE", hub / "hub")), model.base, model.revision)
    if not has_chat_template(folder):
        return ""
    return (
        f"{model.base} has a chat template, but benchmarks ask it by raw completion, as a base model: set model.style "
        "to chat, or to base if that is meant"
    )


def _snapshot(cache: Path, name: str, revision: str) -> Path:
    """Folder of a model in the Hub's cache, there or not: a branch or tag is a file that names the commit."""
    folder = cache / f"models--{name.replace('/', '--')}"
    named = folder / "refs" / revision
    return folder / "snapshots" / (named.read_text().strip() if named.is_file() else revision)


def _token(cache: Path) -> str:
    kept = cache / "token"
    return os.environ.get("HF_TOKEN", "") or (kept.read_text().strip() if kept.is_file() else "")


def _asked(name: str, revision: str, token: str) -> str:
    """Ask the Hub for a model's config.json; returns the error code in its answer, empty for none or no answer."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    request = urllib.request.Request(f"{endpoint}/{name}/resolve/{revision}/config.json", method="HEAD")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return error.headers.get("X-Error-Code", "")
    except (OSError, ValueError):
        return ""


def check_keys(config: Config, rules: Collection[str]) -> None:
    """Check that the API keys that jobs will want are in the environment.

    Args:
        config: the run's config.
        rules: names of the rules that have jobs to run.

    Raises:
        UserError: a variable is not set; the sentence names it and the config key.
    """
    judge = "engine" if config.judge_seeds.model else "model."
    asking = {"judge_seeds": (judge,), "sample_solutions": ("engine", "model.", "other_models.")}
    asking |= dict.fromkeys(WRITING, ("generations.",)) | {"run_pilot": (judge, "model.", "generations.")}
    wanted = tuple({key for rule in rules for key in asking.get(rule, ())})
    for key, engine in config.engines.items():
        if not key.startswith(wanted):
            continue
        variable = engine["api_key_env"]
        if engine["backend"] == "openai" and variable and not os.environ.get(variable, "").strip():
            raise UserError(
                f"config key {key}.api_key_env: the environment variable {variable} is not set; set it to the API key "
                "before starting, or leave the key out for a server without keys"
            )


def check_interpreters(config: Config) -> None:
    """Check that the interpreters that the config names are on this machine.

    Raises:
        UserError: one is no program that can be run.
    """
    named = {
        "typecheck_functions.python": config.typecheck_functions.python,
        "execute_programs.python": config.execute_programs.python,
        **{f"{key}.python": engine["python"] for key, engine in config.engines.items()},
    }
    for key, python in named.items():
        if python and shutil.which(str(python)) is None:
            raise UserError(f"config key {key}: {python} is no program on this machine; name a Python interpreter")


def check_partitions(wanted: Mapping[str, Iterable[str]], with_gpu: Iterable[str]) -> None:
    """Check that the partitions that jobs are sent to exist, and that those of GPU jobs have GPUs.

    Args:
        wanted: partition → rules that go there; an empty name is the cluster's default.
        with_gpu: partitions of jobs that ask for a GPU.

    Raises:
        UserError: sinfo is missing, a partition does not exist or has no GPU.
    """
    if shutil.which("sinfo") is None:
        raise UserError("the slurm executor needs sinfo and sbatch, which are not on PATH: start on a login node")
    shown = subprocess.run(["sinfo", "-h", "-o", "%R %G"], capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        raise UserError(f"sinfo does not answer: {shown.stderr.strip()}")
    resources: dict[str, str] = {}
    for line in shown.stdout.splitlines():
        name, _, generic = line.partition(" ")
        resources[name] = resources.get(name, "") + generic
    for partition, rules in wanted.items():
        if partition and partition not in resources:
            raise UserError(
                f"the cluster has no partition {partition}, where the profile sends {', '.join(sorted(set(rules)))}: "
                f"it has {', '.join(sorted(resources))}; correct slurm_partition in profiles/slurm/profile.yaml"
            )
    for partition in with_gpu:
        if partition and "gpu" not in resources[partition]:
            raise UserError(
                f"jobs of {', '.join(sorted(set(wanted[partition])))} ask for a GPU, but no node of partition "
                f"{partition} has one: correct slurm_partition or gpu of set-resources in profiles/slurm/profile.yaml"
            )


def check_gpu(config: Config) -> None:
    """Check that this machine has a GPU when the config asks for one.

    Raises:
        UserError: an engine is set to a GPU, and there is none.
    """
    for key, engine in config.engines.items():
        device = str(engine["device"])
        if device.startswith("cuda") and not has_gpu():
            raise UserError(
                f"config key {key}.device is {device}, but this machine has no NVIDIA GPU (nvidia-smi lists none): set "
                "it to auto, or run where there is one"
            )


def has_gpu() -> bool:
    """Whether this machine has a GPU of NVIDIA's."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout
