"""Hand cases to workers, replace workers that die, and yield one verdict for every case.

One thread serves all workers. Nothing that a program does can end this process: it reads messages that the workers
made, bounded in size, and holds a few cases for each worker at a time, whatever the number of rows.
"""

import json
import logging
import math
import os
import selectors
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.sandbox.cache import Cache
from selfcodealign.sandbox.layers import Layer
from selfcodealign.sandbox.runner import made_by
from selfcodealign.sandbox.selftest import START_S, choose_layer
from selfcodealign.sandbox.settings import Settings, key_of, request

log = logging.getLogger(__name__)
GRACE_S = 20.0  # beyond all limits of a case, before its worker counts as hung
MOST_WAITING = 256  # timeouts put off for their second run
MOST_STARTS = 5  # workers in a row that end before their greeting
AHEAD = 2  # cases given to a worker: one runs, one waits in its socket


@dataclass
class Job:
    """One case on its way to a verdict; `owners` are the ids that wait for it."""

    owners: list[str]
    message: dict[str, Any]
    key: str
    failures: int = 0
    slow: bool = False
    put_off_at: float = 0.0
    rerun: int = 0
    first: dict[str, Any] | None = None

    def budget_s(self) -> float:
        """Return the longest that a worker may take."""
        runs = 1 + bool(self.message["vacuous"]) + int(self.message["mutants"])
        return float(self.message["timeout_s"]) * float(self.message["wall_factor"]) * runs + GRACE_S


