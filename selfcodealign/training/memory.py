"""How much memory and disk a fine-tuning run needs, as arithmetic that can be read and checked before it starts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.rows_io import first_line

GB = 10**9
CONTEXT = 1.5 * GB
"""What a CUDA context and NCCL take on each GPU before anything is computed."""
FRAGMENTATION = 1.05
"""Share that torch's allocator loses to fragmentation, as a factor."""


@dataclass(frozen=True)
class Shape:
    """What the memory of a decoder-only transformer depends on.

    Attributes:
        parameters: all of them.
        trained: those that receive gradients.
        layers: transformer layers.
        hidden: width of the residual stream.
        key_value: width of the keys (and of the values) of a layer.
        inner: width of the feed-forward layer.
        gated: the feed-forward layer multiplies by a gate (Llama, Qwen2) or not (StarCoder2).
        vocabulary: number of tokens.
    """

    parameters: int
    trained: int
    layers: int
    hidden: int
    key_value: int
    inner: int
    gated: bool
    vocabulary: int


@dataclass(frozen=True)
class Plan:
    """Memory of one process under one ZeRO stage, in bytes.

    Attributes:
        name: of the DeepSpeed configuration.
        weights, gradients, optimizer: what each process holds.
        working: layers gathered for computing (ZeRO-3), or gradients on their way.
        per_token: activations of each token of a micro-batch.
        host: what offloading moves to the machine's memory, for all processes together.
    """

    name: str
    weights: float
    gradients: float
    optimizer: float
    working: float
    per_token: float
    host: float

    @property
    def fixed(self) -> float:
        """Bytes needed before the first token."""
        return self.weights + self.gradients + self.optimizer + self.working

    def needed(self, tokens: int, context: float = CONTEXT) -> float:
        """Bytes a process needs for micro-batches of so many tokens."""
        return context + FRAGMENTATION * (self.fixed + tokens * self.per_token)

    def most_tokens(self, available: float, context: float = CONTEXT) -> int:
        """Tokens of the largest micro-batch that fits."""
        return max(0, int(((available - context) / FRAGMENTATION - self.fixed) / self.per_token))


