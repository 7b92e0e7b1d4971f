"""Files and folders that a config names: found, listed and checked before any job starts."""

import glob
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfcodealign.config.config import Config
from selfcodealign.config.given import Given
from selfcodealign.config.tables import BASE
from selfcodealign.errors import UserError
from selfcodealign.evaluation import base
from selfcodealign.generation.settings import LOADING
from selfcodealign.pipeline import LINK

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
DATA_FILE = re.compile(r"\.(parquet|jsonl?|ndjson)(\.gz)?$")


def raw_shards(config: Config, results: str = "results") -> list[str]:
    """List the files that a run begins with in a stable order: raw shards or, in their place, given seeds.

    A shard's number is its place in this list.

    Rules make the files in the folder `results`. A Hub pattern must show how many shards there are
    (`*-of-00144.parquet`), so that planning a run needs no network.

    Raises:
        UserError: nothing matches, or a file that no rule makes is missing.
    """
    key, wanted = "data.raw_shards", config.data.raw_shards
    if config.data.seeds is not None:
        key, wanted = "data.seeds", config.data.seeds
    if isinstance(wanted, str):
        wanted = [wanted]
    shards: list[str] = []
    for item in wanted:
        if key == "data.seeds" and item.startswith("hf://"):
            raise UserError(f"config key data.seeds: {item} lies on the Hub; fetch it, and name the file here")
        shards += _expand(key, item, results)
    if len(set(shards)) != len(shards):
        raise UserError(f"config key {key} names the same file twice; name each file once")
    return shards


def _expand(key: str, item: str, results: str) -> list[str]:
    if item.startswith("hf://"):
        found = re.search(r"\*-of-(\d{5})", item)
        if found:
            return [item.replace("*", f"{number:05d}", 1) for number in range(int(found[1]))]
        if "*" in item:
            raise UserError(f"config key {key}: write {item} with its count, as in data-*-of-00144.parquet")
        return [item]
    item = os.path.expanduser(item)
    # A file may have a pattern's characters in its name.
    if glob.has_magic(item) and not Path(item).is_file():
        found = sorted(path for path in glob.glob(item, recursive=True) if not Path(path).is_dir())
        if not found:
            raise UserError(f"config key {key}: no file matches {item} in {Path.cwd()}; correct the glob")
        return found
    if not Path(item).exists() and not item.startswith(f"{results}/"):
        raise UserError(f"config key {key}: {item} does not exist in {Path.cwd()}; correct the path")
    if Path(item).is_dir():
        raise UserError(f"config key {key}: {item} is a folder; name its files, as in {item.rstrip('/')}/*.parquet")
    return [item]


def models(config: Config) -> dict[str, tuple[str, str]]:
    """List the models that the config names, but those of `models` by their names: key → folder or Hub id, revision.

    What a server or a plug-in calls its model is no name of a folder or of the Hub, and is left out.
    """
    named = {"model.base": (config.model.base, config.model.revision)}
    served = {key for key, engine in config.engines.items() if engine["backend"] not in LOADING}
    if config.judge_seeds.model and "engine" not in served:
        named["judge_seeds.model"] = (config.judge_seeds.model, config.judge_seeds.revision or "main")
    for name, generation in config.generations.items():
        known = generation.model in config.models or f"generations.{name}.engine" in served
        if generation.model and not known:
            named[f"generations.{name}.model"] = (generation.model, generation.revision)
    for name, model in config.models.items():
        if model.start != BASE and model.start not in config.models:
            named[f"models.{name}.from"] = (model.start, model.revision)
    for name, other in config.other_models.items():
        if f"other_models.{name}.engine" not in served:
            named[f"other_models.{name}.model"] = (other.model, other.revision)
    return named


def check_models(config: Config) -> None:
    """Check every model that is written as a path, before any job starts; Hub ids are checked when they are loaded.

    Raises:
        UserError: a path leads nowhere, to a folder without a model, or under results/ to what no rule makes.
    """
    for key, (model, _) in models(config).items():
        folder = Path(model).expanduser()
        if model.startswith("results/") and not folder.is_dir():
            if model not in made_models(config):
                there = ", ".join(made_models(config))
                raise UserError(f"config key {key}: no rule makes the model {model}; rules make {there}")
            continue
        if not folder.exists() and HUB_ID.fullmatch(model):
            continue
        if not folder.is_dir():
            other = "name an entry of models, a folder" if key.endswith(".from") else "name a folder"
            raise UserError(f"config key {key}: there is no folder {model} in {Path.cwd()}; {other} or a Hub id")
        if not (folder / "config.json").is_file():
            raise UserError(f"config key {key}: {model} has no config.json; name a folder with a model in it")
        if not any(file.suffix in WEIGHTS for file in folder.iterdir()):
            raise UserError(f"config key {key}: {model} has a config.json but no weights (*.safetensors); fetch them")


def made_models(config: Config) -> list[str]:
    """List the folders of the models that rules make."""
    trained = [f"results/{one.rule}/{name}" for name, one in config.models.items()]
    return ["results/pretrain_demo_model", "results/fetch_smollm2", *trained]


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer files in a model's folder bring a chat template; files that cannot be read bring none."""
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def check_chats(config: Config) -> None:
    """Check that a model which learns from chats starts from one that knows their layout, as far as that lies here.

    Raises:
        UserError: it starts from a folder without a chat template.
    """
    for name, model in config.models.items():
        start = config.model.base if model.start == BASE else model.start
        folder = Path(start).expanduser()
        if model.objective == "sft" or start in config.models or not folder.is_dir():
            continue
        if not has_chat_template(folder):
            raise UserError(
                f"config key models.{name}.from: {start} has no chat template, and {model.objective} learns from "
                "chats; start from a fine-tuned entry of models"
            )


