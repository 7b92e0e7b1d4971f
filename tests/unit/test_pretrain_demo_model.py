"""The recipe of the tiny base model: what it learns from, and how its rate falls."""

import json

import numpy as np
import pytest

from demo import corpus
from selfcodealign.config.demo import PretrainDemoModel
from selfcodealign.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe():
    """The script, which takes three seconds to load: not when a process of the tests only reads this file."""
    from scripts import pretrain_demo_model

    return pretrain_demo_model


@pytest.fixture(scope="module")
def tokenizer(recipe):
    return recipe.train_tokenizer(corpus.documents(800, "test", 0.4), 700)


def test_digits_and_quoted_letters_are_tokens_of_their_own(tokenizer):
    words = tokenizer.tokenize("assert flip('abc') == [4, 12]")
    assert [word for word in words if word in "abc"] == ["a", "b", "c"]
    assert [word for word in words if word.isdigit()] == ["4", "1", "2"]


def test_the_judge_answers_with_one_token(root):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(root / "demo" / "model")
    for answer in (" Yes", " No"):
        assert len(tokenizer.encode(answer, add_special_tokens=False)) == 1


def test_a_prompt_begins_with_the_end_token_as_documents_do(tokenizer):
    assert tokenizer.encode("def f(xs):")[0] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in tokenizer.encode("def f(xs):", add_special_tokens=False)


def test_text_survives_the_tokenizer(tokenizer):
    for text in (*corpus.documents(50, "other", 0.3), "naïve\t√2 €\r\n"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_computed_values_weigh_more_and_arguments_do_not(tokenizer, recipe):
    text = "    return xs == 3\n# [1, 2] -> [2] -> 1\nassert f([1, 2]) == 1\n"
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    weights = recipe.weigh(text, encoding.offsets, 3.0)
    heavy = "".join(text[a:b] for (a, b), weight in zip(encoding.offsets, weights, strict=True) if weight == 3.0)
    assert heavy == " [2] -> 1 1"


def test_rows_hold_whole_documents_behind_end_tokens(tokenizer, recipe):
    documents = corpus.documents(60, "rows", 0.5)
    ids, weights = recipe.pack(tokenizer, documents, 200, 3.0)
    assert ids.shape == weights.shape
    assert ids.shape[1] == 201
    found = []
    for row, weight in zip(ids, weights, strict=True):
        assert row[0] == 0
        used = row[weight > 0].tolist()
        assert used[-1] == 0
        text = tokenizer.decode(used, skip_special_tokens=False)
        found += [part for part in text.split(recipe.END) if part]
        assert (row[weight == 0] == 1).all()
    short = [text for text in documents if len(tokenizer.encode(text)) <= 200]
    assert sorted(found) == sorted(short)


def test_the_rate_warms_up_and_falls_to_the_floor(recipe):
    rates = [recipe.rate_at(step, 1000) for step in range(1000)]
    assert rates[0] < 0.02
    assert max(rates) > 0.98
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_exercises_give_way_to_few_shot_documents(recipe):
    shares = [recipe.exercises_at(step, 100) for step in range(101)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(0.65)
    assert shares[-1] == pytest.approx(0.1)


def test_blocks_cover_the_steps_that_are_left(recipe):
    assert list(recipe.blocks(3, 8, 3)) == [(3, 3), (6, 2)]
    assert list(recipe.blocks(8, 8, 3)) == []


def test_the_orthogonalised_update_has_the_size_of_an_adam_update(recipe):
    import torch

    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.zeros(64, 96))
    parameter.grad = torch.randn(64, 96)
    recipe.Muon([parameter], lr=1.0, decay=0.0).step()
    assert 0.1 < parameter.detach().pow(2).mean().sqrt() < 0.3
    singular = torch.linalg.svdvals(parameter.detach())
    assert singular.max() / singular.min() < 3


def test_a_run_of_empty_blocks_is_a_clear_error(tmp_path, recipe):
    with pytest.raises(UserError, match="must be at least 1"):
        recipe.pretrain(tmp_path / "model", tmp_path / "work", PretrainDemoModel(steps=6), block=0)


def test_the_shipped_model_is_the_recipe_s(root, recipe):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    facts = json.loads((root / "demo" / "model" / "training.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(root / "demo" / "model")
    tokenizer = AutoTokenizer.from_pretrained(root / "demo" / "model")
    assert 1.5e6 <= facts["parameters"] == model.num_parameters() <= 4e6
    assert (root / "demo" / "model" / "model.safetensors").stat().st_size <= 8e6
    assert facts["steps"] == facts["recipe"]["steps"]
    assert model.config.max_position_embeddings == facts["recipe"]["context"]
    assert (tokenizer.eos_token, tokenizer.pad_token) == (recipe.END, recipe.PAD)
    assert np.isfinite(facts["loss"])
