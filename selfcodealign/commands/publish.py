"""Push a finished dataset folder to the Hugging Face Hub; nothing in the pipeline does this by itself."""

import argparse
import json
import sys
from pathlib import Path

import yaml

from selfcodealign.dataset.card import CONFIGURATIONS
from selfcodealign.errors import UserError
from selfcodealign.ids import digest_of_file
from selfcodealign.rows_io import count_rows, first_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the tool's flags."""
    parser.add_argument(
        "folder", type=Path, help="a folder that build_dataset wrote, for example results/build_dataset/NAME"
    )
    parser.add_argument("--repo", required=True, help="dataset repository on the Hub, as ORGANISATION/NAME")
    parser.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    parser.add_argument("--licence", help="licence identifier to put on the card, once you have decided on one")
    parser.add_argument("--message", default="Publish dataset", help="commit message")
    parser.add_argument("--dry-run", action="store_true", help="check and show what would be pushed, push nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before pushing")


def main(arguments: argparse.Namespace) -> None:
    """Check the folder, show what would be pushed, and push it.

    Raises:
        UserError: the folder is no finished dataset, or the Hub refuses.
    """
    rows = checked(arguments.folder)
    files = contents(arguments.folder)
    provenance = provenance_of(arguments.folder)
    print(f"{arguments.folder} → datasets/{arguments.repo}")
    for name, count in rows.items():
        print(f"  {name:5} {count:10,} rows")
    for path in files:
        print(f"  {path.stat().st_size / 1e6:9.2f} MB  {path.relative_to(arguments.folder)}")
    print(f"  provenance {provenance or 'not recorded: the card will name none'}")
    if arguments.dry_run:
        print("dry run: nothing was pushed")
        return
    if not arguments.yes and not _confirmed(arguments.repo):
        print("nothing was pushed")
        return
    print(push(arguments))


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
    """List the files to push: the card and the parquet files of the known configurations."""
    return [
        folder / "README.md",
        *sorted(path for name in CONFIGURATIONS for path in (folder / name).glob("*.parquet")),
    ]


def provenance_of(folder: Path) -> str | None:
    """Return the hash of the run's provenance, or None if the dataset lies apart from its run.

    Raises:
        UserError: what was recorded is of other files than those in the folder.
    """
    path = _provenance_file(folder)
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    recorded = {name: one["sha256"] for name, one in record.get("datasets", {}).get(folder.name, {}).items()}
    for file in contents(folder)[1:]:
        if recorded.get(str(file.relative_to(folder))) != digest_of_file(file):
            raise UserError(f"{path} does not describe {file} as it is now; run snakemake again, which records it anew")
    return record["hash"]


def _provenance_file(folder: Path) -> Path:
    """Name the record of the run that a folder `<results>/build_dataset/NAME` belongs to."""
    return folder.resolve().parent.parent / "provenance.json"


def _confirmed(repo: str) -> bool:
    """Ask; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        print("not a terminal: add --yes to push")
        return False
    return input(f"Push this to {repo}? [y/N] ").strip().lower() in ("y", "yes")


def push(arguments: argparse.Namespace) -> str:
    """Create the repository if need be and push one commit; return its address.

    Raises:
        UserError: no token, no right, or no network.
    """
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    api = HfApi()
    provenance = provenance_of(arguments.folder)
    operations = [
        CommitOperationAdd(str(path.relative_to(arguments.folder)), path) for path in contents(arguments.folder)[1:]
    ]
    operations.append(CommitOperationAdd("README.md", _card(arguments.folder, arguments.licence, provenance).encode()))
    if provenance is not None:
        operations.append(CommitOperationAdd("provenance.json", _provenance_file(arguments.folder)))
    try:
        api.create_repo(arguments.repo, repo_type="dataset", private=not arguments.public, exist_ok=True)
        commit = api.create_commit(arguments.repo, operations, repo_type="dataset", commit_message=arguments.message)
    except LocalTokenNotFoundError as error:
        raise UserError("no Hub token is set; run `hf auth login` or set HF_TOKEN to a token that may write") from error
    except HFValidationError as error:
        raise UserError(f"--repo {arguments.repo} is not a repository name: {first_line(error)}") from error
    except HfHubHTTPError as error:
        raise UserError(
            f"the Hub refused to take datasets/{arguments.repo} ({first_line(error)}); "
            "check that your token may write there"
        ) from error
    except (httpx2.TransportError, OSError) as error:
        raise UserError(f"the Hub cannot be reached ({first_line(error)}); check the network and try again") from error
    return str(commit.commit_url)


def _card(folder: Path, licence: str | None, provenance: str | None) -> str:
    """Return the card with a licence put in, if there is one, and the hash of the run's provenance."""
    text = (folder / "README.md").read_text()
    if licence is not None:
        lines = text.split("\n")
        text = "\n".join(
            f"license: {licence}" if line == "license: other" else line
            for line in lines
            if line != "license_name: mixed"
        )
    if provenance is not None:
        text = f"{text.rstrip()}\n\n## Provenance\n\n`provenance.json` in this repository, `{provenance}`.\n"
    return text
