"""Fine-tuning against the reference's way, as ratios in one run: `python benchmarks/bench_training.py [--rows N]`.

Models are randomly initialised: speed depends on shapes alone. `demo` is the demo's base model; `wide` has layers twice
as wide and StarCoder2's 49,152 tokens, since the output layer is a large part of a code model's work; `smollm2` has the
layers of SmolLM2 with 135 million parameters. The two take a fourth of the rows. Row lengths follow the pipeline's own
mix. Each time is CPU time of one thread, so that other work on the machine does not count.
"""

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from transformers import AutoConfig, AutoModelForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import history  # noqa: E402
from selfcodealign.config import TrainSft  # noqa: E402
from selfcodealign.training import attention, checkpoints, schedule, sft, trainer  # noqa: E402
from selfcodealign.training.documents import Document, common_beginning  # noqa: E402
from selfcodealign.training.last_layer import LastLayer  # noqa: E402

CPU = torch.device("cpu")
SHAPES = {
    "demo": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6, "vocab_size": 1_024},
    "wide": {"hidden_size": 384, "intermediate_size": 1_024, "num_hidden_layers": 6, "vocab_size": 49_152},
    "smollm2": {
        **{"hidden_size": 576, "intermediate_size": 1_536, "num_hidden_layers": 30, "vocab_size": 49_152},
        **{"num_attention_heads": 9, "num_key_value_heads": 3},
    },
}
HEADS = {"num_attention_heads": 6, "num_key_value_heads": 6}
CAPACITY = 1_024
"""Tokens of a micro-batch, packed or padded."""


def network(shape: str, implementation: str) -> Any:
    """Make a randomly initialised Llama."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **{**HEADS, **SHAPES[shape]}, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation).train()
    if implementation == attention.PER_DOCUMENT:
        model.last_layer = LastLayer()
        model.last_layer.attach(model, CPU)
    return model


BEGINNING = 24
INSTRUCTION = (21, 26, 30, 32, 35, 65, 77, 85, 89, 94, 128)
RESPONSE = (15, 17, 23, 24, 25, 27, 29, 31, 33, 38, 46)
"""Tokens of the demo's dataset: the sentence before every instruction; deciles of instruction and response."""


def rows_like_the_pipelines(count: int, seed: int = 0) -> list[Document]:
    """Draw rows whose lengths are distributed as those of the demo's dataset."""
    rng = random.Random(seed)

    def length(deciles: tuple[int, ...]) -> int:
        """Draw a length between two neighbouring deciles."""
        place = rng.randrange(len(deciles) - 1)
        return rng.randint(deciles[place], deciles[place + 1])

    beginning = tuple(range(2, 2 + BEGINNING))
    made = []
    for number in range(count):
        instruction, response = length(INSTRUCTION), length(RESPONSE)
        rest = tuple(rng.randrange(2, 1_000) for _ in range(instruction + response))
        made.append(Document(f"row-{number:06d}", beginning + rest, BEGINNING + instruction))
    return made


# ---- three ways to compute the same step ----


def one_row_at_a_time(model: Any, documents: list[Document]) -> Iterator[torch.Tensor]:
    """Yield the reference's micro-batches: one unpacked row, logits of every token, the model's own loss."""
    for document in documents:
        ids = torch.tensor([document.tokens])
        labels = ids.clone()
        labels[0, : document.prompt_tokens] = -100
        yield model(input_ids=ids, labels=labels).loss / len(documents)


