"""Look at the process of a case from outside: read what it writes, measure it, stop it at its limits, judge its end."""

import json
import os
import select
import signal
import socket
import time

import kernel  # pyright: ignore[reportMissingImports]
import program  # pyright: ignore[reportMissingImports]
import zygote  # pyright: ignore[reportMissingImports]

FIRST_LOOK_S = 0.01  # a program that is done by then is never measured from outside
LOOK_EVERY_S = 0.01
LOOK_CLOSELY_S = 0.005  # at programs of several processes, whose sum no limit of the kernel holds
LOOK_HARD_S = 0.001  # at those that have taken much of what they may
MUCH = 0.3
COUNT_EVERY_S = 0.05  # how often pages are counted, which takes milliseconds, to know the peak
# What a program tells of itself, by our names and its own.
COUNTS = (("tests_run", "tests"), ("assertions_run", "ran"), ("assertions_held", "held"))
STARVED = 0.1  # of its limit without a core: such a program is late, and not yet known to be slow
NICER = 5  # by how much the processes of a program yield to the one that watches them, once there are several


class Monitor:
    """One process of one case, from its fork to its verdict."""

    def __init__(self, worker, stem, pid, case, cpu_limit_s, started, channel, key, out_read, error_read):
        self.worker, self.stem, self.pid, self.case, self.started = worker, stem, pid, case, started
        self.cpu_limit_s = cpu_limit_s
        self.channel, self.key = channel, key
        self.kept = {out_read: bytearray(), error_read: bytearray()}
        self.order = (out_read, error_read)
        self.most = int(case["output_kb"]) * 1024
        self.truncated = False
        self.memory = 0
        self.cpu_seen = 0.0
        self.looks = self.runnable = 0
        self.starved = False  # stopped by the clock, for want of a core
        self.stopped = None  # (verdict, reason) once a limit was reached
        self.loaded = False
        self.broken = self.several = self.hungry = False
        self.counted_at = self.count_took = self.counting_s = 0.0
        self.shared = 0
        self.report = None
        self.seal = program.blake2b()  # until there is a challenge

    def until_it_ends(self):
        """Watch until the process and all it started are gone."""
        poller = select.poll()
        for descriptor in (*self.kept, self.channel.fileno()):
            poller.register(descriptor, select.POLLIN)
        upstream, stem = self.worker.handle.fileno(), self.stem.link.fileno()
        poller.register(upstream, select.POLLRDHUP)
        poller.register(stem, select.POLLIN)
        look = self.started + FIRST_LOOK_S
        ended = None
        while ended is None:
            wait = max(0.0, look - time.monotonic())
            for descriptor, _ in poller.poll(wait * 1000 + 0.5):
                if descriptor == stem:
                    ended = self.stem.how_it_ended()
                elif descriptor == upstream:
                    # The runner is gone: nobody will read the verdict, and nothing may outlive it.
                    self.worker.kill(self.pid)
                    os._exit(0)
                elif descriptor in self.kept:
                    self.take_output(descriptor, poller)
                else:
                    self.take_message(poller)
            before = time.monotonic()
            if ended is None and before >= look:
                self.look()
                now = time.monotonic()
                every = LOOK_HARD_S if self.hungry else LOOK_CLOSELY_S if self.several else LOOK_EVERY_S
                look = now + max(every, 2 * (now - before - self.counting_s))
        wall_s = time.monotonic() - self.started
        if not self.worker.nested:
            self.worker.kill(self.pid)
        for descriptor in self.order:
            while self.take_output(descriptor, None):
                pass
        while self.report is None and not self.broken and self.take_message(None):
            pass
        status, cpu_s, peak_bytes = ended
        return self.seen(status, cpu_s, peak_bytes, wall_s)

    def take_output(self, descriptor, poller):
        """Read what is there; keep the beginning, discard the rest."""
        if poller is None and not _readable(descriptor):
            return False
        data = os.read(descriptor, 1 << 16)
        if not data:
            if poller is not None:
                poller.unregister(descriptor)
            return False
        kept = self.kept[descriptor]
        if len(kept) + len(data) > self.most:
            self.truncated = True
        kept += data[: self.most - len(kept)]
        return True

    def take_message(self, poller):
        """Follow the protocol: `L`, our challenge, then one report. Anything else is a forgery."""
        try:
            data = self.channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            if poller is not None:
                poller.unregister(self.channel.fileno())
            return False
        if data == b"L" and not self.loaded and self.report is None:
            self.loaded = True
            challenge = os.urandom(32)
            self.seal = program.blake2b(challenge, key=self.key)
            try:
                self.channel.send(challenge)
            except OSError:
                return False
        elif self.report is None and data[:1] in b"PF" and len(data) > 1:
            self.report = data
        else:
            self.broken = True
        return True

    def look(self):
        """Measure the case's processes and stop them at a limit."""
        wall = time.monotonic() - self.started
        processes = self.processes()
        cpu = starved = 0.0
        running = False
        for process in processes:
            try:
                used, waited, state = kernel.measured(process)
                cpu += used
                starved = max(starved, waited)
                running = running or state in (b"R", b"D")
                if len(processes) > 1:
                    os.setpriority(os.PRIO_PROCESS, process, NICER)
            except (OSError, IndexError, ValueError):
                continue
        self.cpu_seen = max(self.cpu_seen, cpu)
        self.looks += 1
        self.runnable += running
        self.several = len(processes) > 1
        # The memory of a single process is held by the kernel, and its peak is known at its end.
        memory = self.held(processes) if 1 < len(processes) <= 200 else 0
        self.memory = max(self.memory, memory)
        # The kernel adds a wait to the sum when it has ended, and not every kernel does. How often a process was found
        # wanting a core tells it, too.
        starved = max(starved, wall * self.runnable / self.looks - self.cpu_seen)
        timeout = self.cpu_limit_s
        if self.cpu_seen >= timeout:
            self.stop("timeout", f"more than {timeout:g} s of CPU time")
        elif wall - starved >= timeout or wall >= timeout * self.case["wall_factor"]:
            self.starved = starved > STARVED * timeout
            self.stop("timeout", f"not finished after {timeout:g} s")
        elif memory > self.case["memory_mb"] * (1 << 20):
            self.stop("memory", "more than {} MB of memory".format(self.case["memory_mb"]))
        elif len(processes) > 2 * self.case["processes"]:
            self.stop("memory", "more than {} processes".format(self.case["processes"]))

    def held(self, processes):
        """Return the bytes that several processes hold together, counted or about.

        What each holds with all that it shares is known at once; the sum is the most that it can be. Counting what is
        shared takes milliseconds, so it is done when that sum is over the limit, with the processes stopped lest they
        grow meanwhile, and now and then to know the peak.
        """
        limit, now = self.case["memory_mb"] * (1 << 20), time.monotonic()
        most = total(kernel.resident, processes)
        about = max(0, most - self.shared)
        self.hungry = about > MUCH * limit
        if most > limit:
            due = now >= self.counted_at + max(LOOK_CLOSELY_S, 2 * self.count_took)
        else:
            due = not self.hungry and now >= self.counted_at + COUNT_EVERY_S
        self.counting_s = 0.0
        if about <= limit and not due:
            return about if self.hungry else 0
        if most > limit:
            send(signal.SIGSTOP, processes)
        counted = total(kernel.proportional, processes)
        if counted <= limit < most:
            send(signal.SIGCONT, processes)
        self.shared = max(0, most - counted)
        self.counted_at = time.monotonic()
        self.count_took = self.counting_s = self.counted_at - now
        return counted

    def processes(self):
        """List the case's processes, at little cost while there is only one: orphans are children of the first."""
        try:
            if self.worker.nested and kernel.alone(self.pid):
                return [self.pid]
        except OSError:
            pass
        return self.worker.processes_of(self.pid)

    def stop(self, verdict, reason):
        """End the case at a limit."""
        if self.stopped is None:
            self.stopped = (verdict, reason)
        self.worker.kill(self.pid)

    def seen(self, status, cpu_s, peak_bytes, wall_s):
        """Decide the verdict: a pass needs the right answer to the challenge and nothing out of order."""
        signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = None if self.stopped else (-signalled if signalled else os.WEXITSTATUS(status))
        result = {
            "stdout": bytes(self.kept[self.order[0]]).decode("utf-8", "replace"),
            "stderr": bytes(self.kept[self.order[1]]).decode("utf-8", "replace"),
            "truncated": self.truncated,
            "exit_status": code,
            "cpu_s": round(max(self.cpu_seen, cpu_s), 4),
            "wall_s": round(wall_s, 4),
            "starved": self.starved,
            "memory_mb": round(max(self.memory, peak_bytes) / (1 << 20), 1),
            "met": "",  # places in the tests where the response decided a comparison
            **{ours: 0 for ours, _ in COUNTS},
        }
        verdict, reason = self.ending(code, signalled, result)
        result.update(verdict=verdict, reason=reason)
        return result

    def ending(self, code, signalled, result):
        """Return (verdict, reason) of how the process ended and what it reported."""
        if self.stopped:
            return self.stopped
        if code == zygote.SETUP_FAILED and not self.loaded and result["stderr"].startswith("sandbox setup"):
            return "internal", result["stderr"]
        if self.case["exit_status_only"] and code == 0:
            return "pass", ""
        if self.broken:
            return "fail", "the program wrote to the verdict channel"
        if self.report is not None:
            kind, rest = self.report[:1], self.report[1:]
            if kind == b"P":
                if not self.loaded or not self.proven(rest[:64], rest[64:]):
                    return "fail", "the program wrote to the verdict channel"
                rest = rest[64:]
            try:
                told = json.loads(rest)
                verdict, reason = str(told["verdict"]), str(told["reason"])
            except (ValueError, KeyError, TypeError, RecursionError):
                return "fail", "the program wrote to the verdict channel"
            known = ("fail", "error", "memory", "vacuous", "none") if kind == b"F" else ("pass",)
            if verdict not in known:
                return "fail", "the program wrote to the verdict channel"
            for ours, theirs in COUNTS:
                value = told.get(theirs)
                result[ours] = value if isinstance(value, int) else 0
            result["met"] = str(told.get("met", ""))
            if self.case.get("each"):
                result["each"] = str(told.get("each", ""))
            return verdict, reason
        return self.without_report(code, signalled)

    def proven(self, answer, body):
        """Tell whether a report answers the challenge, for what it says: nobody on the way has rewritten it."""
        self.seal.update(body)
        return answer == self.seal.digest()

    def without_report(self, code, signalled):
        """Return (verdict, reason) of a process that reported nothing."""
        if signalled == signal.SIGXCPU or (signalled == signal.SIGKILL and self.cpu_seen >= self.cpu_limit_s):
            return "timeout", f"more than {self.cpu_limit_s:g} s of CPU time"
        if signalled == signal.SIGKILL and self.worker.nested:
            # No process of the case can kill the first one of its namespace: the kernel ran out of memory.
            return "memory", "killed by the kernel"
        if signalled:
            return "crashed", f"ended by signal {signalled}"
        if self.case["exit_status_only"]:
            return "fail", f"exit status {code}"
        return "fail", f"the program ended before its tests had finished (exit status {code})"


def send(number, processes):
    """Send a signal to processes, of which some may have ended."""
    for process in processes:
        try:
            os.kill(process, number)
        except OSError:
            continue


def total(measure, processes):
    """Return the sum of a measure over the processes that still live."""
    found = 0
    for process in processes:
        try:
            found += measure(process)
        except (OSError, IndexError, ValueError):
            continue
    return found


def _readable(descriptor):
    return bool(select.select([descriptor], [], [], 0)[0])
