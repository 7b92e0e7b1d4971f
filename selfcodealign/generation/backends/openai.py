"""Ask any server that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp, a commercial teacher.

Many requests are in flight and each finished answer is handed on at once. Errors that may pass (429, 5xx, broken or
nonsensical bodies, timeouts) are tried again with growing waits; a request refused for its content fails with
its reason; a server that is not there, or fails request after request, ends the job, whose next run goes on.
"""

import asyncio
import json
import logging
import os
import queue
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2 as httpx

from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Completion, Request, Sampling, Scores
from selfcodealign.generation.settings import EngineSettings, ModelSettings

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 60.0
TOP_LOGPROBS = 20
"""Candidates whose log-probability a server is asked for: the most that common servers give."""

FINISHED = {"stop", "eos_token", "eos", "end_turn"}
"""What servers call an answer that ended by itself (the reference accepts the first two)."""

CONTEXT_LIMIT = re.compile(r"maximum (?:context|model) length (?:is|of) (\d+)")
PROMPT_TOKENS = re.compile(
    r"(\d+) (?:input tokens|in the (?:messages|prompt)|prompt tokens)|contains (?:at least )?(\d+)"
)


class Refused(Exception):
    """The server will never answer this request; carries a drop reason and the server's words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Passing(Exception):
    """Something went wrong that may pass; `wait_s` is how long the server asked to be left alone."""

    def __init__(self, reason: str, detail: str, wait_s: float = 0.0) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.wait_s = wait_s


class TooLong(Exception):
    """Prompt and answer together exceed the context, but a shorter answer fits."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room


@dataclass
class Unit:
    """Requests of one prompt that are sent as one, under the first one's seed."""

    requests: list[Request]

    @property
    def prompt(self) -> str:
        """Return the prompt."""
        return self.requests[0].prompt