def padded(model: Any, documents: list[Document]) -> Iterator[torch.Tensor]:
    """Yield padded micro-batches of at most `CAPACITY` positions, in the order of the rows."""
    batch: list[Document] = []
    for document in [*documents, None]:
        longest = max((len(item.tokens) for item in [*batch, document] if item), default=0)
        if batch and (document is None or longest * (len(batch) + 1) > CAPACITY):
            width = max(len(item.tokens) for item in batch)
            ids = torch.ones(len(batch), width, dtype=torch.long)
            mask = torch.zeros(len(batch), width, dtype=torch.long)
            labels = torch.full((len(batch), width), -100)
            weights = torch.zeros(len(batch), width)
            for place, item in enumerate(batch):
                length, start = len(item.tokens), item.prompt_tokens
                ids[place, :length] = torch.tensor(item.tokens)
                mask[place, :length] = 1
                labels[place, start:length] = ids[place, start:length]
                weights[place, start:length] = 1 / (item.response_tokens * len(documents))
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            lost = torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100, reduction="none"
            )
            yield (lost * weights[:, 1:].reshape(-1)).sum()
            batch = []
        if document is not None:
            batch.append(document)


def packed(model: Any, documents: list[Document]) -> Iterator[torch.Tensor]:
    """Yield this project's micro-batches: rows end to end, logits where the loss is taken."""
    shared = common_beginning(documents)
    (step,) = schedule.steps(
        documents,
        epochs=1,
        seed=0,
        batch_rows=len(documents),
        packing=True,
        micro_batch_tokens=CAPACITY,
        shared_tokens=shared,
    )
    weights = schedule.token_weights(documents, step, "reference")
    for content in step.bins:
        batch = trainer.micro_batch(documents, content, weights, 0, shared)
        with model.last_layer.at(batch.positions):
            yield trainer.weighted_loss(model, model, batch, CPU)


Way = Callable[[Any, list[Document]], Iterator[torch.Tensor]]
WAYS: dict[str, tuple[Way, str]] = {
    "one row at a time": (one_row_at_a_time, "sdpa"),
    "padded": (padded, "sdpa"),
    "packed": (packed, attention.PER_DOCUMENT),
}


def take_step(way: Way, model: Any, optimizer: torch.optim.Optimizer, documents: list[Document]) -> float:
    """Compute the gradients of one optimizer step and take it; return the loss."""
    total = 0.0
    for loss in way(model, documents):
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total


def speed(shape: str, rows: int, repeats: int) -> dict[str, Any]:
    """Measure response tokens trained on per CPU second, ways taking turns."""
    documents = rows_like_the_pipelines(rows)
    models = {name: network(shape, implementation) for name, (_, implementation) in WAYS.items()}
    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=1e-4) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    losses: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats + 1):
        for name, (way, _) in WAYS.items():
            started = time.process_time()
            losses[name].append(take_step(way, models[name], optimizers[name], documents))
            seconds[name].append(time.process_time() - started)
    trained = sum(document.response_tokens for document in documents)
    rates = {name: trained / min(times[1:]) for name, times in seconds.items()}
    return {
        "shape": shape,
        "rows": rows,
        "response_tokens_per_cpu_s": {name: round(rate) for name, rate in rates.items()},
        "packed_over_one_row": round(rates["packed"] / rates["one row at a time"], 2),
        "packed_over_padded": round(rates["packed"] / rates["padded"], 2),
        "largest_difference_in_loss": max(
            abs(mine - theirs) for mine, theirs in zip(losses["packed"], losses["one row at a time"], strict=True)
        ),
    }


class StepTimes(TrainerCallback):
    """Note the CPU time of this process at the end of each step, and the loss."""

    def __init__(self) -> None:
        self.cpu_s: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time."""
        self.cpu_s.append(time.process_time())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Note the loss."""
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])

    @property
    def fastest(self) -> float:
        """CPU seconds of the fastest step but the first."""
        return min(after - before for before, after in itertools.pairwise(self.cpu_s))


