"""What must hold before the first step: settings that agree, memory, disk, a place to write, and no other writer."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import platform
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from selfcodealign.config import TrainSft
from selfcodealign.errors import UserError
from selfcodealign.training import processes

log = logging.getLogger(__name__)


def check(settings: TrainSft) -> None:
    """Refuse settings that contradict each other, and a tracker that is not installed here.

    Raises:
        UserError: the first contradiction, naming both keys.
    """
    agree(settings)
    check_tracker("train_sft", settings.tracker)


def agree(settings: TrainSft) -> None:
    """Refuse settings that contradict each other.

    Raises:
        UserError: the first contradiction, naming both keys.
    """
    deepspeed = engine(settings)
    stage = zero_stage(deepspeed) if deepspeed else 0
    if settings.optimizer == "adafactor" and stage:
        raise UserError(
            f"train_sft.optimizer is adafactor, but {settings.deepspeed} is ZeRO stage {stage}, which flattens the "
            "matrices that Adafactor factors: use config/deepspeed/zero0.json, none, or optimizer adamw"
        )
    if settings.precision == "bf16_pure" and stage:
        raise UserError(
            f"train_sft.precision is bf16_pure, but {settings.deepspeed} is ZeRO stage {stage}, which keeps fp32 "
            "weights beside bf16 ones: use config/deepspeed/zero0.json, or train_sft.precision bf16"
        )
    if settings.packing and settings.micro_batch_tokens < settings.max_tokens:
        raise UserError(
            f"train_sft.micro_batch_tokens ({settings.micro_batch_tokens}) is below train_sft.max_tokens "
            f"({settings.max_tokens}): a longest row would not fit"
        )
    if settings.keep == "best" and not settings.validation_share:
        raise UserError("train_sft.keep is best, but nothing is held out to choose by: set train_sft.validation_share")


def check_tracker(section: str, tracker: str) -> None:
    """Make sure before anything is loaded that the tracker can be imported.

    Raises:
        UserError: it is not installed.
    """
    if tracker != "none" and find_spec(tracker) is None:
        raise UserError(
            f"{section}.tracker is {tracker}, which is not installed: run `pip install {tracker}` where training runs, "
            f"or set {section}.tracker to tensorboard or none"
        )


def read_deepspeed(name: str, key: str = "train_sft.deepspeed") -> dict[str, Any]:
    """Read the DeepSpeed configuration that a config key names, from the current folder or else from the repository.

    Raises:
        UserError: it is missing or no JSON object.
    """
    for file in (Path(name), Path(__file__).parents[2] / name):
        if file.is_file():
            try:
                read = json.loads(file.read_text())
            except ValueError as error:
                raise UserError(f"{file} is not valid JSON ({error}); correct it") from error
            if isinstance(read, dict):
                return read
            raise UserError(f"{file} must hold a JSON object")
    raise UserError(f"config key {key} names {name}, which does not exist; there are config/deepspeed/zero0.json …")


def engine(settings: TrainSft) -> dict[str, Any] | None:
    """Return the DeepSpeed configuration to train with, or None for plain torch.

    Stage 0 is data parallelism alone. With `bf16_pure` torch's own takes its place, as in the paper's runs, because
    DeepSpeed would keep fp32 weights beside the bf16 ones.
    """
    if settings.deepspeed == "none":
        return None
    read = read_deepspeed(settings.deepspeed)
    return None if settings.precision == "bf16_pure" and zero_stage(read) == 0 else read


def zero_stage(deepspeed: dict[str, Any]) -> int:
    """Return the ZeRO stage of a DeepSpeed configuration."""
    return int(deepspeed.get("zero_optimization", {}).get("stage", 0))


def longest(max_tokens: int, config: Any) -> int:
    """Return how many tokens a row may have: as the settings say, and no more than the model has positions for."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or max_tokens
    if positions < max_tokens:
        log.warning(
            "train_sft.max_tokens is %d, but the model has %d positions: longer rows are treated as too long",
            *(max_tokens, positions),
        )
    return min(max_tokens, positions)