def check_given_datasets(config: Config) -> None:
    """Check every dataset of others that is written as a path, before any job starts; Hub ids are checked when read.

    Raises:
        UserError: a path leads nowhere, or several sources are not all files.
    """
    given: dict[str, Given] = {f"other_datasets.{name}": entry for name, entry in config.other_datasets.items()}
    given |= {f"generations.{name}.tasks": one.tasks for name, one in config.generations.items() if one.tasks}
    for key, entry in given.items():
        sources = entry.sources
        on_hub = [source for source in sources if source.startswith("hf://")]
        for source in [] if sources and len(on_hub) == len(sources) else sources or [""]:
            alone = len(sources) == 1 and HUB_ID.fullmatch(source) and not DATA_FILE.search(source)
            if not alone and not Path(source).is_file() and not source.startswith("results/"):
                raise UserError(
                    f"config key {key}.source: there is no file {source!r} in {Path.cwd()}; name files "
                    "that are here, or hf://datasets/ORG/NAME@REVISION/PATH, or one Hub id"
                )


def check_benchmarks(config: Config) -> None:
    """Check that every benchmark's problems can be had, before any job starts; files under results/ are made by rules.

    Raises:
        UserError: a file does not exist, or a benchmark that is published as no single file has none.
    """
    for name, file in config.data.other_benchmarks.items():
        _check_file(f"data.other_benchmarks.{name}", file)
    for name, run in config.benchmarks.items():
        for file in run.files:
            _check_file(f"benchmarks.{name}.file", file)
        kind = base.get(run.benchmark or name)
        if not run.files and not any(source.url for source in kind.sources):
            raise UserError(f"config key benchmarks.{name}.file: {kind.title} is not published as one file; name yours")


def check_files(config: Config) -> None:
    """Check the other files that a config names: layouts and examples of prompts, and the sandbox's image.

    Raises:
        UserError: one does not exist, or is no file.
    """
    for section in ("prompts", "judge_seeds"):
        for key in ("template", "prompts", "examples"):
            if path := getattr(getattr(config, section), key, None):
                _check_file(f"{section}.{key}", path)
    for name, generation in config.generations.items():
        if generation.template:
            _check_file(f"generations.{name}.template", generation.template)
    image = config.verify_responses.image
    if image and "://" not in image and not Path(image).exists():
        raise UserError(f"config key verify_responses.image: there is no {image} in {Path.cwd()}; correct the path")


def _check_file(key: str, file: str) -> None:
    path = Path(file)
    if file.startswith("results/"):
        return
    if path.is_dir():
        raise UserError(f"config key {key}: {file} is a folder; name one file")
    if not path.exists():
        raise UserError(
            f"config key {key}: there is no {file} in {Path.cwd()}; correct the path, or put the file there"
        )
    if not os.access(path, os.R_OK):
        raise UserError(f"config key {key}: {file} may not be read by you; change its permissions")


def link_to(root: Path, link: Path = LINK) -> Path:
    """Make a link to the pipeline in the folder of the run, or renew it, and return its path.

    It is renewed in one step, so that jobs that read it meanwhile always find the pipeline.
    """
    if not (link.is_symlink() and link.resolve() == root.resolve()):
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f"{link.name}.{os.getpid()}")
        fresh.symlink_to(root.resolve())
        fresh.replace(link)
    return link


def located(config: Config, root: Path) -> Config:
    """Find the files that come with the pipeline when it runs in another folder than its own.

    A relative path that leads nowhere from the working folder, but somewhere from `root`, is replaced by the way there;
    `~` is replaced by the home folder.
    """
    found = _changed(config, _without_tilde)
    shipped = (
        (found.model, "base"),
        (found.prompts, "template"),
        (found.prompts, "examples"),
        (found.judge_seeds, "model"),
        (found.judge_seeds, "prompts"),
        (found.judge_seeds, "examples"),
        (found.train_sft, "deepspeed"),
        (found.train_dpo, "deepspeed"),
        (found.train_grpo, "deepspeed"),
        *((generation, key) for generation in found.generations.values() for key in ("model", "template")),
        *((model, "start") for model in found.models.values() if model.start not in {BASE, *found.models}),
        *((model, "model") for model in found.other_models.values()),
    )
    for section, key in shipped:
        path = getattr(section, key)
        if path and not Path(path).exists() and (root / path).exists():
            setattr(section, key, str(root / path))
    for model in found.models.values():
        path = str(model.settings.get("deepspeed", ""))
        if path and not Path(path).exists() and (root / path).exists():
            model.settings["deepspeed"] = str(root / path)
    return found


def placed(config: Config, results: str) -> Config:
    """Let every path that a config writes as results/… lie in the folder that this run's results go to.

    They differ where the pipeline is a module of another workflow, with other path variables.
    """
    if results == "results":
        return config
    return _changed(config, lambda text: f"{results}/{text[8:]}" if text.startswith("results/") else text)


def _without_tilde(text: str) -> str:
    """Replace `~` by the home folder where that leads to something."""
    path = os.path.expanduser(text) if text.startswith("~") else text
    return path if os.path.exists(path) else text


def _changed(config: Config, change: Callable[[str], str]) -> Config:
    """Change every text that a config holds as a value."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [changed(item) for item in value]
        return change(value) if isinstance(value, str) else value

    return Config.model_validate(changed(config.model_dump()))
