"""Direct preference optimisation on pairs of a passing and a failing response to the same instruction."""

import json
import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfcodealign.config.training import Start, TrainDpo
from selfcodealign.errors import UserError
from selfcodealign.ids import digest, seed_for
from selfcodealign.models import identity, title
from selfcodealign.rows_io import whole_folder, write_json, write_text
from selfcodealign.training import checks, documents, mixtures, processes, sft

log = logging.getLogger(__name__)

TOO_LONG = "prompt_too_long"
"""Why a pair is left out whose prompt alone fills the limit."""


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes.

    Attributes:
        pairs: parquet files with the columns id, prompt, chosen and rejected (lists of chat turns).
        model: folder to make.
        metrics: one line per step: loss, accuracy and margin of the implicit rewards.
        funnel: how many pairs were kept and dropped.
        work: folder for checkpoints; survives a kill.
    """

    pairs: list[Path]
    model: Path
    metrics: Path
    funnel: Path
    work: Path


def prefer(paths: Paths, base: Start, mixing: list[float] | None, settings: TrainDpo, seed: int) -> None:
    """Train a model to prefer passing responses with TRL's DPOTrainer, resuming from its last whole checkpoint.

    The log-probabilities under the starting model are computed once beforehand, so that no second model is held in
    memory. The order of the pairs depends on their ids and the seed alone.

    Args:
        paths: where the run reads and writes.
        base: the model to start from; its tokenizer carries the chat template.
        mixing: how often the pairs of each file are taken; once if empty.
        settings: of the run.
        seed: training seed.

    Raises:
        UserError: no pair, or a model without a chat template.
    """
    checks.check_tracker("train_dpo", settings.tracker)
    work = paths.work
    processes.prepare(work.parent / "extensions")
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback, set_seed
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from selfcodealign.training import card, checkpoints
    from selfcodealign.training import model as models
    from selfcodealign.training import trainer as training

    class Preferring(training.SealedCheckpoints, DPOTrainer):
        """TRL's trainer with sealed checkpoints."""

    class Lines(TrainerCallback):
        """Write what the trainer logs, one line per step."""

        began = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Drop what a resumed run will write again."""
            if state.is_world_process_zero:
                kept = training.keep_lines(work / "metrics.jsonl", state.global_step)
                self.began = time.monotonic() - (kept[-1]["wall_s"] if kept else 0.0)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            """Append a line."""
            if state.is_world_process_zero and logs and "loss" in logs:
                line = {"step": state.global_step, **logs, "wall_s": round(time.monotonic() - self.began, 3)}
                with (work / "metrics.jsonl").open("a") as sink:
                    sink.write(json.dumps(line) + "\n")

    first = processes.process_number() == 0
    set_seed(seed_for(seed, "train_dpo", "model") % 2**32)
    tokenizer = models.load_tokenizer(base.base, base.revision, base.trust_remote_code)
    if not tokenizer.chat_template:
        raise UserError(f"{base.base} has no chat template: preference pairs are chats, so fine-tune it first")
    mixture = mixtures.read(paths.pairs, mixing, ["id", "prompt", "chosen", "rejected"], seed)
    drawn = list(mixture)
    if not drawn:
        raise UserError(
            f"{mixture.tables} has no pair to learn from: every instruction passed, or failed, with all its responses"
        )
    config = models.load_config(base.base, base.revision, base.trust_remote_code)
    documents.check_tokenizer(tokenizer, config.get_text_config().vocab_size)
    kept, long = fitting(tokenizer, drawn, checks.longest(settings.max_tokens, config))
    rows = sorted((row for row, times in kept for _ in range(times)), key=lambda row: row["id"])
    if not rows:
        raise UserError(
            f"all {long} prompts of {mixture.tables} are too long for train_dpo.max_tokens "
            f"({settings.max_tokens}): raise it"
        )
    if long and first:
        log.warning("%d pairs are left out: their prompts alone are too long for train_dpo.max_tokens", long)
    # Kept open until the process ends.
    lock = checks.sole_writer(work) if first else None
    if first:
        checks.check_output(paths.model)
        fingerprint = digest(settings.model_dump(mode="json"), seed, identity(base.base, base.revision), rows)
        sft.set_aside_if_changed(work, fingerprint)
    each = pairs_of_each(settings.batch_rows, processes.process_count())
    steps = settings.epochs * math.ceil(len(rows) / settings.batch_rows)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(work / "tensorboard")
    cpu = not torch.cuda.is_available()
    arguments = DPOConfig(
        output_dir=str(work),
        beta=settings.beta,
        max_length=settings.max_tokens,
        precompute_ref_log_probs=True,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=each,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(settings.warmup_share * steps),
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        bf16=settings.precision == "bf16",
        activation_checkpointing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps" if settings.save_every_steps < steps else "no",
        save_steps=settings.save_every_steps,
        save_total_limit=settings.checkpoints_kept,
        report_to=[] if settings.tracker == "none" else [settings.tracker],
        disable_tqdm=True,
        seed=seed_for(seed, "train_dpo", "trainer") % 2**31,
        use_cpu=cpu,
        # Naming a backend would wrap even a single process's model for others to share.
        ddp_backend="gloo" if cpu and processes.process_count() > 1 else None,
        dataloader_pin_memory=not cpu,
        deepspeed=None if settings.deepspeed == "none" else checks.read_deepspeed(settings.deepspeed),
    )
    if arguments.deepspeed:
        processes.join_deepspeed()
    network = models.load_model(
        base.base,
        config,
        base.revision,
        dtype=torch.float32,
        attention="sdpa",
        trust_remote_code=base.trust_remote_code,
    )
    interruption = training.Interruption()
    signal.signal(signal.SIGTERM, interruption.request)
    chats = Dataset.from_list([{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows])
    train_rows = shared(chats, work / "pairs")
    trainer = Preferring(
        network,
        args=arguments,
        train_dataset=train_rows,
        processing_class=tokenizer,
        callbacks=[Lines(), training.FiniteLoss(), interruption],
    )
    trainer.pop_callback(PrinterCallback)
    start = sft.agreed_checkpoint(checkpoints.last_good(work) if first else None)
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    if interruption.asked:
        log.info("stopped on request after step %d; run again to go on", trainer.state.global_step)
        raise SystemExit(sft.INTERRUPTED)
    weights: Any = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if first:
        with whole_folder(paths.model) as part:
            inner = training.inner(trainer.accelerator.unwrap_model(trainer.model))
            models.export(part, inner, weights, tokenizer, dtype=models.stored_dtype("base", config))
            lines = training.lines(work / "metrics.jsonl")
            told = preferring(lines, rows, long, settings)
            card.write(
                part / "README.md",
                base=title(base.base),
                revision=base.revision,
                identity=identity(base.base, base.revision),
                data=mixture.sources,
                rule="train_dpo",
                settings=settings,
                seed=seed,
                processes=processes.process_count(),
                taught=f"trained on {len(rows):,} pairs to prefer responses that pass their tests to ones that fail, "
                "all sampled from a model (DPO)",
                told=told,
                wall_s=lines[-1]["wall_s"],
            )
            write_json(paths.funnel, funnel(len(kept), len(rows), {"not_drawn": mixture.not_drawn, TOO_LONG: long}))
            write_text(paths.metrics, (work / "metrics.jsonl").read_text())
        for folder in checkpoints.made(work):
            shutil.rmtree(folder)
        shutil.rmtree(work / "pairs", ignore_errors=True)
        log.info("wrote %s after %d steps on %d pairs", paths.model, trainer.state.global_step, len(rows))
    trainer.accelerator.wait_for_everyone()
    if lock:
        lock.close()


def fitting(
    tokenizer: Any, drawn: Sequence[tuple[dict[str, Any], int]], max_tokens: int
) -> tuple[list[tuple[dict[str, Any], int]], int]:
    """Return the pairs whose prompts leave room for a response, and how many do not; TRL would drop these silently."""
    prompts = (
        tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False) for row, _ in drawn
    )
    kept = [one for one, prompt in zip(drawn, prompts, strict=True) if len(prompt) < max_tokens]
    return kept, len(drawn) - len(kept)


def funnel(kept: int, produced: int, dropped: dict[str, int]) -> dict[str, Any]:
    """Count the pairs that entered, were kept and were dropped by reason; a weight may take one several times."""
    return {
        "stage": "train_dpo",
        "entered": kept + sum(dropped.values()),
        "kept": kept,
        "dropped": {reason: count for reason, count in dropped.items() if count},
        "produced": produced,
    }


def preferring(
    lines: list[dict[str, Any]], rows: list[dict[str, Any]], long: int, settings: TrainDpo
) -> list[tuple[str, str]]:
    """Tell what a training came to, for the model card."""
    steps = [line for line in lines if "loss" in line]
    last = steps[-1]
    return [
        ("pairs", f"{len(rows):,} trained on, {long:,} with too long a prompt left out"),
        ("steps", f"{len(steps):,} of {settings.batch_rows} pairs"),
        ("loss", f"{steps[0]['loss']:.4f} in the first step, {last['loss']:.4f} in the last"),
        ("margin of the rewards", f"{last['rewards/margins']:.4f} in the last step"),
    ]


def shared(rows: Any, folder: Path) -> Any:
    """Return a dataset whose caches lie where all processes look: by default each has a temporary folder of its own."""
    from datasets import load_from_disk

    if processes.process_count() == 1:
        return rows
    if processes.process_number() == 0:
        shutil.rmtree(folder, ignore_errors=True)
        rows.save_to_disk(str(folder))
    processes.wait()
    return load_from_disk(str(folder))


def pairs_of_each(batch_rows: int, count: int) -> int:
    """Return how many pairs of a step each process computes.

    Raises:
        UserError: the processes cannot share a step evenly.
    """
    if batch_rows % count:
        raise UserError(f"train_dpo.batch_rows is {batch_rows}; make it a multiple of the {count} processes")
    return batch_rows // count
