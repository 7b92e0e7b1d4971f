"""A backend of your own: one class, and one line in the pyproject.toml of its package.

    [project.entry-points."selfcodealign.backends"]
    replay = "one_liners.backend:ReplayBackend"

Prompts in, answers out, in any order, each with its id. Resuming, attributes, parsing and reasons for dropping are the
engine's. This one reads answers that were collected elsewhere: JSON Lines of `prompt` and `text`, named as the model.
"""

import json
from collections.abc import Container, Iterable, Iterator, Sequence

from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Completion, Request, Sampling, Scores
from selfcodealign.generation.settings import EngineSettings, ModelSettings


class ReplayBackend:
    """Answers prompts from a file."""

    def __init__(self, model: ModelSettings, engine: EngineSettings) -> None:
        try:
            with open(model.name, encoding="utf-8") as file:
                self.answers = {line["prompt"]: line["text"] for line in map(json.loads, file)}
        except OSError as error:
            raise UserError(f"the answers {model.name} cannot be read: {error.strerror}; name another file") from error

    def complete(
        self, requests: Iterable[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[Completion]:
        """Answer each request that is not done; one without an answer fails for good, and the row says why."""
        for request in requests:
            if request.id in done:
                continue
            text = self.answers.get(request.prompt)
            if text is None:
                yield Completion(request.id, finish_reason="failed", reason="not_recorded", detail="no such prompt")
            else:
                yield Completion(request.id, text)

    def score(
        self, requests: Iterable[Request], candidates: Sequence[str], done: Container[str] = ()
    ) -> Iterator[Scores]:
        """Refuse: recorded texts have no probabilities."""
        raise UserError("recorded answers cannot judge seeds; name a model in judge_seeds.model")

    def doing(self) -> str:
        """Say what goes on while no answer comes."""
        return "reading recorded answers"

    def close(self) -> None:
        """Nothing is open."""
