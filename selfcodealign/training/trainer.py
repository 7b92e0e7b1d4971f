"""transformers' Trainer, taught to take an optimizer step from any number of micro-batches with fixed token weights."""

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selfcodealign.errors import UserError
from selfcodealign.rows_io import write_text
from selfcodealign.training import attention, checkpoints
from selfcodealign.training.documents import Document
from selfcodealign.training.last_layer import LastLayer
from selfcodealign.training.schedule import Bin, Loss, Step, token_weights

log = logging.getLogger(__name__)

SHOWN_EVERY_S = 10.0
"""Seconds between two lines of progress in the log."""


@dataclass(frozen=True)
class MicroBatch:
    """Documents laid end to end, with a weight for each token the loss is taken on.

    Attributes:
        documents: their tokens.
        positions: (k,) places in the row whose next token is trained on.
        targets: (k,) those next tokens.
        weights: (k,) weight of each in the step's loss, fp32.
        shared_tokens: with how many equal tokens the documents begin, which the row holds once.
    """

    documents: tuple[tuple[int, ...], ...]
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    shared_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens computed."""
        return sum(map(len, self.documents)) - self.shared_tokens * (len(self.documents) - 1)


def micro_batch(
    documents: Sequence[Document], content: Bin, weights: dict[int, float], filler: int, shared_tokens: int = 0
) -> MicroBatch:
    """Lay out the documents of one bin; an empty bin becomes two filler tokens of weight 0."""
    if not content:
        return MicroBatch(((filler, filler),), torch.tensor([0]), torch.tensor([filler]), torch.zeros(1))
    positions: list[int] = []
    targets: list[int] = []
    each: list[float] = []
    start = 0  # Place in the row that a document's first token has, or would have if it were not shared.
    for number in content:
        document = documents[number]
        # The token at place p is predicted from place p - 1.
        places = range(document.prompt_tokens, len(document.tokens))
        positions += [start + place - 1 for place in places]
        targets += document.tokens[document.prompt_tokens :]
        each += [weights[number]] * len(places)
        start += len(document.tokens) - shared_tokens
    return MicroBatch(
        tuple(documents[number].tokens for number in content),
        torch.tensor(positions),
        torch.tensor(targets),
        torch.tensor(each, dtype=torch.float32),
        shared_tokens,
    )


def weighted_loss(
    model: torch.nn.Module, base: PreTrainedModel, batch: MicroBatch, device: torch.device
) -> torch.Tensor:
    """Return Σ weight × (−log p(token)) over a micro-batch.

    Logits are computed only where the loss is taken: with a vocabulary of 150,000 the others would fill the memory.

    Args:
        model: what to call, perhaps wrapped by DeepSpeed or DDP.
        base: the model inside, which knows its attention.
        batch: the micro-batch.
        device: where to compute.
    """
    positions = batch.positions.to(device)
    logits = model(
        **attention.inputs(batch.documents, base, device, batch.shared_tokens), logits_to_keep=positions
    ).logits[0]
    lost = torch.nn.functional.cross_entropy(logits.float(), batch.targets.to(device), reduction="none")
    return (lost * batch.weights.to(device)).sum()


class StepShares(Dataset[dict[str, Any]]):
    """One item per optimizer step: the micro-batches that this process computes of it."""

    def __init__(
        self,
        documents: Sequence[Document],
        steps: Sequence[Step],
        loss: Loss,
        process: int,
        processes: int,
        filler: int,
        shared_tokens: int = 0,
    ) -> None:
        self.documents, self.steps, self.filler, self.shared_tokens = documents, steps, filler, shared_tokens
        self.loss: Loss = loss
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, number: int) -> dict[str, Any]:
        step = self.steps[number]
        weights = token_weights(self.documents, step, self.loss)
        return {
            "micro_batches": [
                micro_batch(self.documents, content, weights, self.filler, self.shared_tokens)
                for content in step.share(self.process, self.processes)
            ]
        }


class SealedCheckpoints(Trainer):
    """A Trainer whose checkpoints are sealed and hold the weights once, and whose first step learns.

    Attributes:
        first_rate_zero: the learning rate of the first step is 0, as transformers has it and the paper trained.
    """

    first_rate_zero = False

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Let the rate rise from the first step on: transformers' schedule, one step ahead, over one step more."""
        if self.lr_scheduler is not None or self.first_rate_zero:
            return super().create_scheduler(num_training_steps, optimizer)
        given: Any = optimizer or self.optimizer
        published: Any = super().create_scheduler(num_training_steps + 1, given)
        ahead = [lambda step, rate=rate: rate(step + 1) for rate in published.lr_lambdas]
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(given, ahead)
        return self.lr_scheduler

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Leave the weights out of a checkpoint where DeepSpeed writes them too; it would double the disk use."""
        if _internal_call and self.is_deepspeed_enabled and output_dir:
            os.makedirs(output_dir, exist_ok=True)
            return
        super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Write a checkpoint and seal it once every process has written its part."""
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            checkpoints.seal(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}")


