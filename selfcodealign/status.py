"""How far a run is, read from what its jobs leave behind; nothing is written and no lock is taken.

Every job of a rule leaves files under the same name: `logs/<rule>/<job>.log` from its start on, row by row
`work/<rule>/<job>/ledger.jsonl` where the rule keeps one, once it is finished `timings/<rule>/<job>.jsonl`, and a
funnel among its results. How many jobs there are altogether stands in the log of the newest `snakemake`.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.failures import has_failed, sentence, tail
from selfcodealign.pipeline import RULES
from selfcodealign.sample_rounds import FOLDER

PROGRESS = re.compile(r"^(?:(\S+): )?(\d+)/(\d+|\?) +\d+% +(?:([\d.]+) \S+/s|([\d.]+)s/ \S+|\?.*) left", re.MULTILINE)
"""A line of `stage.progress` in a log: label, done, of, and rows per second or seconds per row."""
IN_ROUND = re.compile(rf"^(\w+/[^/]+)/{FOLDER.pattern}(?=/\d+$)")
"""The name of a round's job, up to its shard."""
RESUMING = re.compile(r"resuming: the ledger holds (\d+) ")
JOB_STATS = re.compile(r"^Job stats:\n.*\n[- ]+\n((?:\S+ +\d+\n)+)", re.MULTILINE)
FAILED_LOG = re.compile(r"^    log: (.+) \(check log file", re.MULTILINE)
LIVE_S = 120.0
"""A job that wrote within so many seconds is running even where no Snakemake holds the folder."""
CLOCKS_S = 2.0
"""By so much may two files' times differ that were written one right after the other."""
SILENT_S = 600.0
"""A running job that wrote nothing for so long is worth a look."""


@dataclass(slots=True)
class Job:
    """One job: what became of it, its rows done and expected (None: not known), rows and seconds measured."""

    log: str
    state: str
    done: int | None = None
    expected: int | None = None
    per_s: float | None = None
    seconds: float | None = None
    silent_s: float = 0.0
    said: str = ""


@dataclass(slots=True)
class StageStatus:
    """A rule's jobs, added up.

    `left_s` is None where nothing measured tells. `estimated`: the rows of jobs that have not begun are a guess.
    """

    stage: str
    finished: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0
    stopped: int = 0
    rows_done: int | None = None
    rows_expected: int | None = None
    estimated: bool = False
    rows_per_s: float | None = None
    left_s: float | None = None
    failures: list[dict[str, str]] = field(default_factory=list)
    silent: list[dict[str, Any]] = field(default_factory=list)


