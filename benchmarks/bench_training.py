"""Fine-tuning against the reference's way, as ratios in one run: `python benchmarks/bench_training.py [--rows N]`.

Models are randomly initialised: speed depends on shapes alone. `demo` is the demo's base model; `wide` has
layers twice as wide and StarCoder2's 49,152 tokens, since the output layer is a large part of a code model's work. Row
lengths follow the pipeline's own mix. Each time is CPU time of one thread, so that other work on the machine does not
count.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from selfcodealign.training import attention, schedule, trainer
from selfcodealign.training.documents import Document, common_beginning

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
SHAPES = {
    "demo": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6, "vocab_size": 1_024},
    "wide": {"hidden_size": 384, "intermediate_size": 1_024, "num_hidden_layers": 6, "vocab_size": 49_152},
}
CAPACITY = 1_024
"""Tokens of a micro-batch, packed or padded."""


def network(shape: str, implementation: str) -> Any:
    """Make a randomly initialised Llama."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", **SHAPES[shape], num_attention_heads=6, num_key_value_heads=6, tie_word_embeddings=True
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation=implementation).train()


def rows_like_the_pipelines(count: int, seed: int = 0) -> list[Document]:
    """Draw rows whose lengths follow the demo's dataset: prompts of 60 to 110 tokens, responses of 25 to 120."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        prompt = rng.randint(60, 110)
        response = min(120, max(25, round(rng.lognormvariate(3.9, 0.4))))
        tokens = tuple(rng.randrange(2, 1_000) for _ in range(prompt + response))
        made.append(Document(f"row-{number:06d}", tokens, prompt))
    return made


# ---- three ways to compute the same step ----


def one_row_at_a_time(model: Any, documents: list[Document]) -> Iterator[torch.Tensor]:
    """Yield the reference's micro-batches: one unpacked row, logits of every token, the model's own loss."""
    for document in documents:
        ids = torch.tensor([document.tokens])
        labels = ids.clone()
        labels[0, : document.prompt_tokens] = -100
        yield model(input_ids=ids, labels=labels).loss / len(documents)


def padded(model: Any, documents: list[Document]) -> Iterator[torch.Tensor]:
    """Yield padded micro-batches of at most `CAPACITY` positions, in the order of the rows."""
    batch: list[Document] = []
    for document in [*documents, None]:
        longest = max((len(item.tokens) for item in [*batch, document] if item), default=0)
        if batch and (document is None or longest * (len(batch) + 1) > CAPACITY):
            width = max(len(item.tokens) for item in batch)
            ids = torch.ones(len(batch), width, dtype=torch.long)
            mask = torch.zeros(len(batch), width, dtype=torch.long)
            labels = torch.full((len(batch), width), -100)
            weights = torch.zeros(len(batch), width)
            for place, item in enumerate(batch):
                length, start = len(item.tokens), item.prompt_tokens
                ids[place, :length] = torch.tensor(item.tokens)
                mask[place, :length] = 1
                labels[place, start:length] = ids[place, start:length]
                weights[place, start:length] = 1 / (item.response_tokens * len(documents))
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            lost = torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100, reduction="none"
            )
            yield (lost * weights[:, 1:].reshape(-1)).sum()
            batch = []
        if document is not None:
            batch.append(document)


def packed(model: Any, documents: list[Document]) -> Iterator[torch.Tensor]:
    """Yield this project's micro-batches: rows end to end, logits where the loss is taken."""
    shared = common_beginning(documents)
    (step,) = schedule.steps(
        documents,
        epochs=1,
        seed=0,
        batch_rows=len(documents),
        packing=True,
        micro_batch_tokens=CAPACITY,
        shared_tokens=shared,
    )
    weights = schedule.token_weights(documents, step, "reference")
    for content in step.bins:
        yield trainer.weighted_loss(model, model, trainer.micro_batch(documents, content, weights, 0, shared), CPU)


Way = Callable[[Any, list[Document]], Iterator[torch.Tensor]]
WAYS: dict[str, tuple[Way, str]] = {
    "one row at a time": (one_row_at_a_time, "sdpa"),
    "padded": (padded, "sdpa"),
    "packed": (packed, attention.PER_DOCUMENT),
}


def take_step(way: Way, model: Any, optimizer: torch.optim.Optimizer, documents: list[Document]) -> float:
    """Compute the gradients of one optimizer step and take it; return the loss."""
    total = 0.0
    for loss in way(model, documents):
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total


def speed(shape: str, rows: int, repeats: int) -> dict[str, Any]:
    """Measure response tokens trained on per CPU second, ways taking turns."""
    documents = rows_like_the_pipelines(rows)
    models = {name: network(shape, implementation) for name, (_, implementation) in WAYS.items()}
    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=1e-4) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    losses: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats + 1):
        for name, (way, _) in WAYS.items():
            started = time.process_time()
            losses[name].append(take_step(way, models[name], optimizers[name], documents))
            seconds[name].append(time.process_time() - started)
    trained = sum(document.response_tokens for document in documents)
    rates = {name: trained / min(times[1:]) for name, times in seconds.items()}
    return {
        "shape": shape,
        "rows": rows,
        "response_tokens_per_cpu_s": {name: round(rate) for name, rate in rates.items()},
        "packed_over_one_row": round(rates["packed"] / rates["one row at a time"], 2),
        "packed_over_padded": round(rates["packed"] / rates["padded"], 2),
        "largest_difference_in_loss": max(
            abs(mine - theirs) for mine, theirs in zip(losses["packed"], losses["one row at a time"], strict=True)
        ),
    }


def main() -> None:
    """Measure and print one JSON object for each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64, help="rows of an optimizer step")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for shape in SHAPES:
        print(json.dumps(speed(shape, arguments.rows, arguments.repeats)), flush=True)


if __name__ == "__main__":
    main()
