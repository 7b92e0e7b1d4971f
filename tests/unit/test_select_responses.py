"""One response per instruction: a draw that no order can change, or the reference's shuffle and greedy walk."""

import itertools
import random

import pytest

from scripts.select_responses import (
    RANKS,
    Candidate,
    chosen,
    main,
    pass_rates,
    passes,
    reference_choice,
    reference_shuffle,
    why_dropped,
)
from selfcodealign.config.dataset import RANKED, SanitizeResponses, SelectResponses
from selfcodealign.config.generation import Stopping
from selfcodealign.dataset.code import (
    defined_names,
    reference_names,
    reference_representation,
    representation,
)
from selfcodealign.errors import UserError
from selfcodealign.rows import VerdictRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.sample_rounds import rounds
from tests.dataset_rows import verdict_row

ANY = (0.0, 1.0)


def candidate(name: str, instruction: str = "ins-0", *, verdict: str = "pass", **columns) -> Candidate:
    return Candidate(name, instruction, verdict, passed=verdict == "pass", **columns)


@pytest.mark.parametrize(
    ("verdict", "selection", "reason"),
    [
        ("pass", "passing", None),
        ("fail", "passing", "verdict_fail"),
        ("timeout", "shortest", "verdict_timeout"),
        ("vacuous", "consensus", "verdict_vacuous"),
        ("pass", "random", None),
        ("fail", "random", None),
        ("pass", "failing", "passed"),
        ("fail", "failing", None),
        ("timeout", "failing", None),
        ("crashed", "failing", None),  # A signal ended the program: its own doing.
        ("internal", "failing", "verdict_internal"),
        ("internal", "random", "verdict_internal"),
        ("fail", "matrix", "not_credible"),
        ("internal", "matrix", "verdict_internal"),
        ("pass", "matrix", None),
    ],
)
def test_a_selection_admits_the_right_verdicts(verdict, selection, reason):
    assert why_dropped(candidate("res-0", verdict=verdict), 0.5, selection=selection, window=ANY) == reason


@pytest.mark.parametrize(
    ("rate", "window", "reason"),
    [(0.5, (0.2, 0.8), None), (0.2, (0.2, 0.8), None), (1.0, (0.2, 0.8), "pass_rate"), (0.1, (0.2, 0.8), "pass_rate")],
)
def test_a_window_of_pass_rates_selects_by_difficulty(rate, window, reason):
    assert why_dropped(candidate("res-0"), rate, selection="passing", window=window) == reason


def test_a_failure_of_the_sandbox_is_no_attempt():
    group = [candidate("a"), candidate("b", verdict="fail"), candidate("c", verdict="internal")]
    assert pass_rates(group, Stopping()) == {"ins-0": 0.5}
    assert pass_rates([candidate("c", "ins-1", verdict="internal")], Stopping()) == {"ins-1": 0.0}


IN_ROUNDS = Stopping(samples=8, enough=1)


def asked_until_one_passes(instruction: str, chance: float, rng: random.Random) -> list[Candidate]:
    found = []
    for asked in rounds(IN_ROUNDS.samples, IN_ROUNDS.enough, IN_ROUNDS.samples_per_round):
        for sample in asked:
            verdict = "pass" if rng.random() < chance else "fail"
            found.append(candidate(f"{instruction}/{sample}", instruction, verdict=verdict, sample=sample))
        if any(one.passed for one in found):
            break
    return found


@pytest.mark.parametrize("chance", [0.1, 0.4, 0.8])
def test_pass_rates_of_tasks_that_stop_early_are_right_on_average(chance):
    rng = random.Random(5)
    groups = [asked_until_one_passes(f"ins-{number}", chance, rng) for number in range(4000)]
    rates = pass_rates([one for group in groups for one in group], IN_ROUNDS)
    assert len(rates) == len(groups)
    assert sum(rates.values()) / len(rates) == pytest.approx(chance, abs=4 * (chance * (1 - chance) / 4000) ** 0.5)
    plain = sum(sum(one.passed for one in group) / len(group) for group in groups) / len(groups)
    assert plain > chance + 0.05, "which the plain share is not"


