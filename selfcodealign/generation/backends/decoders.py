"""Decode many rows at once: the beginnings that rows share are kept once, and each row's own tokens beside them.

`SharedDecoder` gives the model a cache and an attention of its own; `PlainDecoder` leaves both to the model, for those
that change them in ways `attend` does not know.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from transformers import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

CACHE_STEP = 64
"""Columns by which the cache of the rows' own tokens grows."""

CHUNK_TOKENS = 256
CHUNK_PADDING = 1.15
CHUNK_MOST = 16_384
"""Prompts are encoded in runs of at least so many tokens; a run ends where padding would take so many times its tokens,
or at so many with padding."""

SCORE_EXTRAS = ("softcap", "s_aux", "sinks", "position_bias")
HARMLESS_TENSORS = ("position_ids", "cache_position")
"""Keywords that models pass to their attention: those that change it, and tensors that do not."""


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
            (None if number is None else self.prefixes[number], start, stop)
            for number, start, stop in _runs(self.prefix_of[window])
        ]
        self.positions = (self.starts[window, None] + new - first).clamp_min(0)
        return self.positions

    def near(self, prefix: Prefix, start: int, stop: int, sliding_window: int | None) -> torch.Tensor | None:
        """Say which tokens of a beginning the new tokens of the rows see: (rows, tokens, beginning); None for all."""
        if not sliding_window:
            return None
        place = torch.arange(prefix.length, device=self.first.device)
        return self.positions[start:stop, :, None] - place < sliding_window

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
            # A step takes all columns, those not written yet unseen: a part of them would be copied for each product.
            kept.append(held[self.window] if new.shape[2] == 1 else held[self.window, :, : self.columns.stop])
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
    """Attend to a shared beginning and to the rows' own tokens.

    Shapes: query (rows, heads, tokens, width), key and value (rows, KV heads, columns, width); returns (rows, tokens,
    heads, width). Without a row cache it is plain causal attention.

    Raises:
        NotImplementedError: the model adds something of its own to the scores, such as a cap or sinks.
    """
    for name, extra in extras.items():
        if extra is not None and (name in SCORE_EXTRAS or (torch.is_tensor(extra) and name not in HARMLESS_TENSORS)):
            raise NotImplementedError(f"attention with {name}")
    _, heads, tokens, width = query.shape
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

    visible = F.pad(row_cache.visible, (0, key.shape[2] - row_cache.visible.shape[2]))
    if sliding_window:
        column = torch.arange(key.shape[2], device=query.device)
        visible = visible & (column[row_cache.columns, None] - column < sliding_window)
    layer: int = module.layer_idx  # type: ignore[assignment]
    part = _attend_from_one if tokens == 1 else _attend_from_many
    return part(query, key, value, visible, scale, sliding_window, row_cache, layer), None


def _attend_from_many(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visible: torch.Tensor,
    scale: float,
    sliding_window: int | None,
    row_cache: RowCache,
    layer: int,
) -> torch.Tensor:
    """Attend from many tokens of each row, as prompts are encoded; see `attend`.

    Each row's keys stand behind a copy of its shared beginning. The scores, many times the size of that copy, are never
    written out by the library's fused kernel.
    """
    rows, heads, tokens, width = query.shape
    share = heads // key.shape[1]
    out = query.new_empty(rows, tokens, heads, width)
    for prefix, start, stop in row_cache.spans:
        keys, values, seen = key[start:stop], value[start:stop], visible[start:stop]
        if prefix is not None:
            keys = torch.cat([prefix.keys[layer].expand(stop - start, -1, -1, -1), keys], 2)
            values = torch.cat([prefix.values[layer].expand(stop - start, -1, -1, -1), values], 2)
            before = row_cache.near(prefix, start, stop, sliding_window)
            if before is None:
                before = seen.new_ones(stop - start, tokens, prefix.length)
            seen = torch.cat([before, seen], 2)
        if share > 1 and query.device.type != "cpu":  # Kernels of a GPU that take a mask want a key for each head.
            keys, values = keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
        found = F.scaled_dot_product_attention(
            query[start:stop], keys, values, seen[:, None], scale=scale, enable_gqa=keys.shape[1] != heads
        )
        out[start:stop] = found.transpose(1, 2)
    return out


def _attend_from_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visible: torch.Tensor,
    scale: float,
    sliding_window: int | None,
    row_cache: RowCache,
    layer: int,
) -> torch.Tensor:
    """Attend from one token of each row to its shared beginning and its own tokens; see `attend`.

    All rows of a beginning ask it in one product. The two parts are merged exactly: a softmax over the union is the two
    softmaxes weighted by their normalisers (Hydragen, arXiv 2402.05099).
    """
    rows, heads, _, width = query.shape
    kv_heads = key.shape[1]
    share = heads // kv_heads
    grouped = query.reshape(rows, kv_heads, share, width)
    scores = torch.matmul(grouped, key.transpose(2, 3)).float().mul_(scale)
    scores.masked_fill_(~visible[:, None], float("-inf"))
    if all(prefix is None for prefix, *_ in row_cache.spans):
        return torch.matmul(scores.softmax(-1).to(value.dtype), value).view(rows, 1, heads, width)

    own_norm = scores.logsumexp(-1, keepdim=True)
    own = torch.matmul(scores.sub_(own_norm).exp_().to(value.dtype), value)
    shared = torch.zeros_like(own)
    shared_norm = torch.full_like(own_norm, float("-inf"))
    for prefix, start, stop in row_cache.spans:
        if prefix is None:
            continue
        count = stop - start
        part = grouped[start:stop].transpose(0, 1).reshape(kv_heads, count * share, width)
        scores = torch.matmul(part, prefix.keys[layer].transpose(1, 2)).float().mul_(scale)
        near = row_cache.near(prefix, start, stop, sliding_window)
        if near is not None:
            scores.view(kv_heads, count, share, prefix.length).masked_fill_(~near, float("-inf"))
        norm = scores.logsumexp(-1, keepdim=True)
        # A beginning wholly outside a sliding window has no normaliser: its weights must be 0, not NaN.
        weights = scores.sub_(norm.clamp_min(torch.finfo(torch.float32).min)).exp_().to(value.dtype)
        back = (kv_heads, count, share)
        shared[start:stop] = torch.matmul(weights, prefix.values[layer]).view(*back, width).transpose(0, 1)
        shared_norm[start:stop] = norm.view(*back, 1).transpose(0, 1)
    out = torch.lerp(shared.float(), own.float(), torch.sigmoid(own_norm - shared_norm)).to(query.dtype)
    return out.view(rows, 1, heads, width)


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
        for rows in self._chunks([len(tokens) for tokens in own]):
            width = max(len(tokens) for tokens in own[rows])
            ids = [[self.pad] * (width - len(tokens)) + tokens for tokens in own[rows]]
            logits.append(self._forward(torch.tensor(ids, device=device), rows, slice(longest - width, longest)))
        self.cache.length = longest
        self.cache.select(copies)
        return torch.cat(logits)[torch.tensor(copies, device=device)]

    def _chunks(self, lengths: list[int]) -> Iterator[slice]:
        """Cut the prompts into runs of like lengths, since the longest of a run sets the width of all."""
        start, longest, own = 0, 0, 0
        for row, length in enumerate(lengths):
            width = max(longest, length)
            padded = (row + 1 - start) * width
            if own >= CHUNK_TOKENS and padded > min(CHUNK_PADDING * (own + length), CHUNK_MOST):
                yield slice(start, row)
                start, longest, own = row, 0, 0
            longest, own = max(longest, length), own + length
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
