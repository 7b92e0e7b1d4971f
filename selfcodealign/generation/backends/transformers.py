"""Run any Hugging Face causal language model in process.

What makes it fast: the beginning that prompts share (system text and few-shot examples) is encoded once and attended to
by all rows of a batch in one matrix product; prompts asked several times are encoded once; rows are sorted by length;
finished rows leave the batch; the cache grows in steps instead of being copied for each token.
"""

import logging
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Completion, Request, Sampling, Scores
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from selfcodealign.tables import first_line

log = logging.getLogger(__name__)

COMPACT_BELOW = 7 / 8
"""Finished rows stay in the batch as ballast until fewer than this share live: moving the cache costs a step or two."""

CACHE_STEP = 64
"""Columns by which the cache of the rows' own tokens grows."""

PREFILL_SCORES = 2**25
"""Most attention scores held at once while prompts are encoded: 128 MiB in float32."""

MIN_SHARED = 16
"""A shared beginning of fewer tokens is not worth encoding apart."""

MIN_GROUP = 4
"""Beginnings shared by fewer rows of a window are pooled: what all of the pool share is encoded once."""

MAX_GROUPS = 32
"""Most different beginnings in a batch: each costs two small matrix products per layer and step."""

SCORE_EXTRAS = ("softcap", "s_aux", "sinks", "position_bias")
HARMLESS_TENSORS = ("position_ids", "cache_position")
"""Keywords that models pass to their attention: those that change it, and tensors that do not."""

SELF_CHECK_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.08, torch.float16: 0.02}
"""Largest difference of logits, relative to the largest logit, at which `attend` is trusted with a model."""


@dataclass(frozen=True)
class Prefix:
    """Keys and values of a beginning that rows share, per layer: (KV heads, tokens, width)."""

    length: int
    keys: list[torch.Tensor]
    values: list[torch.Tensor]


