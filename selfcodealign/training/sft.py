"""Fine-tune a base model on a dataset: from rows to a folder that transformers and vLLM load."""

import json
import logging
import math
import os
import shutil
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selfcodealign.config.section import Mode
from selfcodealign.config.training import Start, TrainSft
from selfcodealign.errors import UserError
from selfcodealign.ids import digest, seed_for
from selfcodealign.models import identity as identity_of
from selfcodealign.models import title
from selfcodealign.rows_io import whole_folder, write_json, write_text
from selfcodealign.training import checks, mixtures, processes, schedule, template
from selfcodealign.training import documents as rows

log = logging.getLogger(__name__)

INTERRUPTED = 143
"""Exit status after SIGTERM, as a shell reports it."""


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes.

    Attributes:
        datasets: folders that build_dataset made (`sft/train.parquet`), or any with a `train.parquet`.
        model: folder to make.
        metrics: one line per step.
        example: one row, decoded, with its loss mask.
        funnel: how many rows were kept, cut and dropped.
        work: checkpoints and TensorBoard events; survives a kill.
    """

    datasets: list[Path]
    model: Path
    metrics: Path
    example: Path
    funnel: Path
    work: Path


def fine_tune(
    paths: Paths, base: Start, settings: TrainSft, seed: int, mode: Mode, mixing: list[float] | None = None
) -> None:
    """Fine-tune, resuming from the last whole checkpoint under `paths.work` if there is one.

    Every process of a distributed run calls this; `mixing` has the weights of the datasets, all 1 if empty. In mode
    `reference` the first step has the learning rate 0, as with transformers' schedules, so it teaches nothing;
    otherwise the rate rises from the first step on.

    Raises:
        UserError: the dataset, the base model, the settings or the machine do not allow the run.
    """
    checks.check(settings)
    processes.prepare(paths.work.parent / "extensions")
    import torch
    from transformers import PrinterCallback, set_seed
    from transformers.utils import logging as transformers_logging

    from selfcodealign.training import attention, card, checkpoints
    from selfcodealign.training import model as models
    from selfcodealign.training import trainer as training
    from selfcodealign.training.last_layer import LastLayer

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    first = processes.process_number() == 0
    set_seed(seed_for(seed, "train_sft", "model") % 2**32)

    tokenizer = models.load_tokenizer(base.base, base.revision, base.trust_remote_code)
    config = models.load_config(base.base, base.revision, base.trust_remote_code)
    rows.check_tokenizer(tokenizer, config.get_text_config().vocab_size)
    template.install(tokenizer)
    mixture = mixtures.read(
        [table_of(folder) for folder in paths.datasets], mixing, ["id", "instruction", "response"], seed
    )
    table = mixture.tables
    fates = Counter({"not_drawn": mixture.not_drawn} if mixture.not_drawn else {})
    longest = checks.longest(settings.max_tokens, config)
    every: list[rows.Document] = []
    for row, times in mixture:
        fitting = rows.documents(tokenizer, [row], fates, max_tokens=longest, truncation=settings.truncation)
        every += list(fitting) * times
    if not every:
        raise UserError(
            f"no row of {table} is left to train on ({dict(fates) or 'it is empty'}): "
            "loosen the selection of the dataset, or raise train_sft.max_tokens"
        )
    held_out: list[rows.Document] = []
    trained: list[rows.Document] = []
    for document in every:
        (held_out if is_held_out(document.row_id, settings.validation_share, seed) else trained).append(document)
    if not trained or (settings.validation_share and not held_out):
        raise UserError(
            f"train_sft.validation_share {settings.validation_share} leaves {len(trained)} rows of {table} to train on "
            f"and {len(held_out)} to validate on; change it"
        )
    implementation = attention.choose(settings.attention, settings.packing)
    shared = rows.common_beginning(every) if settings.packing and implementation == attention.PER_DOCUMENT else 0
    steps = plan(trained, settings, settings.epochs, seed, shared)
    log.info(
        "%d rows, %d tokens, %d steps of %d rows; fates of the rows: %s",
        *(
            len(trained),
            sum(len(document.tokens) for document in trained),
            len(steps),
            settings.batch_rows,
            dict(fates),
        ),
    )

    identity = identity_of(base.base, base.revision)
    fingerprint = digest(
        settings.model_dump(mode="json"), mode, seed, identity, [(item.row_id, item.tokens) for item in every]
    )
    widest = settings.micro_batch_tokens if settings.packing else max(len(document.tokens) for document in trained)
    checks.preflight(paths.work, settings, config, widest, base.trust_remote_code)
    # Kept open until the process ends.
    lock = checks.sole_writer(paths.work) if first else None
    if first:
        checks.check_output(paths.model)
        set_aside_if_changed(paths.work, fingerprint)
    arguments = training_arguments(paths.work, settings, len(steps), seed)
    if arguments.deepspeed:
        processes.join_deepspeed()
    network: Any = models.load_model(
        base.base,
        config,
        base.revision,
        dtype=torch.bfloat16 if settings.precision == "bf16_pure" else torch.float32,
        attention=implementation,
        trust_remote_code=base.trust_remote_code,
    )
    if settings.lora_rank:
        network = models.with_adapters(network, rank=settings.lora_rank, alpha=settings.lora_alpha)

    def shares(chosen: list[rows.Document], planned: list[schedule.Step]) -> training.StepShares:
        return training.StepShares(
            chosen,
            planned,
            settings.loss,
            processes.process_number(),
            processes.process_count(),
            filler=chosen[0].tokens[-1],
            shared_tokens=shared,
        )

    last_layer = LastLayer()
    interruption = training.Interruption()
    signal.signal(signal.SIGTERM, interruption.request)
    validation = shares(held_out, plan(held_out, settings, 1, seed, shared)) if held_out else None
    live_metrics = paths.work / "metrics.jsonl"
    trainer = training.StepTrainer(
        network,
        arguments,
        train_dataset=shares(trained, steps),
        eval_dataset=validation,
        validation=validation,
        last_layer=last_layer,
        processing_class=tokenizer,
        callbacks=[
            training.Metrics(live_metrics, trained, steps, settings.epochs),
            training.FiniteLoss(),
            interruption,
        ],
    )
    trainer.first_rate_zero = mode == "reference"
    trainer.pop_callback(PrinterCallback)
    if settings.packing:
        trainer.add_callback(training.PackingGuard())
    trainer.add_callback(training.NarrowLastLayer(last_layer))
    tell_deepspeed(trainer, max(len(step.share(0, processes.process_count())) for step in steps))
    start = agreed_checkpoint(checkpoints.last_good(paths.work) if first else None)
    if start:
        log.info("resuming from %s", start)
    try:
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    except UserError:
        if first:  # The losses that led there help to find out why.
            write_text(paths.metrics, live_metrics.read_text())
        raise
    if interruption.asked:
        log.info("stopped on request after step %d; run again to go on", trainer.state.global_step)
        raise SystemExit(INTERRUPTED)

    weights: Any = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if first:
        with whole_folder(paths.model) as part:
            if settings.lora_rank:
                weights = models.merged(weights, rank=settings.lora_rank, alpha=settings.lora_alpha)
            models.export(
                part, trainer.inner, weights, tokenizer, dtype=models.stored_dtype(settings.stored_precision, config)
            )
            figures = summary(training.lines(live_metrics), fates, trained, len(held_out), settings.keep)
            card.write(
                part / "README.md",
                base=title(base.base),
                revision=base.revision,
                identity=identity,
                data=mixture.sources,
                rule="train_sft",
                settings=settings,
                seed=seed,
                processes=processes.process_count(),
                taught=f"fine-tuned on {figures['rows']:,} instructions and responses that were sampled from a model "
                "and selected by running their code",
                told=card.fine_tuning(figures, settings),
                wall_s=figures["wall_s"],
            )
            write_json(paths.example, rows.shown(tokenizer, min(trained, key=lambda document: len(document.tokens))))
            write_json(paths.funnel, funnel(fates, len(every)))
            write_text(paths.metrics, live_metrics.read_text())
        for folder in checkpoints.made(paths.work):
            shutil.rmtree(folder)
        log.info("wrote %s; loss %.4f at the end", paths.model, figures["last_loss"])
    trainer.accelerator.wait_for_everyone()
    if lock:
        lock.close()


def table_of(folder: Path) -> Path:
    """Name the table of a dataset that this run publishes, or of one of others."""
    published = folder / "sft" / "train.parquet"
    return published if published.is_file() else folder / "train.parquet"


def is_held_out(row_id: str, share: float, seed: int) -> bool:
    """Decide by its id whether a row belongs to the validation rows, so that reordering or adding rows moves none."""
    return seed_for(seed, "train_sft-validation", row_id) < share * 2**63


def plan(
    chosen: list[rows.Document], settings: TrainSft, epochs: int, seed: int, shared_tokens: int
) -> list[schedule.Step]:
    """Schedule documents as the settings ask."""
    return schedule.steps(
        chosen,
        epochs=epochs,
        seed=seed,
        batch_rows=settings.batch_rows,
        packing=settings.packing,
        micro_batch_tokens=settings.micro_batch_tokens,
        shared_tokens=shared_tokens,
    )


def set_aside_if_changed(work: Path, fingerprint: str) -> None:
    """Keep checkpoints only if they belong to this very run; others move to `<work>.old`, replacing what is there."""
    record = work / "run.json"
    if work.exists() and (not record.exists() or json.loads(record.read_text()).get("fingerprint") != fingerprint):
        old = work.with_name(f"{work.name}.old")
        log.warning("%s belongs to other settings or data; it moves to %s and training starts anew", work, old)
        shutil.rmtree(old, ignore_errors=True)
        os.replace(work, old)
    write_json(record, {"fingerprint": fingerprint})


def training_arguments(work: Path, settings: TrainSft, steps: int, seed: int) -> Any:
    """Translate the settings for transformers' Trainer; its micro-batch is always one, see `StepTrainer`."""
    import torch
    from transformers import TrainingArguments

    cpu = not torch.cuda.is_available()
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(work / "tensorboard")
    best = settings.keep == "best"
    saving = "steps" if settings.save_every_steps < steps or best else "no"
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        optim="adafactor" if settings.optimizer == "adafactor" else "adamw_torch",
        lr_scheduler_type=settings.schedule,
        warmup_steps=math.ceil(settings.warmup_share * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision != "fp32",
        activation_checkpointing=settings.activation_checkpointing,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy=saving,
        save_steps=settings.save_every_steps,
        save_total_limit=settings.checkpoints_kept,
        # A run shorter than the interval is validated, and for `best` saved, at its end.
        eval_strategy="steps" if settings.validation_share else "no",
        eval_steps=settings.save_every_steps,
        load_best_model_at_end=best,
        metric_for_best_model="eval_loss" if best else None,
        greater_is_better=False if best else None,
        report_to=[] if settings.tracker == "none" else [settings.tracker],
        run_name=work.name,
        disable_tqdm=True,
        seed=seed_for(seed, "train_sft", "trainer") % 2**31,
        use_cpu=cpu,
        # Naming a backend would wrap even a single process's model for others to share.
        ddp_backend="gloo" if cpu and processes.process_count() > 1 else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=not cpu,
        deepspeed=checks.engine(settings),
    )


