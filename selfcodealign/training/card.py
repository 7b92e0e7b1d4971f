"""The model card: from what, how, on what and at which cost a model was trained."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfcodealign.config import TrainSft
from selfcodealign.config.section import Section
from selfcodealign.rows_io import write_text
from selfcodealign.training.mixtures import Source

LIBRARIES = ("torch", "transformers", "deepspeed", "accelerate", "peft", "tokenizers")


def commit() -> str:
    """Return the commit of the code, marked when files differ from it; unknown outside a git checkout."""
    root = Path(__file__).parents[2]

    def git(*words: str) -> str:
        try:
            run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        except OSError:  # no git on this machine
            return ""
        return run.stdout.strip()

    head = git("rev-parse", "HEAD")
    if not head:
        return "unknown"
    return f"{head} with local changes" if git("status", "--porcelain", "--untracked-files=no") else head


def hardware() -> str:
    """Name the accelerators, or the processor, that this process sees."""
    import os

    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()} on this node"
    return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"


def write(
    file: Path,
    *,
    base: str,
    revision: str,
    identity: str,
    data: Sequence[Source],
    rule: str,
    settings: Section,
    seed: int,
    processes: int,
    taught: str,
    told: Sequence[tuple[str, str]],
    wall_s: float,
) -> None:
    """Write the card as the `README.md` that the Hub shows.

    Args:
        file: the card.
        base: name of the model that the training started from, as it may be published.
        revision: its revision.
        identity: its exact commit, or the hash of its files.
        data: the tables trained on.
        rule: that trained it, whose name its section of the config has.
        settings: all settings of the run.
        seed: the training seed.
        processes: how many processes trained together.
        taught: what was done with the base, in words that follow its name.
        told: what the training came to, in rows of a name and a text.
        wall_s: how long it took.
    """
    lines = [
        "---",
        f"base_model: {base}",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [code, self-alignment, instruction-tuning]",
        "---",
        "",
        f"# {Path(base).name}, aligned by itself",
        "",
        f"`{base}`, {taught}. Made with SelfCodeAlign: no larger model and no person wrote a response.",
        "",
        "## Use",
        "",
        "The chat template is part of the tokenizer and renders exactly the prompt of training, in transformers "
        "(`apply_chat_template`) and in vLLM's chat endpoint. The model stops by itself with its end token.",
        "",
        "## Training",
        "",
        "| | |",
        "|---|---|",
        f"| base model | `{base}`, revision `{revision}`, identity `{identity}` |",
        *(f"| data | `{one.table}`{_share(one)}, SHA-256 `{one.sha256}` |" for one in data),
        *(f"| {name} | {text} |" for name, text in told),
        f"| hardware | {hardware()}; {processes} process(es) |",
        f"| time | {wall_s:,.0f} s, or {wall_s / 3600 * processes:.3f} process-hours |",
        f"| code | {commit()} |",
        f"| libraries | {', '.join(f'{name} {version(name)}' for name in LIBRARIES)} |",
        "",
        "## Settings",
        "",
        "```yaml",
        f"seed: {seed}",
        f"{rule}:",
        *(f"  {key}: {'null' if value is None else value}" for key, value in settings.model_dump(mode="json").items()),
        "```",
    ]
    write_text(file, "\n".join(lines) + "\n")


def _share(one: Source) -> str:
    return "" if one.weight == 1 else f", weight {one.weight:g}: {one.taken:,} of {one.rows:,} rows"


def fine_tuning(figures: Mapping[str, Any], settings: TrainSft) -> list[tuple[str, str]]:
    """Tell what a fine-tuning came to; `figures` are from `sft.summary`."""
    fates = ", ".join(f"{count:,} {fate}" for fate, count in figures["fates"].items())
    told = [
        ("rows", f"{fates}; {figures['rows']:,} trained on, {figures['held_out']:,} held out"),
        ("tokens", f"{figures['tokens']:,} computed, {figures['response_tokens']:,} under the loss"),
        ("steps", f"{figures['steps']:,} of {settings.batch_rows} rows"),
        ("loss", f"{figures['first_loss']:.4f} in the first step, {figures['last_loss']:.4f} in the last twentieth"),
    ]
    if figures["validation_loss"] is not None:
        told.append(("validation loss", f"{figures['validation_loss']:.4f}"))
    return told
