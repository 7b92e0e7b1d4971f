"""Tests of minutes on the real benchmark files: `make test-benchmarks` runs them, `make test` does not.

`SELFCODEALIGN_BENCHMARK_TESTS` is 1 for the tests that CI runs, some of them on a share of the problems, and `full` for
all problems of all files.
"""

import os
from collections.abc import Callable

import pytest

WANTED = os.environ.get("SELFCODEALIGN_BENCHMARK_TESTS", "")
collect_ignore_glob = [] if WANTED else ["test_*.py"]

ROW = "row of the table"
HEAD = ("benchmark", "problems", "canonical pass", "empty pass", "CPU-s", "canonical solutions that fail")


@pytest.fixture
def full() -> bool:
    """Whether all problems of all files are wanted."""
    return WANTED == "full"


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Return what adds a row to the table that is printed at the end, whichever process runs the test."""
    return lambda *cells: record_property(ROW, [str(cell) for cell in cells])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of canonical and empty programs."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = sorted(cells for report in reports for name, cells in report.user_properties if name == ROW)
    if rows:
        terminalreporter.section("the authors' own solutions, and empty ones")
        for cells in (HEAD, *rows):
            terminalreporter.write_line("| " + " | ".join(cells) + " |")
