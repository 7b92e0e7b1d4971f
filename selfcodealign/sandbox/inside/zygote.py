"""Fork a process for every case.

A zygote is a warm, single-threaded process, forked from its worker, that has imported what its cases need. It does next
to nothing between two forks: each page of memory that it writes while a child shares it is copied. So the worker does
the rest, and holds the other ends of the child's pipes. The child takes namespaces of its own, gives up every right,
and runs the program.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import marshal
import os
import re
import signal
import socket
import struct
import sys

import guards  # pyright: ignore[reportMissingImports]
import harness  # pyright: ignore[reportMissingImports]
import kernel  # pyright: ignore[reportMissingImports]

# numpy loads these when they are first used, which would be in every program anew.
PRELOAD_PARTS = {
    "numpy": ("numpy", "numpy.random", "numpy.linalg", "numpy.testing"),
    "pandas": ("pandas", "pandas.testing"),
    "scipy": ("scipy.stats",),
}
SETUP_FAILED = 71
CHANNEL = 250  # the one descriptor above 2 that a case has; high, out of the way of programs that count theirs
LEAST_MEMORY = 16 << 20  # left to a program whatever the interpreter takes
ORDER, BORN, ENDED = struct.Struct("!Q"), struct.Struct("!i"), struct.Struct("!idQ")
LATE = 251  # what a script may read that nothing it forked before shall know
DESCRIPTORS = struct.Struct("5i")  # of an order: the case, its stdout, its stderr, its channel, what comes late


class Stem:
    """A zygote as its worker sees it."""

    def __init__(self, pid, link):
        self.pid, self.link = pid, link

    def order(self, body, *others):
        """Have a process forked for a case; returns its pid. Raises OSError."""
        given = os.memfd_create("case")
        try:
            rest = memoryview(body)
            while rest:
                rest = rest[os.write(given, rest) :]
            descriptors = DESCRIPTORS.pack(given, *others)
            self.link.sendmsg([ORDER.pack(len(body))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        finally:
            os.close(given)
        told = self.link.recv(1000)
        if len(told) != BORN.size:
            raise OSError("the zygote " + (told.decode("utf-8", "replace") or "ended"))
        return BORN.unpack(told)[0]

    def how_it_ended(self):
        """Return (wait status, CPU seconds, most bytes of memory) of the process."""
        told = self.link.recv(1000)
        if len(told) != ENDED.size:
            raise OSError("the zygote ended")
        return ENDED.unpack(told)

    def end(self):
        """Stop the zygote."""
        self.link.close()
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Zygote:
    """The zygote itself, in its own process."""

    def __init__(self, nested, uid, gid, wanted, own_modules):
        self.nested, self.uid, self.gid = nested, uid, gid
        kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        gc.unfreeze()
        for name in wanted:
            for part in PRELOAD_PARTS.get(name, (name,)):
                before = set(sys.modules)
                try:
                    importlib.import_module(part)
                except Exception:
                    # Left to the programs, to import or to miss; what is half imported would stay half.
                    for loaded in set(sys.modules) - before:
                        if loaded.split(".")[0] == name:
                            del sys.modules[loaded]
                    break
        self.filter = kernel.system_call_filter()
        self.own_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if nested else None
        renew_streams()
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.count_processes = _kernel_counts_by_namespace()
        # libc's fork, without the interpreter's work around it: there are no other threads whose locks matter.
        self.fork = ctypes.PyDLL(None, use_errno=True).fork
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # What the preloaded modules do at exit is nothing to a program, unless it uses them: see `harness.wind_down`.
        atexit._clear()
        kernel.limit_all_alike()
        harness.rehearse()
        for name in own_modules:
            sys.modules.pop(name, None)  # a program that looks through them shall not find these
        self.saved = guards.Snapshot()
        self.space, self.held = kernel.own_memory()
        # Freeze what is loaded, so that forked children do not copy it when they collect garbage.
        gc.collect()
        gc.freeze()
        gc.disable()

    def serve(self, link):
        """Fork a process for every order from the worker, wait for its end, and tell about it."""
        space = socket.CMSG_SPACE(DESCRIPTORS.size)
        while True:
            order, ancillary, _, _ = link.recvmsg(ORDER.size, space)
            if not order or not ancillary:
                return
            given = DESCRIPTORS.unpack(ancillary[0][2])
            try:
                if self.nested:
                    kernel.unshare(kernel.NEWPID)
                pid = self.fork()
                if pid == 0:
                    self.become_case(ORDER.unpack(order)[0], *given)
                if self.nested:
                    kernel.setns(self.own_namespace, kernel.NEWPID)
                if pid < 0:
                    raise OSError(ctypes.get_errno(), "fork")
            except OSError as error:
                pid = 0
                link.send(f"does not fork: {error}"[:900].encode())
            for descriptor in given:
                os.close(descriptor)
            if pid:
                link.send(BORN.pack(pid))
                _, status, usage = os.wait4(pid, 0)
                link.send(ENDED.pack(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024))

    def become_case(self, size, given, out_write, error_write, channel, late):
        """Turn this fork into the case's process and run it; all that may fail happens before any code of the case."""
        try:
            case, cpu_limit_s, key, translated = marshal.loads(os.pread(given, size, 0))
            self.take_place(case, cpu_limit_s, out_write, error_write, channel, late)
        except BaseException as error:
            os.write(error_write, f"sandbox setup: {error!r}".encode())
            os._exit(SETUP_FAILED)
        harness.run(case, CHANNEL, key, self.saved, translated)

    def take_place(self, case, cpu_limit_s, out_write, error_write, channel, late):
        """Take namespaces, descriptors and limits, and give up every right."""
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
        for source, target in ((stdin, 0), (out_write, 1), (error_write, 2)):
            os.dup2(source, target)
        os.dup2(channel, CHANNEL, inheritable=False)
        os.dup2(late, LATE, inheritable=False)
        os.closerange(3, CHANNEL)
        os.closerange(LATE + 1, 1024)
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


def renew_streams():
    """Give the interpreter streams that were pipes from the start: a program's are, and a text stream remembers."""
    kept = os.dup(1), os.dup(2)
    read, write = os.pipe()
    for number in (1, 2):
        os.dup2(write, number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        old, raw = getattr(sys, name), io.FileIO(number, "w", closefd=False)
        raw.name = f"<{name}>"  # pyright: ignore[reportAttributeAccessIssue]
        buffer = io.BufferedWriter(raw)
        new = io.TextIOWrapper(buffer, old.encoding, old.errors, newline="\n", line_buffering=number == 2)
        new.mode = "w"  # pyright: ignore[reportAttributeAccessIssue]
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    for number, descriptor in zip((1, 2), kept):  # noqa: B905 - Python 3.8 has no strict
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.close(read)
    os.close(write)


def _kernel_counts_by_namespace():
    """Tell whether RLIMIT_NPROC counts by user namespace (Linux 5.14): before, it counts the user's other work."""
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    return (int(major), int(minor)) >= (5, 14)
