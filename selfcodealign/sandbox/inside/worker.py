"""Serve cases from the runner's socket, each in a process of its own, and decide their verdicts from outside.

A worker is one container with this program in it. It prepares once what every case needs: a process that translates,
and zygotes that fork, one for each set of libraries.
"""

import importlib
import json
import marshal
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback

import kernel  # pyright: ignore[reportMissingImports]
import monitor  # pyright: ignore[reportMissingImports]
import objects  # pyright: ignore[reportMissingImports]
import translate  # pyright: ignore[reportMissingImports]
import zygote  # pyright: ignore[reportMissingImports]

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
# Fixtures that tests ask for by the name of a parameter.
USED_WITHOUT_IMPORT = {"pytest": r"|\b(?:monkeypatch|recwarn|tmpdir)\b"}
# What the process of a case is told of it.
TOLD = (
    "role", "number", "rerun", "code", "test", "program", "stdin", "files", "vacuous", "mutants", "memory_mb",
    "scratch_mb", "processes", "judges", "each",
)  # fmt: skip
STUB_CPU_S = 2.0
HASH_SEEDS = 5  # reruns go through so many: the first run's, and those of interpreters that are started for them
SEEDED = """
import marshal, os, sys, types
body, link = map(int, sys.argv[1:])
modules, given = marshal.loads(os.pread(body, os.fstat(body).st_size, 0))
os.close(body)
for name, code in modules:
    sys.modules[name] = types.ModuleType(name)
    exec(code, sys.modules[name].__dict__)
sys.argv[1:] = []
sys.modules["worker"].seeded(link, given)
"""
TRANSLATION_S = 2.0  # for texts that take longer, the process of the case must do it, within its limits
TRANSLATION_S_A_CHARACTER = 2e-5  # more for long ones
TRANSLATION_MEMORY = 512 << 20


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


# ---- the worker -----------------------------------------------------------------------------------------------------


