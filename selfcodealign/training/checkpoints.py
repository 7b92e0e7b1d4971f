"""Checkpoints that are either whole or known not to be."""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from selfcodealign.rows_io import write_json

log = logging.getLogger(__name__)

NAME = re.compile(r"checkpoint-\d+")
SEAL = "seal.json"
WHOLE = 256 * 2**20
"""Files up to this many bytes are hashed whole; of larger ones, evenly spaced blocks of 1 MiB that add up to it."""


def digest(file: Path) -> str:
    """Hash a file's size and content; of a file above `WHOLE` bytes, a fixed sample of its content."""
    size = file.stat().st_size
    hashed = hashlib.sha256(str(size).encode())
    block = 2**20
    places = (
        range(0, size, block) if size <= WHOLE else [int(size * part / 256) for part in range(255)] + [size - block]
    )
    with file.open("rb") as source:
        for place in places:
            source.seek(place)
            hashed.update(source.read(block))
    return hashed.hexdigest()


def seal(folder: Path) -> None:
    """Record what a finished checkpoint consists of; the record comes last, so its presence proves completeness."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SEAL)
    write_json(folder / SEAL, {str(file.relative_to(folder)): digest(file) for file in files})


def damage(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint, or None if it is whole."""
    try:
        record: Mapping[str, str] = json.loads((folder / SEAL).read_text())
    except FileNotFoundError:
        return "its writing was cut off"
    except ValueError:
        return f"{SEAL} cannot be read"
    for name, expected in record.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if digest(folder / name) != expected:
            return f"{name} has changed since it was written"
    return None


def made(work: Path) -> list[Path]:
    """List the checkpoints under a folder; what a person put beside them under another name is passed over."""
    return [folder for folder in work.glob("checkpoint-*") if NAME.fullmatch(folder.name) and folder.is_dir()]


def step_of(folder: Path) -> int:
    """Return how many optimizer steps a checkpoint folder `checkpoint-<steps>` holds."""
    return int(folder.name.rpartition("-")[2])


def last_good(work: Path) -> Path | None:
    """Return the newest whole checkpoint under `work`, or None; damaged ones are named in the log and removed."""
    for folder in sorted(made(work), key=step_of, reverse=True):
        wrong = damage(folder)
        if wrong is None:
            return folder
        log.warning("checkpoint %s is damaged: %s; it is removed and an older one is used", folder, wrong)
        shutil.rmtree(folder)
    return None
