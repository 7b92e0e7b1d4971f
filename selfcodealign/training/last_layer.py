"""What nobody reads is not computed: the last layer's work at tokens whose logits are not asked for.

Behind the keys and values of the last layer, each token is computed for its own logits alone. So the queries, the
attention's output and the feed-forward of that layer are needed only where the loss is taken; prompts need none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from selfcodealign.training import attention


def parts(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Return the parts of the last layer that compute each token by itself; none of an unknown architecture."""
    layers: Any = getattr(model.get_decoder(), "layers", None)
    if not layers:
        return []
    own_attention = getattr(layers[-1], "self_attn", None)
    found = [getattr(own_attention, "q_proj", None), getattr(own_attention, "o_proj", None)]
    found.append(getattr(layers[-1], "mlp", None))
    return [part for part in found if part is not None] if all(found) else []


class LastLayer:
    """Hooks that make the last layer of a model compute certain tokens only.

    Attributes:
        on: the model allows it.
        positions: (k,) places in the row whose logits are read, or None to compute all.
    """

    def __init__(self) -> None:
        self.on = False
        self.positions: torch.Tensor | None = None
        self._length = 0

    def attach(self, model: PreTrainedModel, device: torch.device) -> bool:
        """Use a model's last layer so if this changes none of the logits read; say whether it is used so.

        As with packing it is measured on the loaded model, which may be of any architecture. All processes take part.
        """
        found = parts(model)
        hooks = [part.register_forward_pre_hook(self._choose) for part in found]
        hooks += [part.register_forward_hook(self._spread) for part in found]
        self.on = bool(found) and self._changes_nothing(model, device)
        if not self.on:
            for hook in hooks:
                hook.remove()
        return self.on

    @contextmanager
    def at(self, positions: torch.Tensor) -> Iterator[None]:
        """Compute certain tokens only while the context lasts, if the model allows it.

        The backward pass belongs inside: activation checkpointing computes the layer again there.
        """
        self.positions = positions if self.on else None
        try:
            yield
        finally:
            self.positions = None

    @torch.no_grad()
    def _changes_nothing(self, model: PreTrainedModel, device: torch.device) -> bool:
        """Compare the logits of some tokens with those of a last layer computed whole."""
        was_training = model.training
        model.eval()
        given = attention.inputs([[1, 2, 3, 4, 5, 6, 7, 8]], model, device)
        positions = torch.tensor([3, 4, 6], device=device)
        whole = model(**given, logits_to_keep=positions).logits
        self.positions = positions
        try:
            narrow = model(**given, logits_to_keep=positions).logits
        except RuntimeError:  # A feed-forward that returns more than one tensor, as mixtures of experts do.
            return False
        finally:
            self.positions = None
            model.train(was_training)
        reduced = next(model.parameters()).dtype in (torch.bfloat16, torch.float16)
        return float((whole - narrow).abs().max() / whole.abs().max().clamp(min=1e-6)) <= (2e-2 if reduced else 1e-4)

    def _choose(self, part: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        """Take the chosen tokens out of the row (1, tokens, width)."""
        if self.positions is None:
            return None
        self._length = given[0].shape[1]
        return (given[0].index_select(1, self.positions), *given[1:])

    def _spread(self, part: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> torch.Tensor:
        """Put what was computed back to its places; the other tokens get zeros, which nobody reads."""
        if self.positions is None or not isinstance(made, torch.Tensor):
            return made
        row = made.new_zeros(1, self._length, made.shape[-1])
        return row.index_copy(1, self.positions, made)