class StepTrainer(SealedCheckpoints):
    """A Trainer whose batch is one process's share of an optimizer step.

    transformers counts micro-batches itself and, since 4.46, averages over their tokens. Here the schedule decides
    which documents make up a step and the token weights decide how they are averaged; a step may have any number of
    micro-batches, which packing needs.
    """

    def __init__(
        self, *args: Any, validation: StepShares | None = None, last_layer: LastLayer | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.validation = validation
        self.last_layer = last_layer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the shares in the schedule's order; nothing is shuffled or spread over processes here."""
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=_only)  # type: ignore[arg-type]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count 6 operations a parameter and token (forward and backward, without attention)."""
        return 6 * self.model_parameters * sum(batch.tokens for batch in inputs["micro_batches"])

    @property
    def model_parameters(self) -> int:
        """Parameters of the whole model, also where each process holds a part."""
        if not hasattr(self, "_parameters_counted"):
            self._parameters_counted = sum(
                getattr(weight, "ds_numel", weight.numel()) for weight in self.inner.parameters()
            )
        return self._parameters_counted

    @property
    def inner(self) -> PreTrainedModel:
        """The transformers model inside all wrappers."""
        return inner(self.accelerator.unwrap_model(self.model))

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Run all micro-batches of the step; DeepSpeed takes the optimizer step with the last one.

        Returns:
            this process's part of the step's loss × processes, so that the mean over processes is the step's loss.
        """
        model.train()
        total = torch.zeros((), device=self.args.device)
        batches = inputs["micro_batches"]
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            self.accelerator.gradient_state._set_sync_gradients(last)
            if self.is_deepspeed_enabled:
                model.set_gradient_accumulation_boundary(last)
            options = {"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}
            synchronised = (
                contextlib.nullcontext() if last or self.is_deepspeed_enabled else self.accelerator.no_sync(model)
            )
            with synchronised, self._reading(batch):
                with self.compute_loss_context_manager():
                    # Gradients are averaged over processes, while the weights already sum to 1 over all of them.
                    loss = weighted_loss(model, self.inner, batch, self.args.device) * self.args.world_size
                self.accelerator.backward(loss, **options)
            total += loss.detach()
        return total

    def _reading(self, batch: MicroBatch) -> contextlib.AbstractContextManager[None]:
        """Let the last layer compute what the loss of a micro-batch reads; the backward pass belongs inside."""
        if self.last_layer is None:
            return contextlib.nullcontext()
        return self.last_layer.at(batch.positions.to(self.args.device))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the loss on the validation documents, averaged as in training."""
        if self.validation is None:
            return {}
        model: Any = self.model_wrapped
        model.eval()
        total = torch.zeros((), device=self.args.device)
        with torch.no_grad():
            for number in range(len(self.validation)):
                for batch in self.validation[number]["micro_batches"]:
                    with self._reading(batch):
                        total += weighted_loss(model, self.inner, batch, self.args.device) * self.args.world_size
        mean = float(torch.as_tensor(self.accelerator.gather(total)).mean()) / len(self.validation)
        metrics = {"eval_loss": mean}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def inner(model: Any) -> PreTrainedModel:
    """Return the transformers model inside an adapter's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _only(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Take the one item of a batch of one."""
    return items[0]