class Reader:
    """Read a run's folder again and again; of a growing ledger only what is new.

    Args:
        folder: where `snakemake` was started.
        results: folder of the results, if it is not in `folder` under that name.
    """

    def __init__(self, folder: Path, results: Path | None = None) -> None:
        self.folder = folder
        self.results = results or folder / "results"
        self._counted: dict[Path, tuple[int, int]] = {}

    @property
    def is_held(self) -> bool:
        """Whether a Snakemake has locked the folder: it runs, or was killed."""
        return any((self.folder / ".snakemake" / "locks").glob("*"))

    def stages(self) -> list[StageStatus]:
        """Return the status of every stage that has begun or waits, in the pipeline's order.

        Raises:
            UserError: the folder is that of no run.
        """
        begun, planned, errors = self._newest_run()
        jobs = {rule: list(self._jobs(rule, errors)) for rule in RULES}
        if not any(jobs.values()) and not planned:
            raise UserError(
                f"{self.folder} holds no run: there are no logs or timings of its jobs; give the folder that snakemake "
                "was started in"
            )
        found = []
        for rule, of_rule in jobs.items():
            # What was finished before the newest run is none of the jobs that it counts.
            earlier = sum(job.state == "finished" and self._ended(rule, job) < begun for job in of_rule)
            waiting = max(0, planned.get(rule, 0) - (len(of_rule) - earlier))
            if of_rule or waiting:
                found.append(added_up(rule, of_rule, waiting))
        return found

    def _newest_run(self) -> tuple[float, Counter[str], set[str]]:
        """Return when the newest run began, how many jobs of each rule it has, and the logs of those that failed."""
        for path in sorted((self.folder / ".snakemake" / "log").glob("*.snakemake.log"), reverse=True):
            try:
                text = path.read_text(errors="replace")
                begun = datetime.strptime(path.name.removesuffix(".snakemake.log"), "%Y-%m-%dT%H%M%S.%f").timestamp()
            except (OSError, ValueError):
                continue
            # A run that finds nothing to do, or the folder locked, has no table of jobs.
            if table := JOB_STATS.search(text):
                rows = (line.split() for line in table[1].splitlines())
                errors = {log for logs in FAILED_LOG.findall(text) for log in logs.split(", ")}
                return begun, Counter({name: int(count) for name, count in rows}), errors
        return 0.0, Counter(), set()

    def _ended(self, rule: str, job: Job) -> float:
        return _time_of(self._timing(rule, job.log)) or 0.0

    def _timing(self, rule: str, log: str) -> Path:
        return self.folder / "timings" / Path(log).relative_to("logs").with_suffix(".jsonl")

    def _jobs(self, rule: str, errors: set[str]) -> Iterator[Job]:
        """Yield a rule's jobs that have begun."""
        logs = self.folder / "logs"
        names = {
            *_named(logs, rule, ".log"),
            *_named(self.folder / "timings", rule, ".jsonl"),
        }
        # Rounds of responses share the ledger of the last one, whose name has no folder of a round in it.
        shared = {alone for name in names if (alone := IN_ROUND.sub(r"\1", name)) != name}
        for name in sorted(names):
            log = logs / f"{name}.log"
            yield self._job(name, log, tail(log), errors, IN_ROUND.sub(r"\1", name) in shared)

    def _job(self, name: str, log: Path, text: str, errors: set[str], shares: bool) -> Job:
        job = Job(str(log.relative_to(self.folder)), "finished")
        timing = self.folder / "timings" / f"{name}.jsonl"
        ledger = self.folder / "work" / IN_ROUND.sub(r"\1", name) / "ledger.jsonl"
        begun, ended = _time_of(log), _time_of(timing)
        wrote = max(begun or 0.0, _time_of(ledger) or 0.0)
        job.silent_s = max(0.0, time.time() - wrote)
        if ended is None or (begun is not None and begun > ended + CLOCKS_S):
            named = job.log in errors and job.silent_s > LIVE_S
            if has_failed(text) or named:
                job.state, job.said = "failed", sentence(text)
            else:
                job.state = "running" if self.is_held or job.silent_s < LIVE_S else "stopped"
        self._count_rows(job, text, None if shares else ledger)
        if job.state == "finished":
            job.seconds = seconds_of(timing)
            if job.done is None:
                job.done = job.expected = _entered(self.results / f"{name}.funnel.json")
            else:
                job.expected = job.done
            job.per_s = job.done / job.seconds if job.done and job.seconds else None
        return job

    def _count_rows(self, job: Job, text: str, ledger: Path | None) -> None:
        """Fill in rows done and expected, by the log's lines of progress and the ledger, and the last rate.

        A round that shares its ledger with others has the rows that its log counts; one without any had nothing to do.
        """
        series: list[tuple[str, int, int | None]] = []
        for label, done, total, per_s, s_per in PROGRESS.findall(text.replace("\r", "\n")):
            one = label, int(done), int(total) if total.isdigit() else None
            # The same count again, or more of the same whole, is the same loop; else another one has begun.
            if series and series[-1][0] == label and series[-1][2] == one[2] and series[-1][1] <= one[1]:
                series[-1] = one
            else:
                series.append(one)
            job.per_s = float(per_s) if per_s else 1 / float(s_per) if s_per and float(s_per) else job.per_s
        kept = self._lines(ledger) if ledger and (job.state != "finished" or not series) else 0
        if not series:
            job.done = kept if kept or not ledger else None
            return
        resumed = RESUMING.findall(text)
        base = int(resumed[0]) if resumed else 0
        shown = base + sum(done for _, done, _ in series)
        job.done = max(shown, kept)
        totals = [total for _, _, total in series]
        if None not in totals:
            whole = base + sum(total for total in totals if total is not None)
            # A ledger with more rows than the log counts, of a stage that did not say how many it began with.
            job.expected = whole if job.done <= whole else job.done + whole - shown

    def _lines(self, ledger: Path) -> int:
        """Count the whole records of a ledger; its first line is the header, its last may be half written."""
        start, count = self._counted.get(ledger, (0, 0))
        try:
            with ledger.open("rb") as file:
                if file.seek(0, 2) < start:
                    start, count = 0, 0
                file.seek(start)
                while block := file.read(1 << 20):
                    start, count = start + len(block), count + block.count(b"\n")
        except OSError:
            return 0
        self._counted[ledger] = start, count
        return max(0, count - 1)


