"""Base models of many families train, or are refused in one sentence; what is broken never trains silently."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, T5Config, T5ForConditionalGeneration

from selfcodealign.config.training import Start, TrainSft
from selfcodealign.errors import UserError
from selfcodealign.training.sft import Paths, fine_tune

from .conftest import SETTINGS, tokenizer

COMMON = {
    "vocab_size": 258,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
GROUPED = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 512}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "mistral": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "gemma": GROUPED | {"head_dim": 8},
    "starcoder2": GROUPED,
    "phi3": GROUPED,
    "granite": GROUPED,
    "olmo2": GROUPED,
    "phi": {"intermediate_size": 48, "max_position_embeddings": 512},
    "gpt_neox": {"intermediate_size": 48, "max_position_embeddings": 512},
    "gpt2": {"n_positions": 512},
    "gpt_bigcode": {"n_positions": 512},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 512},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "gemma2": (GROUPED | {"head_dim": 8}, "correct model.base or train_sft.attention"),
    "bloom": ({}, "correct model.base or train_sft.attention"),
    "falcon": ({}, "correct model.base or train_sft.attention"),
    "stablelm": (GROUPED, "set train_sft.packing to false"),
}


def made(folder: Path, kind: str, **settings: Any) -> Path:
    """Make a random model of two layers with its tokenizer."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(COMMON | settings))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def trained(folder: Path, base: Path, dataset: Path, **changes: Any) -> Path:
    """Train in this process and return the folder of the run."""
    from accelerate.state import AcceleratorState, PartialState

    before = dict(os.environ)
    paths = Paths(
        *([dataset], folder / "model", folder / "metrics.jsonl", folder / "example.json", folder / "funnel.json"),
        folder / "work",
    )
    settings = TrainSft(**(SETTINGS | {"epochs": 1, "deepspeed": "none"} | changes))
    try:
        fine_tune(paths, Start(base=str(base)), settings, 1, "fixed")
    finally:
        AcceleratorState._reset_state()
        PartialState._reset_state()
        # What stands for a launcher is meant for a process of its own; the next test's must not inherit it.
        os.environ.clear()
        os.environ.update(before)
    return folder


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_trains(kind: str, dataset: Path, tmp_path: Path) -> None:
    base = made(tmp_path / kind, kind, **FAMILIES[kind])
    run = trained(tmp_path / "run", base, dataset)
    before, after = load_file(base / "model.safetensors"), load_file(run / "model/model.safetensors")
    assert before.keys() >= after.keys()
    assert all((after[name] - before[name]).abs().max() > 0 for name in after if name.endswith("proj.weight"))


@pytest.mark.parametrize("kind", REFUSED)
def test_a_family_that_cannot_be_trained_as_asked_is_refused(kind: str, dataset: Path, tmp_path: Path) -> None:
    settings, sentence = REFUSED[kind]
    with pytest.raises(UserError, match=sentence):
        trained(tmp_path / "run", made(tmp_path / kind, kind, **settings), dataset)
    assert not (tmp_path / "run/model").exists()


def test_a_family_that_leaks_trains_without_packing(dataset: Path, tmp_path: Path) -> None:
    trained(tmp_path / "run", made(tmp_path / "s", "stablelm", **GROUPED), dataset, packing=False)


