"""Train the demo's tokenizer and its tiny base model from scratch on the synthetic corpus of `demo/corpus.py`.

A Llama of 2.9 million parameters: AdamW for the embedding and the norms, Muon for the matrices, one cosine schedule
over a corpus of which no document is seen twice. Exercises, from which the model learns to compute values, come mostly
early; few-shot documents mostly late. Computed values weigh more in the loss than the random arguments they are
computed from, of which there is nothing to learn. About an hour on two cores; a checkpoint after every block of steps
lets a killed run continue. Which documents are seen depends on the seed alone; the last bits of the weights also on
threads and machine.
"""

import json
import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo import corpus
from selfcodealign.config.demo import PretrainDemoModel
from selfcodealign.errors import UserError
from selfcodealign.rows_io import write_json
from selfcodealign.stage import run

END, PAD = "<|endoftext|>", "<|pad|>"
# What is one word for the tokenizer: tags and fences; separators of list items; a line break with its indentation; one
# letter of a quoted string; a word; a digit; other marks. Digits and quoted letters stay single, for the model computes
# with them.
PIECES = (
    r"</?[a-z]+>|```(?:python)?|', '|, (?=[\d'])|\n *|[A-Za-z](?=[A-Za-z!*+_\-]*')| ?_?[A-Za-z]+| ?\d"
    r"| ?[^\sA-Za-z\d]+| +"
)
# The values that a document computes: the right side of an assertion and what follows an arrow.
COMPUTED = re.compile(r"^assert .* == (.*)$| -> (.*)$", re.MULTILINE)
IGNORED = -100


