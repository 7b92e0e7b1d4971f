"""What a matrix of responses against single assertions says: of each response, of each assertion, and of the task.

The responses to a task and the assertions of all of them vouch for each other: a response is the likelier right the
more assertions it holds, and an assertion the more the responses that hold it do so (CodeDPO, arXiv 2410.05605,
iterates this to a fixed point; here one step does as well, see docs/matrix.md). Whether the best responses are
*believed* is a question of its own: the assertions were written by a few authors, one for each response, and an author
who misreads the task does so in all of them; and where nearly all expect the same value, holding them proves little.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import fsum
from typing import Literal

Outcome = Literal["credible", "no_assertion", "no_agreement", "weak_evidence", "no_discrimination", "pool_fails"]
"""What becomes of a task:

* `credible`: some responses are believed, and a pool of assertions tells them from the others.
* `no_assertion`: no response brought an assertion that can fail and uses what a response defines.
* `no_agreement`: no response holds any, or the best hold none in common (two that contradict each other, say).
* `weak_evidence`: what the best hold is too little to believe them, or could be had by guessing.
* `no_discrimination`: neither a response that fails nor a mutant is told from the best: the pool is empty.
* `pool_fails`: the pooled assertions as one text of tests did not pass, or cannot fail, as one program.
"""
DIGITS = 12
"""Scores are rounded to so many digits: equal verdicts give equal scores, and no sum decides by its last bit."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a task's matrix says.

    Args:
        scores: of each response, from 0 to 1.
        credibility: of each assertion, from 0 to 1.
        best: the responses with the highest score.
        agreed: the assertions that all of them hold; empty where they are not believed.
        evidence: how far the best are borne out, from -0.5 to 1.
        outcome: `no_assertion`, `no_agreement`, `weak_evidence`, or `credible` so far.
    """

    scores: dict[str, float]
    credibility: dict[str, float]
    best: list[str]
    agreed: list[str]
    evidence: float
    outcome: Outcome


def weighed(
    held: Mapping[str, Collection[str]],
    authors: Mapping[str, Sequence[str]],
    expected: Mapping[str, str],
    least_evidence: float,
) -> Weighed:
    """Weigh the responses to a task and their assertions by each other.

    A response's first weight is the share of assertions that it holds. An assertion's credibility is the share of that
    weight that holds it, and a response's score the share of all credibility that it holds. Sums are exact (`fsum`), so
    that no order matters. With one response, or one assertion, the same formulas hold: it scores 1 if it holds its own.

    Args:
        held: for each response the assertions that it holds.
        authors: for each response that brought assertions, these.
        expected: for each assertion what it expects.
        least_evidence: below it, the best responses are not believed.
    """
    weight = {one: len(found) / max(1, len(expected)) for one, found in held.items()}
    total = fsum(weight.values())
    credibility = {
        check: _share(fsum(weight[one] for one, found in held.items() if check in found), total) for check in expected
    }
    all_credibility = fsum(credibility.values())
    scores = {one: _share(fsum(credibility[check] for check in found), all_credibility) for one, found in held.items()}
    best = sorted(one for one, score in scores.items() if score and score == max(scores.values()))
    agreed = sorted(set.intersection(*(set(held[one]) for one in best))) if best else []
    evidence = _evidence(set(agreed), authors, expected) if agreed else 0.0
    outcome: Outcome = "credible"
    if not expected:
        outcome = "no_assertion"
    elif not agreed:
        outcome = "no_agreement"
    elif evidence < least_evidence:
        outcome = "weak_evidence"
    return Weighed(scores, credibility, best, agreed if outcome == "credible" else [], evidence, outcome)


def _share(part: float, whole: float) -> float:
    return round(part / whole, DIGITS) if whole else 0.0


def _evidence(agreed: set[str], authors: Mapping[str, Sequence[str]], expected: Mapping[str, str]) -> float:
    """Return how far authors bear the best responses out, less half of what a guess would have had.

    An author counts by the square of the share of its assertions that hold: who is wrong in half of them counts a
    quarter. A guess that expects the values of all assertions as often as they occur agrees with the sum of their
    squared shares.
    """
    shares = [len(agreed.intersection(own)) / len(own) for own in authors.values() if own]
    counts = Counter(expected.values())
    guessed = fsum((count / len(expected)) ** 2 for count in counts.values())
    return round(fsum(share**2 for share in shares) / len(shares) - guessed / 2, DIGITS)


def credible(weighed: Weighed, held: Mapping[str, Collection[str]]) -> list[str]:
    """Name the responses that hold all that the best agree on, these included; none where they are not believed."""
    return sorted(one for one, found in held.items() if weighed.agreed and set(weighed.agreed) <= set(found))


def pooled(
    agreed: Sequence[str],
    held: Mapping[str, Collection[str]],
    survivors: Mapping[str, Sequence[bool | None]],
    rejections: int,
) -> list[str]:
    """Choose of the agreed assertions the few that reject all wrong programs which the agreed ones reject.

    The wrong programs are the responses that fail an agreed assertion, and mutants of a credible response. Each is to
    be rejected so many times, or as often as it can be. The next assertion is always the one that rejects most of those
    that still wait for a rejection; of equals, the shortest.

    Args:
        agreed: assertions by their texts.
        held: for each response the assertions that it holds.
        survivors: for each assertion whether each mutant holds it; None if that is not known.
        rejections: how many assertions are to reject a wrong program.
    """
    rejected: dict[str, set[str]] = defaultdict(set)
    for check in agreed:
        rejected[check] = {f"response {one}" for one, found in held.items() if check not in found}
        rejected[check] |= {f"mutant {n}" for n, holds in enumerate(survivors.get(check, ())) if holds is False}
    wanted = {one: min(rejections, count) for one, count in Counter(chain(*rejected.values())).items()}
    chosen: set[str] = set()
    while waiting := {one for one, count in wanted.items() if count}:
        check = min(set(agreed) - chosen, key=lambda one: (-len(rejected[one] & waiting), len(one), one))
        chosen.add(check)
        wanted |= {one: wanted[one] - 1 for one in rejected[check] & waiting}
    return sorted(chosen)