class RowCache:
    """Keys and values of each row's own tokens, right after its shared beginning.

    Given to the model in place of its cache, and to `attend` for what lies before and what may be seen. Rows are padded
    on the left, so that a step writes one column for all rows.

    Args:
        first: (rows,) column of each row's first own token.
        prefixes: the beginnings, and for each row which of them it has (ascending; None for none).
    """

    is_compileable = False

    def __init__(self, layers: int, first: torch.Tensor, prefixes: list[Prefix], prefix_of: list[int | None]) -> None:
        self.first = first
        self.prefixes = prefixes
        self.prefix_of = prefix_of
        self.starts = torch.tensor([prefixes[p].length if p is not None else 0 for p in prefix_of], device=first.device)
        self.length = 0
        self.keys: list[torch.Tensor | None] = [None] * layers
        self.values: list[torch.Tensor | None] = [None] * layers
        self.aim(slice(0, self.rows), slice(0, 0))

    @property
    def rows(self) -> int:
        """Return the number of rows held."""
        return len(self.prefix_of)

    def aim(self, window: slice, columns: slice) -> torch.Tensor:
        """Prepare a forward pass over the rows `window` that writes `columns`; return its position ids."""
        self.window, self.columns = window, columns
        device = self.first.device
        column = torch.arange(columns.stop, device=device)
        new = column[columns]
        first = self.first[window, None]
        # A padding token sees itself, because a softmax over nothing is not a number and would spread.
        self.visible = ((column >= first)[:, None] & (column <= new[:, None])) | (column == new[:, None])
        self.spans = [
            (self.prefixes[number], start, stop)
            for number, start, stop in _runs(self.prefix_of[window])
            if number is not None
        ]
        self.positions = (self.starts[window, None] + new - first).clamp_min(0)
        return self.positions

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of columns written so far."""
        return self.length

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a layer's new keys and values (rows, KV heads, tokens, width) and return the rows' own so far."""
        kept = []
        for store, new in ((self.keys, key), (self.values, value)):
            held = store[layer_idx]
            if held is None or held.shape[2] < self.columns.stop:
                columns = -(-self.columns.stop // CACHE_STEP) * CACHE_STEP
                grown = new.new_zeros(self.rows, new.shape[1], columns, new.shape[3])
                if held is not None:
                    grown[:, :, : held.shape[2]] = held
                store[layer_idx] = held = grown
            held[self.window, :, self.columns] = new
            kept.append(held[self.window, :, : self.columns.stop])
        return kept[0], kept[1]

    def select(self, rows: list[int]) -> None:
        """Keep the rows with these ascending indices; an index may occur several times."""
        index = torch.tensor(rows, device=self.first.device)
        for store in (self.keys, self.values):
            for layer, held in enumerate(store):
                store[layer] = held.index_select(0, index) if held is not None else None
        self.first = self.first.index_select(0, index)
        self.starts = self.starts.index_select(0, index)
        self.prefix_of = [self.prefix_of[row] for row in rows]


def _runs(values: Sequence[int | None]) -> Iterator[tuple[int | None, int, int]]:
    """Yield (value, start, stop) for each run of equal values."""
    start = 0
    for value, run in groupby(values):
        stop = start + len(list(run))
        yield value, start, stop
        start = stop


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    row_cache: RowCache | None = None,
    **extras: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to a shared beginning and to the rows' own tokens, and merge the two by their log-sum-exp.

    Shapes: query (rows, heads, tokens, width), key and value (rows, KV heads, columns, width); returns (rows, tokens,
    heads, width). The merge is exact: a softmax over the union is the two softmaxes weighted by their normalisers
    (Hydragen, arXiv 2402.05099). Without a row cache it is plain causal attention.

    Raises:
        NotImplementedError: the model adds something of its own to the scores, such as a cap or sinks.
    """
    for name, extra in extras.items():
        if extra is not None and (name in SCORE_EXTRAS or (torch.is_tensor(extra) and name not in HARMLESS_TENSORS)):
            raise NotImplementedError(f"attention with {name}")
    rows, heads, tokens, width = query.shape
    scale = width**-0.5 if scaling is None else scaling
    if row_cache is None:
        mask = None
        if sliding_window and tokens > sliding_window:
            place = torch.arange(tokens, device=query.device)
            distance = place[:, None] - place
            mask = (distance >= 0) & (distance < sliding_window)
        out = F.scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None, scale=scale, enable_gqa=key.shape[1] != heads
        )
        return out.transpose(1, 2).contiguous(), None

    kv_heads, columns = key.shape[1], key.shape[2]
    share = heads // kv_heads
    grouped = query.reshape(rows, kv_heads, share * tokens, width)
    visible = row_cache.visible
    if sliding_window:
        column = torch.arange(columns, device=query.device)
        visible = visible & (column[row_cache.columns, None] - column < sliding_window)
    scores = torch.matmul(grouped, key.transpose(2, 3)).float().mul_(scale)
    scores.view(rows, kv_heads, share, tokens, columns).masked_fill_(~visible[:, None, None], float("-inf"))
    if not row_cache.spans:
        out = torch.matmul(scores.softmax(-1).to(value.dtype), value)
        return out.view(rows, heads, tokens, width).transpose(1, 2).contiguous(), None

    own_norm = scores.logsumexp(-1, keepdim=True)
    own = torch.matmul(scores.sub_(own_norm).exp_().to(value.dtype), value)
    shared = torch.zeros_like(own)
    shared_norm = torch.full_like(own_norm, float("-inf"))
    layer: int = module.layer_idx  # type: ignore[assignment]
    for prefix, start, stop in row_cache.spans:
        count = stop - start
        part = grouped[start:stop].transpose(0, 1).reshape(kv_heads, count * share * tokens, width)
        scores = torch.matmul(part, prefix.keys[layer].transpose(1, 2)).float().mul_(scale)
        if sliding_window:
            place = torch.arange(prefix.length, device=query.device)
            far = row_cache.positions[start:stop, :, None] - place >= sliding_window
            far = far[None, :, None].expand(kv_heads, count, share, tokens, prefix.length).reshape(scores.shape)
            scores.masked_fill_(far, float("-inf"))
        norm = scores.logsumexp(-1, keepdim=True)
        # A beginning wholly outside a sliding window has no normaliser: its weights must be 0, not NaN.
        weights = scores.sub_(norm.clamp_min(torch.finfo(torch.float32).min)).exp_().to(value.dtype)
        back = (kv_heads, count, share * tokens)
        shared[start:stop] = torch.matmul(weights, prefix.values[layer]).view(*back, width).transpose(0, 1)
        shared_norm[start:stop] = norm.view(*back, 1).transpose(0, 1)
    out = torch.lerp(shared.float(), own.float(), torch.sigmoid(own_norm - shared_norm)).to(query.dtype)
    return out.view(rows, heads, tokens, width).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register("shared_prefix", attend)


class SharedDecoder:
    """Decode a batch whose rows share beginnings, with `attend` inside the model."""

    def __init__(self, model: Any, pad: int) -> None:
        self.model = model
        self.pad = pad
        self.layers: int = model.config.get_text_config().num_hidden_layers
        self.heads: int = model.config.get_text_config().num_attention_heads
        self._encoded: dict[tuple[int, ...], Prefix] = {}

    def start(self, prompts: list[list[int]], shared: list[int], copies: list[int]) -> torch.Tensor:
        """Encode the prompts and return the logits (rows, vocabulary) of the tokens that follow.

        Args:
            prompts: token ids of the different prompts; equal beginnings next to each other.
            shared: how many tokens at each prompt's beginning are shared; 0 for none.
            copies: the prompt of each row, ascending.
        """
        device = self.model.device
        heads = [tuple(prompt[:count]) for prompt, count in zip(prompts, shared, strict=True)]
        self._encoded = {head: self._encode(head) for head in dict.fromkeys(heads) if head}
        order = {head: number for number, head in enumerate(self._encoded)}
        own = [prompt[count:] for prompt, count in zip(prompts, shared, strict=True)]
        longest = max(map(len, own))
        first = torch.tensor([longest - len(tokens) for tokens in own], device=device)
        self.cache = RowCache(self.layers, first, list(self._encoded.values()), [order.get(head) for head in heads])
        logits = []
        for rows in self._chunks([len(tokens) for tokens in own], shared):
            width = max(len(tokens) for tokens in own[rows])
            ids = [[self.pad] * (width - len(tokens)) + tokens for tokens in own[rows]]
            logits.append(self._forward(torch.tensor(ids, device=device), rows, slice(longest - width, longest)))
        self.cache.length = longest
        self.cache.select(copies)
        return torch.cat(logits)[torch.tensor(copies, device=device)]

    def _chunks(self, lengths: list[int], shared: list[int]) -> Iterator[slice]:
        """Cut the prompts into runs whose attention scores fit in memory."""
        start, longest, reach = 0, 0, 0
        for row, (length, before) in enumerate(zip(lengths, shared, strict=True)):
            longest, reach = max(longest, length), max(reach, length, before)
            if row > start and (row + 1 - start) * self.heads * longest * reach > PREFILL_SCORES:
                yield slice(start, row)
                start, longest, reach = row, length, max(length, before)
        yield slice(start, len(lengths))

    def _encode(self, tokens: tuple[int, ...]) -> Prefix:
        """Encode a shared beginning, unless the batch before had it."""
        if tokens in self._encoded:
            return self._encoded[tokens]
        # Made without the model's config, because a layer made for a sliding window would keep its last tokens only.
        cache = DynamicCache()
        self.model.base_model(
            input_ids=torch.tensor([tokens], device=self.model.device), past_key_values=cache, use_cache=True
        )
        layers: list[Any] = cache.layers
        keys, values = zip(*((layer.keys[0], layer.values[0]) for layer in layers), strict=True)
        return Prefix(len(tokens), list(keys), list(values))

    def _forward(self, ids: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
        positions = self.cache.aim(rows, columns)
        out = self.model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            row_cache=self.cache,
        )
        return out.logits[:, -1].float()

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token to each row and return the logits (rows, vocabulary) of the next."""
        column = self.cache.length
        logits = self._forward(tokens[:, None], slice(0, self.cache.rows), slice(column, column + 1))
        self.cache.length += 1
        return logits

    def keep(self, rows: list[int]) -> None:
        """Let all rows but these (ascending indices) leave the batch."""
        self.cache.select(rows)


class PlainDecoder:
    """Decode a left-padded batch with the model's own attention and cache: for models that `attend` does not fit."""

    def __init__(self, model: Any, pad: int) -> None:
        self.model = model
        self.pad = pad

    def start(self, prompts: list[list[int]], shared: list[int], copies: list[int]) -> torch.Tensor:
        """Encode the prompts and return the logits of the tokens that follow; see `SharedDecoder`."""
        del shared
        longest = max(map(len, prompts))
        padding = torch.tensor([longest - len(prompt) for prompt in prompts])
        ids = torch.tensor([[self.pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        self.mask = (torch.arange(longest) >= padding[:, None]).long().to(self.model.device)
        self.cache = DynamicCache(config=self.model.config)
        logits = self._forward(ids.to(self.model.device))
        self.keep(copies)
        return logits[torch.tensor(copies, device=logits.device)]

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        positions = (self.mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        out = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token to each row and return the logits (rows, vocabulary) of the next."""
        self.mask = F.pad(self.mask, (0, 1), value=1)
        return self._forward(tokens[:, None])

    def keep(self, rows: list[int]) -> None:
        """Let all rows but these leave the batch."""
        index = torch.tensor(rows, device=self.mask.device)
        self.mask = self.mask.index_select(0, index)
        self.cache.batch_select_indices(index)


@dataclass
class Row:
    """A request on its way through a batch."""

    request: Request
    prompt: list[int]
    shared: int = 0
    limit: int = 0
    """Most new tokens: max_tokens, or what the context leaves."""


class TransformersBackend:
    """Run a local folder or a Hub model with safetensors weights; see the module's docstring."""

    def __init__(self, model: ModelSettings, engine: EngineSettings) -> None:
        self.engine = engine
        self.device = _device(engine.device)
        if self.device.type == "cpu":
            torch.set_num_threads(engine.threads)
        self.dtype = _dtype(engine.dtype, self.device)
        self.tokenizer, self.model = _load(model, self.dtype, self.device)
        config = self.model.config.get_text_config()
        own = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2**20
        self.context = min(engine.max_model_len or own, own)
        self.end_tokens = _end_tokens(self.model, self.tokenizer)
        # Padding is never seen, so any token serves a tokenizer without a pad token.
        pad = self.tokenizer.pad_token_id
        self.pad = pad if pad is not None else next(iter(self.end_tokens), 0)
        self.decoder = self._trusted_decoder()
        self._may_stop: dict[tuple[int, tuple[str, ...]], bool] = {}

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

    def _continuation(self, text: str) -> list[int]:
        """Return the tokens of a text that continues a prompt."""
        anchor = self._encode(["Answer:", f"Answer:{text}"])
        if anchor[1][: len(anchor[0])] == anchor[0] and len(anchor[1]) > len(anchor[0]):
            return anchor[1][len(anchor[0]) :]
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts)["input_ids"]

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
        batch: list[Row] = []
        members, longest = 0, 0
        for group in [*(group for group in groups.values() if len(group) >= MIN_GROUP), *([pool] if pool else [])]:
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

    @torch.inference_mode()
    def _decode(self, batch: list[Row], sampling: Sampling) -> Iterator[Completion]:
        numbers: dict[tuple[int, ...], int] = {}
        copies = [numbers.setdefault(tuple(row.prompt), len(numbers)) for row in batch]
        # Rows of one prompt are next to each other unless two prompts are equally long; sorting makes it so.
        order = sorted(range(len(batch)), key=lambda place: copies[place])
        live = [Progress(batch[place], sampling, self) for place in order]
        shared = {copy: row.shared for copy, row in zip(copies, batch, strict=True)}
        prompts = [list(prompt) for prompt in numbers]
        logits = self.decoder.start(prompts, [shared[number] for number in range(len(prompts))], sorted(copies))
        draws = _draws(live, sampling, self.device)
        step = 0
        while True:
            tokens = sample(logits, sampling, draws[:, step] if draws is not None else None)
            for row, token in zip(live, tokens.tolist(), strict=True):
                if not row.finished and row.take(token):
                    yield row.completion()
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


class Progress:
    """One row's answer as it grows."""

    def __init__(self, row: Row, sampling: Sampling, backend: TransformersBackend) -> None:
        self.row = row
        self.stop = sampling.stop
        self.backend = backend
        self.tokens: list[int] = []
        self.text: str | None = None
        self.finish_reason = "stop"
        self.finished = False

    def take(self, token: int) -> bool:
        """Add a token; True if the answer ends with it."""
        if token in self.backend.end_tokens:
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


def sample(logits: torch.Tensor, sampling: Sampling, draws: torch.Tensor | None) -> torch.Tensor:
    """Choose each row's next token by inverting its cumulative distribution at that row's own random number.

    Args:
        logits: (rows, vocabulary) float32.
        sampling: temperature and nucleus.
        draws: (rows,) uniform numbers from [0, 1); None for greedy decoding.

    Returns:
        (rows,) token ids.
    """
    if draws is None:
        return logits.argmax(-1)
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
        raise UserError(
            f"generation.device is {name}, but this machine has no CUDA GPU that torch can use; set it to cpu"
        )
    return torch.device(name)


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return getattr(torch, name)


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
