"""Draw what varies between prompts: the examples shown, and the category and difficulty of the task asked for.

Mode `fixed` draws from the row's id, so that filtering or reordering upstream changes no other prompt. Mode `reference`
draws from the row's absolute line number, in the reference's order of random calls (`self_ossinstruct.py:543-552`).
"""

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from selfcodealign.errors import UserError
from selfcodealign.ids import rng_for, seed_for


@dataclass(frozen=True)
class Draw:
    """What was drawn for one row."""

    examples: tuple[int, ...]
    """Numbers of the few-shot examples from 1, in their order in the prompt."""
    category: str = ""
    difficulty: str = ""


@dataclass(frozen=True)
class Drawer:
    """Draw examples and, where asked for, category and difficulty.

    Args:
        stage: name of the stage, which separates its random streams from every other's.
        run_seed: seed of the run; 3407 in the paper.
        reference: draw from line numbers as the reference does.
        examples: number of examples in the file.
        few_shots: how many of them a prompt shows (paper: 8, and 1 for responses).
        example_sets: mode `fixed` draws this many ordered sets of examples once and gives each row one of them, so
            that rows share the long beginning of their prompts and a model encodes it once. 0 draws a set for each row.
        categories, difficulties: weight by name; None where the prompt has no such property.
    """

    stage: str
    run_seed: int
    reference: bool
    examples: int
    few_shots: int
    example_sets: int = 0
    categories: Mapping[str, float] | None = None
    difficulties: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.few_shots <= self.examples:
            raise UserError(
                f"{self.stage}: few_shots is {self.few_shots}, but the prompt file has {self.examples} examples"
            )

    def draw(self, row_id: str, index: int) -> Draw:
        """Draw for one row; `index` is its absolute line number from 0, which only mode `reference` uses."""
        if self.reference:
            rng = random.Random(self.run_seed + index)
            category = rng.choice(repeated(self.categories, self.stage)) if self.categories else ""
            difficulty = rng.choice(repeated(self.difficulties, self.stage)) if self.difficulties else ""
            return Draw(tuple(rng.sample(range(1, self.examples + 1), self.few_shots)), category, difficulty)
        rng = _stream.rng  # made once: making one costs as much again as seeding it
        rng.seed(seed_for(self.run_seed, f"{self.stage}.prompt", row_id))
        category = weighted(rng, self.categories) if self.categories else ""
        difficulty = weighted(rng, self.difficulties) if self.difficulties else ""
        if self.example_sets:
            return Draw(self._example_set(rng.randrange(self.example_sets)), category, difficulty)
        return Draw(tuple(rng.sample(range(1, self.examples + 1), self.few_shots)), category, difficulty)

    def _example_set(self, number: int) -> tuple[int, ...]:
        return _example_set(self.run_seed, self.stage, number, self.examples, self.few_shots)

    def sampling_seed(self, row_id: str, index: int, sample: int) -> int:
        """Return the sampling seed of one of a row's samples (63 bit).

        The reference gives a request the seed run seed + line number; its further samples are left to the engine, here
        they get seeds derived from it.
        """
        if self.reference:
            first = self.run_seed + index
            return first if sample == 0 else seed_for(first, self.stage, f"sample {sample}")
        return seed_for(self.run_seed, self.stage, f"{row_id}/{sample}")


class _Stream(threading.local):
    """One random stream for each thread."""

    def __init__(self) -> None:
        self.rng = random.Random()


_stream = _Stream()


@cache
def _example_set(run_seed: int, stage: str, number: int, examples: int, few_shots: int) -> tuple[int, ...]:
    rng = rng_for(run_seed, f"{stage}.example_set", str(number))
    return tuple(rng.sample(range(1, examples + 1), few_shots))


def weighted(rng: random.Random, weights: Mapping[str, float]) -> str:
    """Draw a name by weight; the order of the mapping does not matter."""
    names = sorted(weights)
    return rng.choices(names, [weights[name] for name in names])[0]


def repeated(weights: Mapping[str, float], stage: str) -> list[str]:
    """Write weights as the reference does, as a list that names a value several times.

    Raises:
        UserError: a weight is no whole number, which such a list cannot express.
    """
    if any(weight != int(weight) or weight < 0 for weight in weights.values()):
        raise UserError(f"{stage}: mode `reference` needs whole numbers as weights, not {dict(weights)}")
    return [name for name, weight in weights.items() for _ in range(int(weight))]
