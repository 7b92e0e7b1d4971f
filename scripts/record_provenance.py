"""Record what a run was made from and made on: commit, config, versions, machine, seeds, models and datasets."""

import importlib.metadata
import json
import logging
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selfcodealign import __version__
from selfcodealign import models as models_room
from selfcodealign.config import load, raw_shards
from selfcodealign.config.tables import BASE
from selfcodealign.crate import describe
from selfcodealign.errors import UserError
from selfcodealign.ids import digest, digest_of_file
from selfcodealign.rows_io import count_rows, write_json, write_text
from selfcodealign.stage import run

log = logging.getLogger(__name__)

MODEL_KEYS = (("generations", "model"), ("models", "from"), ("other_models", "model"))
"""Sections of named entries, and the key that names a model there."""

NOT_HASHED = ("recorded", "hash")
"""Parts of the record that its hash leaves out."""


def hash_of(record: dict[str, Any]) -> str:
    """Hash everything in a record but the hash itself and the time of recording."""
    return "sha256:" + digest({key: value for key, value in record.items() if key not in NOT_HASHED})


def code(root: Path) -> dict[str, Any]:
    """Name the commit, say whether files differ from it, and hash the lock files."""
    return {
        "version": __version__,
        "commit": _git(root, "rev-parse", "HEAD"),
        "changed_files": (_git(root, "diff", "--name-only", "HEAD") or "").splitlines(),
        "lock_files": {path.name: digest_of_file(path) for path in sorted((root / "envs").glob("*.txt"))},
    }


def _git(root: Path, *words: str) -> str | None:
    """Ask git; None outside a repository or without git."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def packages() -> dict[str, str]:
    """List the installed packages with their versions."""
    found = {item.metadata["Name"].lower(): item.version for item in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def hardware() -> dict[str, Any]:
    """Describe the machine that recorded this; other jobs of a cluster run may have seen another."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "gpus": _gpus(),
    }


def _processor() -> str:
    """Name the processor as the kernel does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _gpus() -> list[str]:
    """List the GPUs with memory and driver; empty without any."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def model(name: str, revision: str) -> dict[str, Any]:
    """Describe a model: its fingerprint, as rows and cards give it, and the hashes of its files if it is a folder."""
    told = {"name": models_room.title(name), "revision": models_room.fingerprint(name, revision)}
    if not models_room.is_local(name):
        return told
    folder = Path(name).expanduser()
    files = models_room.identity_files(folder)
    return told | {"files": {str(file.relative_to(folder)): models_room.content(file) for file in files}}


def public(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config in which a local model stands by its name, not by where it lies on this machine."""
    entries = [(config["model"], "base")]
    entries += [(one, key) for part, key in MODEL_KEYS for one in config[part].values() if one[key]]
    for entry, key in entries:
        entry[key] = models_room.title(entry[key])
    return config


def dataset(folder: Path) -> dict[str, Any]:
    """Describe a published dataset, or one of others: rows and hash of each file."""
    files = sorted(folder.glob("**/*.parquet"))
    return {str(path.relative_to(folder)): {"rows": count_rows(path), "sha256": digest_of_file(path)} for path in files}


def shard(name: str) -> dict[str, Any]:
    """Describe a raw shard: its size if it is a file here; a Hub path carries its own revision."""
    path = Path(name)
    return {"name": name, "bytes": path.stat().st_size} if path.is_file() else {"name": name}


def _seed(own: int | None, run_seed: int) -> int:
    """Return the seed that counts: its own, or else the run's."""
    return run_seed if own is None else own


def main(
    provenance: Path,
    requirements: Path,
    crate: Path,
    *,
    config: str,
    models: list[Path] | None = None,
    datasets: list[Path] | None = None,
    images: dict[str, str] | None = None,
) -> None:
    """Record what a run was made from and made on: commit, config, versions, machine, seeds, models and datasets.

    Args:
        provenance: the record (JSON); its `hash` covers everything but the time of recording.
        requirements: the installed packages, as pip reads them.
        crate: the run as an RO-Crate; the folder it lies in is the crate's root, and holds models and datasets.
        config: the run's config as one JSON object; defaults are filled in.
        models: folders of the models that the run has trained.
        datasets: folders of the datasets that the run has published.
        images: digests of the images that the jobs ran in, by island; none outside containers.

    Raises:
        UserError: the config is no JSON object, or has wrong keys.
    """
    try:
        given = json.loads(config)
    except ValueError as error:
        raise UserError(f"--config is not JSON ({error}); give the config as one JSON object") from None
    settings = load(given)
    root = Path(__file__).resolve().parent.parent
    record: dict[str, Any] = {
        "code": code(root),
        "config": public(settings.model_dump(mode="json")),
        "seeds": {
            "run": settings.seed,
            "generations": {name: _seed(one.seed, settings.seed) for name, one in settings.generations.items()},
            "models": {name: _seed(one.seed, settings.seed) for name, one in settings.models.items()},
        },
        "models": {
            BASE: model(settings.model.base, settings.model.revision),
            **{folder.name: model(str(folder), "") for folder in models or []},
        },
        "datasets": {folder.name: dataset(folder) for folder in datasets or []},
        "raw_shards": [shard(name) for name in raw_shards(settings)],
        "images": {
            island: {"image": settings.containers[island], "digest": value} for island, value in (images or {}).items()
        },
        "hardware": hardware(),
        "packages": packages(),
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    record["hash"] = hash_of(record)
    write_json(provenance, record)
    write_text(requirements, "".join(f"{name}=={version}\n" for name, version in record["packages"].items()))
    write_json(crate, describe(record, datasets or [], models or [], crate.parent))
    log.info("recorded the run as %s", record["hash"])


if __name__ == "__main__":
    run(main)
