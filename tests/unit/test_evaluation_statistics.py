"""Numbers are unbiased, intervals cover what they should, and a paired test sees a real difference only."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfcodealign.evaluation import statistics


@pytest.mark.parametrize(
    ("n", "correct", "k", "expected"),
    [
        (1, 0, 1, 0.0),
        (1, 1, 1, 1.0),
        (10, 3, 1, 0.3),
        (10, 3, 10, 1.0),
        (5, 2, 2, 0.7),  # 1 − C(3,2)/C(5,2)
        (200, 1, 100, 0.5),
        (20, 0, 10, 0.0),
    ],
)
def test_pass_at_k_is_the_published_estimator(n: int, correct: int, k: int, expected: float) -> None:
    assert statistics.pass_at_k(n, correct, k) == pytest.approx(expected)


@given(st.integers(1, 12), st.data())
def test_pass_at_k_equals_the_share_of_subsets_with_a_correct_sample(n: int, data: st.DataObject) -> None:
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations(range(n), k))
    share = sum(min(subset) < correct for subset in subsets) / len(subsets)
    assert statistics.pass_at_k(n, correct, k) == pytest.approx(share)


@pytest.mark.parametrize(("n", "correct", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_refuses_what_is_not_defined(n: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="not defined"):
        statistics.pass_at_k(n, correct, k)


def test_wilson_agrees_with_a_published_example() -> None:
    # Newcombe 1998, table I: 81 of 263.
    found = statistics.wilson(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize("successes", [0, 164])
def test_wilson_stays_within_bounds_at_the_ends(successes: int) -> None:
    found = statistics.wilson(successes, 164)
    assert 0 <= found.low <= successes / 164 <= found.high <= 1
    assert found.low < found.high


def test_bootstrap_is_reproducible_and_contains_the_mean() -> None:
    values = [0.1 * (i % 11) for i in range(60)]
    first, second = statistics.bootstrap(values, seed=5), statistics.bootstrap(values, seed=5)
    assert first == second
    assert first.low < statistics.mean(values) < first.high
    # Normal theory gives the width to within a few per cent.
    sd = math.sqrt(sum((v - statistics.mean(values)) ** 2 for v in values) / 60)
    assert first.high - first.low == pytest.approx(2 * 1.96 * sd / math.sqrt(60), rel=0.08)


def test_greedy_scores_get_wilson_and_sampled_ones_the_bootstrap() -> None:
    assert statistics.interval([0.0, 1.0, 1.0]).method == "wilson"
    assert statistics.interval([0.0, 0.35, 1.0]).method == "bootstrap"


def test_paired_test_is_mcnemar_on_greedy_scores() -> None:
    first, second = [1.0] * 12 + [0.0] * 50, [0.0] * 10 + [1.0] * 2 + [0.0] * 50
    found = statistics.paired(first, second)
    assert (found.method, found.better, found.worse) == ("mcnemar_exact", 10, 0)
    assert found.p_value == pytest.approx(2 / 2**10)
    assert found.low > 0


def test_paired_test_sees_no_difference_between_equals() -> None:
    scores = [0.2, 0.4, 1.0, 0.0, 0.7]
    found = statistics.paired(scores, scores)
    assert found.difference == 0
    assert found.p_value == 1.0


def test_paired_test_of_sampled_scores_flips_signs() -> None:
    second = [0.1 * (i % 7) for i in range(40)]
    found = statistics.paired([value + 0.2 for value in second], second, resamples=2000)
    assert found.method == "sign_flip"
    assert found.p_value < 0.01


def test_paired_test_needs_the_same_tasks() -> None:
    with pytest.raises(ValueError, match="same tasks"):
        statistics.paired([1.0], [1.0, 0.0])


def test_kinds_in_another_sample_by_rarefaction_and_by_chao():
    sizes = [5, 2, 1, 1, 1]
    every = list(itertools.combinations([kind for kind, size in enumerate(sizes) for _ in range(size)], 4))
    assert statistics.expected_distinct(sizes, 4) == pytest.approx(sum(len(set(few)) for few in every) / len(every))
    assert statistics.expected_distinct(sizes, 10) == 5
    # Once 3, twice 1: 0.9 * 9 / 2 kinds were not seen, and a very large sample has them all.
    assert statistics.expected_distinct(sizes, 10**6) == pytest.approx(5 + 4.05)
    one_more = 5 + 4.05 * (1 - (1 - 3 / (10 * 4.05 + 3)))
    assert statistics.expected_distinct(sizes, 11) == pytest.approx(one_more)
    assert statistics.expected_distinct([2, 2], 100) == 2
    assert statistics.expected_distinct([1, 1, 1], 10**6) == pytest.approx(3 + 2)
    assert (statistics.expected_distinct([], 9), statistics.expected_distinct([4], 0)) == (0, 0)
    with pytest.raises(ValueError, match="not defined"):
        statistics.expected_distinct([0], 1)


def test_arms_of_the_same_seeds_are_compared_seed_by_seed():
    tasks = [f"task{number}" for number in range(100)]
    low, high = ({task: float(number < share) for number, task in enumerate(tasks)} for share in (40, 90))
    less = [
        {task: value * (number % 10 > 0) for number, (task, value) in enumerate(one.items())} for one in (low, high)
    ]
    paired = statistics.difference([low, high], less, by_seed=True)
    apart = statistics.difference([low, high], less)
    assert paired.value == pytest.approx(apart.value) == pytest.approx(0.065)
    assert paired.low > 0
    assert apart.low < 0
    with pytest.raises(ValueError, match="2 and 1 runs cannot be paired by seed"):
        statistics.difference([low, high], less[:1], by_seed=True)
