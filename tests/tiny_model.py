"""A tiny random model with a tokenizer of its own, made on the spot, for tests of everything that runs a model."""

import functools
import tempfile
from pathlib import Path


@functools.cache
def tiny_model(kind: str = "llama", **changes: object) -> Path:
    """Make a model of an architecture, such as `llama`, `qwen2` or `gemma2`, and return its folder.

    Weights are random but fixed, and large enough that greedy decoding does not only repeat one token.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = Path(tempfile.mkdtemp(prefix=f"tiny-{kind}-"))
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 1,
        "initializer_range": 0.4,
    }
    if kind not in ("gpt_neox",):
        settings["num_key_value_heads"] = 2
    if kind == "gemma2":
        settings |= {"head_dim": 8, "sliding_window": 16}
    config = AutoConfig.for_model(kind, **settings | changes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id = 0
    model.save_pretrained(folder)
    return folder


@functools.cache
def tiny_tokenizer():
    """Make a byte-level tokenizer with a few merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        ["## Example 1\nAnswer: Yes No\ndef function(values):\n    return values\n"] * 4, trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
