"""Fork a process for every case, watch it, and decide its verdict from outside.

A worker is one container with this program in it. It prepares once what every case needs, then forks: the child takes
namespaces of its own, gives up every right, and runs the program; this side holds the other ends of its pipes.
"""

import atexit
import gc
import importlib
import json
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import time

import harness  # pyright: ignore[reportMissingImports]
import kernel  # pyright: ignore[reportMissingImports]

# What most programs use. Each module more makes each fork dearer, so the rest waits in a sibling.
PRELOADED = (
    "abc", "ast", "bisect", "collections", "copy", "dataclasses", "datetime", "enum", "functools", "heapq", "io",
    "itertools", "json", "math", "operator", "random", "re", "string", "textwrap", "threading", "time", "typing",
)  # fmt: skip
SELDOM = (
    "argparse", "array", "asyncio", "base64", "calendar", "cmath", "concurrent.futures", "contextlib", "csv", "decimal",
    "difflib", "doctest", "fractions", "hashlib", "logging", "multiprocessing", "pathlib", "pickle", "pprint",
    "queue", "secrets", "shutil", "statistics", "subprocess", "tempfile", "unicodedata", "unittest.mock", "uuid",
)  # fmt: skip
SELDOM_WORDS = "|".join(name.split(".")[0] for name in SELDOM)
SELDOM_USED = re.compile(rf"\b(?:async|await|mock|Mock|IsolatedAsyncioTestCase|{SELDOM_WORDS})\b|>>> ")
# numpy loads these when they are first used, which would be in every program anew.
PRELOAD_PARTS = {
    "numpy": ("numpy", "numpy.random", "numpy.linalg", "numpy.testing"),
    "pandas": ("pandas", "pandas.testing"),
    "scipy": ("scipy.stats",),
}
FIRST_LOOK_S = 0.01  # a program that is done by then is never measured from outside
LOOK_EVERY_S = 0.01
LOOK_CLOSELY_S = 0.005  # at programs of several processes, whose sum no limit of the kernel holds
SETUP_FAILED = 71
CHANNEL = 250  # the one descriptor above 2 that a case has; high, out of the way of programs that count theirs
STUB_CPU_S = 2.0
NICER = 5  # by how much the processes of a program yield to the one that watches them, once there are several
LEAST_MEMORY = 16 << 20  # left to a program whatever the interpreter takes


def read_message(handle):
    """Read one message: eight bytes of length, then JSON."""
    head = _exactly(handle, 8)
    if head is None:
        return None
    body = _exactly(handle, struct.unpack("!Q", head)[0])
    return None if body is None else json.loads(body)


def _exactly(handle, size):
    parts = []
    while size:
        part = handle.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def answer(handle, message):
    """Send one message."""
    body = json.dumps(message).encode()
    handle.sendall(struct.pack("!Q", len(body)) + body)


# ---- one run of one program -----------------------------------------------------------------------------------------