def tell_deepspeed(trainer: Any, micro_batches: int) -> None:
    """Tell DeepSpeed the most micro-batches a step has, from which ZeRO-Offload decides where gradients add up.

    Each step announces its own last micro-batch, so the number limits nothing.
    """
    plugin = trainer.accelerator.state.deepspeed_plugin
    if plugin is not None:
        plugin.deepspeed_config["gradient_accumulation_steps"] = micro_batches
        plugin.deepspeed_config["train_batch_size"] = micro_batches * processes.process_count()


def agreed_checkpoint(chosen: Path | None) -> Path | None:
    """Let all processes resume from the checkpoint that the first one chose."""
    import torch

    if not torch.distributed.is_initialized():
        return chosen
    box = [str(chosen) if chosen else None]
    torch.distributed.broadcast_object_list(box)
    return Path(box[0]) if box[0] else None


def funnel(fates: Counter[str], produced: int) -> dict[str, Any]:
    """Count the rows that entered, were kept (whole or cut) and were dropped by reason; a weight may take one twice."""
    dropped = {reason: fates[reason] for reason in ("not_drawn", "prompt_too_long", "too_long") if fates[reason]}
    cut = fates["cut"] + fates["cut_without_end"]
    return {
        "stage": "train_sft",
        "entered": fates.total(),
        "kept": fates.total() - sum(dropped.values()),
        "dropped": dropped,
        "produced": produced,
        "cut": cut,
        "cut_without_end": fates["cut_without_end"],
    }


def summary(
    lines: list[dict[str, Any]],
    fates: Counter[str],
    trained: list[rows.Document],
    held_out: int,
    keep: Literal["last", "best"],
) -> dict[str, Any]:
    """Condense a run into the figures that the model card shows: those of the weights that are kept."""
    validated = [line["validation_loss"] for line in lines if "validation_loss" in line]
    losses = [line["loss"] for line in lines if "loss" in line]
    tail = losses[-max(1, len(losses) // 20) :]
    return {
        "rows": len(trained),
        "held_out": held_out,
        "fates": dict(sorted(fates.items())),
        "steps": len(losses),
        "first_loss": losses[0],
        "last_loss": sum(tail) / len(tail),
        "validation_loss": (min(validated) if keep == "best" else validated[-1]) if validated else None,
        "tokens": sum(line.get("tokens", 0) for line in lines),
        "response_tokens": sum(line.get("response_tokens", 0) for line in lines),
        "wall_s": lines[-1]["wall_s"],
    }
