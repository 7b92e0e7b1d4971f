"""A Hub on this machine, with the few addresses that fetching a model or a file asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Repositories by name, each a mapping from path to content; those in `gated` want the token `hf_good`."""

    def __init__(self, repositories: dict[str, dict[str, bytes]], gated: tuple[str, ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories = repositories
        self.gated = gated
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Answers as the Hub does: information about a repository, and its files."""

    server: Hub

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path).strip("/")
        self.server.asked.append(path)
        about = path.startswith("api/")
        words = path.removeprefix("api/").removeprefix("models/").removeprefix("datasets/").split("/")
        name = "/".join(words[:2])
        if name not in self.server.repositories:
            return self.refuse(404, "RepoNotFound")
        if name in self.server.gated and self.headers.get("Authorization") != "Bearer hf_good":
            return self.refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        files = self.server.repositories[name]
        if about:
            listed = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
            listed |= {"tags": [], "downloads": 0, "likes": 0, "private": False, "type": "file"}
            if words[2:3] == ["tree"]:
                rows = [{"type": "file", "path": file, "size": len(files[file]), "oid": "0" * 40} for file in files]
                return self.give(json.dumps(rows).encode(), "application/json")
            return self.give(json.dumps(listed).encode(), "application/json")
        file = "/".join(words[4:])
        if file not in files:
            return self.refuse(404, "EntryNotFound")
        return self.give(files[file], "application/octet-stream")

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"Access to the repository is refused: {code}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@contextmanager
def serving(repositories: dict[str, dict[str, bytes]], gated: tuple[str, ...] = ()) -> Iterator[Hub]:
    """Serve repositories until the block ends."""
    hub = Hub(repositories, gated)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
