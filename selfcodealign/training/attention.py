"""Attention over packed rows, one document at a time: nothing can leak, and no token pays for another document."""

from collections.abc import Sequence
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
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Run torch's scaled-dot-product attention on each document of a packed row by itself.

    A block-diagonal mask over the whole row gives the same numbers, but costs row length² and loses the fast kernels.

    Args:
        module: the attention layer.
        query: (1, heads, tokens, head size).
        key: (1, key heads, tokens, head size); there may be fewer key heads than heads.
        value: shaped like `key`.
        attention_mask: must be None; there is no padding.
        document_lengths: tokens of each document, in order; one document if absent.
        sliding_window: how far a token may look back.
        **kwargs: scaling and dropout, passed on.

    Returns:
        (1, tokens, heads, head size), and None for the attention weights.
    """
    kwargs.pop("is_causal", None)
    tokens = query.shape[2]
    lengths = document_lengths or [tokens]
    outputs = []
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        mask = None
        if sliding_window is not None and length > sliding_window:
            distance = torch.arange(length, device=query.device)
            distance = distance[:, None] - distance[None, :]
            mask = ((distance >= 0) & (distance < sliding_window))[None, None]
        output, _ = sdpa_attention_forward(
            module, query[:, :, part], key[:, :, part], value[:, :, part], mask, is_causal=mask is None, **kwargs
        )
        outputs.append(output)
        start += length
    return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0], None


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


def inputs(documents: Sequence[Sequence[int]], model: PreTrainedModel, device: torch.device) -> dict[str, Any]:
    """Lay documents end to end as a model's input: the only form in which this package calls a model for training.

    Positions start anew with each document, and there is neither an attention mask nor a cache: with an all-ones mask,
    or with the cache that models use by default, transformers silently lets documents see each other.
    """
    laid: dict[str, Any] = {
        "input_ids": torch.tensor([[token for document in documents for token in document]], device=device),
        "position_ids": torch.tensor([[at for document in documents for at in range(len(document))]], device=device),
        "use_cache": False,
    }
    if model.config._attn_implementation == PER_DOCUMENT:
        laid["document_lengths"] = [len(document) for document in documents]
    return laid


@torch.no_grad()
def leak(model: PreTrainedModel, device: torch.device) -> float:
    """Measure by how much two packed documents change each other's logits, as a share of the largest logit.

    The rows are computed exactly as in training. Without a leak only rounding remains.
    """
    vocabulary = min(1_000, model.config.get_text_config().vocab_size)
    draws = torch.Generator().manual_seed(0)
    pair = [torch.randint(vocabulary, (length,), generator=draws).tolist() for length in (7, 11)]
    was_training = model.training
    model.eval()
    apart = torch.cat([model(**inputs([document], model, device)).logits for document in pair], dim=1)
    together = model(**inputs(pair, model, device)).logits
    model.train(was_training)
    return float((together - apart).abs().max() / apart.abs().max().clamp(min=1e-6))


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
