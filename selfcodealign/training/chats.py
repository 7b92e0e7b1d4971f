"""What trainings on chats by TRL's trainers share: how they start, the arguments they have in common, and their end."""

import logging
import math
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfcodealign.config.training import Start, TrainDpo, TrainGrpo
from selfcodealign.errors import UserError
from selfcodealign.models import identity, title
from selfcodealign.rows_io import whole_folder, write_text
from selfcodealign.training import checks, documents, processes, sft
from selfcodealign.training.mixtures import Source

log = logging.getLogger(__name__)


def opened(base: Start, learned: str) -> tuple[Any, Any]:
    """Load the tokenizer and the configuration of a model that knows a chat layout.

    Args:
        base: the model to start from.
        learned: what it is to learn from, for the message: such as "preference pairs".

    Raises:
        UserError: it has no chat template, or cannot be loaded.
    """
    from selfcodealign.training import model as models

    tokenizer = models.load_tokenizer(base.base, base.revision, base.trust_remote_code)
    if not tokenizer.chat_template:
        raise UserError(f"{base.base} has no chat template: {learned} are chats, so fine-tune it first")
    config = models.load_config(base.base, base.revision, base.trust_remote_code)
    documents.check_tokenizer(tokenizer, config.get_text_config().vocab_size)
    return tokenizer, config


def loaded(base: Start, config: Any) -> Any:
    """Load the weights of the model to start from, in fp32."""
    import torch

    from selfcodealign.training import model as models

    return models.load_model(
        base.base,
        config,
        base.revision,
        dtype=torch.float32,
        attention="sdpa",
        trust_remote_code=base.trust_remote_code,
    )


def prompt_tokens(tokenizer: Any, prompt: list[dict[str, str]]) -> int:
    """Count the tokens of a chat up to where the answer begins."""
    return len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))


def arguments(section: str, settings: TrainDpo | TrainGrpo, work: Path, steps: int, seed: int) -> dict[str, Any]:
    """Return the arguments that TRL's trainers have in common, as the settings say.

    Args:
        section: of the config, for messages.
        settings: of the run.
        work: folder for checkpoints.
        steps: optimizer steps of the whole run.
        seed: of the trainer's own draws.
    """
    import torch

    os.environ["TENSORBOARD_LOGGING_DIR"] = str(work / "tensorboard")
    cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(work),
        "learning_rate": settings.learning_rate,
        "warmup_steps": math.ceil(settings.warmup_share * steps),
        "max_grad_norm": settings.max_grad_norm,
        "optim": "adamw_torch",
        "bf16": settings.precision == "bf16",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if settings.save_every_steps < steps else "no",
        "save_steps": settings.save_every_steps,
        "save_total_limit": settings.checkpoints_kept,
        "report_to": [] if settings.tracker == "none" else [settings.tracker],
        "disable_tqdm": True,
        "seed": seed % 2**31,
        "use_cpu": cpu,
        # Naming a backend would wrap even a single process's model for others to share.
        "ddp_backend": "gloo" if cpu and processes.process_count() > 1 else None,
        "dataloader_pin_memory": not cpu,
        "deepspeed": None
        if settings.deepspeed == "none"
        else checks.read_deepspeed(settings.deepspeed, f"{section}.deepspeed"),
    }


def train(trainer: Any, work: Path, interruption: Any) -> None:
    """Train from the last whole checkpoint on; on SIGTERM leave with `sft.INTERRUPTED` once the step is saved.

    Args:
        trainer: TRL's, with sealed checkpoints.
        work: their folder.
        interruption: the trainer's callback of that kind.
    """
    from transformers import PrinterCallback

    from selfcodealign.training import checkpoints

    signal.signal(signal.SIGTERM, interruption.request)
    trainer.pop_callback(PrinterCallback)
    start = sft.agreed_checkpoint(checkpoints.last_good(work) if processes.process_number() == 0 else None)
    if start:
        log.info("resuming from %s", start)
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    if interruption.asked:
        log.info("stopped on request after step %d; run again to go on", trainer.state.global_step)
        raise SystemExit(sft.INTERRUPTED)


@dataclass(frozen=True)
class Written:
    """What the card of a trained model says.

    Attributes:
        rule: that trained it, whose name its section of the config has.
        base: the model that it started from.
        settings: of the run.
        data: the tables trained on.
        seed: training seed.
        taught: what was done with the base, in words that follow its name.
        told: makes of the lines of metrics what the training came to, in rows of a name and a text.
    """

    rule: str
    base: Start
    settings: TrainDpo | TrainGrpo
    data: Sequence[Source]
    seed: int
    taught: str
    told: Callable[[list[dict[str, Any]]], list[tuple[str, str]]]


def export(trainer: Any, tokenizer: Any, config: Any, model: Path, metrics: Path, work: Path, written: Written) -> None:
    """Write the trained model with its card, and its metrics; checkpoints go once all are there.

    Args:
        trainer: that has trained; every process calls this.
        tokenizer: with the chat template.
        config: of the model.
        model: folder to make.
        metrics: file to make of `metrics.jsonl` in the work folder.
        work: folder of the checkpoints.
        written: what the card says.
    """
    from selfcodealign.training import card, checkpoints
    from selfcodealign.training import model as models
    from selfcodealign.training import trainer as training

    weights: Any = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if processes.process_number() == 0:
        with whole_folder(model) as part:
            inner = training.inner(trainer.accelerator.unwrap_model(trainer.model))
            models.export(part, inner, weights, tokenizer, dtype=models.stored_dtype("base", config))
            lines = training.lines(work / "metrics.jsonl")
            card.write(
                part / "README.md",
                base=title(written.base.base),
                revision=written.base.revision,
                identity=identity(written.base.base, written.base.revision),
                data=written.data,
                rule=written.rule,
                settings=written.settings,
                seed=written.seed,
                processes=processes.process_count(),
                taught=written.taught,
                told=written.told(lines),
                wall_s=lines[-1]["wall_s"],
            )
            write_text(metrics, (work / "metrics.jsonl").read_text())
        for folder in checkpoints.made(work):
            shutil.rmtree(folder)
    trainer.accelerator.wait_for_everyone()
