"""What every test may need: the repository, real files, and one line about what was left out."""

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from selfcodealign.stage import collect_rarely
from tests.published import missing, published

__all__ = ["missing"]

ROOT = Path(__file__).parent.parent

collect_rarely()  # as in a job: a third of the time in which all tests are collected


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with whole benchmark files and Stack shards (not part of the repository)."""
    return published("bench/HumanEval.jsonl.gz").parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that at the end no process works while the others have nothing left."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.path.parent.name != "unit"}
    items.sort(key=lambda item: item.path not in slow)


def left_out(reasons: list[str], total: int) -> str:
    """Say in one line how many tests of all were left out, and for each reason how many."""
    parts = "; ".join(f"{count}: {reason}" for reason, count in Counter(reasons).most_common())
    return f"left out {len(reasons):,} of {total:,} tests ({len(reasons) / total:.1%}). {parts}"


def most_costly(costs: dict[str, float], count: int = 8) -> str:
    """Say in one line where CPU time went: the files that took most, in seconds."""
    parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in sorted(costs.items(), key=lambda it: -it[1])[:count])
    return f"{sum(costs.values()):.0f} CPU-s in {len(costs)} files: {parts}"


SPENT = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note on each report the CPU seconds of its phase: those of this process and of what it started and waited for."""
    report = yield
    spent = sum(os.times()[:4])
    report.cpu_s = spent - item.config.stash.get(SPENT, spent)
    item.config.stash[SPENT] = spent
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print where CPU time went, what was left out, and which command brings it."""
    stats = terminalreporter.stats
    costs: Counter[str] = Counter()
    for report in (report for reports in stats.values() for report in reports if hasattr(report, "cpu_s")):
        costs[report.nodeid.partition("::")[0].removeprefix("tests/")] += report.cpu_s
    if sum(costs.values()) > 60:
        terminalreporter.write_line(most_costly(costs))
    skipped = [report.longrepr[2].removeprefix("Skipped: ") for report in stats.get("skipped", [])]
    total = sum(len(stats.get(kind, [])) for kind in ("passed", "failed", "error", "xfailed", "xpassed", "skipped"))
    if skipped:
        terminalreporter.write_line(left_out(skipped, total))