def train_tokenizer(documents: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train byte-level BPE of the given size on the documents."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        min_frequency=8,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(documents, trainer)
    # Every document of the corpus stands behind an end token, so every prompt must.
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def build_model(vocabulary: int, width: int, layers: int, context: int) -> LlamaForCausalLM:
    """Build a randomly initialised Llama with heads of 32 dimensions and tied embeddings."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=width * 8 // 3 // 32 * 32,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            num_key_value_heads=width // 32,
            max_position_embeddings=context,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=1,
        )
    )


def weigh(document: str, offsets: Sequence[tuple[int, int]], answers: float) -> np.ndarray:
    """Return a weight for each token of a document: `answers` inside computed values, 1 elsewhere."""
    weights = np.ones(len(offsets), dtype=np.float32)
    starts = np.fromiter((start for start, _ in offsets), dtype=np.int64, count=len(offsets))
    for match in COMPUTED.finditer(document):
        start, end = match.span(1) if match[1] is not None else match.span(2)
        # The space before a value belongs to its first token.
        weights[np.searchsorted(starts, start - 1) : np.searchsorted(starts, end)] = answers
    return weights


def pack(
    tokenizer: PreTrainedTokenizerFast, documents: Sequence[str], length: int, answers: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pack whole documents into rows, first fit, each after an end token; longer ones are left out.

    Returns token ids (rows, length + 1) and the weights of their losses, 0 for padding, of the same shape.
    """
    full: list[tuple[list[int], list[float]]] = []
    open_rows: list[tuple[list[int], list[float]]] = []
    encodings = tokenizer.backend_tokenizer.encode_batch(list(documents), add_special_tokens=False)
    for document, encoding in zip(documents, encodings, strict=True):
        ids, weights = [0, *encoding.ids], [1.0, *weigh(document, encoding.offsets, answers).tolist()]
        if len(ids) > length:
            continue
        for row in open_rows:
            if len(row[0]) + len(ids) <= length:
                row[0].extend(ids)
                row[1].extend(weights)
                break
        else:
            open_rows.append((ids, weights))
            if len(open_rows) > 40:
                fullest = max(range(len(open_rows)), key=lambda i: len(open_rows[i][0]))
                full.append(open_rows.pop(fullest))
    rows = full + open_rows
    ids_out = np.ones((len(rows), length + 1), dtype=np.int64)
    weights_out = np.zeros((len(rows), length + 1), dtype=np.float32)
    for index, (ids, weights) in enumerate(rows):
        ids_out[index, : len(ids)], weights_out[index, : len(weights)] = ids, weights
        ids_out[index, len(ids)], weights_out[index, len(ids)] = 0, 1  # An end token closes the last document.
    return ids_out, weights_out


def block_of_rows(
    tokenizer: PreTrainedTokenizerFast, seed: int, step: int, rows: int, length: int, exercises: float, answers: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Write and pack the documents for the steps of one block; returns ids, weights and the number of documents."""
    documents: list[str] = []
    ids, weights = np.empty((0, length + 1), dtype=np.int64), np.empty((0, length + 1), dtype=np.float32)
    while len(ids) < rows:
        documents += corpus.documents(rows, f"corpus:{seed}:{step}:{len(documents)}", exercises)
        if len(documents) * 2 >= rows * 3:  # A row holds two documents or more; do not pack far too early.
            ids, weights = pack(tokenizer, documents, length, answers)
    order = np.random.default_rng([seed, step]).permutation(len(ids))[:rows]
    return ids[order], weights[order], round(len(documents) * rows / len(ids))


class Muon:
    """Momentum with orthogonalised updates; matrices of one shape are stacked, for they are small.

    Newton-Schulz iteration after Keller Jordan's Muon; updates are scaled to the root mean square that AdamW's have.
    """

    def __init__(
        self, parameters: Sequence[torch.nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.02
    ) -> None:
        shapes: dict[tuple[int, ...], list[torch.nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault(tuple(parameter.shape), []).append(parameter)
        self.groups = [(group, [torch.zeros_like(p) for p in group]) for group in shapes.values()]
        self.lr, self.momentum, self.decay = lr, momentum, decay

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix from its gradient."""
        for group, momenta in self.groups:
            updates = []
            for parameter, momentum in zip(group, momenta, strict=True):
                assert parameter.grad is not None, "every matrix of the model takes part in the loss"
                momentum.lerp_(parameter.grad, 1 - self.momentum)
                updates.append(parameter.grad.lerp(momentum, self.momentum))
            update = torch.stack(updates).bfloat16()
            if tall := update.size(-2) > update.size(-1):
                update = update.mT
            update = update / (update.norm(dim=(-2, -1), keepdim=True) + 1e-7)
            for _ in range(5):
                square = update @ update.mT
                update = 3.4445 * update + (-4.7750 * square + 2.0315 * (square @ square)) @ update
            scaled = (update.mT if tall else update).float() * (0.2 * max(group[0].shape) ** 0.5)
            for parameter, change in zip(group, scaled.unbind(0), strict=True):
                parameter.mul_(1 - self.lr * self.decay).add_(change, alpha=-self.lr)


COUNTERS = ("step", "tokens", "documents", "wall_s", "cpu_s", "history", "schedule")


class Training:
    """Model, optimizers and counters; everything a checkpoint holds."""

    def __init__(self, model: LlamaForCausalLM, lr: float, matrix_lr: float):
        self.model = model
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        chosen = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in chosen]
        self.lr, self.matrix_lr = lr, matrix_lr
        self.adamw = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        self.muon = Muon(matrices, matrix_lr)
        self.step = self.tokens = self.documents = 0
        self.wall_s = self.cpu_s = 0.0
        self.history: list[dict[str, float]] = []
        self.schedule: list[dict[str, int]] = []  # which number of steps was planned for from which step on

    def update(self, ids: torch.Tensor, weights: torch.Tensor, rate: float) -> tuple[float, float]:
        """Take one step at a share of the learning rates; return the loss of all tokens and of computed values."""
        targets = torch.where(weights[:, 1:] > 0, ids[:, 1:], IGNORED)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(input_ids=ids[:, :-1], use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        weight = weights[:, 1:].flatten()
        ((losses * weight).sum() / weight.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.lr = self.matrix_lr * rate
        for group in self.adamw.param_groups:
            group["lr"] = self.lr * rate
        self.muon.step()
        self.adamw.step()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += int((weight > 0).sum())
        losses = losses.detach()
        return losses[weight > 0].mean().item(), losses[weight > 1].mean().item()

    def state(self) -> dict[str, Any]:
        """Return what a later run needs to continue."""
        return {
            "model": self.model.state_dict(),
            "adamw": self.adamw.state_dict(),
            "muon": [momenta for _, momenta in self.muon.groups],
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue where `state` ends."""
        self.model.load_state_dict(state["model"])
        self.adamw.load_state_dict(state["adamw"])
        for (_, momenta), saved in zip(self.muon.groups, state["muon"], strict=True):
            for own, old in zip(momenta, saved, strict=True):
                own.copy_(old)
        for name, value in state["counters"].items():
            setattr(self, name, value)


def rate_at(step: int, steps: int, warmup: int = 60, floor: float = 0.02) -> float:
    """Return the share of the peak learning rate: a short warm-up, then a cosine down to `floor`."""
    cosine = 0.5 * (1 + np.cos(np.pi * step / steps))
    return float(min(1.0, (step + 1) / warmup) * (floor + (1 - floor) * cosine))


def exercises_at(step: int, steps: int) -> float:
    """Return the share of exercises among the documents: more than half at first, a tenth at the end."""
    return float(np.interp(step / steps, [0, 0.3, 0.4, 1], [0.65, 0.5, 0.2, 0.1]))


def blocks(first: int, steps: int, block: int) -> Iterator[tuple[int, int]]:
    """Yield (first step, number of steps) of each block that is left."""
    for start in range(first, steps, block):
        yield start, min(block, steps - start)


def save_model(folder: Path, training: Training, tokenizer: PreTrainedTokenizerFast, recipe: dict[str, Any]) -> None:
    """Write weights (bf16), tokenizer, configuration and the facts of the training into `folder`."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tokenizer.save_pretrained(fresh)
    twin = LlamaForCausalLM(training.model.config)
    twin.load_state_dict(training.model.state_dict())
    twin.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=0, pad_token_id=1)
    twin.to(torch.bfloat16).save_pretrained(fresh)  # type: ignore[call-arg]
    facts = {
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "steps": training.step,
        "tokens": training.tokens,
        "documents": training.documents,
        "wall_s": round(training.wall_s),
        "cpu_s": round(training.cpu_s),
        "loss": training.history[-1]["loss"] if training.history else None,
        "loss_of_computed_values": training.history[-1]["loss_of_computed_values"] if training.history else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "recipe": recipe,
        "schedule": training.schedule,
        "history": training.history,
    }
    write_json(fresh / "training.json", facts)
    folder.mkdir(parents=True, exist_ok=True)
    for made in sorted(fresh.iterdir()):  # Beside them stays what a person wrote: the model card.
        os.replace(made, folder / made.name)
    fresh.rmdir()


def main(
    model: Path,
    work: Path,
    *,
    settings: PretrainDemoModel,
    block: int = 300,
    rows: int = 8,
    length: int = 448,
    width: int = 192,
    layers: int = 6,
    context: int = 640,
    vocabulary: int = 1024,
    lr: float = 3e-3,
    matrix_lr: float = 5e-3,
    answers: float = 3.0,
    threads: int = 2,
) -> None:
    """Train the demo's base model into the folder `model`, with checkpoints in the folder `work`.

    A step sees `rows` rows of `length` tokens; `answers` is the weight of computed values in the loss. A run that
    continues may be given another number of steps, nothing else.
    """
    seed, steps = settings.seed, settings.steps
    if block < 1:
        raise UserError(f"block ({block}) must be at least 1")
    recipe = {
        "seed": seed, "steps": steps, "block": block, "rows": rows, "length": length, "width": width, "layers": layers,
        "context": context, "vocabulary": vocabulary, "lr": lr, "matrix_lr": matrix_lr, "answers": answers,
    }  # fmt: skip
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / "checkpoint.pt"
    tokenizer = train_tokenizer(corpus.documents(6000, f"tokenizer:{seed}", 0.4), vocabulary)
    training = Training(build_model(len(tokenizer), width, layers, context), lr, matrix_lr)
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if json.loads(saved["recipe"]) | {"steps": steps} != recipe:
            raise UserError(f"{checkpoint} belongs to a run with other settings; remove it or use those settings")
        training.load(saved["state"])
        logging.info("continuing at step %d", training.step)
    if not training.schedule or training.schedule[-1]["steps"] != steps:
        training.schedule.append({"from_step": training.step, "steps": steps})
    loss = computed = float("nan")
    for start, count in blocks(training.step, steps, block):
        wall, cpu = time.perf_counter(), time.process_time()
        ids, weights, documents = block_of_rows(
            tokenizer, seed, start, count * rows, length, exercises_at(start, steps), answers
        )
        for offset in range(0, len(ids), rows):
            batch = slice(offset, offset + rows)
            now = training.update(
                torch.from_numpy(ids[batch]), torch.from_numpy(weights[batch]), rate_at(training.step, steps)
            )
            loss, computed = (
                new if old != old else 0.97 * old + 0.03 * new for old, new in zip((loss, computed), now, strict=True)
            )
            if training.step % 50 == 0:
                spent = time.perf_counter() - wall
                logging.info(
                    "step %d of %d, loss %.4f, of computed values %.4f, %.2f s a step",
                    training.step, steps, loss, computed, spent / (training.step - start),
                )  # fmt: skip
        training.documents += documents
        training.wall_s += time.perf_counter() - wall
        training.cpu_s += time.process_time() - cpu
        point = {"step": training.step, "tokens": training.tokens, "loss": loss, "loss_of_computed_values": computed}
        training.history.append({key: round(value, 4) for key, value in point.items()})
        torch.save({"state": training.state(), "recipe": json.dumps(recipe)}, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)
        logging.info(
            "%d documents, %.2f million tokens, %.0f s", training.documents, training.tokens / 1e6, training.wall_s
        )
    save_model(model, training, tokenizer, recipe)


if __name__ == "__main__":
    run(main)
