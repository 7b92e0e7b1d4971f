"""Ask any server that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp, a commercial teacher.

Many requests are in flight and each finished answer is handed on at once. What may pass (429, 5xx, timeouts, broken or
nonsensical bodies) is tried again with growing waits. Whose fault a failure is, a rule decides that looks at no words:

* a failed row waits; once the server has answered another row *that was asked later*, a refusal is the row's own and is
  given back with its reason, and what may pass is asked a second time before it counts as the row's own;
* where no other row tells, a neutral question under the same settings does;
* eight rows (or `concurrency`) that failed while none was answered, or a neutral question that fails, end the job with
  the server's words. Nothing of what waits is recorded, so that the next run asks it again.

Wrong keys, empty accounts and unknown models end the job at once.
"""

import asyncio
import itertools
import json
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from aiohttp import ClientConnectorError, ClientError, ConnectionTimeoutError
from openai import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    AsyncOpenAI,
    DefaultAioHttpClient,
    OpenAIError,
    Timeout,
)

from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Completion, Request, Sampling, Scores
from selfcodealign.generation.backends.answers import completions, logprob_of, read_choices, read_logprobs
from selfcodealign.generation.backends.refusals import ACCOUNT, Failed, TooLong, retry_after, too_long, words_of
from selfcodealign.generation.settings import EngineSettings, ModelSettings

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 60.0
CONNECT_S = 30.0
TOP_LOGPROBS = 20
"""Candidates whose log-probability a server is asked for: the most that common servers give."""

FEW = 8
"""Rows that may all fail by accident; more than that, with none answered, is the server."""

MOST_SHORTENED = 4
"""Times that a request is sent again with fewer tokens to write."""


