"""A stand-in for an OpenAI-compatible server: quick, repeatable, and as hostile as asked.

Run as a script it serves until it is ended: `python tests/stub_server.py PORT [WAIT_S]`.
"""

import asyncio
import contextlib
import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Reply = tuple[int | str, Any] | tuple[int, Any, str]
"""A status, or a way of misbehaving; a message, a whole body as an object or as bytes; further headers."""

HOSTILITIES = ("429", "500", "half_body", "wrong_json", "not_json", "nothing", "silence")


def answer_text(prompt: str, seed: int) -> str:
    """Answer in the form that the end of a prompt asks for; a function of prompt and seed."""
    mark = hashlib.sha256(f"{prompt}\0{seed}".encode()).hexdigest()
    if prompt.endswith("### Concepts"):
        return f"\nconcept {mark[:4]}, concept {mark[4:8]}\n\n"
    if prompt.endswith("### Task"):
        return f"\nWrite a function `make_{mark[:6]}` that returns the text {mark[:6]}.\n\n"
    if prompt.endswith("<response>"):
        code = f'def make():\n    return "{mark[:6]}"'
        tests = f'assert make() == "{mark[:6]}"'
        return f"\nReturn it.\n\n```python\n{code}\n```\n</response>\n\n<tests>\n```python\n{tests}\n```\n"
    return f" answer {mark[:6]}"


@dataclass
class Stub:
    """State of a server: what it was asked and how it behaves."""

    hostile: tuple[str, ...] = ()
    """What the first tries of each request meet, in this order; the try after them succeeds."""
    wait_s: float = 0.0
    refuse: Callable[[dict[str, Any]], "Reply | None"] = lambda body: None
    """What is said to requests that are not simply answered."""
    ignore_n: bool = False
    key: str = ""
    url: str = ""
    tries: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keep_bodies: bool = True
    in_flight: int = 0
    most_in_flight: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
                body = json.loads(await reader.readexactly(int(fields.get("content-length", 0))) or b"{}")
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    alive = await self.respond(writer, body, fields.get("authorization", ""))
                finally:
                    self.in_flight -= 1
                await writer.drain()
                if not alive:
                    break
        writer.close()

    async def respond(self, writer: asyncio.StreamWriter, body: dict[str, Any], key: str) -> bool:
        """Write one response; False ends the connection."""
        if self.keep_bodies:
            self.bodies.append(body)
        if self.wait_s:
            await asyncio.sleep(self.wait_s)
        if self.key and key != f"bearer {self.key}".lower():
            return send(writer, 401, {"error": {"message": "invalid key"}})
        if reply := self.refuse(body):
            status, said, *headers = reply
            if isinstance(status, str):
                return await self.attack(writer, status)
            return send(writer, status, {"error": {"message": said}} if isinstance(said, str) else said, *headers)
        if self.hostile:
            name = f"{body.get('prompt', body.get('messages'))}/{body.get('seed')}"
            attempt = self.tries[name]
            self.tries[name] += 1
            if attempt < len(self.hostile):
                return await self.attack(writer, self.hostile[attempt])
        return send(writer, 200, self.answer(body))

    async def attack(self, writer: asyncio.StreamWriter, kind: str) -> bool:
        """Misbehave in one way."""
        if kind == "429":
            return send(writer, 429, {"error": {"message": "slow down"}}, "Retry-After: 0.01\r\n")
        if kind == "500":
            return send(writer, 500, {"error": {"message": "out of order"}})
        if kind == "half_body":
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": [{"te')
            return False
        if kind == "wrong_json":
            return send(writer, 200, {"choices": [{"text": None, "finish_reason": 7}]})
        if kind == "not_json":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
            return True
        if kind == "silence":
            await asyncio.sleep(3600)
        return False  # nothing: the connection ends without a word

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer as vLLM does."""
        chat = "messages" in body
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        if body.get("logprobs"):
            odds = {" Yes": -0.25, " No": -1.5} if '"""' in prompt.rpartition("### Function")[2] else {" no": -0.5}
            return {"choices": [{"logprobs": {"top_logprobs": [odds]}}], "usage": {"prompt_tokens": 7}}
        choices = []
        for number in range(1 if self.ignore_n else body.get("n", 1)):
            text = answer_text(prompt, body.get("seed", 0) + number)
            choice = {"message": {"content": text}} if chat else {"text": text}
            choices.append({"index": number, "finish_reason": "stop", **choice})
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": 5 * len(choices)}
        return {"choices": choices, "usage": usage}


def send(writer: asyncio.StreamWriter, status: int, body: Any, extra: str = "") -> bool:
    """Write a whole response."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
    writer.write(head.encode() + data)
    return True


@contextlib.contextmanager
def running(**behaviour: Any) -> Iterator[Stub]:
    """Serve from a thread of this process while the block runs."""
    stub = Stub(**behaviour)
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def main() -> None:
        server = await asyncio.start_server(stub.serve, "127.0.0.1", 0, limit=2**24)
        stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        async with server:
            await server.serve_forever()

    task = loop.create_task(main())

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield stub
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)


async def forever(port: int, wait_s: float) -> None:
    """Serve until the process is ended."""
    stub = Stub(wait_s=wait_s, keep_bodies=False)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", port, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(forever(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