def test_a_response_of_no_round_is_refused():
    with pytest.raises(UserError, match=r"a is sample 8 of 8: these verdicts come from other settings"):
        pass_rates([candidate("a", sample=8)], IN_ROUNDS)


def test_a_verdict_that_came_out_otherwise_the_second_time_leaves_the_share_in_the_first_round():
    verdicts = ("internal", "pass", "pass")  # Of rounds 0, 1 and 2; nobody asks on after a pass.
    group = [candidate(str(sample), verdict=verdict, sample=sample) for sample, verdict in enumerate(verdicts)]
    assert pass_rates(group, IN_ROUNDS) == {"ins-0": 1.0}


def test_every_ranking_has_its_rank():
    assert set(RANKED) == set(RANKS)


@pytest.mark.parametrize(
    ("verdict", "held", "total", "threshold", "expected"),
    [
        ("pass", 0, 0, 1.0, True),
        ("pass", 0, 0, 0.5, True),
        ("fail", 9, 10, 1.0, False),
        ("fail", 9, 10, 0.9, True),
        ("fail", 8, 10, 0.9, False),
        ("fail", 0, 0, 0.5, False),
        ("timeout", 9, 10, 0.5, False),
        ("vacuous", 10, 10, 0.5, False),
    ],
)
def test_the_pass_threshold_is_a_share_of_assertions(verdict, held, total, threshold, expected):
    row = verdict_row(0, verdict=verdict, passed=verdict == "pass")
    assert passes(row, threshold, {row["id"]: (held, total)}) is expected


def test_a_threshold_without_counts_is_refused():
    with pytest.raises(UserError, match=r"pass_threshold 0\.5 needs the counts of count_assertions"):
        passes(verdict_row(0, passed=False), 0.5, {})


def group(instructions: int, responses: int) -> list[Candidate]:
    return [
        candidate(
            f"res-{i}-{j}", f"ins-{i}", length=10 * j, mutation_score=j / 10, consensus=float(responses - j), weight=j
        )
        for i in range(instructions)
        for j in range(responses)
    ]


def test_the_draw_does_not_depend_on_order():
    candidates = group(40, 6)
    expected = chosen(candidates, selection="passing", per_instruction=1, seed=3)
    for attempt in range(5):
        random.Random(attempt).shuffle(candidates)
        assert chosen(candidates, selection="passing", per_instruction=1, seed=3) == expected
    assert len(expected) == 40


def test_the_draw_of_an_instruction_does_not_depend_on_the_others():
    candidates = group(40, 6)
    alone = [item for item in candidates if item.instruction_id == "ins-7"]
    (expected,) = chosen(alone, selection="passing", per_instruction=1, seed=3)
    assert expected in chosen(candidates, selection="passing", per_instruction=1, seed=3)


def test_the_draw_is_not_the_same_place_every_time():
    picked = chosen(group(300, 3), selection="passing", per_instruction=1, seed=3)
    counts = [sum(name.endswith(f"-{j}") for name in picked) for j in range(3)]
    assert min(counts) > 60


@pytest.mark.parametrize(
    ("selection", "per_instruction", "expected"),
    [
        ("shortest", 1, {"res-0-0"}),
        ("shortest", 2, {"res-0-0", "res-0-1"}),
        ("highest_mutation", 1, {"res-0-4"}),
        ("consensus", 2, {"res-0-0", "res-0-1"}),
        ("matrix", 2, {"res-0-4", "res-0-3"}),
    ],
)
def test_a_ranking_takes_the_best(selection, per_instruction, expected):
    assert chosen(group(1, 5), selection=selection, per_instruction=per_instruction, seed=3) == expected


def test_the_reference_permutes_as_the_datasets_library_does():
    import datasets

    shuffled = datasets.Dataset.from_dict({"n": list(range(500))}).shuffle(seed=6666)["n"]
    assert reference_shuffle(list(range(500))) == list(shuffled)
    assert reference_shuffle(list(range(10))) == [6, 4, 2, 8, 3, 7, 5, 1, 0, 9]


def response(code: str, tag: str = "python") -> str:
    return f"```{tag}\n{code}\n```"