def sole_writer(work: Path) -> IO[str]:
    """Make sure that no other training writes into a work folder; the lock goes when the returned file is closed.

    A killed Snakemake leaves its training running. On this machine that one is asked to save its step and to stop, as
    a cluster asks; this run then resumes from its checkpoint.

    Raises:
        UserError: a training on another machine holds the lock, or the one here does not stop.
    """
    work.parent.mkdir(parents=True, exist_ok=True)
    file = work.with_name(f".{work.name}.lock").open("a+")
    if not _locked(file):
        file.seek(0)
        number, _, node = file.read().strip().partition(" on ")
        if node == platform.node() and number.isdecimal():
            log.warning(
                "training process %s still writes into %s; it is asked to save its step and to stop", number, work
            )
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGTERM)
            until = time.monotonic() + processes.SHUTDOWN_S
            while time.monotonic() < until and not _locked(file):
                time.sleep(0.5)
        if not _locked(file):
            raise UserError(
                f"another training (process {number or 'unknown'} on {node or 'another machine'}) writes into {work}: "
                "wait until it ends, or stop it, and run again"
            )
    file.truncate(0)
    file.write(f"{os.getpid()} on {platform.node()}")
    file.flush()
    return file


def _locked(file: IO[str]) -> bool:
    """Try to take the lock of a file; taking it twice does no harm."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_output(model: Path) -> None:
    """Make sure before the first step that the model can be written in the end.

    Raises:
        UserError: its folder cannot be made or written to.
    """
    part = model.with_name(f".{model.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        (part / "README.md").touch()
        shutil.rmtree(part)
        if model.is_dir() and not os.access(model, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(
            f"the model cannot be written to {model} ({error.strerror}): make the folder writable"
        ) from error


def preflight(work: Path, settings: TrainSft, config: Any, tokens: int, trust_remote_code: bool = False) -> None:
    """Refuse to start what would run out of memory or disk hours later.

    Args:
        work: folder of the checkpoints.
        settings: of the run.
        config: of the base model.
        tokens: of the largest micro-batch.
        trust_remote_code: run the model's own Python code.

    Raises:
        UserError: less is free than the run needs; the sentence says how much of each.
    """
    from selfcodealign.training import memory

    shape = memory.shape_of(config, settings.lora_rank, trust_remote_code)
    name = memory.configuration_name(engine(settings) or {})
    plan = memory.plan_of(
        name,
        memory.plans(
            shape,
            processes=processes.process_count(),
            precision=settings.precision,
            optimizer=settings.optimizer,
            checkpointing=settings.activation_checkpointing,
        ),
    )
    free, context = free_memory(settings.processes)
    if plan.needed(tokens, context) > free:
        raise UserError(
            f"training needs about {plan.needed(tokens, context) / memory.GB:.1f} GB of memory for each process and "
            f"{free / memory.GB:.1f} GB are free: see `python -m selfcodealign plan-training`, or lower "
            "train_sft.micro_batch_tokens, or set train_sft.activation_checkpointing"
        )
    stored = memory.disk(
        shape,
        precision=settings.precision,
        optimizer=settings.optimizer,
        checkpoints_kept=settings.checkpoints_kept,
        stored_bytes=4,
    )
    work.parent.mkdir(parents=True, exist_ok=True)
    spare = shutil.disk_usage(work.parent).free
    if stored > spare:
        raise UserError(
            f"checkpoints and the model need up to {stored / memory.GB:.1f} GB, and {spare / memory.GB:.1f} GB are "
            f"free at {work.parent}: free some, or lower train_sft.checkpoints_kept"
        )


def free_memory(processes_here: int) -> tuple[float, float]:
    """Return the bytes free for one process and what its device takes besides; CPU processes share the machine's."""
    import torch

    from selfcodealign.training import memory

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0], memory.CONTEXT
    return memory.available() / processes_here, 0.0
