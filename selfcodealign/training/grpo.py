"""Reinforcement learning on tasks with tests: answers to a task are compared by the tests that hold in the sandbox."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfcodealign.config.execution import RunResponses
from selfcodealign.config.training import Start, TrainGrpo
from selfcodealign.dataset.assertions import separate
from selfcodealign.dataset.fences import unfenced
from selfcodealign.errors import UserError
from selfcodealign.ids import digest, rng_for, seed_for
from selfcodealign.models import identity
from selfcodealign.rows_io import write_json
from selfcodealign.sandbox.pool import Pool
from selfcodealign.training import chats, checks, mixtures, processes, rewards, sft
from selfcodealign.verification import settings_of

log = logging.getLogger(__name__)

STAGE = "train_grpo"
TOO_LONG, NO_TEST = "prompt_too_long", "no_test"
"""Why a task is left out."""

QUIET_STEPS = 10
"""Steps in a row in which no reward varies, after which the log says so once."""

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
LOGGED = {
    **{name: name for name in ("loss", "learning_rate", "grad_norm", "reward", "reward_std")},
    **{name: name for name in ("tests", "parses", "form", "brevity", "kl", "entropy")},
    "answer_tokens_mean": "completions/mean_length",
    "answer_tokens_max": "completions/max_length",
    "cut_share": "completions/clipped_ratio",
    "tokens": "num_tokens",
}
"""Key of a line of metrics → what TRL calls it."""


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes.

    Attributes:
        tasks: parquet files with the columns id, instruction_id, prompt (a list of chat turns) and tests.
        model: folder to make.
        metrics: one line per step: loss, rewards, share of groups whose reward varies, KL, lengths and tokens.
        funnel: how many tasks were kept and left out.
        work: checkpoints and verdicts; survives a kill.
    """

    tasks: list[Path]
    model: Path
    metrics: Path
    funnel: Path
    work: Path