STACK = "class Stack:\n    def __init__(self):\n        self.items = []\n    def add(self, x):\n        return x"
CART = "class Cart:\n    def __init__(self):\n        self.goods = {}\n    def add(self, good):\n        return good"
NESTED = "def outer():\n    def inner():\n        pass\n    return inner"


def test_the_reference_pools_method_names():
    """Two unrelated classes with the methods `__init__` and `add` have equal function names; ours are told apart."""
    assert reference_names(response(STACK))[0] == reference_names(response(CART))[0] == {"init", "add"}
    assert not defined_names(response(STACK)) & defined_names(response(CART))


@pytest.mark.parametrize(
    ("text", "functions", "classes"),
    [
        (response("def is_even(n):\n    return n % 2 == 0"), {"iseven"}, set()),
        (response("def isEven(n):\n    return n % 2 == 0"), {"iseven"}, set()),
        (response(NESTED), {"outer", "inner"}, set()),
        (response("async def fetch():\n    pass"), set(), set()),
        (response("x = 1"), set(), set()),
        (response("x = 1", "text") + "\n" + response("def f():\n    pass"), set(), set()),  # The first block only.
    ],
)
def test_the_reference_takes_names_of_the_first_block(text, functions, classes):
    assert reference_names(text) == (functions, classes)


def test_the_reference_reads_the_first_block_whatever_its_tag():
    assert reference_names(response("$ pip install x", "bash") + "\n" + response("def f():\n    pass")) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (response("def is_even(n):\n    return 0"), {"iseven"}),
        (response("def f():\n    pass") + "\n" + response("async def g():\n    pass"), {"f", "g"}),
        (response("def main():\n    pass"), set()),
        (response("x = 1"), set()),
        (response("def f(:"), set()),
        (response(STACK), {"class stack", "stack.init", "stack.add"}),
    ],
)
def test_names_are_qualified(text, names):
    assert defined_names(text) == names


REPRESENTATIONS = [
    # response, ours, the reference's
    (response('def f():\n    """Doc."""\n    return  1'), "def f():\n    return 1", "def f():\n    return 1"),
    (response('def f():\n    """Doc."""'), "def f():\n    pass", "def f():"),
    (response("import os\nx = 1\ndef f():\n    return 1"), "def f():\n    return 1", "def f():\n    return 1"),
    (response("async def f():\n    return 1"), "async def f():\n    return 1", ""),
    (response("print( 1 )"), "print(1)", ""),
    (response("def f(:"), None, None),
    (response("def f():\n    return 1") + "\n" + response("Total: 3 items", "text"), "def f():\n    return 1", None),
    (
        response("class A:\n    \"\"\"Doc.\"\"\"\n    def g(self):\n        '''Doc.'''\n        return 1"),
        "class A:\n\n    def g(self):\n        return 1",
        "class A:\n\n    def g(self):\n        return 1",
    ),
]


@pytest.mark.parametrize(("text", "ours", "theirs"), REPRESENTATIONS)
def test_code_is_represented_without_docstrings(text, ours, theirs):
    assert representation(text) == ours
    found = reference_representation(text)
    assert (found.strip() if found else found) == theirs


def row(number: int, instruction: str, text: str) -> dict:
    return verdict_row(number, instruction=instruction, response=text)


def fates(rows) -> list[str | None]:
    return [reason for _, reason in reference_choice(rows, 200)]


F, G, BOTH = (
    response("def f():\n    return 1"),
    response("def g():\n    return 2"),
    response("def f(): return 1\ndef g(): return 2"),
)

