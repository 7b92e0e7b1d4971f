"""Push a finished dataset or model to the Hugging Face Hub; nothing in the pipeline does this by itself."""

import argparse
import json
import sys
from pathlib import Path

import yaml

from selfcodealign import models
from selfcodealign.config.paths import HUB_ID
from selfcodealign.dataset.card import CONFIGURATIONS
from selfcodealign.errors import UserError
from selfcodealign.rows_io import count_rows, first_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the tool's flags."""
    parser.add_argument(
        "folder",
        type=Path,
        help="a dataset or model of a run: a folder in results/build_dataset or in results/train_sft, _dpo or _grpo",
    )
    parser.add_argument("--repo", required=True, help="repository on the Hub, as ORGANISATION/NAME")
    parser.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    parser.add_argument("--licence", help="licence identifier for the card, which you have to decide")
    parser.add_argument("--base-model", help="Hub id of a model's base for the card, if the base was a local folder")
    parser.add_argument("--message", help="commit message (default: Publish dataset, or Publish model)")
    parser.add_argument("--dry-run", action="store_true", help="check and show what would be pushed, push nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before pushing")


def main(arguments: argparse.Namespace) -> None:
    """Check the folder, show what would be pushed, and push it.

    Raises:
        UserError: the folder is no finished dataset or model, the repository's name can be none, or the Hub refuses.
    """
    check_name(arguments.repo)
    if is_model(arguments.folder):
        base = checked_model(arguments.folder, arguments.base_model)
        told = [f"a model of base {base}"]
    else:
        told = [f"{name:5} {count:10,} rows" for name, count in checked(arguments.folder).items()]
    provenance = provenance_of(arguments.folder)
    print(f"{arguments.folder} → {_place(arguments)}")
    for line in told:
        print(f"  {line}")
    for path in contents(arguments.folder):
        print(f"  {path.stat().st_size / 1e6:9.2f} MB  {path.relative_to(arguments.folder)}")
    print(f"  provenance {provenance or 'not recorded: the card will name none'}")
    if arguments.dry_run:
        print("dry run: nothing was pushed")
        return
    if not arguments.yes and not _confirmed(_place(arguments)):
        print("nothing was pushed")
        return
    print(push(arguments))