class Worker:
    """Run one case at a time, in the zygote that fits it."""

    def __init__(self, handle, nested, uid, gid, preload, modules):
        self.handle, self.nested, self.uid, self.gid, self.modules = handle, nested, uid, gid, modules
        self.pid_namespace = os.readlink("/proc/self/ns/pid")
        self.patterns = [
            (name, re.compile(rf"\b(?:import|from)\s+{re.escape(name)}\b{USED_WITHOUT_IMPORT.get(name, '')}"))
            for name in preload
        ]
        self.stems = {}
        self.translator = None

    # -- processes of its own --

    def fork(self, run):
        """Fork a process that calls `run` with a socket to this one; returns it as a Stem."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                here.close()
                self.handle.close()
                for other in self.helpers():
                    other.link.close()
                run(there)
                status = 0
            except BaseException:
                traceback.print_exc()  # the runner shows it, should the worker end
            finally:
                os._exit(status)
        there.close()
        return zygote.Stem(pid, here)

    def helpers(self):
        """List the processes that this worker keeps."""
        return [*self.stems.values(), *filter(None, [self.translator])]

    def stem_for(self, case):
        """Return the zygote that fits a case, and its key: by the libraries it mentions and the seed of its hashes."""
        text = "\n".join(str(case.get(part) or "") for part in ("code", "test", "program"))
        wanted = tuple(name for name, pattern in self.patterns if pattern.search(text))
        if SELDOM_USED.search(text):
            wanted += SELDOM
        seed = case["rerun"] % HASH_SEEDS
        if (wanted, seed) not in self.stems:

            def grow(link):
                given = (self.nested, self.uid, self.gid, wanted, [name for name, _ in self.modules])
                if seed:
                    become_seeded(seed, link, self.modules, given)
                zygote.Zygote(*given).serve(link)

            self.stems[wanted, seed] = self.fork(grow)
        return (wanted, seed), self.stems[wanted, seed]

    # -- one case --

    def serve(self, case):
        """Run one case; once more in a new zygote, should its own end."""
        case.update(number=0, rerun=case.get("rerun", 0))
        for part in ("code", "test", "program"):
            # A mark of the byte order, which Python takes off a file.
            if case.get(part, "").startswith("\ufeff"):
                case[part] = case[part][1:]
        for turn in (1, 2):
            wanted, stem = self.stem_for(case)
            try:
                return self.examine(stem, case)
            except OSError:
                del self.stems[wanted]
                stem.end()
                if turn == 2:
                    raise

    def examine(self, stem, case):
        """Run a case as often as its settings ask for and return its result."""
        timeout = float(case["timeout_s"])
        translated = self.translated(case)
        result = self.run_once(stem, dict(case, role="real"), timeout, translated.get("real"))
        result["mutation_score"] = None
        if result["verdict"] != "pass" or "program" in case:
            result.pop("met")
            result.pop("each", None)  # of a program that did not come to its end, nothing is believed
            return result
        short = min(timeout, max(STUB_CPU_S, 3 * result["cpu_s"]))
        met = set(result.pop("met").split())
        if met and case.get("each"):
            result.update(verdict="fail", reason="the response decided a comparison: run its assertions one by one")
            del result["each"]
            return result
        if met and self.agrees_with_anything(stem, case, short, translated.get("real"), met):
            result.update(verdict="fail", reason="a compared value of the response would agree with any other")
            return result
        if case["vacuous"]:
            stub = self.run_once(stem, dict(case, role="stub"), short, translated.get("stub"))
            if case.get("each"):
                result["stub_held"] = stub["each"] if stub["verdict"] == "pass" else None
            elif stub["verdict"] == "pass":
                result.update(verdict="vacuous", reason="the tests pass against a stub that returns None")
                return result
        passed = []  # of each mutant: did the tests pass, or which of their assertions held
        for number in range(case["mutants"]):
            mutant = self.run_once(stem, dict(case, role="mutant", number=number), short, None)
            if mutant["verdict"] == "none":
                break
            passed.append(mutant.get("each", "0") if mutant["verdict"] == "pass" else None)
        if passed:
            result["mutation_score"] = None if case.get("each") else round(passed.count(None) / len(passed), 4)
            result["mutants_held"] = passed
        return result

    def agrees_with_anything(self, stem, case, cpu_limit_s, translated, met):
        """Run tests that have passed with other values in the place of those the response is compared with."""
        lying = None
        for number in range(objects.RUNS):
            told = self.run_once(stem, dict(case, role="other", number=number), cpu_limit_s, translated)
            places = set(told["reason"].split()) if told["verdict"] == "none" else set()
            places = places if objects.ANYWHERE in met else places & met
            lying = places if lying is None else lying & places
            if not lying:
                return False
        return True

    def run_once(self, stem, case, cpu_limit_s, translated):
        """Run one program and return what was seen of it."""
        out_read, out_write = os.pipe()
        error_read, error_write = os.pipe()
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        key = os.urandom(32)
        late = os.memfd_create("late")
        try:
            try:
                body = marshal.dumps(({k: case[k] for k in TOLD if k in case}, cpu_limit_s, key, translated))
                rest = memoryview((case.get("late") or "").encode())
                while rest:
                    rest = rest[os.write(late, rest) :]
                pid = stem.order(body, out_write, error_write, there.fileno(), late)
                started = time.monotonic()  # a new zygote takes its time to import what it has to
            finally:
                os.close(late)
                os.close(out_write)
                os.close(error_write)
                there.close()
            return monitor.Monitor(
                self, stem, pid, case, cpu_limit_s, started, here, key, out_read, error_read
            ).until_it_ends()
        finally:
            here.close()
            os.close(out_read)
            os.close(error_read)

    def translated(self, case):
        """Return what `translate.translations` makes of a case; empty if its own process has to do it."""
        size = sum(len(case.get(part) or "") for part in ("code", "test", "program"))
        if size > translate.LONGEST:
            return {}
        if self.translator is None:
            self.translator = self.fork(serve_translations)
        link = self.translator.link
        given = os.memfd_create("texts")
        try:
            os.write(
                given, marshal.dumps({k: case[k] for k in ("code", "test", "program", "vacuous", "each") if k in case})
            )
            link.sendmsg([b"?"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", given))])
            # It writes its answer into the same file.
            limit_s = TRANSLATION_S + size * TRANSLATION_S_A_CHARACTER
            if self.answers(self.translator, limit_s, limit_s * case["wall_factor"]):
                size = zygote.ORDER.unpack(link.recv(8))[0]
                return marshal.loads(os.pread(given, size, 0))
        except (OSError, struct.error, ValueError, EOFError, TypeError):
            pass
        finally:
            os.close(given)
        self.translator.end()
        self.translator = None
        return {}

    @staticmethod
    def answers(helper, cpu_s, wall_s):
        """Wait for a helper; tell whether it answers within so much CPU time, and so much time on the clock."""
        clock = (~helper.pid << 3) | 2  # its own, which Linux shows to others
        before, end, wait = time.clock_gettime(clock), time.monotonic() + wall_s, cpu_s
        while not select.select([helper.link], [], [], wait)[0]:
            wait = cpu_s - time.clock_gettime(clock) + before
            if wait <= 0 or time.monotonic() >= end:
                return False
        return True

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
        # Orphans come to this process, a subreaper, whose helpers do no other work while a case runs.
        mine, own = [], os.getpid()
        helpers = {helper.pid for helper in self.helpers()}
        for process in parents:
            at = process
            while at in parents and at != own:
                at = parents[at]
            if at == own and process != own and process not in helpers:
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


def become_seeded(seed, link, modules, given):
    """Replace this process by an interpreter with another hash seed, in which a zygote serves the link."""
    body = os.memfd_create("modules", 0)
    os.write(body, marshal.dumps((modules, given)))
    os.set_inheritable(link.fileno(), True)
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    if given[0]:
        kernel.keep_capability(kernel.CAP_SYS_ADMIN)  # to make namespaces; another program would not have it
    words = [sys.executable, "-s", "-c", SEEDED, str(body), str(link.fileno())]
    os.execve(sys.executable, words, environment)


def seeded(link, given):
    """Go on where `become_seeded` left: warm the new interpreter as `main` did the worker's, and serve."""
    os.chdir("/")
    sys.path[:] = [entry for entry in sys.path if entry]
    for name in PRELOADED:
        importlib.import_module(name)
    zygote.Zygote(*given).serve(socket.socket(fileno=link))


