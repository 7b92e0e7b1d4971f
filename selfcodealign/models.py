"""What a model is, wherever it lies: the one answer that rows, cards, provenance, ledgers and checkpoints give.

A local model is its content. Where its folder lies, when it was copied and how its path is written says nothing.
"""

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

from selfcodealign.ids import digest_of_file
from selfcodealign.pipeline import LINK, ROOT
from selfcodealign.rows_io import write_json

IDENTITY_FILES = (
    *("*config*.json", "*.index.json", "*token*.json", "vocab*", "merges.txt", "*.model", "*.tiktoken"),
    *("*.safetensors", "*.bin", "*.py", "chat_template*", "*.jinja", "additional_chat_templates/*.jinja"),
)
"""Files whose content decides what a model in a folder writes: weights, configuration, tokenizer, its own code."""
COMMIT = re.compile("[0-9a-f]{40}")
LARGE = 64 * 2**20
"""Bytes from which a file's hash is kept: below, reading it again costs less than trusting its time."""
KEPT = Path("work/fingerprints")
"""Where hashes of large files are kept, in the folder of a run; a script run elsewhere keeps none."""


def is_local(name: str) -> bool:
    """Tell whether a model's name leads to something here, a folder, or a file that a plug-in reads.

    Anything else is an id of the Hub or of a server.
    """
    return Path(name).expanduser().exists()


def identity_files(path: Path) -> list[Path]:
    """List the files that make a local model what it is, by name; a folder without any gives none, a file itself."""
    if path.is_file():
        return [path]
    found = {file for pattern in IDENTITY_FILES for file in path.glob(pattern) if file.is_file()}
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def fingerprint(name: str, revision: str) -> str:
    """Return what pins a model.

    Args:
        name: local folder, id on the Hub, or name on a server.
        revision: the revision asked for; a local folder has none.

    Returns:
        For what lies here, a hash of names and content of all its `identity_files`. For a model on the Hub the commit,
        if the revision is one or the Hub's cache here knows which one it is, else the revision as it was given.
    """
    if not is_local(name):
        return revision if COMMIT.fullmatch(revision) else _cached_commit(name, revision) or revision
    folder = Path(name).expanduser()
    total = hashlib.sha256()
    for file in identity_files(folder):
        total.update(f"{file.relative_to(folder).as_posix()}\0{content(file)}\n".encode())
    return f"sha256:{total.hexdigest()[:16]}"


def identity(name: str, revision: str) -> str:
    """Name the exact model in one word: the fingerprint of a folder, `id@commit` of any other."""
    pinned = fingerprint(name, revision)
    return pinned if is_local(name) else f"{name}@{pinned}"


def title(name: str) -> str:
    """Return the name to publish, which tells nothing of the machine and is the same when a run moves.

    A folder that a run has made keeps its path in the run, such as results/train_sft/NAME, and one that comes with the
    pipeline its path there; any other folder is called by its last name. A name that is no folder stays as it is.
    """
    path = Path(name).expanduser()
    if not path.exists():
        return name
    place = Path(os.path.abspath(path))
    if place.is_relative_to(Path.cwd() / LINK):
        place = ROOT / place.relative_to(Path.cwd() / LINK)
    for root, part in ((Path.cwd(), "results"), (ROOT, "")):
        if place.is_relative_to(root / part) and place != root:
            return place.relative_to(root).as_posix()
    return place.name


def _cached_commit(name: str, revision: str) -> str | None:
    """Look up which commit the Hub's cache on this machine has for a revision."""
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub")
    try:
        commit = (cache / f"models--{name.replace('/', '--')}" / "refs" / revision).read_text().strip()
    except OSError:
        return None
    return commit if COMMIT.fullmatch(commit) else None


def content(file: Path) -> str:
    """Return the sha256 of a whole file; that of a large one is kept, since a stage of many jobs would read it in each.

    Weights of 30 GB take half a minute, a hundred times for a hundred shards. The change time stands beside the time
    of modification, because a copy that keeps its times cannot keep that one.
    """
    state = file.stat()
    kept = None
    if state.st_size >= LARGE and KEPT.parent.is_dir():
        kept = KEPT / f"{hashlib.sha256(os.path.abspath(file).encode()).hexdigest()[:20]}.json"
    seen = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    if kept is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(kept.read_text())
            if known["seen"] == seen:
                return str(known["sha256"])
    value = digest_of_file(file)
    if kept is not None:
        write_json(kept, {"seen": seen, "sha256": value})
    return value