@dataclass
class Worker:
    """One container and the cases it has been given."""

    process: subprocess.Popen[bytes]
    handle: socket.socket
    errors: Any
    deadline: float
    ready: bool = False
    given: deque[Job] = field(default_factory=deque)
    served: int = 0
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    unread: bytearray = field(default_factory=bytearray)

    def give(self, job: Job) -> None:
        """Queue a case for this worker."""
        body = json.dumps(job.message).encode()
        if not self.given:
            self.deadline = time.monotonic() + job.budget_s()
        self.given.append(job)
        self.unsent = memoryview(bytes(self.unsent) + struct.pack("!Q", len(body)) + body)
        self.push()

    def push(self) -> None:
        """Send what the socket takes now."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.handle.send(self.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            # The worker is gone; reading will say so.
            self.unsent = memoryview(b"")

    def pull(self) -> list[dict[str, Any]] | None:
        """Read whole messages that have come; None once the worker is gone."""
        gone = False
        try:
            while True:
                part = self.handle.recv(1 << 18)
                if not part:
                    gone = True
                    break
                self.unread += part
        except BlockingIOError:
            pass
        except OSError:
            gone = True
        messages = []
        while len(self.unread) >= 8:
            (size,) = struct.unpack("!Q", self.unread[:8])
            if len(self.unread) < 8 + size:
                break
            messages.append(json.loads(bytes(self.unread[8 : 8 + size])))
            del self.unread[: 8 + size]
        return None if gone and not messages else messages

    def end(self) -> str:
        """Stop the container and everything in it; returns the end of what it wrote to stderr."""
        self.handle.close()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except OSError:
            self.process.kill()
        self.process.wait()
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 500))
        said = self.errors.read().decode("utf-8", "replace")
        self.errors.close()
        return " ".join(said.split())


def run_cases(cases: Iterable[Mapping[str, Any]], settings: Settings | None = None) -> Iterator[dict[str, Any]]:
    """Run every case in the sandbox and yield one verdict for each, in the order in which they finish.

    See the package for the keys of cases and verdicts. Stopping early ends the workers and all they run.

    Raises:
        UserError: no isolation works here, or a case is malformed.
    """
    settings = settings or Settings()
    layer, greeting = choose_layer(settings)
    crew = Crew(layer, settings, greeting)
    try:
        yield from crew.run(iter(cases))
    finally:
        crew.end()


class Crew:
    """All workers of one call or one pool, and the jobs between them.

    Args:
        layer: where workers run.
        settings: of the sandbox.
        greeting: what the layer's first worker said of itself.
    """

    def __init__(self, layer: Layer, settings: Settings, greeting: Mapping[str, Any]) -> None:
        self.layer, self.settings = layer, settings
        one_each = not greeting["nested"] and layer.name != "none"
        self.case_limit = 1 if one_each else settings.case_limit
        self.ahead = 1 if one_each else AHEAD
        self.cache = Cache(settings.cache, made_by(settings, layer.name) if settings.cache else "")
        self.workers: list[Worker] = []
        self.selector = selectors.DefaultSelector()
        self.again: deque[Job] = deque()  # to run before new cases
        self.slow: deque[Job] = deque()  # timeouts, to run while most workers rest
        self.running: dict[str, Job] = {}
        self.done: deque[dict[str, Any]] = deque()
        self.failed_starts = 0
        self.exhausted = False
        self.resting = False
        self.patience_s = math.inf  # how long a timeout may wait for a pause by itself, before one is made for it

    # -- the loop --

    def run(self, cases: Iterator[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Feed, wait and collect until there is nothing left."""
        while True:
            self.feed(cases)
            if self.done:
                while self.done:
                    yield self.done.popleft()
            elif self.finished():
                break
            else:
                self.wait()
        self.cache.commit()

    def wake_by(self, descriptor: int) -> None:
        """Let whoever writes to the other end of a pipe end a wait."""
        self.selector.register(descriptor, selectors.EVENT_READ, None)

    def finished(self) -> bool:
        """Tell whether every case has its verdict."""
        return self.exhausted and not (self.again or self.slow or self.running or self.done)

    def busy(self) -> int:
        """Count the workers that have a case."""
        return sum(1 for worker in self.workers if worker.given)

    def waited_s(self) -> float:
        """Return how long the oldest timeout has waited for its second run."""
        return time.monotonic() - self.slow[0].put_off_at

    def feed(self, cases: Iterator[Mapping[str, Any]]) -> None:
        """Give work to every worker that may have some."""
        nothing_else = self.exhausted and not self.again and not self.busy()
        if self.slow and (nothing_else or len(self.slow) >= MOST_WAITING or self.waited_s() > self.patience_s):
            self.resting = True
        if not self.slow and self.resting and not self.busy():
            self.resting = False
        if self.resting:
            most = max(1, self.settings.workers // 4)
            while self.slow and self.busy() < most and not any(job for job in self.regular()):
                worker = self.free(1, wanted=self.busy() + 1)
                if worker is None:
                    return
                worker.give(self.slow.popleft())
            return
        while not self.done:
            worker = self.free(self.ahead, wanted=self.settings.workers)
            if worker is None:
                return
            job = self.again.popleft() if self.again else self.next(cases)
            if job is None:
                return
            worker.give(job)

    def regular(self) -> list[Job]:
        """List the jobs with workers that are not second runs of timeouts."""
        return [job for worker in self.workers for job in worker.given if not job.slow]

    def free(self, most: int, wanted: int) -> Worker | None:
        """Return the least loaded worker that can take a case, starting one if there are too few."""
        usable = [w for w in self.workers if len(w.given) < most and w.served + len(w.given) < self.case_limit]
        idle = [worker for worker in usable if not worker.given]
        if not idle and len(self.workers) < wanted:
            return self.hire()
        return min(idle or usable, key=lambda worker: len(worker.given), default=None)

    def next(self, cases: Iterator[Mapping[str, Any]]) -> Job | None:
        """Return the next case that has to run; those known already are done at once."""
        while not self.exhausted:
            case = next(cases, None)
            if case is None:
                self.exhausted = True
                return None
            message = request(case, self.settings)
            key = key_of(message, self.settings, self.layer.name + self.layer.image)
            known = self.cache.get(key)
            if known is not None:
                self.finish(case["id"], known)
                if len(self.done) > 100:
                    return None
            elif key in self.running:
                self.running[key].owners.append(case["id"])
            else:
                self.running[key] = Job([case["id"]], message, key)
                return self.running[key]
        return None

    def wait(self) -> None:
        """Wait for a worker to say something, or for the first deadline."""
        now = time.monotonic()
        for worker in self.workers:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.unsent else 0)
            self.selector.modify(worker.handle, events, worker)
        soonest = min((w.deadline for w in self.workers if w.given or not w.ready), default=now + 1.0)
        for chosen, events in self.selector.select(max(0.0, soonest - now)):
            worker = chosen.data
            if worker is None:  # Somebody outside has news for the loop.
                os.read(chosen.fd, 1 << 16)
                continue
            if events & selectors.EVENT_WRITE:
                worker.push()
            if events & selectors.EVENT_READ:
                self.hear(worker)
        now = time.monotonic()
        for worker in [w for w in self.workers if (w.given or not w.ready) and w.deadline < now]:
            self.lose(worker, "the worker did not answer")

    # -- workers --

    def hire(self) -> Worker:
        """Start one more worker."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Worker.end
        process, handle = self.layer.start(errors)
        handle.setblocking(False)
        worker = Worker(process, handle, errors, time.monotonic() + START_S)
        self.workers.append(worker)
        self.selector.register(handle, selectors.EVENT_READ, worker)
        return worker

    def dismiss(self, worker: Worker) -> str:
        """Stop one worker."""
        self.workers.remove(worker)
        self.selector.unregister(worker.handle)
        return worker.end()

    def end(self) -> None:
        """Stop all workers; what they were running ends with them."""
        for worker in list(self.workers):
            self.dismiss(worker)
        self.selector.close()
        self.cache.close()

    def lose(self, worker: Worker, why: str) -> None:
        """Replace a worker that ended or hangs; its first case is suspect, the others only waited."""
        jobs = list(worker.given)
        said = self.dismiss(worker)
        if not worker.ready:
            self.failed_starts += 1
            if self.failed_starts >= MOST_STARTS:
                raise UserError(
                    f"the sandbox's workers no longer start in layer {self.layer.name} ({said or why}); "
                    "see which part fails with: python -m selfcodealign sandbox --self-test"
                )
        elif jobs:
            log.warning("a sandbox worker ended (%s); its case runs again in another. %s", why, said)
            self.failure(jobs.pop(0), why)
        self.again.extendleft(reversed(jobs))

    def failure(self, job: Job, why: str) -> None:
        """Try a case once more after the sandbox failed on it; then say so, rather than blame the program."""
        job.failures += 1
        if job.failures < 2:
            self.again.append(job)
            return
        blank = {"stdout": "", "stderr": "", "truncated": False, "exit_status": None, "tests_run": 0}
        numbers = {"cpu_s": 0.0, "wall_s": 0.0, "memory_mb": 0.0, "mutation_score": None}
        counts = {"assertions_run": 0, "assertions_held": 0}
        self.conclude(job, {"verdict": "internal", "reason": why, **blank, **numbers, **counts})

    def hear(self, worker: Worker) -> None:
        """Take in what a worker says."""
        messages = worker.pull()
        if messages is None:
            self.lose(worker, "it ended by itself")
            return
        for message in messages:
            if not worker.ready:
                worker.ready = True
                self.failed_starts = 0
            elif worker.given:
                job = worker.given.popleft()
                worker.served += 1
                self.take(job, message)
            if worker.given:
                worker.deadline = time.monotonic() + worker.given[0].budget_s()
        if worker.served >= self.case_limit and not worker.given:
            self.dismiss(worker)

    # -- verdicts --

    def take(self, job: Job, result: dict[str, Any]) -> None:
        """Decide whether a result is the verdict, or the case has to run again."""
        if result["verdict"] == "internal":
            self.failure(job, result["reason"])
        elif result.pop("starved", False) and self.settings.retry_timeouts and not job.slow:
            # The clock stopped it while it waited for a core. One that slept, or used its CPU time, runs once.
            job.slow = True
            job.put_off_at = time.monotonic()
            self.slow.append(job)
        elif job.first is not None and result["verdict"] != job.first["verdict"]:
            reason = f"{job.first['verdict']}, then {result['verdict']}: {result['reason']}"
            self.conclude(job, {**job.first, "verdict": "flaky", "reason": reason})
        elif (job.first or result)["verdict"] == "pass" and job.rerun < self.settings.reruns:
            job.first = job.first or result
            job.rerun += 1
            job.message = {**job.message, "rerun": job.rerun, "vacuous": False, "mutants": 0}
            self.again.append(job)
        else:
            self.conclude(job, job.first or result)

    def conclude(self, job: Job, result: dict[str, Any]) -> None:
        """Hand the verdict to every id that waits for it."""
        del self.running[job.key]
        if result["verdict"] != "internal":
            self.cache.put(job.key, result)
        for owner in job.owners:
            self.finish(owner, result)

    def finish(self, owner: str, result: dict[str, Any]) -> None:
        """Queue one finished row."""
        head = {"id": owner, "verdict": result["verdict"], "passed": result["verdict"] == "pass"}
        self.done.append({**head, **{k: v for k, v in result.items() if k not in head}, "isolation": self.layer.name})
