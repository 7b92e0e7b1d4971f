"""What training leaves behind can be loaded, served and understood."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from selfcodealign.rows_io import read_rows
from selfcodealign.training import documents as rows
from selfcodealign.training import template

from . import warm
from .conftest import command, losses, tokenizer

Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def trained(tiny: Callable[[str], Path], dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train one model that several tests look at."""
    folder = tmp_path_factory.mktemp("trained")
    done = warm.run(command(folder, dataset, tiny("llama"), "run", epochs=8, validation_share=0.2, keep="best")[1:])
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_the_model_loads_and_has_learnt(trained: Path, dataset: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trained / "model", dtype=torch.float32)
    spoken = AutoTokenizer.from_pretrained(trained / "model")
    row = next(read_rows(dataset / "train.parquet"))
    document = rows.encode(spoken, row["id"], row["instruction"], row["response"])
    ids = torch.tensor([document.tokens])
    found = model(ids, labels=ids.masked_fill(torch.arange(ids.shape[1]) < document.prompt_tokens, -100)).loss
    assert found.item() < 0.7 * losses(trained / "metrics.jsonl")[0]
    assert model.config.use_cache


def test_the_generation_config_stops_where_training_ended_rows(trained: Path) -> None:
    config = GenerationConfig.from_pretrained(trained / "model")
    assert config.eos_token_id == AutoTokenizer.from_pretrained(trained / "model").eos_token_id == 0


def test_the_chat_template_renders_the_training_row_to_the_byte(trained: Path, dataset: Path) -> None:
    spoken = AutoTokenizer.from_pretrained(trained / "model")
    for row in read_rows(dataset / "train.parquet"):
        document = rows.encode(spoken, row["id"], row["instruction"], row["response"])
        asked = [{"role": "user", "content": row["instruction"]}]
        answered = [*asked, {"role": "assistant", "content": row["response"]}]
        prompt = spoken.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)
        assert tuple(prompt["input_ids"]) == document.tokens[: document.prompt_tokens]
        whole = spoken.apply_chat_template(answered, return_dict=True)
        assert tuple(whole["input_ids"]) == document.tokens


def test_a_conversation_goes_on_in_the_same_layout() -> None:
    spoken = tokenizer()
    template.install(spoken)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Two?"},
    ]
    assert spoken.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == (
        "<|end|>Be brief.\n\n### Instruction\nOne?\n\n### Response\nYes.<|end|>"
        "\n\n### Instruction\nTwo?\n\n### Response\n"
    )


def test_the_example_shows_what_the_loss_is_taken_on(trained: Path) -> None:
    example = json.loads((trained / "example.json").read_text())
    assert example["text"].startswith("<|end|>" + template.SYSTEM)
    assert example["trained"].startswith("```python\ndef f")
    assert example["trained"].endswith("<|end|>")
    assert "".join(text for text, counted in example["tokens"] if counted) == example["trained"]
    assert "".join(text for text, counted in example["tokens"] if not counted).endswith("### Response\n")


def test_the_funnel_and_the_metrics_account_for_every_row(trained: Path) -> None:
    funnel = json.loads((trained / "funnel.json").read_text())
    assert funnel["entered"] == funnel["kept"] == 20
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    held_out = 20 - sum(line["documents"] for line in steps) // 8
    assert 0 < held_out < 10
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert any("validation_loss" in line for line in lines)


def test_the_card_says_from_what_and_how(trained: Path, tiny: Callable[[str], Path]) -> None:
    card = (trained / "model/README.md").read_text()
    front = card.split("---")[1]
    assert str(tiny("llama")) not in card
    assert "base_model: llama" in front or "base_model" not in front
    for words in ("SHA-256", "learning_rate: 0.003", "under the loss", "validation loss", "deepspeed 0."):
        assert words in card


