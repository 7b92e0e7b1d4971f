"""Which samples a round asks for, and that stopping early bends no pass rate."""

from fractions import Fraction
from itertools import product

import pytest

from selfcodealign.sample_rounds import FOLDER, folder_of, pass_rate, rounds


@pytest.mark.parametrize(
    ("samples", "enough", "per_round", "sizes"),
    [
        pytest.param(10, None, None, [10], id="off"),
        pytest.param(10, None, 2, [10], id="off-with-size"),
        pytest.param(10, 1, None, [1, 1, 2, 4, 2], id="doubling"),
        pytest.param(4, 1, None, [1, 1, 2], id="four"),
        pytest.param(2, 1, None, [1, 1], id="two"),
        pytest.param(5, 2, 2, [2, 2, 1], id="by-two"),
        pytest.param(3, 2, 1, [1, 1, 1], id="one-by-one"),
    ],
)
def test_rounds_ask_for_each_sample_once_in_order(samples, enough, per_round, sizes):
    found = rounds(samples, enough, per_round)
    assert [len(one) for one in found] == sizes
    assert [sample for one in found for sample in one] == list(range(samples))


@pytest.mark.parametrize(("asked", "name"), [(range(1), "samples-0"), (range(2, 4), "samples-2-3")], ids=["one", "two"])
def test_a_folder_names_the_samples_of_its_round(asked, name):
    assert folder_of(asked) == name
    assert FOLDER.fullmatch(name)


@pytest.mark.parametrize(
    ("executed", "passed", "enough", "rate"),
    [
        pytest.param((4,), 3, None, "3/4", id="plain-share"),
        pytest.param((2,), 1, 1, "1/2", id="enough-in-the-first-round"),
        pytest.param((1, 1, 2), 2, 1, "0", id="first-round-failed"),
        pytest.param((1, 1, 2), 0, 1, "0", id="none"),
        pytest.param((1, 1, 1, 1), 2, 2, "1/3", id="haldane"),
        pytest.param((1, 1, 1, 1), 1, 2, "1/4", id="never-stopped"),
        pytest.param((0, 2), 1, 1, "1/2", id="first-round-malformed"),
        pytest.param((), 0, 1, "0", id="no-round"),
        pytest.param((0, 0), 0, 1, "0", id="nothing-executed"),
    ],
)
def test_the_pass_rate_of_counts(executed, passed, enough, rate):
    assert pass_rate(executed, passed, enough) == Fraction(rate)


@pytest.mark.parametrize("samples", [1, 4, 7])
def test_without_stopping_it_is_the_plain_share(samples):
    for sizes in ((samples,), (1, samples - 1) if samples > 1 else (samples,)):
        for passed in range(samples + 1):
            assert pass_rate(sizes, passed, None) == Fraction(passed, samples)


def expected(samples: int, enough: int, per_round: int | None, chance: Fraction, malformed: set[int]) -> Fraction:
    """Mean of the estimate over everything that may happen to a task whose responses pass with this chance."""
    total = Fraction(0)
    for outcome in product((False, True), repeat=samples):
        executed: list[int] = []
        passed = 0
        for asked in rounds(samples, enough, per_round):
            kept = [sample for sample in asked if sample not in malformed]
            executed.append(len(kept))
            passed += sum(outcome[sample] for sample in kept)
            if passed >= enough:
                break
        weight = Fraction(1)
        for passes in outcome:
            weight *= chance if passes else 1 - chance
        total += weight * pass_rate(tuple(executed), passed, enough)
    return total


@pytest.mark.parametrize(
    ("samples", "enough", "per_round"),
    [(4, 1, None), (8, 1, None), (6, 2, None), (6, 3, 2), (5, 2, 1), (6, 1, 4)],
    ids=str,
)
@pytest.mark.parametrize("malformed", [(), (0,), (0, 1, 3)], ids=str)
def test_it_is_right_on_average_whatever_the_chance_and_whatever_is_malformed(samples, enough, per_round, malformed):
    for chance in (Fraction(0), Fraction(1, 7), Fraction(2, 5), Fraction(9, 10), Fraction(1)):
        assert expected(samples, enough, per_round, chance, set(malformed)) == chance


def test_the_share_of_all_responses_would_not_be():
    """What the estimate mends: with one pass enough and a chance of 2/5 the plain share is 3/5 on average."""
    chance = Fraction(2, 5)
    ended = {number: (1 - chance) ** (number - 1) * chance for number in range(1, 11)}
    assert sum(weight / number for number, weight in ended.items()) > Fraction(3, 5)


@pytest.mark.parametrize(
    ("executed", "passed", "enough"),
    [((1,), 2, 1), ((1, 1), 2, 1), ((2,), 3, None)],
    ids=["more-than-asked", "went-on", "more-than-there-are"],
)
def test_counts_at_which_no_task_ends_are_refused(executed, passed, enough):
    with pytest.raises(ValueError, match="cannot pass"):
        pass_rate(executed, passed, enough)