class Metrics(TrainerCallback):
    """Write one line per optimizer step to `metrics.jsonl`, and a line of progress to the log every few seconds.

    A resumed run drops the lines of steps after its checkpoint, so each step appears once. A rerun reproduces
    everything but `wall_s` (since the run began) and `cpu_s` (of the first process, since it was started or resumed).
    """

    def __init__(
        self,
        file: Path,
        documents: Sequence[Document],
        steps: Sequence[Step],
        epochs: int,
        every_s: float = SHOWN_EVERY_S,
    ):
        self.file, self.documents, self.steps, self.epochs, self.every_s = file, documents, steps, epochs, every_s
        self.started = self.shown = time.monotonic()
        self.cpu_started = time.process_time()
        self.first_step = 0
        self.seconds_before = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop what a resumed run will write again."""
        self.started = self.shown = time.monotonic()
        self.cpu_started = time.process_time()
        self.first_step = state.global_step
        if not state.is_world_process_zero:
            return
        kept = keep_lines(self.file, state.global_step)
        self.seconds_before = kept[-1]["wall_s"] if kept else 0.0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Append the step's line."""
        if not state.is_world_process_zero or not logs:
            return
        if "eval_loss" in logs:
            self._append({"step": state.global_step, "validation_loss": logs["eval_loss"], "wall_s": self._wall_s()})
        if "loss" not in logs:
            return
        step = self.steps[state.global_step - 1]
        chosen = [self.documents[number] for number in step.documents]
        line = {
            "step": state.global_step,
            "epoch": round(self.epochs * state.global_step / len(self.steps), 4),
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "documents": len(chosen),
            "tokens": sum(len(document.tokens) for document in chosen),
            "response_tokens": sum(document.response_tokens for document in chosen),
            "micro_batches": len(step.bins),
            "wall_s": self._wall_s(),
            "cpu_s": round(time.process_time() - self.cpu_started, 3),
        }
        if "grad_norm" in logs:
            line["grad_norm"] = logs["grad_norm"]
        self._append(line)
        self._show(line)

    def _wall_s(self) -> float:
        return round(self.seconds_before + time.monotonic() - self.started, 3)

    def _append(self, line: dict[str, Any]) -> None:
        with self.file.open("a") as sink:
            sink.write(json.dumps(line) + "\n")

    def _show(self, line: dict[str, Any]) -> None:
        """Log loss, rate and time left."""
        now = time.monotonic()
        if now - self.shown < self.every_s and line["step"] < len(self.steps):
            return
        self.shown = now
        rate = (line["step"] - self.first_step) / max(now - self.started, 1e-9)
        left = (len(self.steps) - line["step"]) / rate
        log.info(
            "step %d of %d, loss %.4f, %.2f steps/s, %d:%02d left",
            *(line["step"], len(self.steps), line["loss"], rate, left // 60, left % 60),
        )


class StepLines(TrainerCallback):
    """Write what TRL's trainers log, one line per optimizer step; a resumed run writes each step once.

    A rerun reproduces everything but `wall_s`, the seconds since the run began.

    Args:
        file: to append to.
        line: makes a step's line of what is logged.
        beside: another file with lines of steps, which is cut where a resumed run goes on.
    """

    def __init__(
        self, file: Path, line: Callable[[dict[str, Any]], dict[str, Any]] = dict, beside: Path | None = None
    ) -> None:
        self.file, self.line, self.beside = file, line, beside
        self.began, self.shown = 0.0, time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop what a resumed run will write again."""
        if state.is_world_process_zero:
            kept = keep_lines(self.file, state.global_step)
            self.began = time.monotonic() - (kept[-1]["wall_s"] if kept else 0.0)
            if self.beside is not None:
                keep_lines(self.beside, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Append the step's line."""
        if state.is_world_process_zero and logs and "loss" in logs:
            wall_s = round(time.monotonic() - self.began, 3)
            with self.file.open("a") as sink:
                sink.write(json.dumps({"step": state.global_step, **self.line(logs), "wall_s": wall_s}) + "\n")
            now = time.monotonic()
            if now - self.shown >= SHOWN_EVERY_S or state.global_step == state.max_steps:
                self.shown = now
                reward = f", reward {logs['reward']:.4f}" if logs.get("reward") is not None else ""
                log.info("step %d of %d, loss %.4f%s", state.global_step, state.max_steps, logs["loss"], reward)


def lines(file: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a metrics file; a last line torn by a kill is left out."""
    if not file.exists():
        return []
    found = []
    for text in file.read_text().splitlines():
        try:
            found.append(json.loads(text))
        except ValueError:
            break
    return found


def keep_lines(file: Path, step: int) -> list[dict[str, Any]]:
    """Cut a metrics file after a step, because a resumed run writes what follows again; return what is left."""
    kept = [line for line in lines(file) if line["step"] <= step]
    write_text(file, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


class FiniteLoss(TrainerCallback):
    """Stop at the first loss that is no number: every later step, and the model written, would be none either."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Raise UserError if a loss of training or validation is not finite."""
        for name in ("loss", "eval_loss"):
            if logs and name in logs and not math.isfinite(logs[name]):
                raise UserError(
                    f"the {name} of step {state.global_step} is {logs[name]}, so no model is written: lower the "
                    "learning rate, set max_grad_norm to 1.0, or take precision fp32"
                )


class Interruption(TrainerCallback):
    """On SIGTERM, as a cluster sends before it takes a machine away, finish the step, save a checkpoint and stop."""

    def __init__(self) -> None:
        self.asked = False

    def request(self, *_: object) -> None:
        """Note the signal; the step in progress is finished."""
        self.asked = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop if any process was asked to: the signal may reach them in different steps."""
        asked = torch.tensor(int(self.asked), device=args.device)
        if args.world_size > 1:
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        if asked:
            self.asked = control.should_save = control.should_training_stop = True


class NarrowLastLayer(TrainerCallback):
    """Measure before the first step whether the last layer may be computed where the loss is taken alone.

    It holds the hooks and not the trainer, which would then never be freed, nor its DeepSpeed settings with it.
    """

    def __init__(self, last_layer: LastLayer) -> None:
        self.last_layer = last_layer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Switch it on if it changes no logit; all processes take part."""
        self.last_layer.attach(inner(kwargs["model"]), args.device)


class PackingGuard(TrainerCallback):
    """Measure before the first step that packed documents do not see each other; all processes take part."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse to train a model that leaks."""
        attention.guard(inner(kwargs["model"]), args.device)
