"""The server itself: one process that reads requests, and one pool of sandbox workers that run their cases.

Nothing of a program comes into this process but what its verdict says, which is text of a bounded size. A request is
held in memory until it is answered; `queue` and `MOST_HELD` bound how much that can be.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from selfcodealign.errors import UserError
from selfcodealign.sandbox.pool import Pool
from selfcodealign.serving import forms
from selfcodealign.serving.forms import Asked, Refused
from selfcodealign.serving.settings import Serve

log = logging.getLogger(__name__)

FORMS: dict[str, Callable[[Any, Serve], Asked]] = {
    "/run": forms.own_rows,
    "/run_code": forms.run_code,
    "/test_program": forms.test_program,
    "/test_program_stdio": forms.test_program_stdio,
}
"""Paths, and what is read from a request to each."""

AHEAD = 4
"""Cases for each worker that are in the pool; the others wait here, where a client that hangs up takes them along."""
MOST_HELD = 16
"""Bodies of the largest size that are held at the same time; smaller ones may be more."""
RETRY_S = 1
"""When a client that was turned away may come again."""
HUNG_UP = 499
"""Status for the log of a request whose client is gone; nobody reads it."""


def run(settings: Serve) -> None:
    """Listen until SIGTERM or SIGINT, then finish what was accepted, at most for `stop_s`.

    Raises:
        UserError: the address is taken, no isolation works here, or workers no longer start.
    """
    token = settings.token()
    with listening(settings) as listener, Pool(settings.sandbox()) as pool:
        desk = Desk(settings, pool)
        config = uvicorn.Config(
            application(desk, token),
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=settings.stop_s,
        )
        server = uvicorn.Server(config)
        desk.stop = lambda: setattr(server, "should_exit", True)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        with ended_by_signals(desk.stop):
            log.info(
                "serving on http://%s:%d with %d workers%s",
                *(shown, port, settings.workers, "" if token else ", no token"),
            )
            server.run(sockets=[listener])
    if desk.broken:
        raise UserError(desk.broken)
    log.info("stopped")


@contextlib.contextmanager
def listening(settings: Serve) -> Iterator[socket.socket]:
    """Open the socket, before anything that takes time.

    Raises:
        UserError: the address is taken, or not of this machine.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"--host {settings.host} --port {settings.port}: {why}; choose another") from None
    with listener:
        yield listener


@contextlib.contextmanager
def ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop a server and nothing else.

    uvicorn has handlers of its own only while it runs: one that comes before must not be lost, and those that it took
    it raises again once it has stopped.
    """
    before = {one: signal.signal(one, lambda *_: stop()) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def application(desk: "Desk", token: str | None) -> ASGIApp:
    """Build the application: paths, errors in one form, and who may ask."""
    routes = [Route(path, desk.serves(form), methods=["POST"]) for path, form in FORMS.items()]
    routes.append(Route("/health", desk.health, methods=["GET"]))
    wrong: dict[Any, Any] = {HTTPException: _http_error, Exception: _fault}
    return Guard(Starlette(routes=routes, exception_handlers=wrong), token)


class Guard:
    """Turn away who has no token, and pages in a browser; `/health` is open to all but pages.

    Args:
        app: the application behind it.
        token: what `Authorization: Bearer` must bring; None lets everybody in.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self.token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request's headers before anything of it is read."""
        headers = Headers(scope=scope)
        if "origin" in headers:
            # Another site's page could otherwise reach a server on the loopback of whoever reads it.
            answer = told(403, "pages in a browser are not served; ask from a program")
        elif self.token is not None and scope["path"] != "/health" and not self._knows(headers):
            answer = told(401, "the token is missing or wrong; send Authorization: Bearer TOKEN")
            answer.headers["WWW-Authenticate"] = "Bearer"
        else:
            await self.app(scope, receive, send)
            return
        await answer(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self.token or b"")
        return right and kind.lower() == "bearer"