def without(*names: str) -> Callable[[Path], None]:
    """Leave tensors out of a model."""

    def broken(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        save_file({name: weight for name, weight in weights.items() if name not in names}, folder / "model.safetensors")

    return broken


def renamed(folder: Path) -> None:
    """Give all tensors another prefix."""
    weights = load_file(folder / "model.safetensors")
    save_file({f"net.{name}": weight for name, weight in weights.items()}, folder / "model.safetensors")


def other_shape(folder: Path) -> None:
    """Cut a tensor."""
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(weights | {name: weights[name][:24].clone()}, folder / "model.safetensors")


def pointer(folder: Path) -> None:
    """Leave what git leaves without its large-file extension."""
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n")


def torn(folder: Path) -> None:
    """Cut the file of weights, as a full disk does."""
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def encoder_decoder(folder: Path) -> None:
    """Put a model of another kind in its place."""
    size = {"vocab_size": 258, "d_model": 32, "d_ff": 48, "num_layers": 2, "num_heads": 4, "d_kv": 8}
    T5ForConditionalGeneration(T5Config(**size)).save_pretrained(folder)


def more_layers(folder: Path) -> None:
    """Let the configuration ask for a layer that is not there."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))


def end_beyond_the_embedding(folder: Path) -> None:
    """Add an end token to the tokenizer alone."""
    spoken = tokenizer()
    spoken.add_tokens(["<|im_end|>"])
    spoken.eos_token = "<|im_end|>"
    spoken.save_pretrained(folder)


def nothing(folder: Path) -> None:
    """Leave no weights at all."""
    (folder / "model.safetensors").unlink()


BROKEN = [
    (without("model.layers.0.mlp.up_proj.weight"), "lack 1 tensors .*up_proj"),
    (without("lm_head.weight"), "lack 1 tensors .*lm_head"),
    (without("model.norm.weight", "model.layers.1.self_attn.q_proj.weight"), "lack 2 tensors"),
    (renamed, r"lack \d\d tensors"),
    (more_layers, r"lack \d tensors .*layers\.2"),
    (other_shape, "up_proj|mismatch"),
    (pointer, "cannot be loaded|lack"),
    (torn, "cannot be loaded|lack"),
    (nothing, "cannot be loaded"),
    (encoder_decoder, "no causal language model"),
    (end_beyond_the_embedding, r"eos_token '<\|im_end\|>' has the id 258, but the model embeds only 258 tokens"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda item: getattr(item[0], "__name__", ""))
def test_a_broken_base_model_is_refused(
    broken: tuple[Callable[[Path], None], str], dataset: Path, tmp_path: Path
) -> None:
    spoil, sentence = broken
    base = made(tmp_path / "base", "llama", **GROUPED)
    spoil(base)
    with pytest.raises(UserError, match=sentence):
        trained(tmp_path / "run", base, dataset)
    assert not (tmp_path / "run/model").exists()


@pytest.mark.parametrize("rows", [1, 6, 20])
def test_the_first_step_learns(rows: int, dataset: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", made(tmp_path / "base", "llama", **GROUPED), dataset, batch_rows=rows)
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert first["learning_rate"] > 0


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 1e30, "warmup_share": 0.0}, {"learning_rate": 1e30, "schedule": "constant"}]
)
def test_a_loss_that_is_no_number_stops_the_run(changes: dict[str, Any], dataset: Path, tmp_path: Path) -> None:
    base = made(tmp_path / "base", "llama", **GROUPED)
    with pytest.raises(UserError, match=r"loss of step \d+ is (nan|inf), so no model is written"):
        trained(tmp_path / "run", base, dataset, batch_rows=2, **changes)
    assert not (tmp_path / "run/model").exists()
    assert (
        "NaN" in (tmp_path / "run/metrics.jsonl").read_text() or "Inf" in (tmp_path / "run/metrics.jsonl").read_text()
    )


def test_rows_beyond_the_models_positions_are_too_long(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = made(tmp_path / "base", "llama", **(GROUPED | {"max_position_embeddings": 260}))
    run = trained(tmp_path / "run", base, dataset)
    assert json.loads((run / "funnel.json").read_text())["dropped"]["too_long"] > 0
    assert "the model has 260 positions" in caplog.text


def test_a_folder_beside_the_checkpoints_is_passed_over(dataset: Path, tmp_path: Path) -> None:
    base = made(tmp_path / "base", "llama", **GROUPED)
    for name in ("checkpoint-old", "checkpoint-", "checkpoint-3.bak"):
        (tmp_path / "run/work" / name).mkdir(parents=True)
    trained(tmp_path / "run", base, dataset)


def test_variables_of_the_shell_do_not_change_the_precision(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = made(tmp_path / "base", "llama", **GROUPED)
    plain = trained(tmp_path / "plain", base, dataset)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    set_by_shell = trained(tmp_path / "shell", base, dataset)
    assert load_file(plain / "model/model.safetensors").keys()
    for name, weight in load_file(plain / "model/model.safetensors").items():
        assert torch.equal(weight, load_file(set_by_shell / "model/model.safetensors")[name])


def test_a_model_that_cannot_be_written_is_found_before_the_first_step(dataset: Path, tmp_path: Path) -> None:
    base = made(tmp_path / "base", "llama", **GROUPED)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model").write_text("a file where the folder should be")
    (tmp_path / "run/.model.part").symlink_to("/proc/nowhere")
    with pytest.raises(UserError, match="cannot be written"):
        trained(tmp_path / "run", base, dataset)
    assert not (tmp_path / "run/work/metrics.jsonl").exists()
    shutil.rmtree(tmp_path / "base")
