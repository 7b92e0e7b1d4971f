"""The paper's tables: what it published, and what of a run stands beside each column.

The numbers lie in `paper.yaml`. Nothing heavy is imported, because the config is checked against this module.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_suffix(".yaml")

Kind = Literal["score", "wins", "seeds", "rows", "pass_rate", "generation_h", "finetune_h"]
"""What a number is: a score; wins of EvalPerf; rows that entered, rows trained on, share of them that pass; hours."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where the numbers of a column come from.

    Args:
        kind: what they are.
        benchmarks: entries of the config's `benchmarks` that are scored; the mean over several.
        metric: name of the metric in a benchmark's scores; the headline if empty.
    """

    kind: Kind = "score"
    benchmarks: tuple[str, ...] = ()
    metric: str = ""


EVOEVAL = ("difficult", "creative", "subtle", "combine", "tool_use")
LIBRARIES = ("pandas", "numpy", "matplotlib", "tensorflow", "scipy", "sklearn", "pytorch")
WRITERS = ("StarCoder2-3B", "Llama-3-8B", "StarCoder2-15B", "DeepSeek-Coder-33B", "CodeQwen1.5-7B")
HUMANEVAL_PLUS = Column(benchmarks=("humaneval_plus",))

COLUMNS: dict[str, dict[str, Column]] = {
    "evalplus": {"humaneval_plus": HUMANEVAL_PLUS, "mbpp_plus": Column(benchmarks=("mbpp_plus",))},
    "livecodebench": {
        start: Column(benchmarks=("livecodebench",), metric=f"from_{start}_pass@1")
        for start in ("2023-09-01", "2023-07-01", "2023-05-01")
    },
    "evoeval": {
        "average": Column(benchmarks=tuple(f"evoeval_{name}" for name in EVOEVAL)),
        **{name: Column(benchmarks=(f"evoeval_{name}",)) for name in EVOEVAL},
    },
    "evalperf": {
        "dps": Column(benchmarks=("evalperf",)),
        "pass_at_1": Column(benchmarks=("evalperf",), metric="pass@1"),
        "win_rate": Column("wins", benchmarks=("evalperf",)),
    },
    "classeval": {
        "class_level": Column(benchmarks=("classeval",)),
        "method_level": Column(benchmarks=("classeval",), metric="method_level"),
    },
    "ds1000": {
        "average": Column(benchmarks=("ds1000",)),
        **{name: Column(benchmarks=("ds1000",), metric=f"{name}_pass@1") for name in LIBRARIES},
    },
    "canitedit": {
        "average": Column(benchmarks=("canitedit",)),
        **{
            name: Column(benchmarks=("canitedit",), metric=f"{name}_pass@1")
            for name in ("corrective", "adaptive", "perfective")
        },
    },
    "cross_model": {name: HUMANEVAL_PLUS for name in ("base", *WRITERS)},
    "response_selection": {
        "rows": Column("rows"),
        "pass_rate": Column("pass_rate"),
        "humaneval_plus": HUMANEVAL_PLUS,
    },
    "seed_selection": {"humaneval_plus": HUMANEVAL_PLUS},
    "distillation": {"humaneval_plus": HUMANEVAL_PLUS},
    "cost": {
        "seeds": Column("seeds"),
        "rows": Column("rows"),
        "generation_h": Column("generation_h"),
        "finetune_h": Column("finetune_h"),
    },
}
"""Table → column → where its numbers come from, in the paper's order."""


@cache
def published() -> dict[str, Any]:
    """Read the paper's numbers: `tables` by name, and the sizes of its data under `rows`."""
    import yaml

    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def rows_of(table: str) -> dict[str, dict[str, float | None]]:
    """Return a published table as row → column → number; None where the paper has none."""
    found = published()["tables"][table]
    return {name: dict(zip(found["columns"], values, strict=True)) for name, values in found["rows"].items()}