def shape_of(config: Any, lora_rank: int = 0, trust_remote_code: bool = False) -> Shape:
    """Read a model's shape from its configuration, counting parameters on a model without memory.

    Args:
        config: a transformers configuration.
        lora_rank: rank of LoRA adapters on all linear layers but the output layer; 0 trains all parameters.
        trust_remote_code: run the model's own Python code.

    Raises:
        UserError: the configuration is not of a causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except ValueError as error:
        raise UserError(
            f"a model of type {config.model_type!r} is no causal language model that transformers can build "
            f"({first_line(error)}); name another model.base"
        ) from error
    parameters = sum(weight.numel() for weight in model.parameters())
    trained = parameters
    if lora_rank:
        output = model.get_output_embeddings()
        linear = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part is not output]
        trained = sum(lora_rank * (part.in_features + part.out_features) for part in linear)
    text = config.get_text_config()
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        parameters=parameters,
        trained=trained,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        key_value=head * (getattr(text, "num_key_value_heads", None) or heads),
        inner=_inner(text),
        gated=any(name.endswith("gate_proj") for name, _ in model.named_modules()),
        vocabulary=text.vocab_size,
    )


def _inner(text: Any) -> int:
    """Return the width of the feed-forward layer, which each family names in its own way; 4 h where none is set."""
    names = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "dim_feedforward")
    return next((width for name in names if (width := getattr(text, name, None))), 4 * text.hidden_size)


def available() -> float:
    """Return the bytes of memory that this process may still take: the machine's, or its job's if that is less.

    SLURM and containers limit a job by cgroups, of version 1 or 2; what is cached of files counts as free.
    """
    import psutil

    return min([float(psutil.virtual_memory().available), *_left_in_cgroups(Path("/proc/self/cgroup"))])


def _left_in_cgroups(own: Path, root: Path = Path("/sys/fs/cgroup")) -> Iterator[float]:
    """Yield what is left below each memory limit of the groups that a process is in, from its own up to the root."""
    for line in own.read_text().splitlines() if own.is_file() else []:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            top, names, cached = root, ("memory.max", "memory.current"), "inactive_file"
        elif "memory" in controllers.split(","):
            top, names, cached = (
                root / "memory",
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
                "total_inactive_file",
            )
        else:
            continue
        folder = top / place.lstrip("/")
        # Inside a container the group's own files may lie at the root of the mount.
        for group in dict.fromkeys((folder, *folder.parents, top)):
            if group == top or top in group.parents:
                yield from _left(group, names, cached)


def _left(group: Path, names: tuple[str, str], cached: str) -> Iterator[float]:
    """Yield limit − use + cached files of one group, if it has a limit."""
    try:
        limit, used = ((group / name).read_text().strip() for name in names)
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    if limit != "max":
        yield float(limit) - float(used) + float(counts.get(cached, 0))


def per_token(shape: Shape, *, fp32: bool, checkpointing: bool) -> float:
    """Return the bytes of activations kept for the backward pass, for each token of a micro-batch.

    A layer keeps, in elements of 2 bytes (4 in fp32): two norms at 2 h of their own and an fp32 copy of their input,
    the attention's input, query, output (h each), key and value (kv each), and the feed-forward's input (h) and inner
    activations (4 I with a gate, 2 I without). With checkpointing it keeps its input alone, and one layer at a time is
    computed again. The logits are taken as if every token were trained on: 2 bytes in the model's precision and three
    fp32 copies (logits, their softmax, its gradient).
    """
    size = 4 if fp32 else 2
    norms = 2 * (4 * shape.hidden + size * shape.hidden)
    attention = size * (3 * shape.hidden + 2 * shape.key_value)
    feed_forward = size * (shape.hidden + (4 if shape.gated else 2) * shape.inner)
    layer = norms + attention + feed_forward
    layers = shape.layers * size * shape.hidden + layer if checkpointing else shape.layers * layer
    return layers + (size + 12) * shape.vocabulary


def plans(
    shape: Shape, *, processes: int, precision: str = "bf16", optimizer: str = "adamw", checkpointing: bool = False
) -> Iterator[Plan]:
    """Yield the memory of each DeepSpeed configuration that allows these settings, least communication first."""
    fp32 = precision == "fp32"
    size = 4 if fp32 else 2
    master = 0 if precision in ("fp32", "bf16_pure") else 4
    # Adafactor keeps a row and a column for each matrix; a thousandth of the matrix is a generous bound.
    moments = 8.0 if optimizer == "adamw" else 0.008
    weights, gradients = size * shape.parameters, size * shape.trained
    states = (master + moments) * shape.trained
    tokens = per_token(shape, fp32=fp32, checkpointing=checkpointing)
    layer = size * shape.parameters / max(1, shape.layers)
    yield Plan("none" if precision == "bf16_pure" else "zero0", weights, gradients, states, 0, tokens, 0)
    if optimizer == "adafactor" or precision == "bf16_pure":
        return
    share = 1 / processes
    bucket = size * min(5e8, shape.trained)
    yield Plan("zero1", weights, gradients, states * share, bucket, tokens, 0)
    yield Plan("zero2", weights, gradients * share, states * share, bucket, tokens, 0)
    yield Plan("zero2_offload", weights, gradients * share, 0, bucket, tokens, states)
    yield Plan("zero3", weights * share, gradients * share, states * share, 3 * layer, tokens, 0)
    yield Plan("zero3_offload", 0, gradients * share, 0, 3 * layer, tokens, states + weights)


def plan_of(wanted: str, candidates: Iterator[Plan]) -> Plan:
    """Return the plan of a DeepSpeed configuration by its name (`zero2_offload`); plain torch is like `zero0`."""
    by_name = {plan.name: plan for plan in candidates}
    return by_name.get(wanted) or next(iter(by_name.values()))


def configuration_name(deepspeed: dict[str, Any]) -> str:
    """Name a DeepSpeed configuration by what decides its memory: ZeRO stage and offloading."""
    zero = deepspeed.get("zero_optimization", {})
    offloads = any(zero.get(key, {}).get("device", "none") != "none" for key in ("offload_optimizer", "offload_param"))
    return f"zero{zero.get('stage', 0)}" + ("_offload" if offloads else "")


def disk(shape: Shape, *, precision: str, optimizer: str, checkpoints_kept: int, stored_bytes: int) -> float:
    """Return the bytes of disk a run takes at most: checkpoints, the one being written, and the exported model."""
    size = 4 if precision == "fp32" else 2
    master = 4 if precision == "bf16" else 0
    moments = 8.0 if optimizer == "adamw" else 0.008
    checkpoint = size * shape.parameters + (master + moments) * shape.trained
    return (checkpoints_kept + 1) * checkpoint + stored_bytes * shape.parameters
