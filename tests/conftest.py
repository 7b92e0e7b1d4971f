"""What every test may need: the repository, real files, and one line about what was left out."""

from collections import Counter
from pathlib import Path

import pytest

from tests.published import missing, published

__all__ = ["missing"]

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with whole benchmark files and Stack shards (not part of the repository)."""
    return published("bench/HumanEval.jsonl.gz").parents[1]


def left_out(reasons: list[str], total: int) -> str:
    """Say in one line how many tests of all were left out, and for each reason how many."""
    parts = "; ".join(f"{count}: {reason}" for reason, count in Counter(reasons).most_common())
    return f"left out {len(reasons):,} of {total:,} tests ({len(reasons) / total:.1%}). {parts}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was left out, and which command brings it."""
    stats = terminalreporter.stats
    skipped = [report.longrepr[2].removeprefix("Skipped: ") for report in stats.get("skipped", [])]
    total = sum(len(stats.get(kind, [])) for kind in ("passed", "failed", "error", "xfailed", "xpassed", "skipped"))
    if skipped:
        terminalreporter.write_line(left_out(skipped, total))
