"""Packed rows have the loss and the gradients of unpacked ones, for each architecture and attention that runs here."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from selfcodealign.errors import UserError
from selfcodealign.training import attention, trainer
from selfcodealign.training.documents import Document, common_beginning
from selfcodealign.training.last_layer import LastLayer
from selfcodealign.training.schedule import steps, token_weights

from .conftest import ARCHITECTURES, network

CPU = torch.device("cpu")
DRAWS = torch.Generator().manual_seed(3)
DOCUMENTS = [
    Document(
        f"row-{number}", (7, 8, 9, 10, *torch.randint(2, 258, (length,), generator=DRAWS).tolist()), length // 3 + 4
    )
    for number, length in enumerate((9, 40, 17, 5, 31, 60))
]
SHARED = common_beginning(DOCUMENTS)


def gradients(
    model: Any, *, packing: bool, shared: int = 0, last: LastLayer | None = None
) -> tuple[float, dict[str, torch.Tensor]]:
    """Compute loss and gradients of one step over all documents."""
    model.zero_grad()
    (step,) = steps(
        DOCUMENTS, epochs=1, seed=0, batch_rows=6, packing=packing, micro_batch_tokens=110, shared_tokens=shared
    )
    assert len(step.bins) == (2 if packing else 6)
    weights = token_weights(DOCUMENTS, step, "reference")
    total = 0.0
    for content in step.bins:
        batch = trainer.micro_batch(DOCUMENTS, content, weights, 0, shared)
        with (last or LastLayer()).at(batch.positions):
            loss = trainer.weighted_loss(model, model, batch, CPU)
            loss.backward()
        total += loss.item()
    return total, {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("implementation", ["eager", "sdpa", attention.PER_DOCUMENT])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_and_unpacked_agree_in_loss_and_gradients(architecture: str, implementation: str) -> None:
    model = network(architecture, implementation).train()
    apart, expected = gradients(model, packing=False)
    together, found = gradients(model, packing=True)
    assert together == pytest.approx(apart, abs=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_computing_a_common_beginning_once_changes_neither_loss_nor_gradients(architecture: str) -> None:
    assert SHARED == 4
    model = network(architecture, attention.PER_DOCUMENT).train()
    apart, expected = gradients(model, packing=False)
    together, found = gradients(model, packing=True, shared=SHARED)
    assert together == pytest.approx(apart, abs=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_last_layer_computed_where_the_loss_is_taken_changes_neither_loss_nor_gradients(
    architecture: str, checkpointing: bool
) -> None:
    model = network(architecture, attention.PER_DOCUMENT).train()
    apart, expected = gradients(model, packing=False)
    last = LastLayer()
    assert last.attach(model, CPU)
    widths = []
    model.model.layers[-1].mlp.register_forward_hook(lambda part, given, made: widths.append(given[0].shape[1]))
    if checkpointing:
        model.activation_checkpointing_enable()
    together, found = gradients(model, packing=True, shared=SHARED, last=last)
    # Computing a layer again may stop as soon as the backward pass has what it needs.
    assert last.positions is None
    assert sum(widths[:2]) == sum(document.response_tokens for document in DOCUMENTS) or checkpointing
    assert together == pytest.approx(apart, abs=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_a_last_layer_whose_tokens_need_each_other_is_computed_whole() -> None:
    model = network("llama", attention.PER_DOCUMENT)
    feed_forward = model.model.layers[-1].mlp.forward
    model.model.layers[-1].mlp.forward = lambda row: feed_forward(row + row.cumsum(dim=1))
    assert not LastLayer().attach(model, CPU)
    assert not model.model.layers[-1].mlp._forward_hooks


def test_a_common_beginning_ends_before_the_token_that_predicts_a_response() -> None:
    same = [Document(f"row-{number}", (5, 6, 7, 8, number), 4) for number in range(3)]
    assert common_beginning(same) == 3
    assert common_beginning([*same, Document("row-x", (5, 6, 9, 9), 3)]) == 2
    assert common_beginning([*same, Document("row-x", (9, 6, 7, 8), 3)]) == 0


@pytest.mark.parametrize("architecture", ["qwen2", "starcoder2"])
def test_a_sliding_window_shorter_than_a_document_is_kept(architecture: str) -> None:
    window: dict[str, Any] = {"sliding_window": 8}
    if architecture == "qwen2":
        window |= {"use_sliding_window": True, "max_window_layers": 0}
    apart, expected = gradients(network(architecture, "eager", **window), packing=False)
    together, found = gradients(network(architecture, attention.PER_DOCUMENT, **window), packing=True, shared=SHARED)
    unlimited, _ = gradients(network(architecture, "eager"), packing=False)
    assert together == pytest.approx(apart, abs=1e-5)
    assert abs(unlimited - apart) > 1e-3
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_guard_lets_safe_combinations_pass(architecture: str) -> None:
    for implementation in ("eager", "sdpa", attention.PER_DOCUMENT):
        attention.guard(network(architecture, implementation), CPU)


@pytest.mark.parametrize("careless", [{"use_cache": True}, {"attention_mask": True}])
def test_the_guard_refuses_a_model_in_which_documents_see_each_other(careless: dict[str, bool]) -> None:
    model = network("llama", "sdpa")
    forward = model.forward

    def leaky(**given: Any) -> Any:
        """Call the model in one of the two ways known to leak."""
        if "attention_mask" in careless:
            given["attention_mask"] = torch.ones_like(given["input_ids"])
        else:
            given["use_cache"] = True
        return forward(**given)

    model.forward = leaky
    with pytest.raises(UserError, match="packing leaks across documents with LlamaForCausalLM and attention 'sdpa'"):
        attention.guard(model, CPU)


def test_attention_is_chosen_by_what_the_machine_has() -> None:
    assert attention.choose("eager", packing=True) == "eager"
    if not torch.cuda.is_available():
        assert attention.choose("auto", packing=True) == attention.PER_DOCUMENT
        assert attention.choose("auto", packing=False) == "sdpa"


def test_logits_are_computed_where_the_loss_is_taken_and_nowhere_else() -> None:
    model = network("llama", attention.PER_DOCUMENT)
    seen = []
    model.lm_head.register_forward_hook(lambda layer, given, made: seen.append(SimpleNamespace(shape=made.shape)))
    gradients(model, packing=True)
    assert sum(item.shape[1] for item in seen) == sum(document.response_tokens for document in DOCUMENTS)
