"""Keep a server while a job uses it, and some seconds longer.

A process of its own, with the standard library alone: `python keeper.py STATE USERS LINGER_S LOG PORT COMMAND …`. Jobs
hold a shared lock on the file USERS. The kernel lets go of it however a job dies (kill -9, out of memory), so that no
server outlives its users for longer than LINGER_S. What a job must know of the server stands in the file STATE,
which only its owner may read: it holds the server's key.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

END_S = 20.0
"""Longest wait for a server that was asked to end."""
LOOK_S = 0.1
PR_SET_PDEATHSIG = 1


def write(state: Path, content: dict[str, Any]) -> None:
    """Write the state in one step."""
    fresh = state.with_name(f"{state.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(content))
    fresh.replace(state)


def runs(group: int) -> bool:
    """Say whether a process of a process group still runs; one that ended and waits to be collected does not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything; state, parent and group follow it.
            found = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(found[2]) == group and found[0] not in "ZX":
            return True
    return False


def end(group: int) -> None:
    """End every process of a group, and wait until the kernel has taken them away, with the memory they held."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + END_S
        while runs(group) and time.monotonic() < deadline:
            time.sleep(LOOK_S)


def ends_with_its_keeper() -> None:
    """Ask the kernel to end this process when its parent dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main(state: Path, users: Path, linger_s: float, log: Path, port: int, command: list[str]) -> None:
    """Start the server, and end it when nobody has used it for so long."""
    with log.open("w") as written:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=ends_with_its_keeper,
        )
    known = {"pid": server.pid, "port": port, "key": os.environ.get("VLLM_API_KEY", ""), "log": str(log)}
    write(state, known)
    idle_since: float | None = None
    with users.open("a") as lock:
        while server.poll() is None:
            time.sleep(LOOK_S)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                idle_since = None
                continue
            idle_since = time.monotonic() if idle_since is None else idle_since
            if time.monotonic() - idle_since >= linger_s:
                break  # with the lock, so that no job takes a server that ends
            fcntl.flock(lock, fcntl.LOCK_UN)
        status = server.poll()
        end(server.pid)
        # A job that saw the end first may have started another server, whose state this is by now.
        if state.exists() and json.loads(state.read_text())["pid"] == server.pid:
            write(state, known | {"ended": True, "status": status})


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]), Path(given[1]), float(given[2]), Path(given[3]), int(given[4]), given[5:])
