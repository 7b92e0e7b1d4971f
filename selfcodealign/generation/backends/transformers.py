"""Run any Hugging Face causal language model in process.

What makes it fast: the beginning that prompts share (system text and few-shot examples) is encoded once and attended to
by all rows of a batch in one matrix product; prompts asked several times are encoded once; rows are sorted by length;
finished rows leave the batch; the cache grows in steps instead of being copied for each token.
"""

import logging
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfcodealign import tokens as token_rules
from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Completion, Request, Sampling, Scores
from selfcodealign.generation.backends.decoders import PlainDecoder, SharedDecoder
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from selfcodealign.rows_io import first_line

log = logging.getLogger(__name__)

COMPACT_BELOW = 7 / 8
"""Finished rows stay in the batch as ballast until fewer than this share live: moving the cache costs a step or two."""

MIN_SHARED = 16
"""A shared beginning of fewer tokens is not worth encoding apart."""

MIN_GROUP = 2
"""Beginnings of fewer rows are pooled if most rows of a window have such: what all of the pool share is encoded once.
Among larger groups each is encoded for itself, since the caches of all rows are as wide as the longest rest.
"""

MAX_GROUPS = 32
"""Most different beginnings in a batch: each costs two small matrix products per layer and step."""

CPU_BATCH_OPERATIONS = 4e12
"""A batch on a CPU is cut after about so many operations, one to two minutes of a core: a run that is killed loses no
more, and weights are still read once for dozens of rows. Cut by what it measures, bytes would depend on the machine."""

SELF_CHECK_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.08, torch.float16: 0.02}
"""Largest difference of logits, relative to the largest logit, at which `attend` is trusted with a model."""


@dataclass
class Row:
    """A request on its way through a batch."""

    request: Request
    prompt: list[int]
    shared: int = 0
    limit: int = 0
    """Most new tokens: max_tokens, or what the context leaves."""