def reinforce(
    paths: Paths,
    base: Start,
    mixing: list[float] | None,
    settings: TrainGrpo,
    sandbox: RunResponses,
    seed: int,
) -> None:
    """Train a model with TRL's GRPOTrainer on what the sandbox says, resuming from its last whole checkpoint.

    Which tasks a step has, and the seed of each of its answers, depend on the tasks' ids, the step and the seed alone.

    Args:
        paths: where to read and write.
        base: the model to start from; its tokenizer carries the chat template.
        mixing: how often the tasks of each file are taken; once if empty.
        settings: of the run.
        sandbox: how programs run.
        seed: training seed.

    Raises:
        UserError: no task, a model without a chat template, or no sandbox on this machine.
    """
    checks.check_tracker(STAGE, settings.tracker)
    check_vllm(settings)
    processes.prepare(paths.work.parent / "extensions")
    from datasets import Dataset
    from transformers import set_seed
    from trl.trainer.grpo_config import GRPOConfig

    from selfcodealign.training import trainer as training
    from selfcodealign.training.grpo_trainer import Reinforcing

    first = processes.process_number() == 0
    set_seed(seed_for(seed, STAGE, "model") % 2**32)
    tokenizer, config = chats.opened(base, "tasks")
    mixture = mixtures.read(paths.tasks, mixing, ["id", "instruction_id", "prompt", "tests"], seed)
    longest = checks.longest(settings.max_tokens, config)
    tasks, dropped = usable(mixture, tokenizer, longest - settings.answer_tokens)
    if not tasks:
        raise UserError(nothing_left(mixture.tables, dropped, settings))
    if dropped[TOO_LONG] and first:
        log.warning(
            "%d tasks are left out: their prompts leave no room for %s.answer_tokens in %s.max_tokens",
            *(dropped[TOO_LONG], STAGE, STAGE),
        )
    # Kept open until the process ends.
    lock = checks.sole_writer(paths.work) if first else None
    if first:
        checks.check_output(paths.model)
        order = [(task["id"], task["tests"], times) for task, times in tasks]
        fingerprint = digest(
            settings.model_dump(mode="json"), sandbox.model_dump(mode="json"), seed, identity(base.base, base.revision)
        )
        sft.set_aside_if_changed(paths.work, digest(fingerprint, order))
    micro, accumulated = shares(settings, processes.process_count())
    arguments = GRPOConfig(
        **chats.arguments(STAGE, settings, paths.work, settings.steps, seed_for(seed, STAGE, "trainer")),
        max_steps=settings.steps,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulated,
        num_generations=settings.samples,
        max_completion_length=settings.answer_tokens,
        temperature=settings.temperature,
        beta=settings.beta,
        scale_rewards="group",
        # The tasks are laid out in the order in which they are learned.
        shuffle_dataset=False,
        activation_checkpointing=settings.activation_checkpointing,
        gradient_checkpointing=settings.activation_checkpointing,
        use_vllm=settings.use_vllm,
        vllm_mode=settings.vllm_mode,
        vllm_server_base_url=settings.vllm_server if settings.vllm_mode == "server" else None,
        vllm_gpu_memory_utilization=settings.vllm_memory_share,
        vllm_max_model_length=longest,
    )
    if arguments.deepspeed:
        processes.join_deepspeed()
    processes.wait()
    network = chats.loaded(base, config)
    planned = schedule([task["id"] for task, times in tasks for _ in range(times)], settings, seed)
    rows = Dataset.from_list([{key: task[key] for key in ("id", "prompt", "tests")} for task, _ in tasks])
    places = {task["id"]: place for place, (task, _) in enumerate(tasks)}
    interruption = training.Interruption()
    watch = Watch(paths.work / "groups.jsonl", settings.samples)
    with ExitStack() as stack:
        run = sandbox_of(stack, settings, sandbox, paths.work)
        trainer = Reinforcing(
            network,
            args=arguments,
            train_dataset=rows.select([places[name] for name in planned]),
            processing_class=tokenizer,
            callbacks=[
                training.StepLines(paths.work / "metrics.jsonl", line_of, watch.file),
                training.FiniteLoss(),
                interruption,
            ],
            judge=partial(rewards.judge, run=run, settings=settings),
            note=watch.note,
            settings=settings,
            run_seed=seed,
        )
        chats.train(trainer, paths.work, interruption)

    taught = (
        f"trained on {len(tasks):,} tasks with tests to write what passes them, by reinforcement learning with the "
        "sandbox's verdicts as reward (GRPO)"
    )

    def told(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return learned(lines, watch.groups(), settings)

    written = chats.Written(STAGE, base, settings, mixture.sources, seed, taught, told)
    if first:
        write_json(paths.funnel, funnel(len(tasks), {"not_drawn": mixture.not_drawn, **dropped}))
    chats.export(trainer, tokenizer, config, paths.model, paths.metrics, paths.work, written)
    if first:
        if sentence := rewards.never_varied(watch.groups()):
            log.warning(sentence)
        log.info("wrote %s after %d steps on %d tasks", paths.model, settings.steps, len(tasks))
    if lock:
        lock.close()


class Watch:
    """Keeps the rewards of every group, and says in the log when nothing is learned.

    Args:
        file: a line for each group.
        samples: answers of a group.
    """

    def __init__(self, file: Path, samples: int) -> None:
        self.file, self.samples = file, samples
        self.quiet = 0

    def note(self, step: int, answers: Sequence[rewards.Judged]) -> float:
        """Take in the answers of a step (from 1), those of one task next to each other.

        Returns:
            the share of groups whose rewards vary.
        """
        parts = (answers[at : at + self.samples] for at in range(0, len(answers), self.samples))
        groups = [rewards.grouped(part) for part in parts]
        with self.file.open("a") as sink:
            sink.writelines(json.dumps({"step": step, **asdict(group)}) + "\n" for group in groups)
        if sentence := rewards.nothing_parses(groups, step):
            log.warning(sentence)
        varying = sum(group.varies for group in groups)
        self.quiet = 0 if varying else self.quiet + 1
        if self.quiet == QUIET_STEPS and (sentence := rewards.never_varied(self.groups())):
            log.warning("nothing was learned for %d steps: %s", QUIET_STEPS, sentence)
        return varying / len(groups)

    def groups(self) -> list[rewards.Group]:
        """Return the groups of all steps so far."""
        from selfcodealign.training.trainer import lines

        return [
            rewards.Group(line["task"], tuple(line["rewards"]), line["parsing"], line["passing"])
            for line in lines(self.file)
        ]


def check_vllm(settings: TrainGrpo) -> None:
    """Make sure before anything is loaded that vLLM can write the answers, if it is to.

    Raises:
        UserError: it is not installed beside TRL.
    """
    if settings.use_vllm and find_spec("vllm") is None:
        raise UserError(
            f"{STAGE}.use_vllm is true, but vllm is not installed: run `pip install -r envs/vllm.txt` where training "
            f"runs, or set {STAGE}.use_vllm to false"
        )


def usable(
    mixture: mixtures.Mixture, tokenizer: Any, room: int
) -> tuple[list[tuple[dict[str, Any], int]], dict[str, int]]:
    """Return the tasks to learn from, by id, each with how often it is taken, and how many were left out, by reason.

    Of several tasks with one instruction the first is taken: the same prompt twice would be two groups of one task.

    Args:
        mixture: the tasks with their weights.
        tokenizer: with the chat template.
        room: most tokens of a prompt.
    """
    dropped = {NO_TEST: 0, "same_instruction": 0, TOO_LONG: 0}
    kept: list[tuple[dict[str, Any], int]] = []
    seen: set[str] = set()
    for task, times in sorted(mixture, key=lambda one: one[0]["id"]):
        if not separate(unfenced(task["tests"] or "")):
            dropped[NO_TEST] += 1
        elif task["instruction_id"] in seen:
            dropped["same_instruction"] += 1
        elif chats.prompt_tokens(tokenizer, task["prompt"]) > room:
            dropped[TOO_LONG] += 1
        else:
            seen.add(task["instruction_id"])
            kept.append((task, times))
    return kept, dropped


def nothing_left(tables: str, dropped: dict[str, int], settings: TrainGrpo) -> str:
    """Say why there is no task to learn from, and what to do."""
    if dropped[TOO_LONG]:
        return (
            f"all {dropped[TOO_LONG]} prompts of {tables} are too long: {STAGE}.max_tokens ({settings.max_tokens}) "
            f"less {STAGE}.answer_tokens ({settings.answer_tokens}) leaves them no room; raise the one or lower the "
            "other"
        )
    if dropped[NO_TEST]:
        return f"none of the {dropped[NO_TEST]} tasks of {tables} has a test, so there is nothing to reward answers by"
    return f"{tables} has no task to learn from: no response passed its tests, so there is none to reward others by"


def schedule(ids: Sequence[str], settings: TrainGrpo, seed: int) -> list[str]:
    """Lay out the tasks of all steps: round after round, each in an order of its own.

    Args:
        ids: of the tasks; one may occur several times.
        settings: of the run.
        seed: training seed.

    Returns:
        ids of `steps` × `batch_tasks` tasks.
    """
    count = settings.steps * settings.batch_tasks
    found: list[str] = []
    turn = 0
    while len(found) < count:
        order = sorted(ids)
        rng_for(seed, STAGE, f"order {turn}").shuffle(order)
        found += order
        turn += 1
    return found[:count]


def shares(settings: TrainGrpo, count: int) -> tuple[int, int]:
    """Return how many answers a process computes together, and how often in a step.

    Raises:
        UserError: the processes cannot share a step evenly.
    """
    rows = settings.batch_tasks * settings.samples
    if rows % count:
        raise UserError(
            f"{STAGE}.batch_tasks × samples is {rows}; make it a multiple of the {count} processes, which share a step"
        )
    each = rows // count
    micro = max(one for one in range(1, min(settings.micro_batch_rows, each) + 1) if each % one == 0)
    return micro, each // micro


def sandbox_of(stack: ExitStack, settings: TrainGrpo, sandbox: RunResponses, work: Path) -> rewards.Run:
    """Open the sandbox for all processes of this machine: the first has the workers, the others ask it.

    Args:
        stack: closes it.
        settings: of the run.
        sandbox: how programs run.
        work: folder of the verdicts on equal programs.
    """
    machine = os.environ.get("GROUP_RANK", "0")
    server = None
    if os.environ.get("LOCAL_RANK", "0") == "0":
        folder = work / f"verdicts-{machine}"
        server = rewards.Server(Pool(settings_of(sandbox, settings.reward_workers, folder)))
        stack.callback(server.close)
    address = agreed(machine, server.address if server else None)
    return server.pool.run if server else partial(rewards.ask, address)


def agreed(machine: str, address: str | None) -> str:
    """Let all processes of a machine know the address that its first one serves at."""
    import torch

    if not torch.distributed.is_initialized():
        return address or ""
    told: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(told, (machine, address))
    return next(where for which, where in told if which == machine and where)


def line_of(logs: dict[str, Any]) -> dict[str, Any]:
    """Return what metrics.jsonl says of a step, of all that TRL logs."""
    line = {name: logs.get(theirs) for name, theirs in LOGGED.items()}
    if (constant := logs.get("frac_reward_zero_std")) is not None:
        line["varied_share"] = round(1 - constant, 6)
    return {name: value for name, value in line.items() if value is not None}


def learned(lines: list[dict[str, Any]], groups: Sequence[rewards.Group], settings: TrainGrpo) -> list[tuple[str, str]]:
    """Tell what a training came to, for the model card."""
    tenth = max(1, len(lines) // 10)
    start, end = (sum(line["reward"] for line in part) / tenth for part in (lines[:tenth], lines[-tenth:]))
    varied = sum(group.varies for group in groups)
    return [
        ("steps", f"{len(lines):,} of {settings.batch_tasks} tasks with {settings.samples} answers each"),
        ("reward", f"{start:.4f} in the first tenth of the steps, {end:.4f} in the last"),
        ("groups", f"the reward varied in {varied:,} of {len(groups):,}"),
        ("tokens", f"{lines[-1]['tokens']:,} read and written"),
    ]


def funnel(kept: int, dropped: dict[str, int]) -> dict[str, Any]:
    """Count the tasks that entered, were kept and were left out by reason."""
    return {
        "stage": STAGE,
        "entered": kept + sum(dropped.values()),
        "kept": kept,
        "dropped": {reason: count for reason, count in dropped.items() if count},
        "produced": kept,
    }
