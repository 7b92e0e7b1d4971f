"""Settings of fine-tuning."""

from typing import Literal

from pydantic import ConfigDict, Field

from selfcodealign.config.given import Given
from selfcodealign.config.section import Changes, Count, Section, Share
from selfcodealign.config.tables import BASE


class Start(Section):
    """The model that a training starts from."""

    base: str = Field(default="demo/model", description="local folder or Hub id of the base model")
    revision: str = Field(default="main", description="commit, tag or branch on the Hub; ignored for a local folder")
    trust_remote_code: bool = Field(
        default=False,
        description="run Python code of the model; only for a model and revision whose code you have read",
    )


class Model(Start):
    """The base model, which is aligned and, unless a generation names another model, writes its own data."""

    style: Literal["base", "instruct", "chat"] | None = Field(
        default=None,
        description=(
            "how the base model is prompted in benchmarks: raw completion, this project's training "
            "layout, or its own chat template; raw completion if empty"
        ),
    )
    engine: Changes = Field(
        default={},
        description="keys of `engine` that differ when the base model itself judges, writes or is evaluated, "
        "for example its server",
    )


class GivenDataset(Given):
    """An existing instruction dataset, used without change: one of the paper's baselines, or your own."""

    instruction: str | list[str] = Field(
        default="instruction", description="column of the instruction, or several joined by an empty line"
    )
    response: str = Field(default="response", description="column of the response")
    messages: str | None = Field(
        default=None, description="column of a conversation, instead of the other two; its first exchange is used"
    )
    rows: Count | None = Field(
        default=None, description="number of rows to draw with the run's random seed; all if empty"
    )

    @property
    def columns(self) -> list[str]:
        """Every column that a row is read from."""
        asked = [self.instruction] if isinstance(self.instruction, str) else self.instruction
        return [self.messages] if self.messages else [*asked, self.response]


Objective = Literal["sft", "dpo", "grpo"]
"""What a training teaches: to write a dataset's responses, to prefer passing to failing ones, to pass tests."""


