"""What every test may need: the repository, and real data where it is at hand."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real benchmark files and Stack shards (not part of the repository)."""
    folder = Path(os.environ.get("SELFCODEALIGN_TEST_DATA", ROOT.parent / "shared"))
    if not (folder / "bench").is_dir():
        missing(f"no test data at {folder}: set SELFCODEALIGN_TEST_DATA to a folder with bench/, data/ and reference/")
    return folder


def missing(reason: str) -> None:
    """Skip on a user's machine, fail in CI, where every system part must be present."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
