"""Attention over packed rows, one document at a time: nothing can leak, and no token pays for another document."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface

from selfcodealign.errors import UserError

PER_DOCUMENT = "sdpa_per_document"


def per_document_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    document_lengths: list[int] | None = None,
    shared_tokens: int = 0,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Run torch's scaled-dot-product attention on each document of a packed row by itself.

    A block-diagonal mask over the whole row gives the same numbers, but costs row length² and loses the fast kernels.
    Tokens with which all documents begin may stand once at the start of the row: each document looks back on them.

    Args:
        module: the attention layer.
        query: (1, heads, tokens, head size).
        key: (1, key heads, tokens, head size); there may be fewer key heads than heads.
        value: shaped like `key`.
        attention_mask: must be None; there is no padding.
        document_lengths: tokens of each document behind the shared ones, in order; one document if absent.
        shared_tokens: how many tokens at the start of the row belong to every document.
        sliding_window: how far a token may look back.
        **kwargs: scaling and dropout, passed on.

    Returns:
        (1, tokens, heads, head size), and None for the attention weights.
    """
    kwargs.pop("is_causal", None)

    def attend(own_query: torch.Tensor, seen_key: torch.Tensor, seen_value: torch.Tensor) -> torch.Tensor:
        """Attend from a part of the row to the shared tokens and itself."""
        length, seen = own_query.shape[2], seen_key.shape[2]
        plain = length == seen and (sliding_window is None or length <= sliding_window)
        mask = None if plain else _lower_right(length, seen, sliding_window, query.device)
        return sdpa_attention_forward(module, own_query, seen_key, seen_value, mask, is_causal=plain, **kwargs)[0]

    lengths = document_lengths or [query.shape[2] - shared_tokens]
    # Split, not sliced: the gradient of each slice would fill and add up a tensor as long as the whole row.
    parts = [whole.split([shared_tokens, *lengths], dim=2) for whole in (query, key, value)]
    (head_query, head_key, head_value), *own = zip(*parts, strict=True)
    outputs = [attend(head_query, head_key, head_value)] if shared_tokens else []
    for own_query, own_key, own_value in own:
        if shared_tokens:
            own_key, own_value = torch.cat([head_key, own_key], dim=2), torch.cat([head_value, own_value], dim=2)
        outputs.append(attend(own_query, own_key, own_value))
    return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0], None


@lru_cache(maxsize=512)
def _lower_right(queries: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Return which keys the last `queries` of `keys` positions may see: those before them, at most a window back."""
    distance = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)[None, :]
    seen = distance >= 0
    return (seen if window is None else seen & (distance < window))[None, None]


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Documents are told apart by their lengths, not by a mask."""


AttentionInterface.register(PER_DOCUMENT, per_document_attention)
AttentionMaskInterface.register(PER_DOCUMENT, _no_mask)


def choose(wanted: str, packing: bool) -> str:
    """Return the attention implementation to load a model with; `auto` takes the fastest that is safe here."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        from transformers.utils.import_utils import is_flash_attn_2_available

        if is_flash_attn_2_available():
            return "flash_attention_2"
    return PER_DOCUMENT if packing else "sdpa"


def inputs(
    documents: Sequence[Sequence[int]], model: PreTrainedModel, device: torch.device, shared_tokens: int = 0
) -> dict[str, Any]:
    """Lay documents end to end as a model's input: the only form in which this package calls a model for training.

    Positions start anew with each document, and there is neither an attention mask nor a cache: with an all-ones mask,
    or with the cache that models use by default, transformers silently lets documents see each other.

    Args:
        documents: their tokens.
        model: decides by its attention whether documents are told apart by their lengths.
        device: where to compute.
        shared_tokens: with how many equal tokens all documents begin; they are laid down, and computed, once.
    """
    if shared_tokens and model.config._attn_implementation != PER_DOCUMENT:
        raise ValueError(
            f"attention {model.config._attn_implementation!r} cannot share the tokens documents begin with"
        )
    ids = list(documents[0][:shared_tokens])
    places = list(range(shared_tokens))
    for document in documents:
        ids += document[shared_tokens:]
        places += range(shared_tokens, len(document))
    laid: dict[str, Any] = {
        "input_ids": torch.tensor([ids], device=device),
        "position_ids": torch.tensor([places], device=device),
        "use_cache": False,
    }
    if model.config._attn_implementation == PER_DOCUMENT:
        laid["document_lengths"] = [len(document) - shared_tokens for document in documents]
        laid["shared_tokens"] = shared_tokens
    return laid


@torch.no_grad()
def leak(model: PreTrainedModel, device: torch.device) -> float:
    """Measure by how much two packed documents change each other's logits, as a share of the largest logit.

    The rows are computed exactly as in training. Without a leak only rounding remains.
    """
    vocabulary = min(1_000, model.config.get_text_config().vocab_size)
    draws = torch.Generator().manual_seed(0)
    pair = [[1, 2, 3, *torch.randint(vocabulary, (length,), generator=draws).tolist()] for length in (4, 8)]
    was_training = model.training
    model.eval()
    apart = torch.cat([model(**inputs([document], model, device)).logits for document in pair], dim=1)
    differences = [(model(**inputs(pair, model, device)).logits - apart).abs().max()]
    if model.config._attn_implementation == PER_DOCUMENT:
        shared = torch.cat([apart[:, :7], apart[:, 10:]], dim=1)
        differences.append((model(**inputs(pair, model, device, shared_tokens=3)).logits - shared).abs().max())
    model.train(was_training)
    return float(torch.stack(differences).max() / apart.abs().max().clamp(min=1e-6))


def guard(model: PreTrainedModel, device: torch.device) -> None:
    """Refuse a combination of architecture and attention in which packed documents see each other.

    It is measured on the loaded model rather than looked up, since it depends on library versions too.

    Raises:
        UserError: packing leaks.
    """
    measured = leak(model, device)
    reduced = next(model.parameters()).dtype in (torch.bfloat16, torch.float16)
    if not measured <= (2e-2 if reduced else 1e-4):
        raise UserError(
            f"packing leaks across documents with {type(model).__name__} and attention "
            f"{model.config._attn_implementation!r} (logits change by {measured:.2g} of their size): set "
            "train_sft.packing to false, or train_sft.attention to sdpa_per_document or flash_attention_2"
        )
