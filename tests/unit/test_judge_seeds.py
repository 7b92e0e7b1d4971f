from itertools import islice

import pytest

from scripts.judge_seeds import chosen, main, reference_score, score_of, why_dropped
from selfcodealign.config.generation import Judging
from selfcodealign.errors import UserError
from selfcodealign.generation.judge import DUMMY, load_judge, shuffled_orders, split_docstring
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import write_rows
from tests.conftest import ROOT
from tests.generation_rows import asking, call, outputs, rows_of, write_seeds
from tests.stub_server import running
from tests.tiny_model import tiny_model

JUDGE = ROOT / "prompts" / "judge.yaml"


def test_the_score_is_the_log_odds_of_yes():
    assert score_of((-0.25, -1.5)) == 1.25


@pytest.mark.parametrize(
    ("answer", "score"), [(" Yes", 1), (" No, not", -2), (" yes yes no", 1), ("", 0), (" yes and no", 0), ("know", -1)]
)
def test_the_published_judge_counts_words(answer, score):
    assert reference_score(answer) == score


@pytest.mark.parametrize(
    ("score", "threshold", "reference", "reason"),
    [
        (0.5, 0.0, False, None),
        (0.0, 0.0, False, None),
        (-0.1, 0.0, False, "judged_no"),
        (0.5, 1.0, False, "judged_no"),
        (1, 0.0, True, None),
        (0, 0.0, True, "judged_no"),
        (-1, -5.0, True, "judged_no"),
    ],
)
def test_a_seed_is_dropped_below_the_threshold_and_in_reference_mode_at_a_tie(score, threshold, reference, reason):
    assert why_dropped(score, threshold, reference=reference) == reason


def test_the_prompt_has_our_layout():
    judge = load_judge(JUDGE)
    prompt = judge.prompt("def f():\n    pass")
    assert prompt.startswith(judge.system + "\n\n## Example 1\n### Function\ndef running_totals")
    assert "\n\n### Verdict\nAnswer: Yes\n\n## Example 2\n### Function\n" in prompt
    assert prompt.endswith("\n\n## Example 8\n### Function\ndef f():\n    pass\n\n### Verdict\nAnswer:")
    answers = [example.answer for example in judge.examples]
    assert (answers.count("Yes"), answers.count("No")) == (4, 3)


def test_the_published_prompt_is_an_issue_thread_with_docstring_and_code_apart():
    judge = load_judge(JUDGE)
    prompt = judge.reference_prompt(
        'def f(x):\n    """Double.\n\n    Twice as much.\n    """\n    return 2 * x', (2, 0)
    )
    assert prompt.startswith("<issue_start>username_0: I have a function in Python")
    assert prompt.count("<issue_start>") == 3
    assert prompt.count("Upvotes: 200") == 2
    assert prompt.index("def clamp") < prompt.index("def running_totals")
    assert "```py\ndef f(x):\n    \n    return 2 * x\n```" in prompt
    assert "```\nDouble.\n\nTwice as much.\n```" in prompt
    ending = "Upvotes: 100<issue_comment>username_1: Sure, no problem. I will be able to help.\nMy answer is:"
    assert prompt.endswith("does not match the function.\n" + ending)


def test_a_function_without_a_docstring_is_shown_whole():
    assert split_docstring("def f(): pass") == ("def f(): pass", "")


@pytest.mark.parametrize(
    ("seed", "orders"),
    [
        (0, [(4, 2, 1, 0, 5, 3, 6), (2, 4, 5, 3, 6, 1, 0), (0, 3, 2, 1, 5, 4, 6)]),
        (42, [(1, 3, 4, 2, 6, 0, 5), (2, 5, 4, 6, 1, 0, 3), (6, 4, 1, 5, 0, 3, 2)]),
    ],
)
def test_the_examples_are_shuffled_as_the_published_code_does(seed, orders):
    assert list(islice(shuffled_orders(7, seed), 3)) == orders


