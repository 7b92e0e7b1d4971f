"""The one small interface behind which every way of running a model lies."""

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from selfcodealign import plugins
from selfcodealign.errors import UserError
from selfcodealign.generation.settings import BACKENDS, EngineSettings, ModelSettings


@dataclass(frozen=True)
class Sampling:
    """How answers are sampled; temperature 0 means greedy."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...] = ()


@dataclass
class Request:
    """One answer to ask a model for.

    The prompt is rendered when it is first needed, so that finished requests cost nothing when a run resumes.
    """

    id: str
    seed: int
    render: Callable[[], str]
    group: Hashable = None
    """Requests of equal group begin with the same text, which a backend may encode once."""

    @cached_property
    def prompt(self) -> str:
        """Return the rendered prompt."""
        return self.render()


@dataclass(frozen=True)
class Completion:
    """A model's answer to one request, without its stop string or end token."""

    id: str
    text: str = ""
    finish_reason: str = "stop"
    """`stop` (stop string or end token), `length`, or `failed`."""
    tokens_in: int = 0
    tokens_out: int = 0
    reason: str = ""
    """Why the request failed for good, as a drop reason; empty if it did not."""
    detail: str = ""
    reasoning: str = ""
    """What a model that thinks wrote before its answer, where the server gives it; never part of `text`."""


@dataclass(frozen=True)
class Scores:
    """Log-probabilities (nats) of the candidate continuations of one prompt, in the candidates' order."""

    id: str
    logprobs: tuple[float, ...] = field(default=())
    tokens_in: int = 0
    reason: str = ""
    detail: str = ""


class Backend(Protocol):
    """Runs a model. Results come as they finish, in any order, one for each request that is not in `done`."""

    def complete(
        self, requests: Iterable[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[Completion]:
        """Answer requests.

        How requests are put together in batches depends on the requests alone, never on `done`, so that a resumed run
        computes what an uninterrupted one does.
        """
        ...

    def score(
        self, requests: Iterable[Request], candidates: Sequence[str], done: Container[str] = ()
    ) -> Iterator[Scores]:
        """Score candidate continuations of each prompt; the requests' seeds are not used."""
        ...

    def doing(self) -> str:
        """Say what goes on while no answer comes, in a few words; any thread may ask."""
        ...

    def close(self) -> None:
        """Free the model or the connections; end a server that was started."""
        ...


def open_backend(model: ModelSettings, engine: EngineSettings) -> Backend:
    """Load a model, connect to a server, or start one, as the engine's settings say.

    Raises:
        UserError: the model is unknown, the server is not there, a key is missing, or another package's backend has no
            such interface; one sentence says which.
    """
    if model.trust_remote_code and model.revision == "main" and not Path(model.name).is_dir():
        raise UserError(
            f"trust_remote_code for {model.name} needs the commit whose code you have read; name it as the revision"
        )
    if engine.backend == "transformers":
        from selfcodealign.generation.backends.transformers import TransformersBackend

        return TransformersBackend(model, engine)
    if engine.backend == "openai":
        from selfcodealign.generation.backends.openai import OpenAIBackend

        return OpenAIBackend(model, engine)
    if engine.backend == "vllm":
        from selfcodealign.generation.backends.vllm import VllmBackend

        return VllmBackend(model, engine)
    made = plugins.load("backends", engine.backend, BACKENDS)
    if made is None:
        raise UserError(f"unknown generation backend {engine.backend!r}; known: {', '.join(BACKENDS)}")
    lacking = [name for name in ("complete", "score", "doing", "close") if not hasattr(made, name)]
    if lacking:
        raise plugins.broken("backends", engine.backend, BACKENDS, f"it lacks {', '.join(lacking)}")
    return made(model, engine)
