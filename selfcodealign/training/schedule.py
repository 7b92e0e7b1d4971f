"""Which documents make up each optimizer step, and how they are laid out for each process.

A step is a fixed set of documents, whatever the number of processes and whether documents are packed: those decide only
how the same sum is computed. The whole schedule is a pure function of the documents, the seed and the settings, so that
resuming needs nothing but the number of steps done.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selfcodealign.ids import rng_for
from selfcodealign.training.documents import Document

Loss = Literal["reference", "token"]
"""How a step's loss is averaged.

reference: the mean over the step's documents of each document's mean over its response tokens. This is what the
reference's command computed with transformers 4.40.1 (one document a micro-batch, 64 accumulated).
token: the mean over all response tokens of the step, as transformers ≥ 4.46 does; long responses weigh more.
"""

Bin = tuple[int, ...]
"""Numbers of the documents that are laid end to end in one micro-batch."""


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    Attributes:
        number: from 0.
        documents: numbers of its documents.
        bins: its micro-batches; process r computes bins[r::processes].
    """

    number: int
    documents: tuple[int, ...]
    bins: tuple[Bin, ...]

    def share(self, process: int, processes: int) -> list[Bin]:
        """Return the micro-batches of one process; all processes get equally many, some perhaps empty ones at the end.

        ZeRO-2 and -3 communicate in every micro-batch, so unequal numbers would make processes wait for ever.
        """
        share = list(self.bins[process::processes])
        return share + [()] * (math.ceil(len(self.bins) / processes) - len(share))


def ordered(documents: Sequence[Document], *, epochs: int, seed: int) -> list[int]:
    """Return the order of all epochs: each epoch a new permutation that depends on the seed and the rows' ids alone."""
    by_id = sorted(range(len(documents)), key=lambda number: documents[number].row_id)
    order: list[int] = []
    for epoch in range(epochs):
        permutation = by_id.copy()
        rng_for(seed, "train_sft", f"epoch-{epoch}").shuffle(permutation)
        order += permutation
    return order


def packed(numbers: Sequence[int], lengths: Sequence[int], capacity: int) -> list[Bin]:
    """Lay documents into as few bins of `capacity` tokens as first-fit-decreasing finds; longest first, ties by number.

    A document longer than the capacity gets a bin of its own.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for number in sorted(numbers, key=lambda number: (-lengths[number], number)):
        for place, free in enumerate(room):
            if lengths[number] <= free:
                bins[place].append(number)
                room[place] -= lengths[number]
                break
        else:
            bins.append([number])
            room.append(max(0, capacity - lengths[number]))
    return [tuple(content) for content in bins]


def steps(
    documents: Sequence[Document],
    *,
    epochs: int,
    seed: int,
    batch_rows: int,
    packing: bool,
    micro_batch_tokens: int,
    shared_tokens: int = 0,
) -> list[Step]:
    """Cut the order of all epochs into optimizer steps of `batch_rows` documents; the last may be smaller.

    As with the reference's trainer, a batch may span the end of an epoch, so every step but the last is full.
    Without packing each document is a micro-batch of its own. The `shared_tokens` with which all documents begin are
    computed once for each packed micro-batch.
    """
    lengths = [len(document.tokens) - shared_tokens for document in documents]
    capacity = micro_batch_tokens - shared_tokens
    order = ordered(documents, epochs=epochs, seed=seed)
    schedule = []
    for number, start in enumerate(range(0, len(order), batch_rows)):
        chosen = tuple(order[start : start + batch_rows])
        bins = packed(chosen, lengths, capacity) if packing else [(item,) for item in chosen]
        schedule.append(Step(number, chosen, tuple(bins)))
    return schedule


def token_weights(documents: Sequence[Document], step: Step, loss: Loss) -> dict[int, float]:
    """Return, by document number, the weight of each response token of that document in the step's loss.

    The loss of a step is Σ weight × (−log p(token)) over all response tokens; the weights of a step sum to 1. Since the
    weights are fixed before the step is cut into micro-batches, no number of processes, accumulation steps or packed
    rows can change the objective.
    """
    counts = [documents[number].response_tokens for number in step.documents]
    if loss == "token":
        return dict.fromkeys(step.documents, 1 / sum(counts))
    return {number: 1 / (len(counts) * count) for number, count in zip(step.documents, counts, strict=True)}
