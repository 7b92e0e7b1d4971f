"""Responses asked for in rounds until enough of them pass: which samples a round asks for, and what the pass rate is.

A task leaves after the round in which `enough` of its responses have passed. Every sample has the number and the seed
that it has without rounds, so what is written is a part of what would be written otherwise.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from math import comb

FOLDER = re.compile(r"samples-\d+(?:-\d+)?")
"""Folder of a round's files, in that of its generation; those of the last round stand where they stand without rounds.

It names the samples asked for: `samples-2-3`.
"""


def rounds(samples: int, enough: int | None, per_round: int | None) -> list[range]:
    """Cut the samples of a task into rounds, by number.

    Args:
        samples: most responses of a task.
        enough: passing responses after which a task is not asked about again; None: one round asks for all.
        per_round: samples of a round; None: each round asks for as many as there are by then, 1, 1, 2, 4, ...
    """
    if enough is None:
        return [range(samples)]
    found: list[range] = []
    begun = 0
    while begun < samples:
        ended = min(samples, begun + (per_round or max(1, begun)))
        found.append(range(begun, ended))
        begun = ended
    return found


def folder_of(asked: range) -> str:
    """Name the folder of a round's files."""
    return f"samples-{asked[0]}" if len(asked) == 1 else f"samples-{asked[0]}-{asked[-1]}"


def pass_rate(executed: Sequence[int], passed: int, enough: int | None) -> Fraction:
    """Estimate the chance that a response of a task passes, without bias, from counts that the stopping has bent.

    The share of all responses would be too high for tasks that stop early. The share in the first round is right,
    because that is asked for whatever passes; this is its mean over all orders in which the same counts can come about
    (Girshick, Mosteller and Savage 1946), which is closer. Without stopping it is the plain share; with `enough` 1 it
    is the share in the first round. Malformed responses are no attempt.

    Args:
        executed: executed responses of each round, in order, as a tuple.
        passed: those of them that passed, all rounds together.
        enough: passing responses that end a task after a round; None if nothing ends it.

    Raises:
        ValueError: no task ends with these counts.
    """
    first = 0
    ways: dict[int, int] = {0: 1}
    in_first: dict[int, int] = {0: 0}
    for size in executed:
        if not size:
            continue  # Nothing can pass in it, so that the next round comes in any case.
        reached: dict[int, int] = {}
        summed: dict[int, int] = {}
        for before in ways:
            if enough is not None and before >= enough:
                continue
            for passes in range(size + 1):
                orders, after = comb(size, passes), before + passes
                reached[after] = reached.get(after, 0) + orders * ways[before]
                of_first = in_first[before] if first else passes
                summed[after] = summed.get(after, 0) + orders * of_first
        ways, in_first, first = reached, summed, first or size
    if passed not in ways:
        raise ValueError(f"{passed} of {tuple(executed)} responses cannot pass where {enough} are enough")
    return Fraction(in_first[passed], first * ways[passed]) if first else Fraction(0)
