"""Direct preference optimisation on pairs of a passing and a failing response to the same instruction."""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfcodealign.config.training import Start, TrainDpo
from selfcodealign.errors import UserError
from selfcodealign.ids import digest, seed_for
from selfcodealign.models import identity
from selfcodealign.rows_io import write_json
from selfcodealign.training import chats, checks, mixtures, processes, sft

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
    from datasets import Dataset
    from transformers import set_seed
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from selfcodealign.training import trainer as training

    class Preferring(training.SealedCheckpoints, DPOTrainer):
        """TRL's trainer with sealed checkpoints."""

    first = processes.process_number() == 0
    set_seed(seed_for(seed, "train_dpo", "model") % 2**32)
    tokenizer, config = chats.opened(base, "preference pairs")
    mixture = mixtures.read(paths.pairs, mixing, ["id", "prompt", "chosen", "rejected"], seed)
    drawn = list(mixture)
    if not drawn:
        raise UserError(
            f"{mixture.tables} has no pair to learn from: every instruction passed, or failed, with all its responses"
        )
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
    arguments = DPOConfig(
        **chats.arguments("train_dpo", settings, work, steps, seed_for(seed, "train_dpo", "trainer")),
        beta=settings.beta,
        max_length=settings.max_tokens,
        precompute_ref_log_probs=True,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=each,
        num_train_epochs=settings.epochs,
        lr_scheduler_type="linear",
        activation_checkpointing=False,
    )
    if arguments.deepspeed:
        processes.join_deepspeed()
    network = chats.loaded(base, config)
    turns = Dataset.from_list([{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows])
    interruption = training.Interruption()
    trainer = Preferring(
        network,
        args=arguments,
        train_dataset=shared(turns, work / "pairs"),
        processing_class=tokenizer,
        callbacks=[training.StepLines(work / "metrics.jsonl"), training.FiniteLoss(), interruption],
    )
    chats.train(trainer, work, interruption)
    taught = (
        f"trained on {len(rows):,} pairs to prefer responses that pass their tests to ones that fail, all sampled from "
        "a model (DPO)"
    )

    def told(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return preferring(lines, rows, long, settings)

    written = chats.Written("train_dpo", base, settings, mixture.sources, seed, taught, told)
    if first:
        write_json(paths.funnel, funnel(len(kept), len(rows), {"not_drawn": mixture.not_drawn, TOO_LONG: long}))
    chats.export(trainer, tokenizer, config, paths.model, paths.metrics, work, written)
    if first:
        shutil.rmtree(work / "pairs", ignore_errors=True)
        log.info("wrote %s after %d steps on %d pairs", paths.model, trainer.state.global_step, len(rows))
    if lock:
        lock.close()


def fitting(
    tokenizer: Any, drawn: Sequence[tuple[dict[str, Any], int]], max_tokens: int
) -> tuple[list[tuple[dict[str, Any], int]], int]:
    """Return the pairs whose prompts leave room for a response, and how many do not; TRL would drop these silently."""
    kept = [one for one in drawn if chats.prompt_tokens(tokenizer, one[0]["prompt"]) < max_tokens]
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