class OpenAIBackend:
    """Talk to a server at `engine.base_url`; see the module's docstring."""

    def __init__(self, model: ModelSettings, engine: EngineSettings) -> None:
        if not engine.base_url:
            raise UserError("engine.base_url is empty; name the server, for example http://localhost:8000/v1")
        self.model = model.name
        self.engine = engine
        self.url = engine.base_url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if (key := _key(engine.api_key_env)) else {}
        # The client library reports every request; with a hundred thousand of them that drowns the log.
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    @property
    def shown_url(self) -> str:
        """Return the server's address without user name and password, for messages."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def close(self) -> None:
        """Do nothing: connections live as long as a call of `complete` or `score`."""

    def complete(
        self, requests: Iterable[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[Completion]:
        """Answer requests; see `Backend`."""

        async def answer(client: Client, unit: Unit) -> list[Completion]:
            return await self._complete(client, unit, sampling)

        def failure(request: Request, reason: str, detail: str) -> Completion:
            return Completion(request.id, finish_reason="failed", reason=reason, detail=detail)

        return self._run(self._units(requests, done), answer, failure, done)

    def score(
        self, requests: Iterable[Request], candidates: Sequence[str], done: Container[str] = ()
    ) -> Iterator[Scores]:
        """Score candidate continuations of each prompt; see `Backend`.

        A candidate outside the server's most likely tokens gets the lowest log-probability that the server gave, which
        is more than its own.
        """

        async def answer(client: Client, unit: Unit) -> list[Scores]:
            return [await self._score(client, unit.requests[0], candidates)]

        def failure(request: Request, reason: str, detail: str) -> Scores:
            return Scores(request.id, reason=reason, detail=detail)

        units = (Unit([request]) for request in requests if request.id not in done)
        return self._run(units, answer, failure, done)

    def _units(self, requests: Iterable[Request], done: Container[str]) -> Iterator[Unit]:
        """Put the samples of a prompt together, as many as are asked for at once, whatever is done already."""
        size = self.engine.samples_per_request
        if size == 1:
            yield from (Unit([request]) for request in requests if request.id not in done)
            return
        for _, same in groupby(requests, key=lambda request: request.id.rpartition("/")[0]):
            while together := list(islice(same, size)):
                if any(request.id not in done for request in together):
                    yield Unit(together)

    def _run(
        self,
        units: Iterator[Unit],
        answer: Callable[["Client", Unit], Awaitable[list[Any]]],
        failure: Callable[[Request, str, str], Any],
        done: Container[str],
    ) -> Iterator[Any]:
        """Drive the asynchronous client from a thread of its own and yield results as they come."""
        # Bounded, so that a slow reader holds the client back and memory stays flat.
        results: queue.Queue[Any] = queue.Queue(maxsize=4 * self.engine.concurrency)
        loop = asyncio.new_event_loop()
        end = object()

        async def put(item: Any) -> None:
            while True:
                try:
                    return results.put_nowait(item)
                except queue.Full:
                    await asyncio.sleep(0.01)

        async def work() -> None:
            try:
                await self._drive(units, answer, failure, put)
                await put(end)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                await put(_first(error))

        task = loop.create_task(work())

        def serve() -> None:
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()

        thread = threading.Thread(target=serve, name="openai-client", daemon=True)
        thread.start()
        try:
            while (item := results.get()) is not end:
                if isinstance(item, BaseException):
                    raise item
                if item.id not in done:
                    yield item
        finally:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
            thread.join()

    async def _drive(
        self,
        units: Iterator[Unit],
        answer: Callable[["Client", Unit], Awaitable[list[Any]]],
        failure: Callable[[Request, str, str], Any],
        put: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Keep `concurrency` requests in flight until the units are used up or the server is given up."""
        patience = max(8, self.engine.concurrency)
        # Failures wait here until an answer shows that the server lives; only then they are the rows' own fault.
        suspects: list[Any] = []

        async def worker(client: Client) -> None:
            for unit in units:
                try:
                    finished = await answer(client, unit)
                except Refused as error:
                    finished = [failure(request, error.reason, error.detail) for request in unit.requests]
                except Passing as error:
                    suspects.extend(failure(request, error.reason, error.detail) for request in unit.requests)
                    if len(suspects) >= patience or not client.answered:
                        raise UserError(
                            f"the server at {self.shown_url} failed {len(suspects)} requests in a row "
                            f"({error.detail}); when it works again, run the job again: finished answers are kept"
                        ) from error
                    continue
                client.answered += 1
                ready = [*suspects, *finished]
                suspects.clear()
                for item in ready:
                    await put(item)

        async with self._client() as client, asyncio.TaskGroup() as group:
            for _ in range(self.engine.concurrency):
                group.create_task(worker(client))
        for item in suspects:
            await put(item)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator["Client"]:
        limits = httpx.Limits(max_connections=self.engine.concurrency)
        # A proxy named in the environment is for the world outside, not for a server on this machine.
        outside = urlsplit(self.url).hostname not in ("localhost", "127.0.0.1", "::1")
        # Certificates take a tenth of a second to load, and a server without encryption has none.
        verify = not self.url.startswith("http://") or outside
        async with httpx.AsyncClient(
            headers=self.headers, limits=limits, timeout=None, trust_env=outside, verify=verify
        ) as http:
            yield Client(http, self.engine)

    async def _complete(self, client: "Client", unit: Unit, sampling: Sampling) -> list[Completion]:
        body = self._body(unit.prompt) | {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stop": list(sampling.stop),
        }
        texts: list[tuple[str, str]] = []
        tokens_in = tokens_out = 0
        # Some servers ignore `n`: what is missing is asked for again under the next sample's seed.
        while len(texts) < len(unit.requests):
            first = unit.requests[len(texts)]
            missing = len(unit.requests) - len(texts)
            data = await self._post(client, body | {"seed": first.seed, "n": missing}, read_choices)
            texts += data.texts[:missing]
            tokens_in = data.tokens_in
            tokens_out += data.tokens_out
        return completions(unit.requests, texts, sampling.stop, tokens_in, tokens_out)

    async def _score(self, client: "Client", request: Request, candidates: Sequence[str]) -> Scores:
        body = self._body(request.prompt) | {"max_tokens": 1, "temperature": 0}
        if self.engine.api == "chat":
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        else:
            body |= {"logprobs": TOP_LOGPROBS}
        tokens_in, top = await self._post(client, body, read_logprobs)
        return Scores(request.id, tuple(logprob_of(candidate, top) for candidate in candidates), tokens_in)

    def _body(self, prompt: str) -> dict[str, Any]:
        if self.engine.api == "chat":
            return {"model": self.model, "messages": [{"role": "user", "content": prompt}]}
        return {"model": self.model, "prompt": prompt}

    async def _post(self, client: "Client", body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        """Send a request until it is answered, refused, or has failed too often."""
        path = "/chat/completions" if self.engine.api == "chat" else "/completions"
        attempt = 0
        while True:
            try:
                return read(await self._once(client, self.url + path, body))
            except TooLong as error:
                if error.room < 1 or error.room >= body["max_tokens"]:
                    raise Refused("prompt_too_long", "the prompt leaves no room in the server's context") from error
                body = body | {"max_tokens": error.room}
            except Passing as error:
                attempt += 1
                # A server that never answered and takes no connection is probably not there at all.
                absent = error.reason == "server_unreachable" and not client.answered
                if attempt > (min(2, self.engine.retries) if absent else self.engine.retries):
                    raise
                backoff = min(self.engine.backoff_s * 2 ** (attempt - 1), LONGEST_WAIT_S)
                # Spread out, so that requests that failed together do not all come back together.
                await asyncio.sleep(max(min(error.wait_s, LONGEST_WAIT_S), backoff * random.uniform(0.5, 1.0)))

    async def _once(self, client: "Client", url: str, body: dict[str, Any]) -> Any:
        """Send a request once and return the decoded body.

        Raises:
            UserError: no retry can help: wrong address, wrong key, unknown model.
            Refused: the server will not answer this prompt.
            TooLong: it would with fewer tokens to write.
            Passing: another try may succeed.
        """
        await client.turn()
        try:
            async with asyncio.timeout(self.engine.timeout_s):
                response = await client.http.post(url, json=body)
        except TimeoutError as error:
            raise Passing("server_timeout", f"no answer within {self.engine.timeout_s:g} s") from error
        except httpx.ConnectError as error:
            raise Passing("server_unreachable", "no connection") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise UserError(f"engine.base_url {self.shown_url!r} is no address of a server: {error}") from error
        except httpx.HTTPError as error:
            raise Passing("server_error", f"{type(error).__name__}: {error}") from error
        if response.status_code == 200:
            try:
                return response.json()
            except ValueError as error:
                raise Passing("malformed_answer", "the server's answer is not JSON") from error
        self._judge_status(response)
        raise AssertionError("unreachable")

    def _judge_status(self, response: httpx.Response) -> None:
        status, words = response.status_code, _words(response)
        if status in (401, 403):
            hint = f"the key in {self.engine.api_key_env}" if self.engine.api_key_env else "engine.api_key_env"
            raise UserError(f"the server at {self.shown_url} refuses access ({status}); check {hint}")
        if status == 404:
            raise UserError(f"the server at {self.shown_url} knows no model {self.model!r} or no such address: {words}")
        if status in (408, 409, 425, 429) or status >= 500:
            raise Passing("server_error", f"status {status}: {words}", _retry_after(response))
        limit, prompt = CONTEXT_LIMIT.search(words), PROMPT_TOKENS.search(words)
        if limit:
            length = int(prompt[1] or prompt[2]) if prompt else int(limit[1])
            raise TooLong(int(limit[1]) - length)
        raise Refused("refused_by_server", f"status {status}: {words}")


class Client:
    """Connections, the pace of requests, and whether the server ever answered."""

    def __init__(self, http: httpx.AsyncClient, engine: EngineSettings) -> None:
        self.http = http
        self.answered = 0
        self._gap_s = 60 / engine.requests_per_minute if engine.requests_per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for this request's turn under the rate limit."""
        if self._gap_s:
            now = time.monotonic()
            self._next = max(now, self._next + self._gap_s)
            await asyncio.sleep(self._next - now)


@dataclass(frozen=True)
class Choices:
    """What a server answered: (text, finish reason) of each choice, and token counts of all."""

    texts: list[tuple[str, str]]
    tokens_in: int
    tokens_out: int


def read_choices(data: Any) -> Choices:
    """Check an answer and take out what is needed.

    Raises:
        Passing: the answer has another form.
    """
    try:
        texts = []
        for choice in data["choices"]:
            text = choice["text"] if "text" in choice else choice["message"]["content"]
            reason = choice["finish_reason"]
            if not isinstance(text, str) or not isinstance(reason, str):
                raise TypeError("text or finish reason is missing")
            texts.append((text, reason))
        if not texts:
            raise ValueError("no choices")
        usage = data.get("usage") or {}
        return Choices(texts, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Passing("malformed_answer", f"the server's answer has another form ({error})") from error


def read_logprobs(data: Any) -> tuple[int, dict[str, float]]:
    """Return prompt tokens and the log-probabilities of the likeliest next tokens.

    Raises:
        Passing: the answer has another form.
    """
    try:
        logprobs = data["choices"][0]["logprobs"]
        if "top_logprobs" in logprobs:
            top = {str(token): float(value) for token, value in logprobs["top_logprobs"][0].items()}
        else:
            top = {str(item["token"]): float(item["logprob"]) for item in logprobs["content"][0]["top_logprobs"]}
        if not top:
            raise ValueError("no tokens")
        return int((data.get("usage") or {}).get("prompt_tokens") or 0), top
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Passing("malformed_answer", f"the server's answer has no log-probabilities ({error})") from error


def logprob_of(candidate: str, top: dict[str, float]) -> float:
    """Return a candidate's log-probability, or the lowest given one if it is not among them."""
    exact = [value for token, value in top.items() if token == candidate]
    same = [value for token, value in top.items() if token.strip() == candidate.strip()]
    return max(exact or same or [min(top.values())])


def completions(
    requests: list[Request], texts: list[tuple[str, str]], stops: Sequence[str], tokens_in: int, tokens_out: int
) -> list[Completion]:
    """Give each request its choice.

    A server counts the tokens of all choices together; they are shared out by length of text.
    """
    total = sum(len(text) for text, _ in texts) or 1
    out, given, seen = [], 0, 0
    for request, (text, reason) in zip(requests, texts, strict=True):
        seen += len(text)
        until = tokens_out * seen // total if len(texts) > 1 else tokens_out
        finish = "stop" if reason in FINISHED else reason
        cut = min((place for place in map(text.find, stops) if place >= 0), default=-1)
        if cut >= 0:
            text, finish = text[:cut], "stop"
        out.append(Completion(request.id, text, finish, tokens_in, until - given))
        given = until
    return out


def _first(error: BaseException) -> BaseException:
    """Return the error itself, or the first of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "")
    if not key:
        raise UserError(
            f"the environment variable {variable} (engine.api_key_env) is not set; it must hold the API key"
        )
    return key


def _words(response: httpx.Response) -> str:
    """Return the server's own explanation, shortened."""
    try:
        data = response.json()
        error = data.get("error", data) if isinstance(data, dict) else data
        text = error.get("message", error) if isinstance(error, dict) else error
    except (json.JSONDecodeError, ValueError):
        text = response.text
    return " ".join(str(text).split())[:300]


def _retry_after(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