def serve_translations(link):
    """Translate one case after another: the body of the helper process."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
    limit = kernel.own_memory()[0] + TRANSLATION_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        order, ancillary, _, _ = link.recvmsg(1, socket.CMSG_SPACE(4))
        if not order or not ancillary:
            return
        given = struct.unpack("i", ancillary[0][2])[0]
        case = marshal.loads(os.pread(given, os.fstat(given).st_size, 0))
        body = marshal.dumps(translate.translations(case))
        os.pwrite(given, body, 0)
        os.close(given)
        link.send(zygote.ORDER.pack(len(body)))


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
    kernel.mount(None, b"/", None, kernel.RECURSIVE_PRIVATE)
    kernel.mount(b"proc", b"/proc", b"proc", kernel.NOSUID_NODEV_NOEXEC)
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


def main(handle, settings, modules):
    """Prepare a worker and serve cases from the socket until the runner is gone."""
    uid, gid = os.getuid(), os.getgid()
    os.environ.clear()
    os.environ.update(settings["environment"])
    # `python` is this interpreter for programs that start one by its name.
    own = os.path.dirname(sys.executable)
    if own not in os.environ["PATH"].split(":"):
        os.environ["PATH"] = f"{own}:{os.environ['PATH']}"
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
    filtered = kernel.system_call_filter() is not None
    answer(handle, {"nested": why is None, "why": why, "python": sys.version.split()[0], "filter": filtered})
    serve(handle, Worker(handle, why is None, uid, gid, settings["preload"], modules).serve)