def check_name(repo: str) -> None:
    """Check a repository's name as the Hub does, before anything is shown or pushed.

    Raises:
        UserError: no repository can have this name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"--repo {repo} is not a repository name: {first_line(error)}") from error


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model rather than a dataset."""
    return (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()


def _place(arguments: argparse.Namespace) -> str:
    """Name the repository as the Hub's addresses do."""
    return arguments.repo if is_model(arguments.folder) else f"datasets/{arguments.repo}"


def checked_model(folder: Path, base: str | None) -> str:
    """Check that a model is whole and its card fit to be shown; return the base model that the card will name.

    Raises:
        UserError: card, weights or tokenizer are missing, or the card names a base by its place on this machine.
    """
    card = folder / "README.md"
    parts = card.read_text().split("---\n") if card.is_file() else []
    try:
        front = yaml.safe_load(parts[1])
        base = base or front["base_model"]
    except (yaml.YAMLError, IndexError, KeyError, TypeError) as error:
        raise UserError(f"{folder} has no card of a model in README.md; give a folder that train_sft wrote") from error
    if not HUB_ID.fullmatch(str(base)):
        raise UserError(f"{card} names the base model {base}, which is no id on the Hub: name one with --base-model")
    weights = {path.name for path in folder.glob("*.safetensors")}
    for index in folder.glob("*.safetensors.index.json"):
        weights -= (absent := set(json.loads(index.read_text())["weight_map"].values()) - weights)
        if absent:
            raise UserError(f"{folder} lacks {', '.join(sorted(absent))}, which {index.name} names; train it again")
    if not weights or not any(folder.glob("token*.json")):
        lacking = "tokenizer" if weights else "weights (safetensors)"
        raise UserError(f"{folder} has no {lacking}; give a folder that train_sft, train_dpo or train_grpo wrote")
    return str(base)


def checked(folder: Path) -> dict[str, int]:
    """Count the rows of each configuration that the card names.

    Raises:
        UserError: there is no card, or it names files that are missing or empty.
    """
    card = folder / "README.md"
    if not card.is_file():
        raise UserError(f"{folder} holds no README.md; give a folder that build_dataset wrote")
    try:
        configs = yaml.safe_load(card.read_text().split("---\n")[1])["configs"]
        files = {config["config_name"]: config["data_files"][0]["path"] for config in configs}
    except (yaml.YAMLError, IndexError, KeyError, TypeError) as error:
        raise UserError(
            f"{card} does not begin with the configurations of a dataset; build the dataset again"
        ) from error
    rows = {name: count_rows(folder / path) for name, path in files.items()}
    if not rows.get("sft"):
        raise UserError(f"{folder} has no rows for training; build the dataset again")
    return rows


def contents(folder: Path) -> list[Path]:
    """List the files to push: the card, and what makes a model or the parquet files of a dataset's configurations.

    Pickled weights stay here: they may hold code, and safetensors lie beside them.
    """
    if is_model(folder):
        return [folder / "README.md", *(path for path in models.identity_files(folder) if path.suffix != ".bin")]
    return [
        folder / "README.md",
        *sorted(path for name in CONFIGURATIONS for path in (folder / name).glob("*.parquet")),
    ]


def provenance_of(folder: Path) -> str | None:
    """Return the hash of the run's provenance, or None if the folder lies apart from its run, or is not in its record.

    Raises:
        UserError: what was recorded is of other files than those in the folder.
    """
    path = _provenance_file(folder)
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    if is_model(folder):
        model = record.get("models", {}).get(folder.name, {})
        # A model that had another objective when the run was recorded may have the same name.
        if not model.get("name", "").endswith(f"{folder.resolve().parent.name}/{folder.name}"):
            return None
        recorded = model["files"]
    else:
        recorded = {name: one["sha256"] for name, one in record.get("datasets", {}).get(folder.name, {}).items()}
    for file in contents(folder)[1:]:
        if recorded.get(str(file.relative_to(folder))) != models.content(file):
            raise UserError(f"{path} does not describe {file} as it is now; run snakemake again, which records it anew")
    return record["hash"]


def _provenance_file(folder: Path) -> Path:
    """Name the record of the run that a folder `<results>/build_dataset/NAME` belongs to."""
    return folder.resolve().parent.parent / "provenance.json"


def _confirmed(place: str) -> bool:
    """Ask; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        print("not a terminal: add --yes to push")
        return False
    return input(f"Push this to {place}? [y/N] ").strip().lower() in ("y", "yes")


def push(arguments: argparse.Namespace) -> str:
    """Create the repository if need be and push one commit; return its address.

    Raises:
        UserError: no token, no right, or no network.
    """
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    folder, kind = arguments.folder, "model" if is_model(arguments.folder) else "dataset"
    provenance = provenance_of(folder)
    operations = [CommitOperationAdd(str(path.relative_to(folder)), path) for path in contents(folder)[1:]]
    card = _card(folder, arguments.licence, arguments.base_model, provenance)
    operations.append(CommitOperationAdd("README.md", card.encode()))
    if provenance is not None:
        operations.append(CommitOperationAdd("provenance.json", _provenance_file(folder)))
    try:
        api.create_repo(arguments.repo, repo_type=kind, private=not arguments.public, exist_ok=True)
        commit = api.create_commit(
            arguments.repo, operations, repo_type=kind, commit_message=arguments.message or f"Publish {kind}"
        )
    except LocalTokenNotFoundError as error:
        raise UserError("no Hub token is set; run `hf auth login` or set HF_TOKEN to a token that may write") from error
    except HfHubHTTPError as error:
        raise UserError(
            f"the Hub refused to take {_place(arguments)} ({first_line(error)}); check that your token may write there"
        ) from error
    except (httpx2.TransportError, OSError) as error:
        raise UserError(f"the Hub cannot be reached ({first_line(error)}); check the network and try again") from error
    return str(commit.commit_url)


def _card(folder: Path, licence: str | None, base: str | None, provenance: str | None) -> str:
    """Return the card with a licence and a base model put in, if given, and the hash of the run's provenance."""
    lines = (folder / "README.md").read_text().split("\n")
    if base is not None and is_model(folder):
        (told,) = (line for line in lines if line.startswith("base_model: "))
        # The name stands in the text too, in fences.
        lines = [line.replace(f"`{told.removeprefix('base_model: ')}`", f"`{base}`") for line in lines]
        lines[lines.index(told)] = f"base_model: {base}"
    if licence is not None:
        lines = [line for line in lines if line not in ("license: other", "license_name: mixed")]
        lines.insert(1, f"license: {licence}")
    text = "\n".join(lines)
    if provenance is not None:
        text = f"{text.rstrip()}\n\n## Provenance\n\n`provenance.json` in this repository, `{provenance}`.\n"
    return text