class TransformersBackend:
    """Run a local folder or a Hub model with safetensors weights; see the module's docstring.

    Args:
        model: to load, or a tokenizer and a model that are loaded, such as one in training.
        engine: how it is run.
    """

    def __init__(self, model: ModelSettings | tuple[Any, Any], engine: EngineSettings) -> None:
        self.engine = engine
        self.device = _device(engine.device)
        if self.device.type == "cpu":
            torch.set_num_threads(engine.threads)
        if isinstance(model, ModelSettings):
            model = _load(model, _dtype(engine.dtype, self.device), self.device)
            given = None
        else:
            given = model[1].config._attn_implementation
        self.tokenizer, self.model = model
        self.dtype: torch.dtype = self.model.dtype
        config = self.model.config.get_text_config()
        own = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2**20
        self.context = min(engine.max_model_len or own, own)
        self.batch_tokens = engine.batch_tokens
        if self.device.type == "cpu":
            self.batch_tokens = min(self.batch_tokens, int(CPU_BATCH_OPERATIONS / (2 * self.model.num_parameters())))
        self.end_tokens = _end_tokens(self.model, self.tokenizer)
        # Padding is never seen, so any token serves a tokenizer without a pad token.
        pad = self.tokenizer.pad_token_id
        self.pad = pad if pad is not None else next(iter(self.end_tokens), 0)
        self.decoder = self._trusted_decoder()
        self.attention = self.model.config._attn_implementation
        if given is not None:
            self.model.set_attn_implementation(given)  # Whoever trains the model goes on with its own.
        self._may_stop: dict[tuple[int, tuple[str, ...]], bool] = {}
        self._doing = "the first prompts are encoded"

    def doing(self) -> str:
        """Say how far the batch is; see `Backend`."""
        return self._doing

    def close(self) -> None:
        """Free the model."""
        del self.model, self.decoder
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _trusted_decoder(self) -> SharedDecoder | PlainDecoder:
        """Use the shared-prefix path if it gives the model's own logits on a small example, else the plain one.

        The example mixes lengths and beginnings, so that an architecture with another kind of position, mask or cache
        shows itself here and not in the data.
        """
        plain = PlainDecoder(self.model, self.pad)
        vocabulary = self.model.config.get_text_config().vocab_size
        example = [[(7 * place + row + 11) % vocabulary for place in range(24)] for row in (0, 0, 5)]
        prompts = [example[0] + [3, 5, 8], example[1] + [13], example[2] + [2, 4]]
        prompts = [[token % vocabulary for token in prompt] for prompt in prompts]
        expected = plain.start(prompts, [0, 0, 0], [0, 1, 2])
        expected = torch.cat([expected, plain.step(expected.argmax(-1))])
        original = self.model.config._attn_implementation
        try:
            self.model.set_attn_implementation("shared_prefix")
            shared = SharedDecoder(self.model, self.pad)
            found = shared.start(prompts, [24, 24, 24], [0, 1, 2])
            found = torch.cat([found, shared.step(expected[:3].argmax(-1))])
            error = ((found - expected).abs().max() / expected.abs().max()).item()
        except (TypeError, ValueError, AttributeError, RuntimeError, NotImplementedError) as reason:
            error, why = float("inf"), first_line(reason)
        else:
            why = f"logits differ by {error:.1e}"
        if error <= SELF_CHECK_TOLERANCE[self.dtype]:
            return SharedDecoder(self.model, self.pad)
        log.warning(
            "shared beginnings are encoded for each row: %s has an unusual attention (%s)",
            type(self.model).__name__,
            why,
        )
        self.model.set_attn_implementation(original)
        return plain

    def complete(
        self, requests: Iterable[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[Completion]:
        """Answer requests; see `Backend`."""
        for rows in self._windows(requests, done):
            fitting = []
            for row in rows:
                row.limit = min(sampling.max_tokens, self.context - len(row.prompt))
                if row.limit < 1:
                    if row.request.id not in done:
                        yield Completion(row.request.id, finish_reason="failed", **self._too_long(row))
                else:
                    fitting.append(row)
            for batch in self._batches(fitting, sampling.max_tokens):
                if any(row.request.id not in done for row in batch):
                    try:
                        yield from (answer for answer in self._decode(batch, sampling) if answer.id not in done)
                    except torch.OutOfMemoryError as error:
                        raise UserError(
                            f"the GPU's memory does not hold a batch of {len(batch)} rows; lower engine.batch_size or "
                            "engine.batch_tokens and run again: finished answers are kept"
                        ) from error

    def score(
        self, requests: Iterable[Request], candidates: Sequence[str], done: Container[str] = ()
    ) -> Iterator[Scores]:
        """Score candidate continuations of each prompt; see `Backend`."""
        tails = [self._continuation(candidate) for candidate in candidates]
        # Log P(a b) = log P(a) + log P(b | a): one forward pass for each different beginning of a candidate.
        beginnings = list(dict.fromkeys(tuple(tail[:count]) for tail in tails for count in range(len(tail))))
        longest = max(map(len, beginnings))
        for rows in self._windows(requests, done):
            fitting = []
            for row in rows:
                if len(row.prompt) + longest + 1 <= self.context:
                    fitting.append(row)
                elif row.request.id not in done:
                    yield Scores(row.request.id, **self._too_long(row))
            for batch in self._batches(fitting, longest + 1):
                if any(row.request.id not in done for row in batch):
                    yield from (scores for scores in self._score(batch, tails, beginnings) if scores.id not in done)

    @torch.inference_mode()
    def _score(self, batch: list[Row], tails: list[list[int]], beginnings: list[tuple[int, ...]]) -> Iterator[Scores]:
        totals = torch.zeros(len(batch), len(tails), dtype=torch.float64)
        for beginning in beginnings:
            prompts = [row.prompt + list(beginning) for row in batch]
            logits = self.decoder.start(prompts, [row.shared for row in batch], list(range(len(batch))))
            logprobs = logits.log_softmax(-1).cpu().double()
            for number, tail in enumerate(tails):
                if len(tail) > len(beginning) and tuple(tail[: len(beginning)]) == beginning:
                    totals[:, number] += logprobs[:, tail[len(beginning)]]
        for row, logprobs in zip(batch, totals.tolist(), strict=True):
            yield Scores(row.request.id, tuple(logprobs), len(row.prompt))

    def answer(self, prompts: list[list[int]], seeds: list[int], sampling: Sampling) -> list[list[int]]:
        """Answer prompts that are tokens already, with the model's weights as they are now.

        The model's attention is left as it was, so that a model in training may be asked between two steps.

        Args:
            prompts: token ids; equal prompts are encoded once.
            seeds: of each answer.
            sampling: how to sample; stop strings are not looked for in what is returned.

        Returns:
            token ids of each answer, its end token included where it ended by itself.
        """
        # What the decoder knows of beginnings belongs to the weights that the last answers were written with.
        self.decoder = type(self.decoder)(self.model, self.pad)
        rows = [
            Row(Request(str(place), seed, str), prompt, limit=min(sampling.max_tokens, self.context - len(prompt)))
            for place, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
        ]
        answers: list[list[int]] = [[] for _ in rows]
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation(self.attention)
        try:
            for batch in self._batches(rows, sampling.max_tokens):
                for found in self._finished(batch, sampling):
                    answers[int(found.row.request.id)] = found.tokens + found.end
        finally:
            self.model.set_attn_implementation(before)
        return answers

    def _continuation(self, text: str) -> list[int]:
        """Return the tokens of a text that continues a prompt."""
        anchor = self._encode(["Answer:", f"Answer:{text}"])
        if anchor[1][: len(anchor[0])] == anchor[0] and len(anchor[1]) > len(anchor[0]):
            return anchor[1][len(anchor[0]) :]
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return token_rules.continued(self.tokenizer, texts)

    def decode(self, tokens: list[int]) -> str:
        """Return the text of generated tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def may_stop(self, token: int, stops: tuple[str, ...]) -> bool:
        """Say whether a stop string can end within this token, so that only then the text is decoded and searched."""
        key = (token, stops)
        if key not in self._may_stop:
            piece = self.decode([token])
            self._may_stop[key] = "\ufffd" in piece or any(
                stop in piece or any(piece.startswith(stop[-count:]) for count in range(1, len(stop) + 1))
                for stop in stops
            )
        return self._may_stop[key]

    def _too_long(self, row: Row) -> dict[str, Any]:
        return {
            "tokens_in": len(row.prompt),
            "reason": "prompt_too_long",
            "detail": f"{len(row.prompt)} tokens leave no room in a context of {self.context}",
        }

    def _windows(self, requests: Iterable[Request], done: Container[str]) -> Iterator[list[Row]]:
        """Yield runs of requests with their tokens, skipping runs in which nothing is left to do."""
        remaining = iter(requests)
        while window := list(islice(remaining, self.engine.window)):
            if all(request.id in done for request in window):
                continue
            prompts = list(dict.fromkeys(request.prompt for request in window))
            encoded = dict(zip(prompts, self._encode(prompts), strict=True))
            yield [Row(request, encoded[request.prompt]) for request in window]

    def _batches(self, rows: list[Row], max_tokens: int) -> Iterator[list[Row]]:
        """Cut a window into batches: by shared beginning, then by length. Depends on the window's rows alone."""
        groups: dict[Any, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.request.group, []).append(row)
        pool = [row for group in groups.values() if len(group) < MIN_GROUP for row in group]
        if 2 * len(pool) <= len(rows):
            pool = []
        batch: list[Row] = []
        members, longest = 0, 0
        apart = [group for group in groups.values() if len(group) >= MIN_GROUP or not pool]
        for group in [*apart, pool] if pool else apart:
            shared = _common_prefix([row.prompt for row in group])
            members += 1
            for row in sorted(group, key=lambda row: len(row.prompt)):
                row.shared = shared if shared >= MIN_SHARED else 0
                longest = max(longest, len(row.prompt) - row.shared)
                full = len(batch) >= self.engine.batch_size or members > MAX_GROUPS
                if batch and (full or (len(batch) + 1) * (longest + max_tokens) > self.engine.batch_tokens):
                    yield batch
                    batch, members, longest = [], 1, len(row.prompt) - row.shared
                batch.append(row)
        if batch:
            yield batch

    def _decode(self, batch: list[Row], sampling: Sampling) -> Iterator[Completion]:
        return (row.completion() for row in self._finished(batch, sampling))

    @torch.inference_mode()
    def _finished(self, batch: list[Row], sampling: Sampling) -> Iterator["Progress"]:
        """Yield the answers to a batch as they finish."""
        numbers: dict[tuple[int, ...], int] = {}
        copies = [numbers.setdefault(tuple(row.prompt), len(numbers)) for row in batch]
        # Rows of one prompt are next to each other unless two prompts are equally long; sorting makes it so.
        order = sorted(range(len(batch)), key=lambda place: copies[place])
        live = [Progress(batch[place], sampling, self) for place in order]
        shared = {copy: row.shared for copy, row in zip(copies, batch, strict=True)}
        prompts = [list(prompt) for prompt in numbers]
        self._doing = f"{len(prompts)} prompts are encoded"
        logits = self.decoder.start(prompts, [shared[number] for number in range(len(prompts))], sorted(copies))
        draws = _draws(live, sampling, self.device)
        step = 0
        while True:
            tokens = sample(logits, sampling, draws[:, step] if draws is not None else None, self.engine.top_k)
            for row, token in zip(live, tokens.tolist(), strict=True):
                if not row.finished and row.take(token):
                    yield row
            left = [place for place, row in enumerate(live) if not row.finished]
            if not left:
                return
            if len(left) < COMPACT_BELOW * len(live):
                live = [live[place] for place in left]
                index = torch.tensor(left, device=self.device)
                tokens = tokens[index]
                draws = draws[index] if draws is not None else None
                self.decoder.keep(left)
            logits = self.decoder.step(tokens)
            step += 1
            self._doing = f"token {step} of at most {sampling.max_tokens} in {len(left)} answers at once"


class Progress:
    """One row's answer as it grows."""

    def __init__(self, row: Row, sampling: Sampling, backend: TransformersBackend) -> None:
        self.row = row
        self.stop = sampling.stop
        self.backend = backend
        self.tokens: list[int] = []
        self.end: list[int] = []
        self.text: str | None = None
        self.finish_reason = "stop"
        self.finished = False

    def take(self, token: int) -> bool:
        """Add a token; True if the answer ends with it."""
        if token in self.backend.end_tokens:
            self.end = [token]
            self.finished = True
            return True
        self.tokens.append(token)
        if self.stop and self._stops():
            self.finished = True
        elif len(self.tokens) >= self.row.limit:
            self.finish_reason = "length"
            self.finished = True
        return self.finished

    def _stops(self) -> bool:
        """Look for a stop string that ends within the last token."""
        if not self.backend.may_stop(self.tokens[-1], self.stop):
            return False
        # No token has more characters to spare than it has bytes, so this many tokens hold any stop string.
        tail = self.backend.decode(self.tokens[-max(map(len, self.stop)) * 4 - 1 :])
        if not any(stop in tail for stop in self.stop):
            return False
        text = self.backend.decode(self.tokens)
        self.text = text[: min(place for place in map(text.find, self.stop) if place >= 0)]
        return True

    def completion(self) -> Completion:
        """Return the finished answer."""
        text = self.text if self.text is not None else self.backend.decode(self.tokens)
        return Completion(self.row.request.id, text, self.finish_reason, len(self.row.prompt), len(self.tokens))


def sample(logits: torch.Tensor, sampling: Sampling, draws: torch.Tensor | None, top_k: int = 0) -> torch.Tensor:
    """Choose each row's next token by inverting its cumulative distribution at that row's own random number.

    Args:
        logits: (rows, vocabulary) float32.
        sampling: temperature and nucleus.
        draws: (rows,) uniform numbers from [0, 1); None for greedy decoding.
        top_k: likeliest tokens that are sampled from, before the nucleus is cut out of them; 0 for all. Those as likely
            as the last of them stay too.

    Returns:
        (rows,) token ids.
    """
    if draws is None:
        return logits.argmax(-1)
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, order = torch.sort(probabilities, stable=True, dim=-1, descending=True)
        # A token stays if those before it hold less than top_p: the nucleus reaches it.
        outside = ordered.cumsum(-1) - ordered >= sampling.top_p
        probabilities = ordered.masked_fill(outside, 0).gather(-1, order.argsort(-1))
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    aim = torch.minimum(draws[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, aim, right=True)[:, 0].clamp_max(logits.shape[-1] - 1)


def _draws(rows: list[Progress], sampling: Sampling, device: torch.device) -> torch.Tensor | None:
    """Draw each row's random numbers (rows, max_tokens) from its own seed, so that its neighbours do not matter."""
    if sampling.temperature == 0:
        return None
    numbers = [np.random.default_rng(row.row.request.seed).random(row.row.limit, dtype=np.float32) for row in rows]
    out = np.zeros((len(rows), sampling.max_tokens), dtype=np.float32)
    for place, own in enumerate(numbers):
        out[place, : len(own)] = own
    return torch.from_numpy(out).to(device)


def _common_prefix(prompts: list[list[int]]) -> int:
    """Count the tokens that all prompts begin with, leaving at least one token to each."""
    low, high = min(prompts), max(prompts)
    shortest = min(map(len, prompts)) - 1
    for place in range(shortest):
        if low[place] != high[place]:
            return place
    return shortest


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"engine.device is {name}, but this machine has no CUDA GPU that torch can use; set it to cpu")
    return torch.device(name)


def _dtype(name: str, device: torch.device) -> torch.dtype:
    """Choose what to compute in: on a CPU float32 unless asked, so that a model writes the same on every one."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    can = torch.cpu.get_capabilities()
    if dtype == torch.bfloat16 and device.type == "cpu" and not (can.get("avx512_bf16") or can.get("amx_bf16")):
        log.warning("this CPU has no instructions for bfloat16 (AVX512-BF16, AMX): engine.dtype float32 is faster here")
    return dtype


def _load(settings: ModelSettings, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    """Load tokenizer and weights, from safetensors only."""
    local = Path(settings.name).is_dir()
    if not local and (settings.name.startswith((".", "/")) or settings.name.count("/") != 1):
        raise UserError(
            f"model {settings.name} is no folder here and no Hub id; correct the model's name in the config"
        )
    options: dict[str, Any] = {"trust_remote_code": settings.trust_remote_code, "local_files_only": local}
    if not local:
        options["revision"] = settings.revision
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.name, **options)
        model: Any = AutoModelForCausalLM.from_pretrained(settings.name, dtype=dtype, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model {settings.name} ({settings.revision}) cannot be loaded: {first_line(error)}") from error
    return tokenizer, model.to(device).eval()


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Collect the token ids that end a text, from the model's generation config and the tokenizer."""
    ends = model.generation_config.eos_token_id
    ends = list(ends) if isinstance(ends, list | tuple) else [ends]
    return frozenset(end for end in [*ends, tokenizer.eos_token_id] if end is not None)
