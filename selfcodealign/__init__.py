"""Self-alignment of code models: what two or more stages share. Nothing here imports Snakemake.

What other programs may rely on is named here, and loaded when it is asked for; the rest may change with any release.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfcodealign.errors import UserError
    from selfcodealign.evaluation.base import Benchmark
    from selfcodealign.evaluation.rescoring import evaluate
    from selfcodealign.generation.backends import Backend
    from selfcodealign.sandbox import Settings, run_cases

__version__ = "0.1.0"
__all__ = ["Backend", "Benchmark", "Settings", "UserError", "evaluate", "run_cases"]

PLACES = {
    "Backend": "generation.backends",
    "Benchmark": "evaluation.base",
    "Settings": "sandbox",
    "UserError": "errors",
    "evaluate": "evaluation.rescoring",
    "run_cases": "sandbox",
}


def __getattr__(name: str) -> Any:
    if name in PLACES:
        return getattr(importlib.import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__} has no {name}")
