"""Ask a model about a benchmark's problems, turn by turn, resumably."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from selfcodealign import models, tokens
from selfcodealign.errors import UserError
from selfcodealign.evaluation.base import Asking, Benchmark, Problem, Prompt, Sampling
from selfcodealign.evaluation.rows import sample_id
from selfcodealign.generation import backends
from selfcodealign.generation.engine import identity, record_of
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from selfcodealign.ids import seed_for
from selfcodealign.ledger import Ledger, mark_of
from selfcodealign.stage import progress
from selfcodealign.training import template

RENDERING = [Path(str(module.__file__)) for module in (template, tokens)]
"""What makes the text that a model continues of a prompt; how a problem becomes a prompt, the prompt itself shows."""


@dataclass(frozen=True)
class Asked:
    """Who is asked what, and how."""

    benchmark: Benchmark
    style: Asking
    sampling: Sampling
    model: ModelSettings
    revision: str
    run_seed: int
    by_server: bool = False
    """Style chat in which the server's own template makes the prompt, so that it need not be known here."""

    @cached_property
    def title(self) -> str:
        """Name of the model in rows."""
        return models.title(self.model.name)

    def settings(self) -> dict[str, Any]:
        """Return all that an answer depends on besides its problem."""
        return {
            "benchmark": self.benchmark.name,
            "style": self.style,
            "sampling": asdict(self.sampling),
            "model": identity(self.model, self.revision),
            "run_seed": self.run_seed,
            **({"by_server": True} if self.by_server else {}),
        }


@dataclass(frozen=True)
class Turn:
    """One turn of one sample: what is asked, and the key under which its answer is kept."""

    key: str
    problem: Problem
    sample: int
    prompt: Prompt

    def mark(self) -> str:
        """Hash what is asked."""
        return mark_of(self.prompt.text, self.prompt.prefix, *self.prompt.stop)


def answers(asked: Asked, problems: Sequence[Problem], engine: EngineSettings, work: Path) -> Iterator[dict[str, Any]]:
    """Yield a row (SampleRow) for each sample of each problem, in order.

    Most benchmarks take one turn. Where the next prompt depends on what was written before, all samples take their
    first turn, then their second, so that each turn is asked in large batches.
    """
    written: dict[str, list[dict[str, Any]]] = {
        sample_id(problem.id, sample): [] for problem in problems for sample in range(asked.sampling.n)
    }
    with Ledger(work, asked.settings() | engine.decides(), decided_by=RENDERING) as ledger:
        backend: backends.Backend | None = None
        render = renderer(asked)
        try:
            while turns := list(_turns(asked, problems, written)):
                # An answer holds for this very prompt: one under the same task id in another file is asked again.
                known = [ledger.holds(turn.key, turn.mark()) for turn in turns]
                if not all(known):
                    backend = backend or backends.open_backend(asked.model, engine)
                    _ask(asked, backend, turns, render, ledger)
                for turn in turns:
                    record = ledger.get(turn.key)
                    text = turn.prompt.prefix + record["text"]
                    written[sample_id(turn.problem.id, turn.sample)].append({**record, "text": text})
        finally:
            if backend is not None:
                backend.close()
    for problem in problems:
        for sample in range(asked.sampling.n):
            yield _row(asked, problem, sample, written[sample_id(problem.id, sample)])


def _turns(asked: Asked, problems: Sequence[Problem], written: dict[str, list[dict[str, Any]]]) -> Iterator[Turn]:
    """Yield the next turn of every sample that is not complete."""
    style = "base" if asked.style == "base" else "instruct"
    for problem in problems:
        for sample in range(asked.sampling.n):
            earlier = [record["text"] for record in written[sample_id(problem.id, sample)]]
            prompt = asked.benchmark.prompt(problem, style, earlier)
            if prompt is not None and asked.by_server:
                # It cannot go on from words put into its mouth, and its whole answer is wanted, whatever is around it.
                prompt = replace(prompt, prefix="", stop=())
            if prompt is not None:
                yield Turn(f"{sample_id(problem.id, sample)}/{len(earlier)}", problem, sample, prompt)


def _ask(
    asked: Asked, backend: backends.Backend, turns: Sequence[Turn], render: Callable[[Prompt], str], ledger: Ledger
) -> None:
    """Bring one round of turns to completion; turns with different stop strings are asked apart."""
    by_stop: dict[tuple[str, ...], list[Turn]] = {}
    for turn in turns:
        by_stop.setdefault(turn.prompt.stop, []).append(turn)
    for stop, group in by_stop.items():
        sampling = backends.Sampling(asked.sampling.temperature, asked.sampling.top_p, asked.sampling.max_tokens, stop)
        waiting = sum(turn.key not in ledger for turn in group)
        finished = backend.complete(_requests(asked, group, render), sampling, ledger)
        for completion in progress(finished, waiting, "answers", asked.benchmark.name, backend.doing):
            ledger.append(completion.id, record_of(completion))
        ledger.sync()


def _requests(asked: Asked, turns: Iterable[Turn], render: Callable[[Prompt], str]) -> Iterator[backends.Request]:
    for turn in turns:
        yield backends.Request(turn.key, turn_seed(asked, turn.key), lambda turn=turn: render(turn.prompt))


def turn_seed(asked: Asked, key: str) -> int:
    """Return the sampling seed of one turn, independent of every other."""
    return seed_for(asked.run_seed, f"sample_solutions/{asked.benchmark.name}", key)


def renderer(asked: Asked) -> Callable[[Prompt], str]:
    """Return how a prompt becomes the text that the model continues, so that it sees the tokens it was trained with.

    Raises:
        UserError: style chat, and the model has no chat template.
    """
    if asked.style == "base" or asked.by_server:
        return lambda prompt: prompt.text + prompt.prefix
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            asked.model.name, revision=asked.model.revision, trust_remote_code=asked.model.trust_remote_code
        )
    except (OSError, ValueError) as error:
        if asked.style == "chat":
            raise UserError(
                f"{asked.model.name} has no tokenizer here or on the Hub, so its chat template is not known: let its "
                "server's own be used (engine api: chat), or evaluate it with style instruct"
            ) from error
        # The name is one that only a server knows; what it adds in front is its own affair.
        return lambda prompt: template.prompt(prompt.text) + prompt.prefix
    if asked.style == "instruct":
        begin = str(tokenizer.bos_token or "")
        return lambda prompt: tokens.sent(tokenizer, begin + template.prompt(prompt.text)) + prompt.prefix
    if not tokenizer.chat_template:
        raise UserError(f"{asked.model.name} has no chat template; evaluate it with style base or instruct")

    def rendered(prompt: Prompt) -> str:
        turns = [{"role": "user", "content": prompt.text}]
        text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        return tokens.sent(tokenizer, text) + prompt.prefix

    return rendered


def _row(asked: Asked, problem: Problem, sample: int, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": sample_id(problem.id, sample),
        "task_id": problem.id,
        "sample": sample,
        "texts": [record["text"] for record in records],
        "finish_reasons": [record["finish_reason"] for record in records],
        "style": asked.style,
        "model": asked.title,
        "revision": asked.revision,
        "temperature": asked.sampling.temperature,
        "top_p": asked.sampling.top_p,
        "max_tokens": asked.sampling.max_tokens,
        "seed": turn_seed(asked, f"{sample_id(problem.id, sample)}/0"),
        "tokens_in": sum(record["tokens_in"] for record in records),
        "tokens_out": sum(record["tokens_out"] for record in records),
    }
