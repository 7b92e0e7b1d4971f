"""The model card: from what, how, on what and at which cost a model was trained."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfcodealign.config import TrainSft
from selfcodealign.ids import digest_of_file
from selfcodealign.rows_io import write_text

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
    table: Path,
    settings: TrainSft,
    seed: int,
    processes: int,
    figures: dict[str, Any],
) -> None:
    """Write the card as the `README.md` that the Hub shows.

    Args:
        file: the card.
        base: name of the base model, as it may be published.
        revision: its revision.
        identity: its exact commit, or the hash of its files.
        table: the parquet file trained on.
        settings: all settings of the run.
        seed: the training seed.
        processes: how many processes trained together.
        figures: from `sft.summary`.
    """
    hours = figures["wall_s"] / 3600
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
        f"`{base}`, fine-tuned on {figures['rows']:,} instructions and responses that were sampled from a model and "
        "selected by running their code. Made with SelfCodeAlign: no larger model and no person wrote a response.",
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
        f"| data | `{table}`, SHA-256 `{digest_of_file(table)}` |",
        f"| rows | {', '.join(f'{count:,} {fate}' for fate, count in figures['fates'].items())}; "
        f"{figures['rows']:,} trained on, {figures['held_out']:,} held out |",
        f"| tokens | {figures['tokens']:,} computed, {figures['response_tokens']:,} under the loss |",
        f"| steps | {figures['steps']:,} of {settings.batch_rows} rows |",
        f"| loss | {figures['first_loss']:.4f} in the first step, {figures['last_loss']:.4f} in the last twentieth |",
    ]
    if figures["validation_loss"] is not None:
        lines.append(f"| validation loss | {figures['validation_loss']:.4f} |")
    lines += [
        f"| hardware | {hardware()}; {processes} process(es) |",
        f"| time | {figures['wall_s']:,.0f} s, or {hours * processes:.3f} process-hours |",
        f"| code | {commit()} |",
        f"| libraries | {', '.join(f'{name} {version(name)}' for name in LIBRARIES)} |",
        "",
        "## Settings",
        "",
        "```yaml",
        f"seed: {seed}",
        "train_sft:",
        *(f"  {key}: {'null' if value is None else value}" for key, value in settings.model_dump(mode="json").items()),
        "```",
    ]
    write_text(file, "\n".join(lines) + "\n")