class TrainedModel(Section):
    """One trained model: its start, its data, and its objective."""

    # `from` is a word of Python's own, so the code says `start`; configs are read and written with `from` alone.
    model_config = ConfigDict(serialize_by_alias=True)

    start: str = Field(
        default=BASE,
        alias="from",
        description="model from which the training starts: `base` (the base model), another entry of "
        "`models`, or a local folder or Hub id",
    )
    revision: str = Field(default="main", description="revision of the start on the Hub")
    dataset: str | dict[str, float] = Field(
        default="passing",
        description="name of an entry of `datasets` or of `other_datasets`, or several with weights: 1 uses "
        "all rows once, 0.5 half of them, 2 all of them twice",
    )
    objective: Objective = Field(
        default="sft",
        description="sft learns to write the responses, dpo to prefer passing to failing ones, grpo to pass "
        "the tests; with the settings of `train_sft`, `train_dpo` or `train_grpo`",
    )
    seed: int | None = Field(default=None, description="random seed of the training; that of the run if empty")
    settings: dict[str, str | int | float | bool] = Field(
        default={},
        description="keys of the objective's section that differ for this model, for example `learning_rate`",
    )
    benchmarks: list[str] | None = Field(
        default=None, description="entries of `benchmarks` on which it is evaluated; all if empty"
    )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each dataset that the model is trained on, by name."""
        return {self.dataset: 1.0} if isinstance(self.dataset, str) else self.dataset

    @property
    def rule(self) -> str:
        """Rule that trains the model, which is also the name of the section with its settings."""
        return f"train_{self.objective}"


class TrainSft(Section):
    """Fine-tune a base model on a dataset. The defaults suit models of 0.5 to 15 billion parameters on GPUs."""

    epochs: Count = Field(default=4, description="number of times each row is used")
    learning_rate: float = Field(
        default=1e-5, gt=0, description="peak learning rate (paper: 1e-5, and 2e-5 for another model's data)"
    )
    optimizer: Literal["adamw", "adafactor"] = Field(
        default="adamw", description="adafactor needs the least memory; it requires ZeRO stage 0 or no DeepSpeed"
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="how the learning rate changes after warm-up"
    )
    warmup_share: Share = Field(default=0.05, description="share of the steps over which the learning rate rises")
    batch_rows: Count = Field(default=64, description="rows of an optimizer step, over all processes")
    max_tokens: Count = Field(
        default=1_280, description="maximum length of a row, prompt and response together, in tokens"
    )
    truncation: Literal["drop", "cut", "cut_without_end"] = Field(
        default="drop",
        description="rows over max_tokens are dropped, shortened before the end token, or, as in the "
        "reference, shortened without an end token",
    )
    loss: Literal["reference", "token"] = Field(
        default="token",
        description="mean over rows of each row's mean, as in the paper's runs, or mean over all tokens",
    )
    packing: bool = Field(
        default=True,
        description="put several rows into one sequence of a micro-batch: faster, with the same loss and gradients",
    )
    micro_batch_tokens: Count = Field(
        default=5_120, description="tokens of a packed micro-batch, at least max_tokens; use as many as memory allows"
    )
    precision: Literal["fp32", "bf16", "bf16_pure"] = Field(
        default="bf16",
        description="bf16 computes in bf16 and keeps fp32 weights for the optimizer; bf16_pure keeps none, as "
        "in the paper's runs",
    )
    attention: str = Field(default="auto", description="auto, sdpa_per_document, flash_attention_2, sdpa or eager")
    max_grad_norm: float = Field(
        default=0.0, ge=0, description="maximum norm, to which gradients are scaled down; 0 for no limit"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of AdamW")
    activation_checkpointing: bool = Field(
        default=False, description="compute activations again in the backward pass: a third slower, much less memory"
    )
    deepspeed: str = Field(
        default="config/deepspeed/zero0.json", description="a DeepSpeed configuration file, or none for plain torch"
    )
    lora_rank: int = Field(
        default=0, ge=0, description="rank of LoRA adapters, merged at the end; 0 trains all weights"
    )
    lora_alpha: Count = Field(default=32, description="adapters are scaled by lora_alpha / lora_rank")
    validation_share: float = Field(
        default=0.0, ge=0, lt=1, description="share of the rows to hold out for the validation loss, chosen by row id"
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="which weights to export: the last, or those with the lowest validation loss"
    )
    save_every_steps: Count = Field(default=100, description="steps between checkpoints (and validations)")
    checkpoints_kept: int = Field(
        default=2, ge=2, description="checkpoints on disk; at least 2, so that one remains if the other is damaged"
    )
    stored_precision: Literal["base", "fp32", "bf16"] = Field(
        default="base", description="precision of the exported weights; base: as the base model"
    )
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        default="tensorboard", description="tool for training curves, besides metrics.jsonl"
    )
    processes: Count = Field(default=1, description="processes on each node: one per GPU, or on CPUs one per core")
    nodes: Count = Field(default=1, description="SLURM nodes that train together")


class TrainDpo(Section):
    """Train a fine-tuned model on pairs of a passing and a failing response (`objective: dpo`)."""

    epochs: Count = Field(default=1, description="number of times each pair is used")
    learning_rate: float = Field(default=1e-6, gt=0, description="peak learning rate")
    beta: float = Field(
        default=0.1, gt=0, description="weight of the constraint that keeps the model close to its start"
    )
    warmup_share: Share = Field(default=0.05, description="share of the steps over which the learning rate rises")
    batch_rows: Count = Field(default=32, description="pairs of an optimizer step, over all processes")
    max_tokens: Count = Field(
        default=1_280, description="maximum length of a prompt with a response, in tokens; the rest is cut"
    )
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="maximum norm, to which gradients are scaled down; 0 for no limit"
    )
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="precision of the computation")
    deepspeed: str = Field(
        default="config/deepspeed/zero0.json", description="a DeepSpeed configuration file, or none for plain torch"
    )
    save_every_steps: Count = Field(default=100, description="steps between checkpoints")
    checkpoints_kept: int = Field(default=2, ge=2, description="checkpoints on disk")
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        default="tensorboard", description="tool for training curves, besides metrics.jsonl"
    )
    processes: Count = Field(default=1, description="processes on each node")
    nodes: Count = Field(default=1, description="SLURM nodes that train together")


class TrainGrpo(Section):
    """Train a fine-tuned model on tasks with tests: the sandbox's verdicts are the reward (`objective: grpo`)."""

    steps: Count = Field(default=200, description="optimizer steps; the tasks are repeated, in a new order each time")
    batch_tasks: Count = Field(default=16, description="tasks of an optimizer step, over all processes")
    samples: int = Field(
        default=8, ge=2, description="answers to each task of a step; their rewards are compared with each other"
    )
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature of answers")
    answer_tokens: Count = Field(default=768, description="maximum length of an answer, in tokens; a longer one is cut")
    max_tokens: Count = Field(
        default=1_280,
        description="maximum length of a prompt with an answer, in tokens; tasks with longer prompts are dropped",
    )
    reward: Literal["share", "all"] = Field(
        default="share", description="share of a task's tests that pass, or 1 if all of them pass and 0 if not"
    )
    form_weight: float = Field(
        default=0.0,
        ge=0,
        description="added to the reward of an answer that ends by itself and contains code that parses",
    )
    brevity_weight: float = Field(
        default=0.0,
        ge=0,
        description="added to the reward of an answer that passes all tests, times the share of answer_tokens "
        "that it does not use",
    )
    learning_rate: float = Field(default=1e-6, gt=0, description="peak learning rate")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="constant", description="how the learning rate changes after warm-up"
    )
    warmup_share: Share = Field(default=0.05, description="share of the steps over which the learning rate rises")
    beta: float = Field(
        default=0.01, ge=0, description="weight of the KL divergence from the start; 0 keeps no second model in memory"
    )
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="maximum norm, to which gradients are scaled down; 0 for no limit"
    )
    micro_batch_rows: Count = Field(
        default=8, description="answers that a process computes together; use as many as memory allows"
    )
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="precision of the computation")
    activation_checkpointing: bool = Field(
        default=False, description="compute activations again in the backward pass: a third slower, much less memory"
    )
    deepspeed: str = Field(
        default="config/deepspeed/zero0.json", description="a DeepSpeed configuration file, or none for plain torch"
    )
    use_vllm: bool = Field(
        default=False,
        description="let vLLM write the answers, on GPUs; otherwise this project's own decoder writes them",
    )
    vllm_mode: Literal["colocate", "server"] = Field(
        default="colocate",
        description="colocate shares the GPUs of the training; server uses one that `trl vllm-serve` started "
        "on other GPUs",
    )
    vllm_server: str = Field(
        default="http://localhost:8000", description="address of the server, if vllm_mode is server"
    )
    vllm_memory_share: float = Field(
        default=0.3, gt=0, lt=1, description="share of each GPU's memory for vLLM, if vllm_mode is colocate"
    )
    reward_workers: Count = Field(
        default=2, description="answers that run at once on each node, for all processes together"
    )
    save_every_steps: Count = Field(default=50, description="steps between checkpoints")
    checkpoints_kept: int = Field(default=2, ge=2, description="checkpoints on disk")
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        default="tensorboard", description="tool for training curves, besides metrics.jsonl"
    )
    processes: Count = Field(default=1, description="processes on each node")
    nodes: Count = Field(default=1, description="SLURM nodes that train together")