def test_every_seed_is_scored_by_the_odds_of_yes(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 20, docstrings=False), outputs(tmp_path)
    with running() as stub:
        call(main, seeds, prompts=JUDGE, **out, **asking(stub.url))
    kept, dropped = rows_of(out["rows"]), rows_of(out["dropped"])
    assert len(kept) == 20
    assert not dropped
    assert all(row["judge_score"] == (1.25 if '"""' in row["content"] else 0.0) for row in kept)
    assert all(body["max_tokens"] == 1 and body["logprobs"] == 20 for body in stub.bodies)


def test_the_threshold_decides(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 20, docstrings=False), outputs(tmp_path)
    with running() as stub:
        call(main, seeds, prompts=JUDGE, **out, **asking(stub.url), threshold=0.5)
    assert all('"""' in row["content"] for row in rows_of(out["rows"]))
    dropped = rows_of(out["dropped"])
    assert {row["reason"] for row in dropped} == {"judged_no"}
    assert dropped[0]["detail"] == "score 0.000"
    assert len(dropped) == 10


@pytest.mark.parametrize(
    ("scores", "share", "places"),
    [
        ([("a", 0.1), ("b", 0.3), ("c", 0.2), ("d", -4.0)], 0.5, {1, 2}),
        ([("b", 1.0), ("a", 1.0), ("c", 1.0)], 0.34, {1}),
        ([("c", -9.0), ("b", -1.0), ("a", -1.0)], 0.67, {1, 2}),
        ([("a", None), ("b", -3.0), ("c", None)], 1.0, {1}),
        ([("a", float("nan")), ("b", -3.0)], 0.5, {1}),
        ([("a", 0.5), ("b", 0.4)], 0.001, {0}),
        ([("a", None)], 0.5, set()),
        ([], 0.5, set()),
    ],
    ids=["the best half", "ties by id", "two of three", "no score", "no number", "at least one", "none scored", "none"],
)
def test_the_best_share_of_the_scored_is_chosen(scores, share, places):
    assert chosen(scores, Judging(keep_share=share)) == places


@pytest.mark.parametrize(
    ("least", "places"),
    [(0, {1}), (1, {1}), (2, {0, 1}), (3, {0, 1, 3}), (9, {0, 1, 3})],
    ids=["none", "one", "two", "three", "more than there are"],
)
def test_so_many_are_kept_in_any_case_the_best_first(least, places):
    scores = [("b", -1.0), ("a", 0.5), ("d", None), ("c", -1.0)]
    assert chosen(scores, Judging(keep_at_least=least)) == places


def test_a_share_is_kept_whatever_the_scores_are(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 20, docstrings=False), outputs(tmp_path)
    with running() as stub:
        call(main, seeds, prompts=JUDGE, **out, **asking(stub.url), keep_share=0.25)
    kept, dropped = rows_of(out["rows"]), rows_of(out["dropped"])
    documented = sorted(row["id"] for row in [*kept, *dropped] if '"""' in row["content"])
    assert [row["id"] for row in kept] == documented[:5]
    assert all(row["judge_score"] == 1.25 for row in kept)
    assert {row["reason"] for row in dropped} == {"judged_lower"}
    assert {row["detail"] for row in dropped} == {"score 1.250", "score 0.000"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"keep_share": 0.5, "threshold": 0.0}, "keep_share: threshold is given too, and only one of them can decide"),
        ({"keep_share": 0.5, "mode": "reference"}, "keep_share: mode reference keeps what the published code keeps"),
    ],
    ids=["both", "reference"],
)
def test_a_share_stands_alone(tmp_path, flags, sentence):
    seeds = write_seeds(tmp_path / "seeds.parquet", 2)
    with pytest.raises(UserError, match=sentence):
        call(main, seeds, prompts=JUDGE, **outputs(tmp_path), **asking("http://127.0.0.1:9"), **flags)


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_on_other_rows_a_rerun_gives_what_a_first_run_gives(tmp_path, mode):
    rows = rows_of(write_seeds(tmp_path / "all.parquet", 8, docstrings=False))
    seeds, again, afresh = tmp_path / "seeds.parquet", outputs(tmp_path, "again"), outputs(tmp_path, "afresh")
    with running() as stub:
        for part, out in ((rows[:6], again), (rows[2:], again), (rows[2:], afresh)):
            write_rows(seeds, SeedRow, part)
            call(main, seeds, prompts=JUDGE, **out, **asking(stub.url), mode=mode)
    assert again["rows"].read_bytes() == afresh["rows"].read_bytes()


