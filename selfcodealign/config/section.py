"""What every section of the config shares: strictness, the kinds of numbers, and the words that several sections use.

Parameters that many scripts have beside their section (`mode`, `run_seed`) have their type here too.
"""

import types
import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

Mode = Annotated[
    Literal["fixed", "reference"],
    Field(description="fixed: this project's rules; reference: the published code's, defects included"),
]
RunSeed = Annotated[int, Field(description="run seed; every random choice derives from it")]
RUN_SEED = 3407
Isolation = Annotated[
    Literal["auto", "apptainer", "bubblewrap", "none"],
    Field(description="the layer that keeps programs apart from the machine: the first that works, or this one"),
]
BASE = "base"
"""Name of the untrained base model among the models evaluated."""

PAIRS = "NAME=VALUE"
"""Marks a parameter that is one flag of NAME=VALUE words rather than a flag for each of its keys."""


class Section(BaseModel):
    """A part of the config; unknown keys are an error, so that a misspelt key cannot pass silently."""

    model_config = ConfigDict(extra="forbid")


BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
NAMES = {str: "text", int: "integer", float: "number", bool: "true/false", type(None): "empty"}


def type_name(kind: Any) -> str:
    """Say in words which values a type allows, bounds included."""
    if typing.get_origin(kind) is Annotated:
        inner, *metadata = typing.get_args(kind)
        if PAIRS in metadata:
            return f"keys of {inner.__name__}"
        limits = [limit for item in metadata for limit in getattr(item, "metadata", [item])]
        told = [
            f"{word} {getattr(limit, key)}" for limit in limits for key, word in BOUNDS.items() if hasattr(limit, key)
        ]
        return " ".join([type_name(inner), *([" and ".join(told)] if told else [])])
    if typing.get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(type_name(item) for item in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return f"list of {type_name(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is dict:
        return f"{type_name(typing.get_args(kind)[1])} by name"
    return NAMES.get(kind, getattr(kind, "__name__", str(kind)).lower())
