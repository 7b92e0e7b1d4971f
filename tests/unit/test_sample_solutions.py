"""A model is asked in its own style, turn by turn, and a killed run continues where it stopped."""

import json

import pytest

from scripts.sample_solutions import chosen, main
from selfcodealign.config.evaluation import SampleSolutions
from selfcodealign.errors import UserError
from selfcodealign.evaluation import base, sampling
from selfcodealign.evaluation.base import Prompt, Sampling
from selfcodealign.evaluation.rows import SampleRow
from selfcodealign.generation.settings import ModelSettings
from selfcodealign.rows_io import read_rows
from tests.generation_rows import call
from tests.stub_server import running

HEAD = 'def first_two(xs):\n    """Return the first 2 numbers."""\n'
INSTRUCTION = "Write a Python function first_two that takes a list of numbers xs. It should take the first 2 numbers."
TASKS = [
    {
        "task_id": f"Demo/{number}",
        "prompt": HEAD,
        "entry_point": "first_two",
        "canonical_solution": "    return xs[:2]\n",
        "test": "def check(candidate):\n    assert candidate([1, 2, 3]) == [1, 2]\n",
        "instruction": INSTRUCTION,
    }
    for number in range(2)
]


@pytest.fixture
def asked(tmp_path, root):
    """Return the keywords that sample the embedded base model on two tasks."""
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in TASKS))
    return {
        "benchmark": "demo",
        "problems": tmp_path / "tasks.jsonl",
        "rows": tmp_path / "samples.parquet",
        "work": tmp_path / "work",
        "model": str(root / "demo" / "model"),
        "engine": {"backend": "transformers"},
    }


def rows_of(asked) -> list[dict]:
    return list(read_rows(asked["rows"], list(SampleRow.model_fields)))


def test_a_base_model_completes_the_head(asked):
    call(main, **asked, style="base", max_tokens=40)
    found = rows_of(asked)
    assert [row["id"] for row in found] == ["Demo/0#0", "Demo/1#0"]
    assert found[0]["texts"] == found[1]["texts"]  # greedy, and the same head
    assert found[0]["texts"][0].startswith("\n    ")
    assert found[0]["revision"].startswith("sha256:")


def test_an_instruct_model_answers_in_a_fence_and_samples_differ_reproducibly(asked):
    settings = {"style": "instruct", "samples": 3, "temperature": 1.2, "max_tokens": 60}
    call(main, **asked, **settings)
    first = rows_of(asked)
    assert len(first) == 6
    assert all(row["texts"][0].startswith("```python") for row in first)
    assert len({row["texts"][0] for row in first}) > 1
    assert len({row["seed"] for row in first}) == 6
    call(main, **{**asked, "work": asked["work"].with_name("again")}, **settings)
    assert rows_of(asked) == first


def test_only_the_first_tasks_are_asked_where_so_many_are_wanted(asked):
    call(main, **asked, style="base", max_tokens=8)
    assert [row["task_id"] for row in rows_of(asked)] == ["Demo/0", "Demo/1"]
    call(main, **{**asked, "work": asked["work"].with_name("few")}, style="base", max_tokens=8, tasks=1)
    assert [row["task_id"] for row in rows_of(asked)] == ["Demo/0"]


def test_a_killed_run_continues_from_its_ledger(asked):
    call(main, **asked, style="base", max_tokens=40)
    whole = asked["rows"].read_bytes()
    (ledger,) = asked["work"].rglob("ledger.jsonl")
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-1]) + lines[-1][:10])  # torn in the middle of the last answer
    asked["rows"].unlink()
    call(main, **asked, style="base", max_tokens=40)
    assert asked["rows"].read_bytes() == whole


def test_settings_are_the_papers_but_for_what_is_given():
    paper = Sampling(20, 0.2, 0.95, 2048)
    assert chosen(paper, SampleSolutions()) == paper
    assert chosen(paper, SampleSolutions(samples=1, temperature=0.0, max_tokens=100)) == Sampling(1, 0.0, 0.95, 100)


@pytest.fixture
def no_hub(monkeypatch):
    """Let a model that is not here be missing at once, whatever network there is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("base", "Ask```python"),
        (
            "instruct",
            "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable "
            "responses to user instructions.\n\n### Instruction\nAsk\n\n### Response\n```python",
        ),
    ],
)
def test_each_style_renders_its_layout(style, expected, no_hub):
    asked = sampling.Asked(base.get("demo"), style, Sampling(), ModelSettings(name="m"), "r", 1)
    assert sampling.renderer(asked)(Prompt("Ask", prefix="```python")) == expected


def test_a_chat_server_is_asked_by_its_own_template_and_may_have_a_model_that_nobody_has_here(asked):
    answer = "Here it is:\n```python\ndef first_two(xs):\n    return xs[:2]\n```\nIt slices."

    def chat(body):
        return 200, {"choices": [{"finish_reason": "stop", "message": {"content": answer}}], "usage": {}}

    with running(refuse=chat) as stub:
        engine = {"backend": "openai", "base_url": stub.url, "api": "chat", "concurrency": 1}
        call(main, **{**asked, "model": "provider-large", "engine": engine}, style="chat", max_tokens=60)
    (message,) = stub.bodies[0]["messages"]
    assert message["role"] == "user"
    assert INSTRUCTION in message["content"]
    assert "```python" not in message["content"].rpartition("\n")[2]
    assert stub.bodies[0]["stop"] == []
    assert [row["texts"] for row in rows_of(asked)] == [[answer], [answer]]


def test_the_chat_template_of_a_model_that_is_nowhere_is_not_known(asked, no_hub):
    engine = {"backend": "openai", "base_url": "http://127.0.0.1:9/v1"}
    with pytest.raises(UserError, match=r"provider-large has no tokenizer here .*engine api: chat"):
        call(main, **{**asked, "model": "provider-large", "engine": engine}, style="chat", max_tokens=60)
