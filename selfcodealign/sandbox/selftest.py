"""Probe a layer instead of trusting its name: try to get out, and see that every way is closed."""

import contextlib
import json
import logging
import os
import secrets
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.sandbox.layers import INSTALL, Layer, apptainer_program, candidates, send
from selfcodealign.sandbox.settings import Settings, request

log = logging.getLogger(__name__)
START_S = 60.0
CANARY = "SELFCODEALIGN_CANARY"

PROBE = """
import json, os, socket
want = json.load(open("/tmp/want.json"))
found = []
def escaped(what, act):
    try:
        if act():
            found.append(what)
    except Exception:
        pass
def connects(address):
    with socket.create_connection(address, timeout=1):
        return True
escaped("network: a port of the host", lambda: connects(("127.0.0.1", want["port"])))
escaped("network: a device besides lo", lambda: [n for _, n in socket.if_nameindex() if n != "lo"])
escaped("files: the home folder", lambda: os.path.exists(want["home"]))
escaped("files: the host's temporary folder", lambda: os.path.exists(want["file"]))
def environments():
    texts = [repr(dict(os.environ)).encode()]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            texts.append(open("/proc/%s/environ" % pid, "rb").read())
        except OSError:
            pass
    return any(want["canary"].encode() in text for text in texts)
escaped("environment: a variable of the runner", environments)
escaped("processes: the runner is visible", lambda: any(
    want["canary"].encode() in open("/proc/%s/environ" % p, "rb").read() or int(p) > 50
    for p in os.listdir("/proc") if p.isdigit()))
def writes(path):
    with open(path, "w"):
        pass
    return True
for folder in ("/", "/usr", "/etc", "/var/tmp", os.path.dirname(os.__file__)):
    escaped("files: wrote to " + folder, lambda: writes(os.path.join(folder, "sandbox-probe")))
def kills():
    os.kill(want["pid"], 0)
    return True
escaped("processes: may signal the runner", lambda: want["pid"] != os.getpid() and kills())
import ctypes
libc = ctypes.CDLL(None)
escaped("system calls: may make namespaces", lambda: libc.unshare(0x10000000) == 0)
escaped("system calls: may mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0)
print(json.dumps(found))
"""
MEMORY_PROBE = "block = bytearray(400 << 20)\nprint(len(block))"
CPU_PROBE = "while True: pass"


class Refused(Exception):
    """A layer did not start, or let a probe out; the message says which."""


def exchange(handle: socket.socket, message: dict[str, Any] | None) -> dict[str, Any]:
    """Send a message, if any, and wait for one back."""
    if message is not None:
        send(handle, message)
    parts = b""
    size: int | None = None
    while size is None or len(parts) < size:
        part = handle.recv(1 << 16)
        if not part:
            raise Refused("the worker ended")
        parts += part
        if size is None and len(parts) >= 8:
            size, parts = struct.unpack("!Q", parts[:8])[0], parts[8:]
    return json.loads(parts)


def probe(layer: Layer, settings: Settings) -> dict[str, Any]:
    """Start one worker in a layer, run the probes in it, and return its greeting; raises Refused with the leaks."""
    canary = secrets.token_hex(16)
    os.environ[CANARY] = canary
    listener = socket.create_server(("127.0.0.1", 0))
    with (
        tempfile.TemporaryFile() as errors,
        _mark(Path.home()) as in_home,
        _mark(Path(tempfile.gettempdir())) as in_temporary,
    ):
        process = handle = None
        try:
            process, handle = layer.start(errors)
            handle.settimeout(START_S)
            greeting = exchange(handle, None)
            want = {
                "port": listener.getsockname()[1],
                "home": in_home,
                "file": in_temporary,
                "canary": canary,
                "pid": os.getpid(),
            }
            case = {
                "id": "probe",
                "program": PROBE,
                "files": {"want.json": json.dumps(want)},
                "memory_mb": 256,
                "timeout_s": 20,
            }
            answer = exchange(handle, request(case, settings))
            if answer["verdict"] != "pass":
                raise Refused(f"the probe ended with {answer['verdict']}: {answer['reason']}")
            leaks = json.loads(answer["stdout"])
            if leaks and layer.name != "none":
                raise Refused("; ".join(leaks))
            for program, verdict, timeout_s in ((MEMORY_PROBE, "memory", 10.0), (CPU_PROBE, "timeout", 0.2)):
                case = {"id": "probe", "program": program, "memory_mb": 256, "timeout_s": timeout_s}
                answer = exchange(handle, request(case, settings))
                if answer["verdict"] != verdict:
                    raise Refused(
                        f"limits: a program that should have ended with {verdict} ended with {answer['verdict']}"
                    )
            return {**greeting, "leaks": leaks}
        except (Refused, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            errors.seek(0)
            said = " ".join(errors.read()[-300:].decode("utf-8", "replace").split())
            raise Refused(f"{error}" + (f" ({said})" if said else "")) from None
        finally:
            os.environ.pop(CANARY, None)
            listener.close()
            if process is not None and handle is not None:
                handle.close()
                process.kill()
                process.wait()


@contextlib.contextmanager
def _mark(folder: Path) -> Iterator[str]:
    """Put an empty file into a folder for a while and yield its path; a folder that cannot be written is not marked."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".sandbox-probe-", dir=folder) as file:
            yield file.name
    except OSError:
        yield str(folder / ".sandbox-probe")


PASSED: dict[str, dict[str, Any]] = {}
"""Greetings by layer and limits that have passed in this process. A test takes longer than a few cases do, and stages
and trainers call the sandbox many times."""


def choose_layer(settings: Settings) -> tuple[Layer, dict[str, Any]]:
    """Return the first layer that passes the self-test, now or earlier in this process, and its worker's greeting.

    Raises:
        UserError: there is none; the sentence says why and what to install.
    """
    tried = []
    for layer in candidates(settings):
        tested = f"{layer} {settings.scratch_mb} {settings.processes} {settings.output_kb}"
        try:
            greeting = PASSED[tested] = PASSED.get(tested) or probe(layer, settings)
        except Refused as error:
            tried.append(f"{layer.name}: {error}")
            continue
        each = "own namespaces for each program" if greeting["nested"] else f"a new worker for each ({greeting['why']})"
        log.info("sandbox layer %s, Python %s, %s, self-test passed", layer.name, greeting["python"], each)
        if layer.name == "none":
            log.warning("isolation is OFF: programs can reach %s", "; ".join(greeting["leaks"]) or "this machine")
        return layer, greeting
    reasons = "; ".join(tried) or _what_is_missing(settings)
    raise UserError(f"no sandbox works on this machine, so nothing was run: {reasons}. To mend it, {INSTALL}")


def _what_is_missing(settings: Settings) -> str:
    missing = []
    if settings.isolation in ("auto", "apptainer"):
        image = "its sandbox image has not been built (containers/sandbox.def)" if apptainer_program() else ""
        missing.append(f"apptainer: {image or 'not installed'}")
    if settings.isolation in ("auto", "bubblewrap"):
        missing.append("bubblewrap: not installed")
    return "; ".join(missing)