def test_a_mixture_is_trained_on_by_its_weights(dataset: Path, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    pq.write_table(pq.read_table(dataset / "train.parquet").slice(0, 4), second / "train.parquet")
    words = command(tmp_path, dataset, tiny("llama"), "mixed", epochs=1, validation_share=0)
    place = words.index("--dataset") + 2
    words[place:place] = [str(second), "--weights", "0.5", "3"]
    done = warm.run(words[1:])
    assert done.returncode == 0, done.stderr
    funnel = json.loads((tmp_path / "mixed/funnel.json").read_text())
    assert (funnel["entered"], funnel["kept"], funnel["dropped"]) == (24, 14, {"not_drawn": 10})
    lines = [json.loads(line) for line in (tmp_path / "mixed/metrics.jsonl").read_text().splitlines()]
    assert sum(line["documents"] for line in lines) == funnel["produced"] == 10 + 3 * 4
    card = (tmp_path / "mixed/model/README.md").read_text()
    assert "weight 0.5: 10 of 20 rows" in card
    assert "weight 3: 12 of 4 rows" in card


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {"deepspeed": "config/deepspeed/zero3.json", "processes": 2}),
        ("starcoder2", {"deepspeed": "none", "precision": "bf16_pure", "optimizer": "adafactor", "loss": "reference"}),
        ("qwen2", {"lora_rank": 4, "deepspeed": "config/deepspeed/zero3.json", "activation_checkpointing": True}),
    ],
)
def test_each_way_of_training_exports_a_model_that_loads_whole(
    architecture: str,
    changes: dict[str, Any],
    tiny: Callable[[str], Path],
    dataset: Path,
    train: Train,
    tmp_path: Path,
) -> None:
    train(dataset, tiny(architecture), **changes)
    folder = tmp_path / "run/model"
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    model, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    before = load_file(tiny(architecture) / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    changed = [name for name in before if not torch.equal(before[name].float(), after[name].float())]
    assert any("q_proj" in name for name in changed)
    assert any("layers.1" in name for name in changed)
    assert losses(tmp_path / "run/metrics.jsonl")[-1] < losses(tmp_path / "run/metrics.jsonl")[0]
    assert model.config.tie_word_embeddings == (architecture != "qwen2")


def test_a_run_shorter_than_the_interval_of_checkpoints_is_validated_and_keeps_its_best(
    tiny: Callable[[str], Path], dataset: Path, train: Train, tmp_path: Path
) -> None:
    train(dataset, tiny("llama"), save_every_steps=1_000, validation_share=0.2, keep="best")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (validated,) = [line for line in lines if "validation_loss" in line]
    assert validated["step"] == max(line["step"] for line in lines)
    assert f"validation loss | {validated['validation_loss']:.4f}" in (tmp_path / "run/model/README.md").read_text()


def test_nothing_is_dropped_out_of_starcoder2_whose_configuration_asks_for_it(tmp_path: Path) -> None:
    from selfcodealign.training import model as models

    from .conftest import network

    asked = dict.fromkeys(("residual_dropout", "embedding_dropout", "attention_dropout"), 0.1)
    network("starcoder2", **asked).save_pretrained(tmp_path)
    ids = torch.arange(40)[None]
    careless = AutoModelForCausalLM.from_pretrained(tmp_path).train()
    assert not torch.equal(careless(ids).logits, careless(ids).logits)

    config = models.load_config(str(tmp_path), "main", False)
    assert [getattr(config, name) for name in asked] == [0.0, 0.0, 0.0]
    model = models.load_model(
        str(tmp_path), config, "main", dtype=torch.float32, attention="sdpa", trust_remote_code=False
    ).train()
    assert torch.equal(model(ids).logits, model(ids).logits)
    assert torch.equal(model(ids).logits, model.eval()(ids).logits)


def test_an_adapter_folded_in_computes_what_the_adapter_does() -> None:
    from selfcodealign.training import model as models

    from .conftest import network

    plain = network("llama")
    adapted = models.with_adapters(network("llama"), rank=4, alpha=8)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    ids = torch.arange(20)[None]
    expected = adapted(ids).logits
    assert (plain(ids).logits - expected).abs().max() > 1e-2
    plain.load_state_dict(models.merged(adapted.state_dict(), rank=4, alpha=8))
    torch.testing.assert_close(plain(ids).logits, expected, atol=1e-5, rtol=1e-4)


# ---- what cannot be trained on ----


def test_an_empty_dataset_is_refused(tiny: Callable[[str], Path], train: Train, tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("instruction", pa.string()), ("response", pa.string())])
    pq.write_table(pa.Table.from_pylist([], schema), tmp_path / "train.parquet")
    done = train(tmp_path, tiny("llama"), check=False)
    assert done.returncode == 1
    assert "no row of" in done.stderr.splitlines()[-1]


def test_rows_that_all_exceed_the_limit_are_refused(tiny: Callable[[str], Path], dataset: Path, train: Train) -> None:
    done = train(dataset, tiny("llama"), check=False, max_tokens=100)
    assert done.returncode == 1
    assert "{'too_long': 20}" in done.stderr


def test_a_row_without_a_response_is_named() -> None:
    bad = [{"id": "row-7", "instruction": "Add.", "response": "  "}]
    from collections import Counter

    with pytest.raises(rows.UserError, match="dataset row 'row-7' has an empty response"):
        list(rows.documents(tokenizer(), bad, Counter(), max_tokens=100, truncation="drop"))


def test_a_tokenizer_without_an_end_is_refused_and_one_without_padding_is_not() -> None:
    spoken = tokenizer()
    spoken.pad_token = None
    rows.check_tokenizer(spoken)
    assert spoken.pad_token_id == spoken.eos_token_id
    spoken.eos_token = None
    with pytest.raises(rows.UserError, match="has no end token"):
        rows.check_tokenizer(spoken)


def test_a_missing_base_model_is_named(dataset: Path, train: Train, tmp_path: Path) -> None:
    done = train(dataset, tmp_path / "no-such-model", check=False)
    assert done.returncode == 1
    assert "no tokenizer can be loaded from" in done.stderr


def test_too_little_disk_is_found_before_the_start(
    tmp_path: Path, tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig

    from selfcodealign.config import TrainSft
    from selfcodealign.training import checks

    config = AutoConfig.from_pretrained(tiny("llama"))
    checks.preflight(tmp_path / "w/m", TrainSft(), config, 1_000)
    usage = checks.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    with pytest.raises(rows.UserError, match="lower train_sft.checkpoints_kept"):
        checks.preflight(tmp_path / "w/m", TrainSft(), config, 1_000)
    monkeypatch.setattr(checks, "free_memory", lambda _: (1e6, 0.0))
    with pytest.raises(rows.UserError, match="see `python -m selfcodealign plan-training`"):
        checks.preflight(tmp_path / "w/m", TrainSft(), config, 1_000)