def reference_trainer(documents: list[Document], steps: int, folder: Path) -> StepTimes:
    """Train as the published `train.py`: transformers' Trainer, one row a micro-batch, the step's rows accumulated."""

    def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        tokens = torch.tensor([items[0]["tokens"]])
        labels = tokens.masked_fill(torch.arange(tokens.shape[1]) < items[0]["prompt"], -100)
        return {"input_ids": tokens, "labels": labels, "attention_mask": torch.ones_like(tokens)}

    times = StepTimes()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=len(documents),
        num_train_epochs=steps,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        max_grad_norm=0,
        optim="adamw_torch",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    rows: Any = [{"tokens": document.tokens, "prompt": document.prompt_tokens} for document in documents]
    made = Trainer(network("demo", "sdpa"), arguments, train_dataset=rows, data_collator=collate, callbacks=[times])
    # transformers 4.40.1 averaged the micro-batches' means; later versions do so only for models without this.
    made.model_accepts_loss_kwargs = False
    made.pop_callback(PrinterCallback)
    made.train()
    return times


def this_trainer(documents: list[Document], steps: int, folder: Path) -> StepTimes:
    """Train the same rows in the same steps with this project's trainer, packed."""
    settings = TrainSft(
        learning_rate=1e-4,
        schedule="constant",
        warmup_share=0,
        precision="fp32",
        deepspeed="none",
        micro_batch_tokens=CAPACITY,
        max_tokens=CAPACITY,
        batch_rows=len(documents),
        tracker="none",
    )
    shared = common_beginning(documents)
    planned = sft.plan(documents, settings, steps, 0, shared)
    times = StepTimes()
    shares = trainer.StepShares(documents, planned, "reference", 0, 1, filler=0, shared_tokens=shared)
    arguments = sft.training_arguments(folder / "work", settings, len(planned), 0)
    model = network("demo", attention.PER_DOCUMENT)
    made = trainer.StepTrainer(
        model,
        arguments,
        train_dataset=shares,
        last_layer=model.last_layer,
        callbacks=[times, trainer.Metrics(folder / "metrics.jsonl", documents, planned, steps)],
    )
    made.pop_callback(PrinterCallback)
    made.train()
    return times


