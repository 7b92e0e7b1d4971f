"""Files that tests read: whole ones as published where they are at hand, else the small pieces in tests/data.

    python -m tests.published     # `make test-data`: fetches what its authors publish at pinned addresses

Fetched files lie in `work/test-data`. `SELFCODEALIGN_TEST_DATA` names another folder with `bench/`, `data/` and
`reference/`.
"""

import gzip
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIECES = ROOT / "tests" / "data"
FETCHED = ROOT / "work" / "test-data"

EVOEVAL = ("difficult", "creative", "subtle", "combine", "tool_use", "verbose", "concise")
SOURCES = {
    "HumanEval.jsonl.gz": ("humaneval", "2021-07"),
    "HumanEvalPlus-v0.1.9.jsonl.gz": ("humaneval_plus", "v0.1.9"),
    "HumanEvalPlus-v0.1.10.jsonl.gz": ("humaneval_plus", "v0.1.10"),
    "HumanEvalPlus-Mini-v0.1.10.jsonl.gz": ("humaneval_plus", "mini-v0.1.10"),
    "mbpp.jsonl.gz": ("mbpp", "full"),
    "sanitized-mbpp.json": ("mbpp", "sanitized"),
    "MbppPlus-v0.1.0.jsonl.gz": ("mbpp_plus", "v0.1.0"),
    "MbppPlus-v0.2.0.jsonl.gz": ("mbpp_plus", "v0.2.0"),
    "ClassEval_data.json.gz": ("classeval", "2023-09"),
    "ds1000.jsonl.gz": ("ds1000", "simplified"),
    **{f"evoeval/EvoEval_{name}.jsonl.gz": (f"evoeval_{name}", "v0.1.0") for name in EVOEVAL},
}
"""File in `bench/` → benchmark and version, of what can be fetched."""

BY_HAND = {
    "canitedit.jsonl.gz": ("canitedit", "rebuilt"),
    "BigCodeBench.jsonl.gz": ("bigcodebench", "v0.1.0"),
    "BigCodeBench-Hard.json.gz": ("bigcodebench_hard", "v0.1.0"),
}
"""The same of files that are not published as such."""

EXAMPLES = "reference/self-ossinstruct-fewshot.txt"
"""The paper's own examples."""


NOT_FETCHED = "published files are not here: `make test-data` brings them"
NOT_TO_BE_HAD = "files that no address has are not here: SELFCODEALIGN_TEST_DATA names a folder with them"


def folders() -> list[Path]:
    """Return where whole files may lie, in the order of preference."""
    return [Path(os.environ.get("SELFCODEALIGN_TEST_DATA", ROOT.parent / "shared")), FETCHED]


def whole(name: str) -> Path | None:
    """Return a published file by its name under `bench/`, `data/` or `reference/`, or None where it is not here."""
    return next((folder / name for folder in folders() if (folder / name).is_file()), None)


def missing(reason: str) -> None:
    """Skip on a user's machine, fail in CI, where every system part must be present.

    Args:
        reason: what is not here, and which command brings it; `make test` prints it at its end.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def published(name: str) -> Path:
    """Return a file as published, or leave the test out."""
    path = whole(name)
    if path is None:
        fetched = name == EXAMPLES or name.removeprefix("bench/") in SOURCES
        missing(NOT_FETCHED if fetched else NOT_TO_BE_HAD)
    assert path is not None
    return path


def material(name: str) -> Path:
    """Return a file as published where it is here, else the piece of it in tests/data."""
    return whole(name) or PIECES / name


def is_piece(path: Path) -> bool:
    """Say whether a file is one of tests/data, and so smaller than the published one."""
    return path.is_relative_to(PIECES)


def fetch(name: str, target: Path) -> None:
    """Fetch one file of `bench/` by the pipeline's own address, and check its sha256.

    Raises:
        UserError: it cannot be reached, or is another file.
    """
    from selfcodealign.evaluation import base, data

    benchmark, version = SOURCES[name]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "download"
        data.fetch(base.get(benchmark).source(version), part)
        content = data.content(part)
    target.write_bytes(gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)


def main() -> None:
    """Fetch what is not here yet; end with 1 if something cannot be had."""
    from scripts import fetch_reference_prompts
    from selfcodealign.errors import UserError

    absent = [name for name in SOURCES if whole(f"bench/{name}") is None]
    failed = 0
    for name in absent:
        try:
            fetch(name, FETCHED / "bench" / name)
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed += 1
    if whole(EXAMPLES) is None:
        try:
            fetch_reference_prompts.main(FETCHED / EXAMPLES)
        except UserError as error:
            print(f"{EXAMPLES}: {error}", file=sys.stderr)
            failed += 1
    print(f"{len(SOURCES) + 1 - failed} of {len(SOURCES) + 1} files are here", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
