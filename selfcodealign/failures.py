"""What a failed job leaves in its log: one sentence, and the command that runs it again by hand."""

import atexit
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BY_HAND = "To run this job by hand: "
"""How the last line of a failed job's log begins; rules/common.smk has every shell write it."""
READ_BYTES = 1_000_000
"""A sentence that ends a log is in its last megabyte."""


def tail(path: Path) -> str:
    """Read the end of a log that may still grow; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - READ_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def has_failed(text: str) -> bool:
    """Tell whether a log's text ends as that of a failed job does."""
    return any(line.startswith(BY_HAND) for line in text.splitlines()[-5:])


def sentence(text: str) -> str:
    """Return why a job failed, by its log: the `error: …` that it printed, or else its last line; empty if none."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(BY_HAND)]
    told = next((line for line in reversed(lines[-50:]) if line.startswith("error: ")), None)
    return told or (lines[-1] if lines else "")


def say_at_exit(jobs: Iterable[Any], complete: Sequence[str]) -> None:
    """Print the last words of Snakemake's failed jobs, or groups of jobs, when this process ends.

    Args:
        jobs: what failed.
        complete: Snakemake's own logs.
    """
    single = [one for job in jobs for one in (job.jobs if job.is_group() else [job])]
    text = last_words([Path(log) for job in single for log in job.log], *complete[:1])
    atexit.register(print, text, file=sys.stderr)


def last_words(logs: Iterable[Path], complete: str = ".snakemake/log") -> str:
    """Write what a failed run prints last: for each failed job its sentence, its log, and where its command stands.

    Args:
        logs: logs of the failed jobs.
        complete: Snakemake's own log, which names the command of a job that was killed before it could.
    """
    lines = []
    for log in logs:
        text = tail(log)
        if has_failed(text):
            shown = f"tail -n 1 {shlex.quote(str(log))}"
        else:
            shown = f"grep -r -A 40 'Error in rule' {shlex.quote(complete)}"
        lines += [sentence(text) or f"error: {log.stem} ended without a word", f"log: {log}", f"by hand: {shown}"]
    return "\n".join(["", *lines])