def trainers(rows: int, steps: int, turns: int = 2) -> dict[str, Any]:
    """Compare the two trainers whole, with all they do besides computing, on the demo's model without DeepSpeed."""
    documents = rows_like_the_pipelines(rows)
    ways = {"the published trainer": reference_trainer, "this trainer": this_trainer}
    found: dict[str, list[StepTimes]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            AcceleratorState._reset_state()
            PartialState._reset_state()
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(way(documents, steps, Path(folder)))
    trained = sum(document.response_tokens for document in documents)
    rates = {name: trained / min(times.fastest for times in runs) for name, runs in found.items()}
    pairs = zip(found["this trainer"][0].losses, found["the published trainer"][0].losses, strict=True)
    return {
        "shape": "demo, whole trainers",
        "rows": rows,
        "response_tokens_per_cpu_s": {name: round(rate) for name, rate in rates.items()},
        "this_over_the_published": round(rates["this trainer"] / rates["the published trainer"], 2),
        "largest_difference_in_loss": max(abs(mine - theirs) for mine, theirs in pairs),
    }


def equal_curves(rows: int, seeds: int) -> dict[str, Any]:
    """Train twice from each of several seeds, packed and one row at a time, and compare the validation losses."""
    validation = rows_like_the_pipelines(rows, seed=99)
    ends: dict[str, list[float]] = {"packed": [], "one row at a time": []}
    for seed in range(seeds):
        for name, found in ends.items():
            way, implementation = WAYS[name]
            model = network("demo", implementation)
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
            for step in range(4):
                take_step(way, model, optimizer, rows_like_the_pipelines(rows, seed=10 * seed + step))
            with torch.no_grad():
                found.append(sum(loss.item() for loss in one_row_at_a_time(model, validation)))
    pairs = zip(ends["packed"], ends["one row at a time"], strict=True)
    return {
        "validation_loss": {name: [round(value, 5) for value in found] for name, found in ends.items()},
        "largest_difference_of_one_seed": max(abs(mine - theirs) for mine, theirs in pairs),
        "spread_over_seeds": statistics.stdev(ends["one row at a time"]),
    }


def run_script(folder: Path, name: str, kill_after: int | None = None, **settings: Any) -> list[dict[str, Any]]:
    """Run `scripts/train_sft.py` on demo-sized rows, killing it after some steps if asked; return its metrics."""
    words = [
        sys.executable,
        str(ROOT / "scripts/train_sft.py"),
        "--dataset",
        str(folder),
        "--base",
        str(folder / "base"),
    ]
    outputs = {key: folder / name / key for key in ("model", "metrics", "example", "funnel")}
    fixed = {"epochs": 1, "batch_rows": 16, "max_tokens": 512, "micro_batch_tokens": CAPACITY, "precision": "fp32"}
    fixed |= {"mode": "fixed", "run_seed": 3407}
    more = {"work": folder / name / "work/m", "tracker": "none", **fixed, **settings}
    for key, value in (outputs | more).items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    running = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    live = folder / name / "work/m/metrics.jsonl"
    while kill_after and len(trainer.lines(live)) < kill_after:
        time.sleep(0.01)
    if kill_after:
        running.send_signal(signal.SIGKILL)
    message = (running.communicate()[1] or b"").decode()
    if running.returncode and not kill_after:
        raise SystemExit(message)
    return trainer.lines(live)


def demo_sized(folder: Path, rows: int) -> None:
    """Write a dataset and a base model of the demo's size, the base with the demo's tokenizer."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from transformers import AutoTokenizer

    made = [
        {
            "id": f"row-{number:06d}",
            "instruction": f"Write a function add_{number} that adds {number} to each item of a list.",
            "response": f"```python\ndef add_{number}(xs):\n    return [x + {number} for x in xs]\n```",
        }
        for number in range(rows)
    ]
    pq.write_table(pa.Table.from_pylist(made), folder / "train.parquet")
    network("demo", "sdpa").save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(ROOT / "demo/model").save_pretrained(folder / "base")


def overhead_and_resume(rows: int) -> dict[str, Any]:
    """Compare a step under DeepSpeed with one of plain torch, and count the steps that a killed run computes twice."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        demo_sized(folder, rows)
        seconds = {}
        for name in ("none", "zero0", "zero1"):
            deepspeed = name if name == "none" else f"config/deepspeed/{name}.json"
            lines = run_script(folder, name, deepspeed=deepspeed, save_every_steps=1_000)
            times = [after["cpu_s"] - before["cpu_s"] for before, after in itertools.pairwise(lines)]
            seconds[name] = statistics.median(times)
        found["cpu_s_of_a_step"] = {name: round(value, 4) for name, value in seconds.items()}
        found["deepspeed_overhead"] = {
            name: round(seconds[name] / seconds["none"] - 1, 3) for name in ("zero0", "zero1")
        }
        before = run_script(folder, "killed", kill_after=5, save_every_steps=1)
        last = checkpoints.last_good(folder / "killed/work/m")
        found["steps_computed_twice_after_kill_9"] = before[-1]["step"] - (checkpoints.step_of(last) if last else 0)
    return found


def main() -> None:
    """Measure and print one JSON object for each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64, help="rows of an optimizer step")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--only", choices=("speed", "trainers", "curves", "deepspeed"), help="answer one question alone"
    )
    history.add_flag(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    questions: dict[str, Callable[[], dict[str, Any]]] = {
        "speed demo": lambda: speed("demo", arguments.rows, arguments.repeats),
        "speed wide": lambda: speed("wide", arguments.rows // 4, arguments.repeats),
        "trainers": lambda: trainers(arguments.rows, steps=3),
        "curves": lambda: equal_curves(arguments.rows // 4, seeds=3),
        "deepspeed": lambda: overhead_and_resume(16 * 12),
    }
    for name, answer in questions.items():
        if arguments.only in (None, name.split()[0]):
            found = answer()
            print(json.dumps(found), flush=True)
            history.write(arguments.history, "training", {name: found})


if __name__ == "__main__":
    main()
