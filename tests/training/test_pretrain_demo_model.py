"""The tiny base model is trained: its loss falls, and a killed run continues."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts import pretrain_demo_model as recipe
from selfcodealign.config.demo import PretrainDemoModel
from selfcodealign.errors import UserError

TINY = {"rows": 2, "length": 256, "width": 32, "layers": 1, "context": 256, "vocabulary": 600, "threads": 1}
SIX_STEPS = PretrainDemoModel(steps=6)


def test_training_lowers_the_loss_and_a_killed_run_ends_in_the_same_bytes(tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    recipe.pretrain(whole, tmp_path / "work-whole", SIX_STEPS, block=2, **TINY)
    facts = json.loads((whole / "training.json").read_text())
    assert facts["steps"] == 6
    assert facts["history"][-1]["loss"] < facts["history"][0]["loss"]

    update, broken = recipe.Training.update, tmp_path / "broken"

    def dies_at_step_three(self, *arguments):
        if self.step == 3:
            raise KeyboardInterrupt
        return update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(recipe.Training, "update", dies_at_step_three)
        with pytest.raises(KeyboardInterrupt):
            recipe.pretrain(broken, tmp_path / "work-broken", SIX_STEPS, block=2, **TINY)
    assert not broken.exists()
    recipe.pretrain(broken, tmp_path / "work-broken", SIX_STEPS, block=2, **TINY)
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()

    model = AutoModelForCausalLM.from_pretrained(broken)
    words = AutoTokenizer.from_pretrained(broken)("def f(xs):", return_tensors="pt")
    assert torch.isfinite(model(input_ids=words["input_ids"]).logits).all()
    assert model.dtype == torch.bfloat16

    with pytest.raises(UserError, match="belongs to a run with other settings"):
        recipe.pretrain(broken, tmp_path / "work-broken", PretrainDemoModel(steps=6, seed=1), block=2, **TINY)
