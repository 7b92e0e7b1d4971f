"""Direct preference optimisation on pairs of a passing and a failing response to the same instruction."""

import json
import logging
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from selfcodealign.config.training import Start, TrainDpo
from selfcodealign.errors import UserError
from selfcodealign.ids import digest, seed_for
from selfcodealign.models import identity
from selfcodealign.rows_io import read_rows, whole_folder, write_text
from selfcodealign.training import checks, documents, processes, sft

log = logging.getLogger(__name__)


def prefer(pairs: Path, base: Start, model: Path, metrics: Path, work: Path, settings: TrainDpo, seed: int) -> None:
    """Train a model to prefer passing responses with TRL's DPOTrainer, resuming from its last whole checkpoint.

    The log-probabilities under the starting model are computed once beforehand, so that no second model is held in
    memory. The order of the pairs depends on their ids and the seed alone.

    Args:
        pairs: parquet file with the columns id, prompt, chosen and rejected (lists of chat turns).
        base: the fine-tuned model; its tokenizer carries the chat template.
        model: folder to make.
        metrics: one line per step: loss, accuracy and margin of the implicit rewards.
        work: folder for checkpoints; survives a kill.
        settings: of the run.
        seed: training seed.

    Raises:
        UserError: no pair, or a model without a chat template.
    """
    checks.check_tracker("train_dpo", settings.tracker)
    processes.prepare(work.parent / "extensions")
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback, set_seed
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from selfcodealign.training import checkpoints
    from selfcodealign.training import model as models
    from selfcodealign.training import trainer as training

    class Preferring(training.SealedCheckpoints, DPOTrainer):
        """TRL's trainer with sealed checkpoints."""

    class Lines(TrainerCallback):
        """Write what the trainer logs, one line per step."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Drop what a resumed run will write again."""
            if state.is_world_process_zero:
                training.keep_lines(work / "metrics.jsonl", state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            """Append a line."""
            if state.is_world_process_zero and logs and "loss" in logs:
                with (work / "metrics.jsonl").open("a") as sink:
                    sink.write(json.dumps({"step": state.global_step, **logs}) + "\n")

    first = processes.process_number() == 0
    set_seed(seed_for(seed, "train_dpo", "model") % 2**32)
    tokenizer = models.load_tokenizer(base.base, base.revision, base.trust_remote_code)
    if not tokenizer.chat_template:
        raise UserError(f"{base.base} has no chat template: preference pairs are chats, so fine-tune it first")
    rows = sorted(read_rows(pairs, ["id", "prompt", "chosen", "rejected"]), key=lambda row: row["id"])
    if not rows:
        raise UserError(
            f"{pairs} has no pair to learn from: every instruction passed, or failed, with all its responses"
        )
    config = models.load_config(base.base, base.revision, base.trust_remote_code)
    documents.check_tokenizer(tokenizer, config.get_text_config().vocab_size)
    rows, long = fitting(tokenizer, rows, checks.longest(settings.max_tokens, config))
    if not rows:
        raise UserError(
            f"all {long} prompts of {pairs} are too long for train_dpo.max_tokens ({settings.max_tokens}): raise it"
        )
    if long and first:
        log.warning("%d pairs are left out: their prompts alone are too long for train_dpo.max_tokens", long)
    # Kept open until the process ends.
    lock = checks.sole_writer(work) if first else None
    if first:
        checks.check_output(model)
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
        with whole_folder(model) as part:
            inner = training.inner(trainer.accelerator.unwrap_model(trainer.model))
            models.export(part, inner, weights, tokenizer, dtype=models.stored_dtype("base", config))
            write_text(metrics, (work / "metrics.jsonl").read_text())
        for folder in checkpoints.made(work):
            shutil.rmtree(folder)
        shutil.rmtree(work / "pairs", ignore_errors=True)
        log.info("wrote %s after %d steps on %d pairs", model, trainer.state.global_step, len(rows))
    trainer.accelerator.wait_for_everyone()
    if lock:
        lock.close()


def fitting(tokenizer: Any, rows: list[dict[str, Any]], max_tokens: int) -> tuple[list[dict[str, Any]], int]:
    """Return the pairs whose prompts leave room for a response, and how many do not; TRL would drop these silently."""
    prompts = (
        tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False) for row in rows
    )
    kept = [row for row, prompt in zip(rows, prompts, strict=True) if len(prompt) < max_tokens]
    return kept, len(rows) - len(kept)


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
