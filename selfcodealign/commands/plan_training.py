"""Say whether a fine-tuning run fits, under each ZeRO stage, and with which micro-batch."""

import argparse

from selfcodealign.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `python -m selfcodealign plan-training`."""
    parser.add_argument("--model", required=True, help="local folder or Hub id of the base model")
    parser.add_argument("--revision", default="main", help="revision on the Hub")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that train together (default 1)")
    parser.add_argument("--gpu-memory-gb", type=float, required=True, help="memory of each GPU, in 10^9 bytes")
    parser.add_argument("--host-memory-gb", type=float, default=0, help="memory of the machine, for offloading")
    parser.add_argument(
        "--precision",
        choices=("bf16", "bf16_pure", "fp32"),
        default="bf16",
        help="bf16 keeps fp32 weights for the optimizer, bf16_pure keeps none (default bf16)",
    )
    parser.add_argument(
        "--optimizer",
        choices=("adamw", "adafactor"),
        default="adamw",
        help="adafactor needs the least memory (default adamw)",
    )
    parser.add_argument(
        "--max-tokens", type=int, default=1_280, help="maximum length of a row (default 1280, as in the paper)"
    )
    parser.add_argument("--lora-rank", type=int, default=0, help="rank of LoRA adapters; 0 trains all weights")
    parser.add_argument(
        "--activation-checkpointing",
        action="store_true",
        help="compute activations again in the backward pass: a third slower, much less memory",
    )
    parser.add_argument("--checkpoints-kept", type=int, default=2, help="checkpoints on disk (default 2)")


def main(arguments: argparse.Namespace) -> None:
    """Print the arithmetic, one line per ZeRO stage, and the settings to use."""
    print(report(arguments))


def report(arguments: argparse.Namespace) -> str:
    """Write the plan as text.

    Raises:
        UserError: the number of GPUs is not positive, or there is no such model.
    """
    from selfcodealign.training import memory
    from selfcodealign.training.model import load_config

    if arguments.gpus < 1:
        raise UserError(f"--gpus is {arguments.gpus}; give at least 1")
    shape = memory.shape_of(load_config(arguments.model, arguments.revision, False), arguments.lora_rank)
    giga = memory.GB
    tokens = arguments.max_tokens
    lines = [
        f"{arguments.model}: {shape.parameters:,} parameters, {shape.trained:,} trained, {shape.layers} layers of "
        f"{shape.hidden}, vocabulary {shape.vocabulary:,}",
        f"{arguments.gpus} GPU(s) of {arguments.gpu_memory_gb:g} GB, {arguments.precision}, {arguments.optimizer}"
        + (", activation checkpointing" if arguments.activation_checkpointing else ""),
        "",
        f"GB on each GPU = {memory.CONTEXT / giga:g} (CUDA) + {memory.FRAGMENTATION:g} × "
        f"(weights + gradients + optimizer + working + {tokens} tokens × activations of a token)",
        "",
        f"{'deepspeed':<14}{'weights':>9}{'grads':>9}{'optim':>9}{'working':>9}{'MB/token':>10}{'needed':>9}  verdict",
    ]
    best = None
    for plan in memory.plans(
        shape,
        processes=arguments.gpus,
        precision=arguments.precision,
        optimizer=arguments.optimizer,
        checkpointing=arguments.activation_checkpointing,
    ):
        most = plan.most_tokens(arguments.gpu_memory_gb * giga)
        fits = most >= tokens and plan.host <= arguments.host_memory_gb * giga
        if most < tokens:
            verdict = "does not fit"
        elif plan.host > arguments.host_memory_gb * giga:
            verdict = f"needs {plan.host / giga:.0f} GB of host memory (--host-memory-gb)"
        else:
            verdict = f"fits; micro_batch_tokens up to {most // tokens * tokens}"
        if fits and best is None:
            best = (plan.name, most // tokens * tokens)
        parts = (plan.weights, plan.gradients, plan.optimizer, plan.working)
        lines.append(
            f"{plan.name:<14}"
            + "".join(f"{part / giga:>9.2f}" for part in parts)
            + f"{plan.per_token / 1e6:>10.2f}{plan.needed(tokens) / giga:>9.2f}  {verdict}"
        )
    stored = memory.disk(
        shape,
        precision=arguments.precision,
        optimizer=arguments.optimizer,
        checkpoints_kept=arguments.checkpoints_kept,
        stored_bytes=2,
    )
    lines += [
        "",
        f"disk: up to {stored / giga:.1f} GB: {arguments.checkpoints_kept} checkpoints, one being written, the model",
    ]
    if best is None:
        lines.append("it does not fit: more GPUs, --activation-checkpointing, --lora-rank 64, or fewer --max-tokens")
    else:
        file = best[0] if best[0] == "none" else f"config/deepspeed/{best[0]}.json"
        lines += ["use:", "  train_sft:", f"    deepspeed: {file}", f"    micro_batch_tokens: {best[1]}"]
        if arguments.activation_checkpointing:
            lines.append("    activation_checkpointing: true")
    return "\n".join(lines)
