"""Estimate what a run costs before it starts, from the hours that the paper's authors published.

The paper's cost table (appendix, 4 A100 GPUs unless noted) gives generation and fine-tuning hours for five models on
37,000 seeds. Between its rows hours are interpolated in log(parameters); beyond them the nearest slope is continued. A
model's own row can be left out, which is how a test measures the error of the estimate.
"""

import math
from dataclasses import dataclass

from selfcodealign.pipeline import WRITING, position

TABLE_SEEDS = 37_000
TABLE_SAMPLES = 10
"""Responses for each instruction in the table's runs; the paper leaves it open, the first published recipe says 10."""

CHARS_PER_TOKEN = 3.4
"""Of mixed English and Python under the tokenizers of 2024's code models; an assumption, ± 15 %."""

PARAMETERS = {
    "bigcode/starcoder2-3b": 3.03,
    "bigcode/starcoder2-7b": 7.17,
    "bigcode/starcoder2-15b": 15.96,
    "meta-llama/Meta-Llama-3-8B": 8.03,
    "Qwen/CodeQwen1.5-7B": 7.25,
    "deepseek-ai/deepseek-coder-33b-base": 33.34,
    "Qwen/Qwen2.5-Coder-0.5B": 0.49,
    "Qwen/Qwen2.5-Coder-1.5B": 1.54,
    "Qwen/Qwen2.5-Coder-3B": 3.09,
}
"""Parameters of known base models, in billions."""


@dataclass(frozen=True)
class Measured:
    """One row of the paper's cost table."""

    parameters_b: float
    rows: int
    generation_gpu_hours: float
    training_gpu_hours: float


PAPER = {
    "bigcode/starcoder2-3b": Measured(3.03, 12_000, 6 * 4, 16 / 60 * 4),
    "Qwen/CodeQwen1.5-7B": Measured(7.25, 16_000, 7 * 4, 0.5 * 4),
    "meta-llama/Meta-Llama-3-8B": Measured(8.03, 11_000, 7 * 4, 20 / 60 * 4),
    # Fine-tuned on a single A100 (paper C.4).
    "bigcode/starcoder2-15b": Measured(15.96, 15_000, 12 * 4, 2.5),
    # Fine-tuned on eight H100 with ZeRO-3 (paper C.4).
    "deepseek-ai/deepseek-coder-33b-base": Measured(33.34, 15_000, 83 * 4, 3.5 * 8),
}

# Mean characters of a prompt with the paper's examples (8, 8 and 1 shots), of what models answer, and bytes of a row.
WRITTEN = {
    "extract_concepts": (4_659 + 500, 90, 500),
    "write_instructions": (6_575 + 150, 420, 900),
    "write_responses": (2_830 + 450, 1_900, 2_000),
}
VERDICT_BYTES = 2_400
SANDBOX_CORE_SECONDS = 0.13
"""A program with the numeric stack loaded, 3 % of them running into a 4 s limit."""


@dataclass(frozen=True)
class Stage:
    """Estimated cost of one stage. Hours are of GPUs or cores; bytes are of compressed rows."""

    name: str
    items: int
    tokens_in: int = 0
    tokens_out: int = 0
    gpu_hours: float = 0.0
    core_hours: float = 0.0
    disk_bytes: float = 0.0

    def wall_hours(self, gpus: int, cores: int) -> float:
        """Return wall time in hours if the stage had all the GPUs or cores to itself."""
        return self.gpu_hours / gpus if self.gpu_hours else self.core_hours / cores


def interpolated(parameters_b: float, points: dict[float, float]) -> float:
    """Interpolate log(y) linearly in log(x); beyond the ends continue the last slope."""
    xs = sorted(points)
    if len(xs) == 1:
        return points[xs[0]]
    upper = next((index for index, x in enumerate(xs) if x >= parameters_b), len(xs) - 1)
    left, right = xs[max(upper - 1, 0)], xs[max(upper, 1)]
    share = (math.log(parameters_b) - math.log(left)) / (math.log(right) - math.log(left))
    return math.exp(math.log(points[left]) * (1 - share) + math.log(points[right]) * share)


def estimate(
    parameters_b: float,
    seeds: int,
    samples: int,
    *,
    functions: int = 0,
    rows: int | None = None,
    epochs: float = 4.0,
    without: str | None = None,
) -> list[Stage]:
    """Estimate every stage of one generation and one fine-tuning, in the pipeline's order.

    Args:
        parameters_b: parameters of the model, in billions.
        seeds: seeds that enter generation.
        samples: responses for each instruction.
        functions: functions that enter seed gathering, 0 if the seeds are given.
        rows: rows of the training set; by default the table's share of seeds.
        epochs: of fine-tuning, against the table's 4.
        without: name of a row of the table to leave out of the calibration.
    """
    table = {name: row for name, row in PAPER.items() if name != without}
    generation = interpolated(parameters_b, {row.parameters_b: row.generation_gpu_hours for row in table.values()})
    training = interpolated(
        parameters_b,
        {row.parameters_b: row.training_gpu_hours / (row.rows * row.parameters_b) for row in table.values()},
    )
    share = sum(row.rows for row in table.values()) / (len(table) * TABLE_SEEDS)
    rows = round(seeds * share) if rows is None else rows
    # Decoding dominates, so a stage's share of the hours is its share of the tokens written.
    table_written = sum(_tokens(stage, _rows(stage, TABLE_SEEDS, TABLE_SAMPLES))[1] for stage in WRITING)
    stages = []
    if functions:
        # 1.5 core-hours for 5 million functions, docs/scale.md; the stages before the seeds are taken together.
        stages.append(Stage("gather_seeds", functions, core_hours=functions * 1.5 / 5e6, disk_bytes=functions * 900))
    for stage in WRITING:
        items = _rows(stage, seeds, samples)
        read, written = _tokens(stage, items)
        hours = generation * written / table_written
        stages.append(Stage(stage, items, read, written, hours, disk_bytes=items * WRITTEN[stage][2]))
    responses = seeds * samples
    stages.append(
        Stage(
            "verify_responses",
            responses,
            core_hours=responses * SANDBOX_CORE_SECONDS / 3600,
            disk_bytes=responses * VERDICT_BYTES,
        )
    )
    # Weights, the latest checkpoint and its optimiser state: 2 + 2 + 4 bytes a parameter.
    stages.append(
        Stage(
            "train_sft",
            rows,
            gpu_hours=training * rows * parameters_b * epochs / 4,
            disk_bytes=parameters_b * 1e9 * 8,
        )
    )
    return sorted(stages, key=lambda stage: position(stage.name))


def _rows(stage: str, seeds: int, samples: int) -> int:
    """Return how many answers a writing stage makes: the last one several for each seed."""
    return seeds * samples if stage == WRITING[-1] else seeds


def _tokens(stage: str, items: int) -> tuple[int, int]:
    """Return tokens read and written by a writing stage."""
    prompt, answer, _ = WRITTEN[stage]
    return round(items * prompt / CHARS_PER_TOKEN), round(items * answer / CHARS_PER_TOKEN)