def added_up(rule: str, jobs: list[Job], waiting: int) -> StageStatus:
    """Add up a rule's jobs, and estimate from those that have begun what those that wait will take."""
    states = Counter(job.state for job in jobs)
    status = StageStatus(rule, states["finished"], states["running"], waiting, states["failed"], states["stopped"])
    status.failures = [{"log": job.log, "said": job.said} for job in jobs if job.state == "failed"]
    running = [job for job in jobs if job.state == "running"]
    status.silent = [{"log": job.log, "seconds": round(job.silent_s)} for job in running if job.silent_s > SILENT_S]
    done = [job.done for job in jobs if job.done is not None]
    expected = [job.expected for job in jobs if job.expected is not None]
    open_jobs = waiting + status.failed + status.stopped
    if done:
        status.rows_done = sum(done)
    if expected and len(expected) == len(jobs):
        whole = sum(expected)
        status.estimated = waiting > 0
        status.rows_expected = round(whole + waiting * whole / len(jobs))
    rates = [job.per_s for job in running if job.per_s]
    measured = [(job.done, job.seconds) for job in jobs if job.state == "finished" and job.done and job.seconds]
    if rates:
        status.rows_per_s = sum(rates)
    elif measured:
        status.rows_per_s = sum(rows for rows, _ in measured) / sum(seconds for _, seconds in measured)
    if not running and not open_jobs:
        status.left_s = 0.0
    elif status.rows_per_s and status.rows_expected is not None and status.rows_done is not None:
        status.left_s = max(0, status.rows_expected - status.rows_done) / status.rows_per_s
    elif not running and (seconds := [job.seconds for job in jobs if job.seconds]):
        status.left_s = open_jobs * sum(seconds) / len(seconds)
    return status


def as_json(stages: Iterable[StageStatus]) -> dict[str, Any]:
    """Return the status as JSON-able data: the stages in order, and the jobs of all by state."""
    found = [asdict(stage) for stage in stages]
    states = ("finished", "running", "waiting", "failed", "stopped")
    return {"jobs": {state: sum(stage[state] for stage in found) for state in states}, "stages": found}


def _named(folder: Path, rule: str, suffix: str) -> Iterator[str]:
    """Yield `<rule>` or `<rule>/<job>` for each file of a rule, without its suffix."""
    if (folder / f"{rule}{suffix}").is_file():
        yield rule
    for path in (folder / rule).rglob(f"*{suffix}"):
        yield str(path.relative_to(folder)).removesuffix(suffix)


def _time_of(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def seconds_of(timing: Path) -> float | None:
    """Return the wall time of a finished job; None if its timing is not readable."""
    try:
        return float(json.loads(timing.read_text().splitlines()[0])["s"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _entered(funnel: Path) -> int | None:
    try:
        return int(json.loads(funnel.read_text())["entered"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
