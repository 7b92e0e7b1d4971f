"""What a failed job leaves in its log: one sentence, and the command that runs it again by hand."""

import shlex
from collections.abc import Iterable
from pathlib import Path

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
