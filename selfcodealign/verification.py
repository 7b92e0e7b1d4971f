"""Run cases in the sandbox and remember each verdict: the loop of all rules that run responses."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfcodealign.config.execution import RunResponses
from selfcodealign.dataset.fences import unfenced
from selfcodealign.ledger import Ledger, mark_of
from selfcodealign.sandbox import Settings, run_cases
from selfcodealign.sandbox.runner import environment
from selfcodealign.sandbox.settings import described
from selfcodealign.stage import progress

SYNC_EVERY = 200
"""Verdicts between two writes forced to disk; each is handed to the operating system at once."""

Item = tuple[str, Sequence[str]]
"""The id of what is run, and the texts that its case is made of."""

ONCE = {"vacuous": False, "retry_timeouts": False}
"""For rules that want to know whether a case passes, and run many: one run of each."""

UNUSABLE_TESTS = frozenset({"vacuous", "flaky", "internal"})
"""Verdicts after which a response's tests prove nothing about other responses."""


def grouped(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Collect the rows of each instruction, in the order of ids."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["instruction_id"]].append(row)
    return {key: sorted(group, key=lambda row: row["id"]) for key, group in sorted(groups.items())}


def case_of(response: str, tests: str) -> dict[str, str]:
    """Make the sandbox's case of a response and tests, each taken out of its fences if it has any."""
    return {"code": unfenced(response), "test": unfenced(tests)}


def whether_passed(verdict: dict[str, Any]) -> dict[str, Any]:
    """Keep of a verdict whether the case passed."""
    return {"passed": verdict["passed"]}


def settings_of(section: RunResponses, workers: int, work: Path, **changes: Any) -> Settings:
    """Return how responses run: as the section says, but for what a rule changes.

    Args:
        section: of the config; three rules run responses, all as it says.
        workers: programs that run at the same time.
        work: folder of the ledger, where verdicts on equal programs are shared.
        changes: fields of `Settings`.
    """
    image = Path(section.image) if section.image else None
    given = section.model_dump() | {"image": image, "workers": workers, "cache": work / "cache.sqlite"}
    return Settings(**given | changes)


@contextmanager
def judged(
    rule: str,
    items: Callable[[], Iterable[Item]],
    case: Callable[..., dict[str, str]],
    settings: Settings,
    work: Path,
    *,
    kept: Callable[[dict[str, Any]], dict[str, Any]],
    unit: str = "rows",
) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Run what has no verdict yet and give a look-up of what is kept of each verdict, by id.

    Args:
        rule: whose ledger it is; its deciding modules are part of the ledger.
        items: what to run, gone through twice. A verdict holds for these texts alone: under other texts the same id
            runs again, and nothing else does.
        case: makes the sandbox's case, without its id, of an item's texts.
        settings: of the sandbox.
        work: folder of the ledger.
        kept: what to keep of a verdict.
        unit: what an item is, for the progress bar.
    """
    with Ledger(work, {**described(settings), "environment": environment(settings)}, decided_by=rule) as ledger:
        # Counted by id: the ledger may also hold verdicts on rows that are no longer there.
        missing = {name for name, texts in items() if not ledger.holds(name, mark_of(*texts))}
        if missing:
            cases = ({"id": name, **case(*texts)} for name, texts in items() if name in missing)
            verdicts = progress(run_cases(cases, settings), total=len(missing), unit=unit, label=rule)
            for number, verdict in enumerate(verdicts, 1):
                ledger.append(verdict["id"], kept(verdict))
                if number % SYNC_EVERY == 0:
                    ledger.sync()
        yield ledger.get
