"""What training on tests goes by: its settings, the tasks of a step, and the sentences when nothing is learned."""

from typing import Any

import pytest

from scripts.train_grpo import main
from selfcodealign.config import TrainGrpo
from selfcodealign.config.execution import RunResponses
from selfcodealign.errors import UserError
from selfcodealign.stage import read
from selfcodealign.training.grpo import Watch, check_vllm, funnel, line_of, nothing_left, schedule, shares, usable
from selfcodealign.training.mixtures import Mixture
from selfcodealign.training.rewards import Group, Judged

IDS = [f"row-{number}" for number in range(5)]


def test_the_script_has_the_defaults_of_the_config() -> None:
    paths = [f"--{name}=x" for name in ("tasks", "base", "model", "metrics", "funnel", "work")] + ["--run-seed=1"]
    assert read(main, paths)["settings"] == TrainGrpo()
    assert read(main, paths)["sandbox"] == RunResponses()
    changed = read(main, [*paths, "--beta=0.2", "--timeout-s=9", "--reward=all"])
    assert changed["settings"] == TrainGrpo(beta=0.2, reward="all")
    assert changed["sandbox"] == RunResponses(timeout_s=9)


def test_every_round_has_all_tasks_in_an_order_of_its_own_whatever_their_order() -> None:
    settings = TrainGrpo(steps=5, batch_tasks=4)
    planned = schedule(IDS, settings, seed=1)
    assert len(planned) == 20
    rounds = [planned[at : at + 5] for at in range(0, 20, 5)]
    assert all(sorted(one) == IDS for one in rounds)
    assert len({tuple(one) for one in rounds}) == 4
    assert schedule(IDS[::-1], settings, seed=1) == planned
    assert schedule(IDS, settings, seed=2) != planned
    # A task of weight 2 comes twice in each round.
    assert schedule([*IDS, "row-0"], settings, seed=1)[:6].count("row-0") == 2


@pytest.mark.parametrize(
    ("rows", "processes", "expected"),
    [(8, 1, (8, 16)), (7, 1, (4, 32)), (1, 2, (1, 64)), (500, 2, (64, 1)), (8, 128, (1, 1))],
)
def test_a_step_is_computed_in_even_parts(rows: int, processes: int, expected: tuple[int, int]) -> None:
    assert shares(TrainGrpo(batch_tasks=16, samples=8, micro_batch_rows=rows), processes) == expected


def test_processes_share_a_step_evenly_or_not_at_all() -> None:
    with pytest.raises(UserError, match="batch_tasks × samples is 128; make it a multiple of the 3 processes"):
        shares(TrainGrpo(), 3)


class Words:
    """A tokenizer with a token for each word."""

    def apply_chat_template(self, prompt: list[dict[str, str]], **_: Any) -> list[str]:
        """Split the one turn into words."""
        return prompt[0]["content"].split()


def task(name: str, words: int = 1, tests: str = "assert f(1)", instruction: str = "") -> dict[str, Any]:
    """Make a task whose prompt has so many words."""
    prompt = [{"role": "user", "content": "word " * words}]
    return {"id": name, "instruction_id": instruction or name, "prompt": prompt, "tests": tests}


def test_tasks_without_a_test_or_with_long_prompts_or_the_same_instruction_are_left_out() -> None:
    given = [
        task("d", instruction="same"),
        task("a", words=3),
        task("b", words=4),
        task("c", tests="x = 1"),
        task("e", tests="```python\nassert f(1)\n```"),
        task("f", instruction="same"),
    ]
    kept, dropped = usable(Mixture(_rows=[(one, 2) for one in given]), Words(), room=3)
    assert [(one["id"], times) for one, times in kept] == [("a", 2), ("d", 2), ("e", 2)]
    assert dropped == {"no_test": 1, "same_instruction": 1, "prompt_too_long": 1}
    assert funnel(len(kept), dropped)["entered"] == 6


@pytest.mark.parametrize(
    ("dropped", "sentence"),
    [
        ({}, "t.parquet has no task to learn from: no response passed its tests"),
        ({"no_test": 3}, "none of the 3 tasks of t.parquet has a test"),
        ({"prompt_too_long": 2}, r"all 2 prompts of t.parquet are too long: train_grpo.max_tokens \(1280\) less"),
    ],
    ids=["empty", "no_test", "long"],
)
def test_a_pool_without_a_usable_task_gets_a_sentence(dropped: dict[str, int], sentence: str) -> None:
    none = {"no_test": 0, "same_instruction": 0, "prompt_too_long": 0}
    with pytest.raises(UserError, match=sentence):
        raise UserError(nothing_left("t.parquet", none | dropped, TrainGrpo()))


def test_vllm_that_is_not_there_is_named_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    check_vllm(TrainGrpo())
    monkeypatch.setattr("selfcodealign.training.grpo.find_spec", lambda name: None)
    with pytest.raises(UserError, match="train_grpo.use_vllm is true, but vllm is not installed"):
        check_vllm(TrainGrpo(use_vllm=True))


def test_a_step_is_logged_under_this_projects_names() -> None:
    logs = {"loss": 0.5, "frac_reward_zero_std": 0.25, "num_tokens": 90, "completions/mean_length": 7.0, "kl": None}
    assert line_of(logs) == {"loss": 0.5, "answer_tokens_mean": 7.0, "tokens": 90, "varied_share": 0.75}


@pytest.mark.slow
def test_steps_in_which_no_reward_varies_are_told_once(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(tmp_path / "groups.jsonl", samples=2)
    answers = [
        Judged(task, reward, True, reward == 1) for task, reward in (("a", 1.0), ("a", 0.0), ("b", 1.0), ("b", 1.0))
    ]
    assert watch.note(1, answers) == 0.5
    alike = (("c", 0.0), ("c", 0.0), ("d", 1.0), ("d", 1.0))
    for step in range(2, 14):
        assert watch.note(step, [Judged(task, reward, True, reward == 1) for task, reward in alike]) == 0
    # Only its own logger: what another test of this process left behind may be collected meanwhile, and say so.
    told = [record.message for record in caplog.records if record.name.startswith("selfcodealign")]
    assert told == [
        "nothing was learned for 10 steps: the reward never varied for 3 of 4 tasks (75%), which taught nothing: every "
        "answer passed for 2 of them, and for 1 all were equally wrong; take other tasks, more samples, a higher "
        "temperature, or reward share"
    ]
    assert watch.groups()[0] == Group("a", (1.0, 0.0), 2, 1)


def test_a_step_in_which_nothing_parses_is_told(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(tmp_path / "groups.jsonl", samples=2)
    watch.note(1, [Judged("a", 1.0, True, True), Judged("a", 0.0, False, False)])
    assert not caplog.records
    watch.note(2, [Judged("a", 0.0, False, False)] * 2)
    assert "none of the 2 answers of step 2 holds Python code that parses" in caplog.records[0].message