class Desk:
    """What is asked, what waits, and the pool that answers.

    Args:
        settings: what is allowed.
        pool: the workers.
    """

    def __init__(self, settings: Serve, pool: Pool) -> None:
        self.settings, self.pool = settings, pool
        self.cases = 0  # accepted, without a verdict
        self.held = 0  # bytes of bodies
        self.slots = asyncio.Semaphore(AHEAD * settings.workers)
        self.broken = ""
        self.stop: Callable[[], None] = lambda: None

    async def health(self, _: Request) -> Response:
        """Say whether cases are run, and how many wait."""
        if self.broken:
            return told(503, self.broken)
        now = {"workers": self.settings.workers, "cases": self.cases, "queue": self.settings.queue}
        return json_response({"status": "healthy", **now})

    def serves(self, form: Callable[[Any, Serve], Asked]) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers requests of one form."""

        async def served(request: Request) -> Response:
            sizes: list[int] = []
            try:
                body = await self.body(request, sizes)
                asked = form(body, self.settings)
                return json_response(asked.answer(await self.verdicts(request, asked.cases)))
            except Refused as error:
                return told(error.status, error.sentence, error.headers)
            except ClientDisconnect:
                return Response(status_code=HUNG_UP)
            except UserError as error:
                self.broken = str(error)
                log.error("%s", error)
                self.stop()
                return told(500, self.broken)
            finally:
                self.held -= sum(sizes)

        return served

    async def body(self, request: Request, sizes: list[int]) -> Any:
        """Read a request's JSON, noting the sizes of what is held of it.

        Raises:
            Refused: it is too large, too much is held already, or it is no JSON.
        """
        most = self.settings.max_request_mb << 20
        too_large = Refused(413, f"a request may have {self.settings.max_request_mb} MB (--max-request-mb); send less")
        if int(request.headers.get("content-length", "0")) > most:
            raise too_large
        parts = []
        async for part in request.stream():
            if self.held + len(part) > MOST_HELD * most:
                raise busy("too much is held for other requests")
            sizes.append(len(part))
            self.held += len(part)
            parts.append(part)
            if sum(sizes) > most:
                raise too_large
        try:
            return json.loads(b"".join(parts))
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the request is not JSON ({str(error)[:100]})") from None

    async def verdicts(self, request: Request, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run cases and return their verdicts in the same order.

        Raises:
            Refused: they do not fit in the queue.
            ClientDisconnect: nobody waits for them any more; those that run go on, the others are forgotten.
            UserError: the pool has ended.
        """
        if len(cases) > self.settings.queue:
            raise Refused(413, f"{len(cases)} cases are more than the queue takes ({self.settings.queue}); send fewer")
        if self.cases + len(cases) > self.settings.queue:
            raise busy(f"{self.cases} cases run or wait")
        self.cases += len(cases)
        running = [asyncio.ensure_future(self.verdict(case)) for case in cases]
        for one in running:
            one.add_done_callback(self._leave)
        every = asyncio.gather(*running)
        gone = asyncio.ensure_future(hung_up(request))
        try:
            await asyncio.wait({every, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not every.done():
                raise ClientDisconnect
            return every.result()
        finally:
            gone.cancel()
            every.cancel()

    def _leave(self, _: object) -> None:
        self.cases -= 1

    async def verdict(self, case: dict[str, Any]) -> dict[str, Any]:
        """Wait for a place in the pool, and for the verdict."""
        await self.slots.acquire()
        loop = asyncio.get_running_loop()
        try:
            future = self.pool.submit(case)
        except UserError:
            self.slots.release()
            raise

        def freed(_: Future[dict[str, Any]]) -> None:
            with contextlib.suppress(RuntimeError):  # The loop has ended, and nobody waits.
                loop.call_soon_threadsafe(self.slots.release)

        future.add_done_callback(freed)
        # A client that hangs up must not cancel what the pool is about to answer.
        return await asyncio.shield(asyncio.wrap_future(future))


def busy(why: str) -> Refused:
    """Say that a request should come again."""
    return Refused(503, f"{why}; come again in {RETRY_S} s", {"Retry-After": str(RETRY_S)})


async def hung_up(request: Request) -> None:
    """Wait until the client of a request that was read is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON in ASCII, which any text of a program fits in."""
    return Response(json.dumps(value), status, headers, "application/json")


def told(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with one sentence, under the key that clients of FastAPI servers read."""
    return json_response({"detail": sentence}, status, headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = ", ".join([*FORMS, "/health"])
    return told(error.status_code, f"{error.detail}; this server has {known}", dict(error.headers or {}))


async def _fault(_: Request, error: Exception) -> Response:
    return told(500, f"the server failed ({type(error).__name__}); its log has more")
