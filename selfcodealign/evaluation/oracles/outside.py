"""The judge's side: processes in which a program runs, and that share no memory with what decides about it.

The first process of a case forks a nursery before it reads what is wanted; the nursery forks the processes of programs.
So none of them ever held an expected value, the marks of the findings, or the code's state that compares. The first
process then hides its memory from processes of the same user.
"""

import builtins
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import time
from typing import Any, NoReturn

from selfcodealign.evaluation.oracles.codec import decode, encode
from selfcodealign.evaluation.oracles.inside import answer_inputs, answer_questions, run_script, settle

LATE, CHANNEL = 251, 250
"""Descriptors: what is wanted, and the sandbox's own."""
DUMPABLE = 4
LOOK_S = 0.05
LONGEST = 1 << 30
"""Bytes of a message, from which on it is no answer."""
MOST_PRINTED = 1 << 20
"""Bytes that a script may print beyond what is wanted."""


def dumpable(value):
    """Open or close this process's memory to others of its user."""
    ctypes.CDLL(None).prctl(DUMPABLE, value, 0, 0, 0)


class Gone(Exception):
    """The program's process is at its end, for a reason: a status of a test group, and a sentence."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Nursery:
    """Forks the processes of programs; it knows what the program may know and nothing else."""

    def __init__(self, program, data, blobs):
        self.program = program
        self.link, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.null = os.open(os.devnull, os.O_RDWR)
        if os.fork() == 0:
            self.link.close()
            for descriptor in (LATE, CHANNEL):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            for target in (0, 1, 2):
                os.dup2(self.null, target)
            dumpable(0)
            try:
                nurse(there, program, data, blobs)
            finally:
                os._exit(1)
        there.close()
        dumpable(0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def nurse(link, program, data, blobs) -> NoReturn:
    """Fork a process for every order and tell its end, one after the other."""
    while True:
        order, descriptors, _, _ = socket.recv_fds(link, 1 << 16, 3)
        if not order:
            os._exit(0)
        what, arguments = json.loads(order)
        pid = os.fork()
        if pid == 0:
            link.close()
            status = 1
            try:
                os.setsid()
                handle, stdin, stdout = descriptors
                os.dup2(stdin, 0)
                os.dup2(stdout, 1)
                os.close(stdin)
                os.close(stdout)
                dumpable(1)  # or the sandbox could not measure it
                settle()
                ROLES[what](socket.socket(fileno=handle), program, data, blobs, arguments)
                status = 0
            finally:
                os._exit(status)
        for descriptor in descriptors:
            os.close(descriptor)
        link.send(pid.to_bytes(4, "big"))
        link.send(os.waitpid(pid, 0)[1].to_bytes(4, "big"))


ROLES = {"inputs": answer_inputs, "questions": answer_questions, "script": run_script}


class Run:
    """One process of a program, as its judge sees it."""

    def __init__(self, nursery, what, arguments: Any = None, stdin: bytes | None = None, most=0):
        self.nursery = nursery
        self.handle, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        given, self.out, out_write = nursery.null, -1, nursery.null
        if stdin is not None:
            given = os.memfd_create("stdin")
            rest = memoryview(stdin)
            while rest:
                rest = rest[os.write(given, rest) :]
            os.lseek(given, 0, os.SEEK_SET)
            self.out, out_write = os.pipe()
            os.set_blocking(self.out, False)
        socket.send_fds(nursery.link, [json.dumps([what, arguments]).encode()], [theirs.fileno(), given, out_write])
        theirs.close()
        for descriptor in {given, out_write} - {nursery.null}:
            os.close(descriptor)
        self.pid = self.told()
        if not self.pid:
            raise Gone("fail", "the program ended the process that starts it")
        self.status: int | None = None
        self.unread, self.printed, self.most = bytearray(), bytearray(), most
        self.poller = select.poll()
        for descriptor in (self.handle.fileno(), nursery.link.fileno(), *([self.out] if stdin is not None else [])):
            self.poller.register(descriptor, select.POLLIN)
        self.open = stdin is not None
        self.mark()

    def told(self):
        """Return the number that the nursery sends; 0 if a program has ended the nursery."""
        told = self.nursery.link.recv(4)
        return int.from_bytes(told, "big") if len(told) == 4 else 0

    def nursery_lives(self):
        """Whether there is a number to come, rather than the end of the nursery."""
        return bool(self.nursery.link.recv(4, socket.MSG_PEEK))

    # -- time --

    def mark(self):
        """Count the time that the program takes from here on."""
        self.cpu, self.looked = self.cpu_s(), None

    def cpu_s(self):
        """Return the CPU seconds of the process so far."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # its own clock, which Linux shows to others
        except OSError:
            return 0.0

    def waited_s(self):
        """Return the seconds that it was ready but no core was free for it."""
        try:
            with open(f"/proc/{self.pid}/schedstat") as file:
                return int(file.read().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def check(self, cpu_s, asleep_s):
        """Raise Gone if the program has used more than that since the mark."""
        cpu, now = self.cpu_s(), time.monotonic()
        if cpu - self.cpu > cpu_s:
            self.stop()
            raise Gone("timeout", f"more than {cpu_s:.1f} s of CPU time")
        if self.looked is None:
            self.looked = now - cpu - self.waited_s()
        elif now - cpu - self.waited_s() - self.looked > asleep_s:
            self.stop()
            raise Gone("timeout", f"not finished after {asleep_s:.1f} s")

    # -- what comes --

    def wait(self, cpu_s, asleep_s):
        """Wait for news of any kind, within limits."""
        events = self.poller.poll(LOOK_S * 1000)
        if not events:
            self.check(cpu_s, asleep_s)
        for descriptor, _ in events:
            if descriptor == self.nursery.link.fileno():
                # Without a nursery nobody knows how it ended: as if by a signal, for 0 would be a success.
                self.status = self.told() if self.nursery_lives() else int(signal.SIGKILL)
                self.poller.unregister(descriptor)
            elif descriptor == self.out:
                self.take_output()
            else:
                part = self.handle.recv(1 << 18)
                self.unread += part
                if not part:
                    self.poller.unregister(descriptor)

    def take_output(self):
        """Read what was printed; more than there can be ends the program."""
        try:
            part = os.read(self.out, 1 << 18)
        except BlockingIOError:
            return False
        self.printed += part
        if not part:
            self.poller.unregister(self.out)
            self.open = False
        elif len(self.printed) > self.most:
            self.stop()
            raise Gone("fail", "far more output than is wanted")
        return bool(part)

    def message(self):
        """Return the next message that is there, as (kind, text), or None."""
        if len(self.unread) < 9:
            return None
        size = int.from_bytes(self.unread[1:9], "big")
        if size > LONGEST:
            self.stop()
            raise Gone("fail", "the output is too large")
        if len(self.unread) < 9 + size:
            return None
        kind, text = bytes(self.unread[:1]), bytes(self.unread[9 : 9 + size]).decode("utf-8", "surrogatepass")
        del self.unread[: 9 + size]
        return kind, text

    def hear(self, cpu_s, asleep_s):
        """Return the next message as (kind, text); raises Gone at a limit or at the program's end."""
        while True:
            found = self.message()
            if found is not None:
                self.mark()
                return found
            if self.status is not None:
                while self.handle_has_more():
                    self.unread += self.handle.recv(1 << 18)
                if (found := self.message()) is not None:
                    return found
                raise Gone(*ending(self.status))
            self.wait(cpu_s, asleep_s)

    def handle_has_more(self):
        """Whether bytes lie in the socket."""
        if not select.select([self.handle], [], [], 0)[0]:
            return False
        return bool(self.handle.recv(1, socket.MSG_PEEK))

    def tell(self, text):
        """Send a text; a program that does not read it will be found at its end."""
        body = text.encode("utf-8", "surrogatepass")
        with contextlib.suppress(OSError):
            self.handle.sendall(len(body).to_bytes(8, "big") + body)

    def finish(self, cpu_s, asleep_s):
        """Wait for a script's end; returns its exit status, and messages by kind."""
        while self.status is None:
            self.wait(cpu_s, asleep_s)
            self.check(cpu_s, asleep_s)
        while self.open and self.take_output():
            continue
        while self.handle_has_more():
            self.unread += self.handle.recv(1 << 18)
        found = {}
        while (each := self.message()) is not None:
            found.setdefault(*each)
        return os.waitstatus_to_exitcode(self.status), found

    def stop(self):
        """End the process, and what it left behind in its group."""
        for end in (os.killpg, os.kill):
            with contextlib.suppress(OSError):
                end(self.pid, signal.SIGKILL)

    def close(self):
        """Stop it if need be and wait for its end."""
        self.stop()
        if self.status is None:
            self.status = self.told()  # nobody asks for it any more
        self.handle.close()
        if self.out >= 0:
            os.close(self.out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ending(status):
    """Return the status of a test group, and a sentence, for a process that ended by itself."""
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGVTALRM, -signal.SIGXCPU):
        return "timeout", "one call into C took too long"
    return "fail", f"the program ended itself (exit status {code})"


# ---- names of the program in a test ---------------------------------------------------------------------------------


class Remote:
    """Stands in a test for a value of the program that cannot be written out: its functions, classes and objects.

    It equals nothing but itself, whatever the program's own `__eq__` says.
    """

    def __init__(self, ask, target):
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_target", target)

    def __call__(self, *values, **named):
        """Call it in the program's process."""
        return self._ask("call", self._target, values, named)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("get", self._target, (name,), {})

    def __setattr__(self, name, value):
        self._ask("set", self._target, (name, value), {})

    def __getitem__(self, key):
        return self._ask("item", self._target, (key,), {})

    def __contains__(self, value):
        return self._ask("has", self._target, (value,), {}) is True

    def __len__(self):
        return self._ask("length", self._target, (), {})

    def __iter__(self):
        return iter(self._ask("items", self._target, (), {}))

    def __str__(self):
        return str(self._ask("text", self._target, (), {}))

    def __repr__(self):
        return str(self._ask("repr", self._target, (), {}))

    def __bool__(self):
        return True


class RemoteError(Exception):
    """An error of the program that is none of Python's own."""


def questions(run, limit_s):
    """Return what asks a program's process for one operation on a name or a kept object."""
    spent = [0.0]

    def ask(what, target, values, named):
        given = encode([list(values), named], lambda value: value._target)
        run.mark()
        run.tell(json.dumps([what, target, given]))
        before = run.cpu
        kind, text = run.hear(max(0.0, limit_s - spent[0]), limit_s + 1)
        spent[0] += run.cpu - before
        if kind == b"R":
            return decode(text, lambda number: Remote(ask, int(number)))
        name, said = json.loads(text)
        error = getattr(builtins, str(name), None)
        if isinstance(error, type) and issubclass(error, Exception):
            raise error(str(said))
        raise RemoteError(str(said))

    return ask
