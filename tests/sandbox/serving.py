"""A server of the sandbox in a process of its own, and a client for tests."""

import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import missing
from tests.sandbox.suite import ROOT


@dataclass
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]


@dataclass
class Server:
    """A server that listens."""

    process: subprocess.Popen[str]
    port: int
    log: list[str] = field(default_factory=list)

    def connect(self, timeout: float = 500) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, path: str, body: Any = None, method: str = "POST", **headers: str) -> Answer:
        """Ask once over a connection of its own; bytes are sent as they are, all else as JSON."""
        connection = self.connect()
        try:
            sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, sent, {name.replace("_", "-"): text for name, text in headers.items()})
            got = connection.getresponse()
            text = got.read()
            return Answer(got.status, json.loads(text), {name.lower(): value for name, value in got.getheaders()})
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """Get a page."""
        return self.ask(path, method="GET", **headers)

    def end(self) -> int:
        """Stop it as a service manager does; returns its exit status."""
        self.process.terminate()
        return self.process.wait(60)


def require_packages() -> None:
    """Leave a test out where a server's packages are missing."""
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("starlette") is None:
        missing("starlette and uvicorn are not installed: envs/serve.txt")


@contextmanager
def serving(*flags: object) -> Iterator[Server]:
    """Start a server on a free port of the loopback, in bubblewrap, and end it."""
    require_packages()
    command = [sys.executable, "-m", "selfcodealign", "serve", "--port", "0", "--isolation", "bubblewrap"]
    process = subprocess.Popen(
        [*command, *map(str, flags)], cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stderr is not None
    log: list[str] = []
    for line in process.stderr:
        log.append(line)
        if found := re.search(r"serving on http://\S+:(\d+) ", line):
            break
    else:
        raise AssertionError("".join(log))
    server = Server(process, int(found[1]), log)
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield server
    finally:
        if process.poll() is None:
            server.end()
        reader.join(10)
