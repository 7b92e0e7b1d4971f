"""The base model in, the fine-tuned model out."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from selfcodealign.errors import UserError
from selfcodealign.rows_io import first_line

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_tokenizer(base: str, revision: str, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Load a base model's tokenizer.

    Raises:
        UserError: there is none at that folder or Hub id.
    """
    try:
        return AutoTokenizer.from_pretrained(base, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no tokenizer can be loaded from {base!r} ({first_line(error)}); correct model.base"
        ) from error


def load_config(base: str, revision: str, trust_remote_code: bool) -> Any:
    """Load a base model's configuration with every dropout set to 0, as the paper trains.

    StarCoder2's published configuration has dropouts of 0.1; people who left them on measured worse models.

    Raises:
        UserError: there is none at that folder or Hub id.
    """
    try:
        config = AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"no model can be loaded from {base!r} ({first_line(error)}); correct model.base") from error
    for key, value in list(vars(config).items()):
        if isinstance(value, float) and ("dropout" in key or key.endswith("pdrop")):
            setattr(config, key, 0.0)
    return config


def load_model(
    base: str, config: Any, revision: str, *, dtype: torch.dtype, attention: str, trust_remote_code: bool
) -> PreTrainedModel:
    """Load a base model's weights from safetensors.

    Under ZeRO-3 every process must call this together.

    Raises:
        UserError: no safetensors there, tensors are missing, or the architecture lacks the attention implementation.
    """
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(
            base,
            config=config,
            revision=revision,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"the model {base!r} cannot be loaded with attention {attention!r} ({first_line(error)}); "
            "correct model.base or train_sft.attention"
        ) from error
    model, loaded = found
    absent = sorted({*loaded["missing_keys"], *(item[0] for item in loaded["mismatched_keys"])})
    if absent:
        # transformers draws what it does not find at random and only warns: that would be no fine-tuning of this base.
        raise UserError(
            f"the weights of {base!r} lack {len(absent)} tensors that its configuration asks for, or have them in "
            f"another shape ({', '.join(absent[:3])}{', …' if len(absent) > 3 else ''}); fetch the model again, or "
            "correct its config.json"
        )
    model.config.use_cache = False
    return model


def with_adapters(model: PreTrainedModel, *, rank: int, alpha: int) -> torch.nn.Module:
    """Freeze a model and add LoRA adapters of the given rank to all its linear layers but the output layer."""
    from peft import LoraConfig, TaskType, get_peft_model

    adapters = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type=TaskType.CAUSAL_LM
    )
    return get_peft_model(model, adapters)


def merged(weights: dict[str, torch.Tensor], *, rank: int, alpha: int) -> dict[str, torch.Tensor]:
    """Fold LoRA adapters into the weights they adapt: W + alpha / rank · B A, under the base model's own names.

    Done on the gathered weights rather than on the model, because under ZeRO-3 no process holds a whole model.
    """
    whole: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        name = name.removeprefix("base_model.model.")
        if ".lora_" in name:
            continue
        if ".base_layer." in name:
            layer = name.partition(".base_layer.")[0]
            if name.endswith(".weight"):
                down = weights[f"base_model.model.{layer}.lora_A.default.weight"].float()
                up = weights[f"base_model.model.{layer}.lora_B.default.weight"].float()
                weight = (weight.float() + alpha / rank * (up @ down)).to(weight.dtype)
            name = name.replace(".base_layer.", ".")
        whole[name] = weight
    return whole


def stored_dtype(wanted: str, config: Any) -> torch.dtype:
    """Return the precision to store weights in: as asked for, or that of the base model."""
    if wanted != "base":
        return DTYPES[wanted]
    return config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32


def export(
    folder: Path,
    model: PreTrainedModel,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: torch.dtype,
) -> None:
    """Write a model that transformers and vLLM load as it is: safetensors, tokenizer, chat template, generation config.

    Args:
        folder: where to write.
        model: the trained model; its weights may be spread over processes, so they are not read from it.
        weights: all weights by name.
        tokenizer: with the chat template set.
        dtype: of the written weights.
    """
    if model.config.tie_word_embeddings:
        # A gathered copy of a tied output layer shares no memory with the embedding; it must not be stored twice.
        weights = {name: weight for name, weight in weights.items() if name not in (model._tied_weights_keys or {})}
    model.config.use_cache = True
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.dtype = dtype
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, state_dict={name: weight.to(dtype).contiguous() for name, weight in weights.items()})
    # save_pretrained records the precision the model was trained in; readers must see that of the stored weights.
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tokenizer.save_pretrained(folder)