class Zygote:
    """A warm, single-threaded process that runs one case at a time."""

    def __init__(self, handle, nested, uid, gid):
        self.handle, self.nested, self.uid, self.gid = handle, nested, uid, gid
        self.filter = kernel.system_call_filter()
        self.saved = harness.snapshot()
        self.pid_namespace = os.readlink("/proc/self/ns/pid")
        self.own_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if nested else None
        self.siblings = {}
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.count_processes = _kernel_counts_by_namespace()

    def settle(self):
        """Freeze what is loaded, so that forked children do not copy it when they collect garbage."""
        # What the preloaded modules do at exit is nothing to a program, unless it uses them: see `harness.wind_down`.
        atexit._clear()
        self.saved = harness.snapshot()
        self.space, self.held = kernel.own_memory()
        gc.collect()
        gc.freeze()
        gc.disable()

    def run_once(self, case, cpu_limit_s):
        """Run one program and return what was seen of it."""
        out_read, out_write = os.pipe()
        error_read, error_write = os.pipe()
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        key = os.urandom(32)
        if self.nested:
            kernel.unshare(kernel.NEWPID)
        started = time.monotonic()
        try:
            pid = os.fork()
        except OSError:
            if self.nested:
                kernel.setns(self.own_namespace, kernel.NEWPID)
            raise
        if pid == 0:
            here.close()
            try:
                descriptor = self.become_case(case, cpu_limit_s, out_write, error_write, there)
            except BaseException as error:
                os.write(error_write, f"sandbox setup: {error!r}".encode())
                os._exit(SETUP_FAILED)
            harness.run(case, descriptor, key, self.saved)
        if self.nested:
            kernel.setns(self.own_namespace, kernel.NEWPID)
        for descriptor in (out_write, error_write):
            os.close(descriptor)
        there.close()
        watch = Watch(self, pid, case, cpu_limit_s, started, here, key, out_read, error_read)
        try:
            return watch.until_it_ends()
        finally:
            here.close()
            os.close(out_read)
            os.close(error_read)

    def become_case(self, case, cpu_limit_s, out_write, error_write, there):
        """Turn this fork into the case's process; everything that may fail happens before any code of the case runs."""
        os.setsid()
        if self.nested:
            kernel.own_namespaces(self.uid, self.gid, int(case["scratch_mb"]))
        stdin = self.null
        if case.get("stdin") is not None:
            stdin = os.memfd_create("stdin")
            text = memoryview(case["stdin"].encode("utf-8", "surrogatepass"))
            while text:
                text = text[os.write(stdin, text) :]
            os.lseek(stdin, 0, os.SEEK_SET)
        channel = there.detach()
        for source, target in ((stdin, 0), (out_write, 1), (error_write, 2)):
            os.dup2(source, target)
        os.dup2(channel, CHANNEL, inheritable=False)
        os.closerange(3, CHANNEL)
        os.closerange(CHANNEL + 1, 1024)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or the watch could not measure it
        kernel.drop_capabilities()
        kernel.limit(
            memory_bytes=self.space + max(LEAST_MEMORY, (int(case["memory_mb"]) << 20) - self.held),
            cpu_s=int(cpu_limit_s) + 2,
            files_bytes=int(case["scratch_mb"]) << 20,
            processes=int(case["processes"]) if self.nested and self.count_processes else 0,
        )
        if self.filter is not None:
            kernel.install_filter(self.filter)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        return socket.socket(fileno=CHANNEL)

    # -- what the watch asks for --

    def processes_of(self, pid):
        """List the processes of a case: all of its pid namespace, or all its descendants where it has none."""
        found, parents = [], {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                if self.nested:
                    if kernel.pid_namespace(entry) != self.pid_namespace:
                        found.append(int(entry))
                else:
                    parents[int(entry)] = kernel.parent(entry)
            except OSError:
                continue
        if self.nested:
            return found
        # Orphans come to this process, a subreaper; its other children are the warm siblings.
        mine, own = [], os.getpid()
        for process in parents:
            at = process
            while at in parents and at != own and at not in self.siblings:
                at = parents[at]
            if at == own and process != own:
                mine.append(process)
        return mine

    def kill(self, pid):
        """End a case and all it has started."""
        if self.nested:
            # Its first process is the init of its pid namespace: the kernel takes the rest along.
            _kill(pid)
            return
        for _ in range(200):
            left = self.processes_of(pid)
            if not left:
                return
            for process in left:
                _kill(process)
            self.reap(pid)
            time.sleep(0.002)

    def reap(self, keep):
        """Collect orphans that ended, except the case's own process."""
        if self.nested:
            return
        for process in self.processes_of(keep):
            if process != keep:
                try:
                    os.waitpid(process, os.WNOHANG)
                except OSError:
                    continue


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def _kernel_counts_by_namespace():
    """Tell whether RLIMIT_NPROC counts by user namespace (Linux 5.14): before, it counts the user's other work."""
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    return (int(major), int(minor)) >= (5, 14)


class Watch:
    """Read what one process writes, measure it, stop it at its limits, and say how it ended."""

    def __init__(self, zygote, pid, case, cpu_limit_s, started, channel, key, out_read, error_read):
        self.zygote, self.pid, self.case, self.started = zygote, pid, case, started
        self.cpu_limit_s = cpu_limit_s
        self.channel, self.key = channel, key
        self.kept = {out_read: bytearray(), error_read: bytearray()}
        self.order = (out_read, error_read)
        self.most = int(case["output_kb"]) * 1024
        self.truncated = False
        self.memory = 0
        self.cpu_seen = 0.0
        self.stopped = None  # (verdict, reason) once a limit was reached
        self.loaded = False
        self.broken = self.several = False
        self.report = None
        self.proof = None

    def until_it_ends(self):
        """Watch until the process and all it started are gone."""
        poller = select.poll()
        for descriptor in (*self.kept, self.channel.fileno()):
            poller.register(descriptor, select.POLLIN)
        upstream = self.zygote.handle.fileno()
        poller.register(upstream, select.POLLRDHUP)
        ended = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
        if ended is not None:
            poller.register(ended, select.POLLIN)
        look = self.started + FIRST_LOOK_S
        status = usage = None
        try:
            while status is None:
                wait = max(0.0, look - time.monotonic())
                gone = ended is None
                for descriptor, _ in poller.poll((wait if ended is not None else min(wait, 0.002)) * 1000 + 0.5):
                    if descriptor == upstream:
                        # The runner is gone: nobody will read the verdict, and nothing may outlive it.
                        self.zygote.kill(self.pid)
                        os._exit(0)
                    elif descriptor in self.kept:
                        self.take_output(descriptor, poller)
                    elif descriptor == ended:
                        gone = True
                    else:
                        self.take_message(poller)
                if gone:
                    status, usage = self.wait()
                before = time.monotonic()
                if status is None and before >= look:
                    self.look()
                    now = time.monotonic()
                    look = now + max(LOOK_CLOSELY_S if self.several else LOOK_EVERY_S, 2 * (now - before))
        finally:
            if ended is not None:
                os.close(ended)
        wall_s = time.monotonic() - self.started
        if not self.zygote.nested:
            self.zygote.kill(self.pid)
        for descriptor in self.order:
            while self.take_output(descriptor, None):
                pass
        while self.report is None and not self.broken and self.take_message(None):
            pass
        return self.seen(status, usage, wall_s)

    def wait(self):
        """Return (status, usage) once the process has ended, else (None, None)."""
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        return (status, usage) if pid else (None, None)

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
            seal = harness.blake2b(challenge, key=self.key)
            self.proof = seal.digest()
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
        processes = self.processes()
        cpu = starved = memory = 0.0
        for process in processes:
            try:
                used, waited = kernel.measured(process)
                cpu += used
                starved = max(starved, waited)
                if len(processes) > 1:
                    os.setpriority(os.PRIO_PROCESS, process, NICER)
                # The memory of a single process is held by the kernel, and its peak is known at its end.
                if 1 < len(processes) <= 200:
                    memory += kernel.resident(process)
            except (OSError, IndexError, ValueError):
                continue
        self.cpu_seen = max(self.cpu_seen, cpu)
        self.memory = max(self.memory, memory)
        self.several = len(processes) > 1
        wall = time.monotonic() - self.started
        timeout = self.cpu_limit_s
        if self.cpu_seen >= timeout:
            self.stop("timeout", f"more than {timeout:g} s of CPU time")
        elif wall - starved >= timeout or wall >= timeout * self.case["wall_factor"]:
            self.stop("timeout", f"not finished after {timeout:g} s")
        elif memory > self.case["memory_mb"] * (1 << 20):
            self.stop("memory", "more than {} MB of memory".format(self.case["memory_mb"]))
        elif len(processes) > 2 * self.case["processes"]:
            self.stop("memory", "more than {} processes".format(self.case["processes"]))

    def processes(self):
        """List the case's processes, at little cost while there is only one: orphans are children of the first."""
        try:
            if self.zygote.nested and kernel.alone(self.pid):
                return [self.pid]
        except OSError:
            pass
        return self.zygote.processes_of(self.pid)

    def stop(self, verdict, reason):
        """End the case at a limit."""
        if self.stopped is None:
            self.stopped = (verdict, reason)
        self.zygote.kill(self.pid)

    def seen(self, status, usage, wall_s):
        """Decide the verdict: a pass needs the right answer to the challenge and nothing out of order."""
        signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = None if self.stopped else (-signalled if signalled else os.WEXITSTATUS(status))
        result = {
            "stdout": bytes(self.kept[self.order[0]]).decode("utf-8", "replace"),
            "stderr": bytes(self.kept[self.order[1]]).decode("utf-8", "replace"),
            "truncated": self.truncated,
            "exit_status": code,
            "cpu_s": round(max(self.cpu_seen, usage.ru_utime + usage.ru_stime), 4),
            "wall_s": round(wall_s, 4),
            "memory_mb": round(max(self.memory, usage.ru_maxrss * 1024) / (1 << 20), 1),
            "tests_run": 0,
            "assertions_run": 0,
            "assertions_held": 0,
        }
        verdict, reason = self.ending(code, signalled, result)
        result.update(verdict=verdict, reason=reason)
        return result

    def ending(self, code, signalled, result):
        """Return (verdict, reason) of how the process ended and what it reported."""
        if self.stopped:
            return self.stopped
        if code == SETUP_FAILED and not self.loaded and result["stderr"].startswith("sandbox setup"):
            return "internal", result["stderr"]
        if self.case["exit_status_only"] and code == 0:
            return "pass", ""
        if self.broken:
            return "fail", "the program wrote to the verdict channel"
        if self.report is not None:
            kind, rest = self.report[:1], self.report[1:]
            if kind == b"P":
                if not self.loaded or rest[:64] != self.proof:
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
            for ours, theirs in (("tests_run", "tests"), ("assertions_run", "ran"), ("assertions_held", "held")):
                value = told.get(theirs)
                result[ours] = value if isinstance(value, int) else 0
            return verdict, reason
        return self.without_report(code, signalled)

    def without_report(self, code, signalled):
        """Return (verdict, reason) of a process that reported nothing."""
        if signalled == signal.SIGXCPU or (signalled == signal.SIGKILL and self.cpu_seen >= self.cpu_limit_s):
            return "timeout", f"more than {self.cpu_limit_s:g} s of CPU time"
        if signalled == signal.SIGKILL and self.zygote.nested:
            # No process of the case can kill the first one of its namespace: the kernel ran out of memory.
            return "memory", "killed by the kernel"
        if signalled:
            return "crashed", f"ended by signal {signalled}"
        if self.case["exit_status_only"]:
            return "fail", f"exit status {code}"
        return "fail", f"the program ended before its tests had finished (exit status {code})"


def _readable(descriptor):
    return bool(select.select([descriptor], [], [], 0)[0])


# ---- all runs of one case -------------------------------------------------------------------------------------------


def judge_case(zygote, case):
    """Run a case as often as its settings ask for and return its result."""
    case.update(role="real", number=0, rerun=case.get("rerun", 0))
    timeout = float(case["timeout_s"])
    result = zygote.run_once(case, timeout)
    result["mutation_score"] = None
    if result["verdict"] != "pass" or "program" in case:
        return result
    short = min(timeout, max(STUB_CPU_S, 3 * result["cpu_s"]))
    if case["vacuous"]:
        stub = zygote.run_once(dict(case, role="stub"), short)
        if stub["verdict"] == "pass":
            result.update(verdict="vacuous", reason="the tests pass against a stub that returns None")
            return result
    rejected = made = 0
    for number in range(case["mutants"]):
        mutant = zygote.run_once(dict(case, role="mutant", number=number), short)
        if mutant["verdict"] == "none":
            break
        made += 1
        rejected += mutant["verdict"] != "pass"
    if made:
        result["mutation_score"] = round(rejected / made, 4)
    return result


class Family:
    """The plain zygote, and warm siblings that have imported what some programs need."""

    def __init__(self, zygote, preload):
        self.zygote, self.members = zygote, {}
        self.patterns = [(name, re.compile(rf"\b(?:import|from)\s+{re.escape(name)}\b")) for name in preload]

    def serve(self, case):
        """Run a case in the member that fits it."""
        text = "\n".join(str(case.get(part) or "") for part in ("code", "test", "program"))
        wanted = tuple(name for name, pattern in self.patterns if pattern.search(text))
        if SELDOM_USED.search(text):
            wanted += SELDOM
        if not wanted:
            return judge_case(self.zygote, case)
        for _ in range(2):
            handle = self.members.get(wanted) or self.start(wanted)
            try:
                answer(handle, case)
                self.wait_for(handle)
                result = read_message(handle)
            except OSError:
                result = None
            if result is not None:
                return result
            handle.close()
            del self.members[wanted]
        raise RuntimeError(f"the zygote that has imported {wanted[0]} ended twice")

    def wait_for(self, member):
        """Wait until a member has answered; end at once if the runner is gone."""
        poller = select.poll()
        poller.register(member, select.POLLIN)
        poller.register(self.zygote.handle, select.POLLRDHUP)
        for descriptor, _ in poller.poll():
            if descriptor == self.zygote.handle.fileno():
                for pid in self.zygote.siblings:
                    _kill(pid)
                os._exit(0)

    def start(self, wanted):
        """Fork a member and let it import what it is for; a library that is missing is left to the programs to miss."""
        here, there = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            here.close()
            zygote = self.zygote
            for other in self.members.values():
                other.close()
            upstream, zygote.handle = zygote.handle, there
            upstream.close()
            kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
            if not zygote.nested:
                kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            gc.unfreeze()
            for name in wanted:
                for part in PRELOAD_PARTS.get(name, (name,)):
                    try:
                        importlib.import_module(part)
                    except Exception:
                        break
            zygote.settle()
            serve(there, lambda case: judge_case(zygote, case))
            os._exit(0)
        there.close()
        self.zygote.siblings[pid] = here
        self.members[wanted] = here
        return here


def serve(handle, run):
    """Answer cases until the other side is gone."""
    while True:
        case = read_message(handle)
        if case is None:
            return
        try:
            result = run(case)
        except BaseException as error:
            result = {"verdict": "internal", "reason": f"{type(error).__name__}: {error}"}
        answer(handle, result)


# ---- start ----------------------------------------------------------------------------------------------------------


def enter_namespaces(uid, gid):
    """Take a user, mount and pid namespace for this worker, in which it may make those of its cases.

    Returns twice, like fork: False in the process that called, True in its child, which is the first process of the new
    pid namespace. Raises OSError where the kernel or the container does not allow it.
    """
    kernel.unshare(kernel.NEWUSER | kernel.NEWNS | kernel.NEWPID | kernel.NEWNET)
    kernel.map_self(uid, gid)
    if os.fork():
        return False
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
    kernel.mount(None, "/", None, kernel.RECURSIVE_PRIVATE)
    kernel.mount("proc", "/proc", "proc", kernel.NOSUID_NODEV_NOEXEC)
    kernel.make_read_only()
    # One network for all cases of this worker: it has no device but this one, nothing of an earlier case is alive to
    # listen on it, and the kernel makes and removes network namespaces one at a time for the whole machine.
    kernel.raise_loopback()
    return True


def why_not_nested(uid, gid, scratch_mb):
    """Try in a child all that a case will need; returns what was refused, or None."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if enter_namespaces(uid, gid):
                kernel.own_namespaces(uid, gid, scratch_mb)
                os.write(tell, b"ok")
            else:
                os.wait()
        except BaseException as error:
            os.write(tell, str(error).encode() or b"refused")
        os._exit(0)
    os.close(tell)
    os.waitpid(pid, 0)
    answered = os.read(told, 1000).decode("utf-8", "replace")
    os.close(told)
    return None if answered == "ok" else answered or "refused"


def main(handle, settings):
    """Prepare a worker and serve cases from the socket until the runner is gone."""
    uid, gid = os.getuid(), os.getgid()
    os.environ.clear()
    os.environ.update(settings["environment"])
    os.chdir("/")
    sys.path[:] = [entry for entry in sys.path if entry]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in PRELOADED:
        importlib.import_module(name)
    why = why_not_nested(uid, gid, 16) if settings["nested"] else "switched off"
    if why is None and not enter_namespaces(uid, gid):
        handle.close()
        os._exit(0 if os.wait()[1] == 0 else 1)
    if why is not None:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    zygote = Zygote(handle, why is None, uid, gid)
    zygote.settle()
    answer(handle, {"nested": why is None, "why": why, "python": sys.version.split()[0], "filter": bool(zygote.filter)})
    family = Family(zygote, settings["preload"])
    serve(handle, family.serve)