@dataclass(eq=False)
class Unit:
    """Requests of one prompt that are sent as one, under the first one's seed."""

    requests: list[Request]
    again: bool = False
    """It failed before, while others were answered."""

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
        self._key = _key(engine.api_key_env)
        self.in_flight = 0
        # The library below reports every request; with a hundred thousand of them that drowns the log.
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    @property
    def shown_url(self) -> str:
        """Return the server's address without user name and password, for messages."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def doing(self) -> str:
        """Say how many requests wait for the server; see `Backend`."""
        return f"{self.in_flight} requests wait for an answer"

    def close(self) -> None:
        """Do nothing: connections live as long as a call of `complete` or `score`."""

    def connect(self) -> AsyncOpenAI:
        """Open the connections that one call uses."""
        # A proxy named in the environment is for the world outside, not for a server on this machine.
        outside = urlsplit(self.url).hostname not in ("localhost", "127.0.0.1", "::1")
        # Certificates take a tenth of a second to load, and a server without encryption has none.
        http = DefaultAioHttpClient(trust_env=outside, verify=not self.url.startswith("http://") or outside)
        # Its own retries know neither the rate limit nor answers that make no sense, so they are ours. Without a key it
        # would take the one of another server from the environment.
        return AsyncOpenAI(
            base_url=self.url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=Timeout(self.engine.timeout_s, connect=min(CONNECT_S, self.engine.timeout_s)),
            http_client=http,
        )

    def complete(
        self, requests: Iterable[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[Completion]:
        """Answer requests; see `Backend`."""

        async def answer(call: "Call", unit: Unit) -> list[Completion]:
            return await self._complete(call, unit, sampling)

        def failure(request: Request, error: Failed) -> Completion:
            return Completion(request.id, finish_reason="failed", reason=error.reason, detail=error.detail)

        return self._run(self._units(requests, done), answer, failure, done)

    def score(
        self, requests: Iterable[Request], candidates: Sequence[str], done: Container[str] = ()
    ) -> Iterator[Scores]:
        """Score candidate continuations of each prompt; see `Backend`.

        A candidate outside the server's most likely tokens gets the lowest log-probability that the server gave, which
        is more than its own.
        """

        async def answer(call: "Call", unit: Unit) -> list[Scores]:
            return [await self._score(call, unit.requests[0], candidates)]

        def failure(request: Request, error: Failed) -> Scores:
            return Scores(request.id, reason=error.reason, detail=error.detail)

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
        answer: Callable[["Call", Unit], Awaitable[list[Any]]],
        failure: Callable[[Request, Failed], Any],
        done: Container[str],
    ) -> Iterator[Any]:
        """Run the asynchronous client while somebody waits for a result, and yield results as they come."""
        results: asyncio.Queue[Any] = asyncio.Queue()
        end = object()

        async def next_results() -> list[Any]:
            found = [await results.get()]
            while not results.empty():
                found.append(results.get_nowait())
            return found

        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            call = Call(self, units, answer, failure, results.put_nowait)
            task = loop.create_task(call.run())
            task.add_done_callback(lambda _: results.put_nowait(end))
            while True:
                for item in loop.run_until_complete(next_results()):
                    if item is end:
                        try:
                            return task.result()
                        except BaseExceptionGroup as error:
                            raise _first(error) from None
                    if item.id not in done:
                        yield item

    async def _complete(self, call: "Call", unit: Unit, sampling: Sampling) -> list[Completion]:
        engine = self.engine
        body = {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stop": list(sampling.stop),
        }
        if engine.max_completion_tokens:
            del body["max_tokens"]
            body["max_completion_tokens"] = engine.max_completion_tokens
        if engine.top_k:
            body["top_k"] = engine.top_k
        if engine.min_p:
            body["min_p"] = engine.min_p
        texts: list[tuple[str, str, str]] = []
        tokens_in = tokens_out = 0
        # Some servers ignore `n`: what is missing is asked for again under the next sample's seed.
        while len(texts) < len(unit.requests):
            first = unit.requests[len(texts)]
            missing = len(unit.requests) - len(texts)
            data = await self._post(call, unit.prompt, body | {"seed": first.seed, "n": missing}, read_choices)
            texts += data.texts[:missing]
            tokens_in = data.tokens_in
            tokens_out += data.tokens_out
        return completions(unit.requests, texts, sampling.stop, tokens_in, tokens_out)

    async def _score(self, call: "Call", request: Request, candidates: Sequence[str]) -> Scores:
        chat = {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        body = {"max_tokens": 1, "temperature": 0} | (chat if self.engine.api == "chat" else {"logprobs": TOP_LOGPROBS})
        tokens_in, top = await self._post(call, request.prompt, body, read_logprobs)
        return Scores(request.id, tuple(logprob_of(candidate, top) for candidate in candidates), tokens_in)

    async def _post(self, call: "Call", prompt: str, body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        """Send a request until it is answered, refused, or has failed too often."""
        engine = self.engine
        chat = engine.api == "chat"
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        if engine.chat_template_kwargs:
            asked["chat_template_kwargs"] = engine.chat_template_kwargs
        body = {"model": self.model} | asked | body | engine.extra_body
        body = {key: value for key, value in body.items() if value is not None}
        limit = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        failed = shortened = 0
        while True:
            try:
                return read(await self._once(call, body, limit))
            except TooLong as error:
                shortened += 1
                if error.room < 1 or shortened > MOST_SHORTENED:
                    raise Failed("prompt_too_long", error.words, own=error.counted) from error
                body[limit] = error.room
            except Failed as error:
                failed += 1
                # A server that never answered and takes no connection is probably not there at all.
                absent = error.reason == "server_unreachable" and not call.answered
                if not error.may_pass or failed > (min(2, engine.retries) if absent else engine.retries):
                    raise
                backoff = min(engine.backoff_s * 2 ** (failed - 1), LONGEST_WAIT_S)
                # Spread out, so that requests that failed together do not all come back together.
                await asyncio.sleep(max(min(error.wait_s, LONGEST_WAIT_S), backoff * random.uniform(0.5, 1.0)))

    async def _once(self, call: "Call", body: dict[str, Any], limit: str) -> Any:
        """Send a request once and return the decoded body.

        Raises:
            UserError: neither a retry nor another row can help: wrong key, empty account, unknown model.
            Failed: no answer.
            TooLong: there is one with fewer tokens to write.
        """
        await call.turn()
        path = "/chat/completions" if self.engine.api == "chat" else "/completions"
        try:
            async with asyncio.timeout(self.engine.timeout_s):
                # As text: whatever the server calls its answer, it must be JSON.
                return json.loads(await call.http.post(path, body=body, cast_to=str))
        except UnicodeEncodeError:
            raise Failed("not_text", "the prompt holds half of a surrogate pair", own=True) from None
        except APIStatusError as error:
            raise self._fault(error, body.get(limit)) from None
        except (TimeoutError, APIConnectionError) as error:
            reason, words = _unanswered(error, self.engine.timeout_s)
        except (ValueError, APIResponseValidationError):
            reason, words = "malformed_answer", "the server's answer is not JSON"
        except OpenAIError as error:
            reason, words = "server_error", type(error).__name__
        raise Failed(reason, words, may_pass=True)

    def _fault(self, error: APIStatusError, asked: Any) -> Exception:
        """Say what a status other than 200 means."""
        status, words = error.status_code, self._hidden(words_of(error.body, error.response.text))
        if status == 401:
            hint = f"the key in {self.engine.api_key_env}" if self.engine.api_key_env else "engine.api_key_env"
            return UserError(f"the server at {self.shown_url} refuses access ({status}: {words}); check {hint}")
        if status == 402 or ACCOUNT.search(f"{error.code} {error.type} {words}"):
            return UserError(
                f"the account at {self.shown_url} does not pay for this ({status}: {words}); when it does, run the job "
                "again: finished answers are kept"
            )
        if status in (404, 405):
            return UserError(
                f"the server at {self.shown_url} knows no model {self.model!r} or no such address: {words}"
            )
        if status in (408, 409, 425, 429) or status >= 500:
            wait_s = retry_after(error.response.headers.get("retry-after", ""))
            return Failed("server_error", f"status {status}: {words}", may_pass=True, wait_s=wait_s)
        if isinstance(asked, int) and (shorter := too_long(words, error.body, asked)):
            return shorter
        return Failed("refused_by_server", f"status {status}: {words}")

    def _hidden(self, text: str) -> str:
        """Return a text without the API key, which some servers repeat."""
        return text.replace(self._key, "…") if self._key else text


class Call:
    """One call of `complete` or `score`: its connections, its pace, and the rows that failed and wait for a verdict."""

    def __init__(
        self,
        backend: OpenAIBackend,
        units: Iterator[Unit],
        answer: Callable[["Call", Unit], Awaitable[list[Any]]],
        failure: Callable[[Request, Failed], Any],
        give: Callable[[Any], None],
    ) -> None:
        self.backend = backend
        self.engine = backend.engine
        self.units = units
        self.answer = answer
        self.failure = failure
        self.give = give
        self.answered = 0
        self._waiting: list[tuple[int, Unit, Failed]] = []
        self._again: list[Unit] = []
        self._steps = itertools.count()
        self._deciding = asyncio.Lock()
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for this request's turn under the rate limit."""
        if self.engine.requests_per_minute:
            now = time.monotonic()
            self._next = max(now, self._next + 60 / self.engine.requests_per_minute)
            await asyncio.sleep(self._next - now)

    async def run(self) -> None:
        """Keep `concurrency` requests in flight until every unit is answered or set aside.

        Raises:
            UserError: the server is given up.
        """
        async with self.backend.connect() as self.http:
            while True:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.engine.concurrency):
                        group.create_task(self._work())
                if not self._waiting:
                    return
                await self._decide(FEW)

    async def _work(self) -> None:
        patience = max(FEW, self.engine.concurrency)
        while (unit := self._again.pop() if self._again else next(self.units, None)) is not None:
            begun = next(self._steps)
            self.backend.in_flight += 1
            try:
                finished = await self.answer(self, unit)
            except Failed as error:
                if error.own:
                    self._set_aside(unit, error)
                    continue
                self._waiting.append((next(self._steps), unit, error))
                if error.reason == "server_unreachable" and not self.answered:
                    self._give_up()
                if len(self._waiting) >= patience:
                    await self._decide(patience)
                continue
            finally:
                self.backend.in_flight -= 1
            self.answered += 1
            self._settle(begun)
            for item in finished:
                self.give(item)

    def _settle(self, begun: int) -> None:
        """Judge what failed before a question was asked that the server has answered."""
        settled = [entry for entry in self._waiting if entry[0] < begun]
        if settled:
            self._waiting = [entry for entry in self._waiting if entry[0] >= begun]
        for _, unit, error in settled:
            if error.may_pass and not unit.again:
                unit.again = True
                self._again.append(unit)
            else:
                self._set_aside(unit, error)

    def _set_aside(self, unit: Unit, error: Failed) -> None:
        for request in unit.requests:
            self.give(self.failure(request, error))

    async def _decide(self, most: int) -> None:
        """Let a neutral question decide about what waits."""
        async with self._deciding:
            if not self._waiting or (most > FEW and len(self._waiting) < most):
                return  # another worker asked in the meantime
            if not self.answered and len(self._waiting) >= FEW:
                self._give_up()
            begun = next(self._steps)
            try:
                await self.answer(self, Unit([Request("question", 0, lambda: "Say yes.")]))
            except Failed:
                self._give_up()
            self._settle(begun)

    def _give_up(self) -> None:
        error = self._waiting[-1][2]
        raise UserError(
            f"the server at {self.backend.shown_url} failed {len(self._waiting)} requests in a row ({error.detail}); "
            "mend the server, the account or `engine` and run the job again: finished answers are kept, and these "
            "requests are made again"
        )


def _first(error: BaseException) -> BaseException:
    """Return the error itself, or the first of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _unanswered(error: BaseException, timeout_s: float) -> tuple[str, str]:
    """Return why a request had no answer, as a reason and in words.

    The client calls every lost connection a timeout; what its transport said stands further down the chain of errors.
    Only the kind of error is told: its text may quote headers, and with them the key.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, ClientError):
        found = found.__cause__
    if isinstance(found, ClientConnectorError | ConnectionTimeoutError):
        return "server_unreachable", "no connection"
    if found is None or isinstance(found, TimeoutError):
        return "server_timeout", f"no answer within {timeout_s:g} s"
    return "server_error", type(found).__name__


def _key(variable: str) -> str:
    """Read the key; whatever is wrong with it, no message holds it."""
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(
            f"the environment variable {variable} (engine.api_key_env) is not set; it must hold the API key"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(
            f"the key in {variable} (engine.api_key_env) holds a space, a line break or a letter outside ASCII, which "
            "no key has; copy it again"
        )
    return key