def test_in_reference_mode_shards_continue_the_chain_of_shuffles(tmp_path):
    seeds = write_seeds(tmp_path / "seeds.parquet", 7)
    rows = rows_of(seeds)
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    write_rows(first, SeedRow, rows[:3])
    write_rows(second, SeedRow, rows[3:])
    judge = load_judge(JUDGE)
    with running() as stub:
        for part, earlier in ((first, []), (second, [first])):
            flags = {"mode": "reference", "earlier": earlier}
            call(main, part, prompts=JUDGE, **outputs(tmp_path, f"{part.stem}-out"), **asking(stub.url), **flags)
        asked = {body["prompt"] for body in stub.bodies}
    orders = list(islice(shuffled_orders(7, 0), 8))
    wanted = {judge.reference_prompt(DUMMY, orders[0])}
    wanted |= {judge.reference_prompt(row["content"], order) for row, order in zip(rows, orders[1:], strict=True)}
    assert asked == wanted
    assert all(body["temperature"] == 0 and body["max_tokens"] == 5 and body["stop"] == ["\n"] for body in stub.bodies)


def test_in_reference_mode_the_dummys_answer_decides_what_is_too_long(tmp_path):
    from tests import stub_server

    def refuse(body):
        if "def number_2(" in body["prompt"]:
            return 400, "maximum context length is 100 tokens, your request has 120 input tokens"
        return None

    seeds, out = write_seeds(tmp_path / "seeds.parquet", 4), outputs(tmp_path)
    for dummy_says, kept in ((" Yes", 4), (" No", 3)):
        stub_server_answer = lambda prompt, seed, says=dummy_says: says if "def dummy" in prompt else " Yes"  # noqa: E731
        with pytest.MonkeyPatch.context() as patch, running(refuse=refuse) as stub:
            patch.setattr(stub_server, "answer_text", stub_server_answer)
            out["work"] = tmp_path / dummy_says
            call(main, seeds, prompts=JUDGE, **out, **asking(stub.url), mode="reference")
        assert len(rows_of(out["rows"])) == kept


def test_a_local_model_judges_and_drops_what_is_too_long(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 6), outputs(tmp_path)
    call(main, seeds, prompts=JUDGE, **out, model=str(tiny_model(max_position_embeddings=8192)), threshold=-100.0)
    assert len(rows_of(out["rows"])) == 6
    assert all(row["judge_score"] is not None for row in rows_of(out["rows"]))
    out = outputs(tmp_path, "short")
    call(main, seeds, prompts=JUDGE, **out, model=str(tiny_model()))
    assert {row["reason"] for row in rows_of(out["dropped"])} == {"prompt_too_long"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Words", "must begin with the heading ### System"),
        ("### System\nText\n", "has 0 examples"),
        ("### System\nText\n\n### Example 1\n[Function]\nx\n", r"example 1 must have the sections \[Function\]"),
        ("### System\nText\n\n### Example 1\n[Function]\nx\n\n[Answer]\nMaybe\n", "must be Yes or No, not 'Maybe'"),
    ],
)
def test_a_malformed_file_of_examples_is_named(tmp_path, text, sentence):
    path = tmp_path / "judge.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence) as error:
        load_judge(JUDGE, path)
    assert "judge.txt" in str(error.value)