WALKS = {
    "the first of an instruction is kept": ([("A", F), ("A", G)], [None, "seen_text"]),
    "white space does not tell texts apart": ([("A b", F), ("Ab ", G)], [None, "seen_text"]),
    "a response is seen once, whatever the instruction": ([("A", F), ("B", F)], [None, "seen_text"]),
    "an instruction may not equal a response seen before": ([("A", F), (F, G)], [None, "seen_text"]),
    "equal names are seen": ([("A", F), ("B", F + "more")], [None, "seen_names"]),
    "a larger set of names is another set": ([("A", F), ("B", BOTH)], [None, None]),
    "two classes with the same methods collide": (
        [("A", response(STACK)), ("B", response(CART))],
        [None, "seen_names"],
    ),
    "functions and classes share one set": (
        [("A", response("def stack():\n    return 1")), ("B", response("class Stack:\n    pass"))],
        [None, "seen_names"],
    ),
    "no names collide with nothing": ([("A", response("x = 1")), ("B", response("x = 2"))], [None, None]),
    "a syntax error in the first block drops and leaves no keys": (
        [("A", response("def f(:")), ("A", F)],
        ["syntax_error", None],
    ),
    "a syntax error in a later block drops and leaves its keys": (
        [("A", F + "\n" + response("Total: 3 items", "text")), ("A", G), ("B", F)],
        ["syntax_error_in_blocks", "seen_text", "seen_names"],
    ),
    "a long instruction leaves no keys": ([("w " * 201, F), ("B", F)], ["instruction_too_long", None]),
    "200 words are allowed": ([("w " * 200, F)], [None]),
}


@pytest.mark.parametrize("walk", WALKS)
def test_the_reference_walks_greedily(walk):
    given, expected = WALKS[walk]
    assert fates([row(number, *texts) for number, texts in enumerate(given)]) == expected


def run_main(tmp_path, shards: list[list[dict]], mode="fixed", **settings) -> tuple[list[dict], list[dict]]:
    files = []
    for number, rows in enumerate(shards):
        files.append(tmp_path / f"{number:05d}.parquet")
        write_rows(files[-1], VerdictRow, rows)
    outputs = [tmp_path / name for name in ("rows.parquet", "dropped.parquet", "funnel.json")]
    chosen = {"settings": SelectResponses(**settings), "sanitizing": SanitizeResponses(), "stopping": Stopping()}
    main(files, *outputs, mode=mode, run_seed=3407, **chosen)
    return list(read_rows(outputs[0])), list(read_rows(outputs[1]))


def verdicts() -> list[dict]:
    rows = []
    for number, sample in itertools.product(range(12), range(5)):
        text = response(f"def f_{number}_{sample}():\n    return {sample}")
        rows.append(
            verdict_row(
                number,
                instruction_id=f"ins-{number:020d}",
                instruction=f"Task {number}.",
                sample=sample,
                id=f"res-{number:02d}-{sample}",
                response=text,
                passed=(number * 7 + sample * 3) % 4 != 0,
            )
        )
    return rows


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_bytes_do_not_depend_on_order_or_shards(tmp_path, mode):
    rows = verdicts()
    seen = set()
    for attempt in range(3):
        random.Random(attempt).shuffle(rows)
        cut = 1 + 20 * attempt
        folder = tmp_path / str(attempt)
        folder.mkdir()
        run_main(folder, [rows[:cut], rows[cut:]], mode=mode)
        seen.add((folder / "rows.parquet").read_bytes())
    assert len(seen) == 1


def test_every_verdict_is_accounted_for(tmp_path):
    kept, dropped = run_main(tmp_path, [verdicts()])
    assert len(kept) == len({row["instruction_id"] for row in kept}) == 12
    assert len(kept) + len(dropped) == 60
    assert {row["reason"] for row in dropped} == {"verdict_fail", "not_chosen"}
    assert all(0 < row["pass_rate"] < 1 and row["passed"] for row in kept)


def test_failing_and_random_sets_hold_what_they_say(tmp_path):
    kept, _ = run_main(tmp_path, [verdicts()], selection="failing")
    assert not any(row["passed"] for row in kept)
    kept, _ = run_main(tmp_path, [verdicts()], selection="random")
    assert len({row["passed"] for row in kept}) == 2


@pytest.mark.parametrize("selection", ["highest_mutation", "consensus", "matrix"])
def test_a_ranking_without_scores_is_refused(tmp_path, selection):
    with pytest.raises(UserError, match=f"selection {selection} needs"):
        run_main(tmp_path, [verdicts()], selection=selection)
    assert not (tmp_path / "rows.parquet").exists()
