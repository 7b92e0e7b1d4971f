"""The whole configuration as one typed model: validation, defaults, JSON schema and documentation come from here.

A section named like a rule holds that rule's settings; its keys are the script's flags. Nothing heavy is imported,
because Snakemake reads this package at every start. A job wants one section only and starts sooner without the others,
so a name of this package is looked up in its module when it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfcodealign.config.config import Config
    from selfcodealign.config.dataset import Dataset
    from selfcodealign.config.paths import (
        check_benchmarks,
        check_chats,
        check_files,
        check_given_datasets,
        check_models,
        link_to,
        located,
        models,
        placed,
        raw_shards,
    )
    from selfcodealign.config.reading import extended, load, merged, read, schema
    from selfcodealign.config.training import TrainDpo, TrainedModel, TrainGrpo, TrainSft

__all__ = [
    "Config",
    "Dataset",
    "TrainDpo",
    "TrainGrpo",
    "TrainSft",
    "TrainedModel",
    "check_benchmarks",
    "check_chats",
    "check_files",
    "check_given_datasets",
    "check_models",
    "extended",
    "link_to",
    "load",
    "located",
    "merged",
    "models",
    "placed",
    "raw_shards",
    "read",
    "schema",
]


def __getattr__(name: str) -> Any:
    for module in ("config", "reading", "paths") if name in __all__ else ():
        found = vars(importlib.import_module(f"{__name__}.{module}"))
        if name in found:
            return found[name]
    raise AttributeError(f"module {__name__} has no {name}")
