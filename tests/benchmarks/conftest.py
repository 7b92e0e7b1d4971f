"""Tests of minutes on the real benchmark files: `make test-benchmarks` runs them, `make test` does not.

`SELFCODEALIGN_BENCHMARK_TESTS` is 1 for the tests that CI runs, some of them on a share of the problems, and `full` for
all problems of all files.
"""

import os

import pytest

WANTED = os.environ.get("SELFCODEALIGN_BENCHMARK_TESTS", "")
collect_ignore_glob = [] if WANTED else ["test_*.py"]

TABLE = pytest.StashKey[list[tuple[str, ...]]]()
HEAD = ("benchmark", "problems", "canonical pass", "empty pass", "CPU-s", "canonical solutions that fail")


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the table."""
    config.stash[TABLE] = []


@pytest.fixture
def full() -> bool:
    """Whether all problems of all files are wanted."""
    return WANTED == "full"


@pytest.fixture
def row(request: pytest.FixtureRequest):
    """Return what adds a row to the table that is printed at the end."""
    return lambda *cells: request.config.stash[TABLE].append(tuple(str(cell) for cell in cells))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of canonical and empty programs."""
    rows = config.stash[TABLE]
    if rows:
        terminalreporter.section("the authors' own solutions, and empty ones")
        for cells in (HEAD, *rows):
            terminalreporter.write_line("| " + " | ".join(cells) + " |")
