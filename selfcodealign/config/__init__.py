"""The whole configuration as one typed model: validation, defaults, JSON schema and documentation come from here.

A section named like a rule holds that rule's settings; its keys are the script's flags. Nothing heavy is imported,
because Snakemake reads this package at every start.
"""

from selfcodealign.config.cells import Cell, cells, evaluated
from selfcodealign.config.config import Config
from selfcodealign.config.dataset import Dataset
from selfcodealign.config.paths import (
    check_benchmarks,
    check_given_datasets,
    check_models,
    located,
    models,
    placed,
    raw_shards,
)
from selfcodealign.config.reading import extended, load, merged, read, schema
from selfcodealign.config.training import TrainDpo, TrainedModel, TrainSft

__all__ = [
    "Cell",
    "Config",
    "Dataset",
    "TrainDpo",
    "TrainSft",
    "TrainedModel",
    "cells",
    "check_benchmarks",
    "check_given_datasets",
    "check_models",
    "evaluated",
    "extended",
    "load",
    "located",
    "merged",
    "models",
    "placed",
    "raw_shards",
    "read",
    "schema",
]
