"""What must hold between the values of a config, beyond the type and bounds of each: found before any job starts."""

import math
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from selfcodealign.config.config import Config
from selfcodealign.errors import UserError
from selfcodealign.evaluation.base import find
from selfcodealign.generation.settings import EngineSettings

ENDINGS = (
    *("parquet", "json", "jsonl", "npy", "gz", "md", "dropped", "funnel", "metrics", "example", "overlaps", "versions"),
    *("pairs", "labels", "tasks", "copies"),
)
"""What rules write behind the name of an entry: `passing.dropped` would be the dropped rows of `passing`."""

LEAST_AND_MOST = (("min_", "max_"), ("least_", "most_"))


def check_values(config: Config) -> None:
    """Check what pydantic cannot see in one value.

    Raises:
        UserError: one sentence for each fault, naming the keys.
    """
    faults = [*_names(config), *_weights(config), *_empty(config)]
    if fault := config.judge_seeds.contradiction(config.mode):
        faults.append(f"config key judge_seeds.{fault}")
    faults += _stopping(config)
    for key, section in _sections(config):
        faults += [f"config key {key}{fault}" for fault in (*_numbers(section), *_between(section))]
    if faults:
        raise UserError("; ".join(dict.fromkeys(faults)))


def _stopping(config: Config) -> Iterator[str]:
    """Find what does not go together with responses that are asked for until enough of them pass."""
    for name, generation in config.generations.items():
        key = f"generations.{name}.responses" if "enough" in generation.responses else "write_responses"
        at_once = EngineSettings.model_validate(config.engines[f"generations.{name}.engine"]).samples_per_request
        if fault := config.responses_of(name).contradiction(config.mode, at_once):
            yield f"config key {key}.{fault}"
    for name, dataset in config.datasets.items():
        if fault := dataset.contradiction(config.responses_of(dataset.generation).enough):
            yield f"config key datasets.{name}.{fault}"


def _sections(config: Config) -> Iterator[tuple[str, BaseModel]]:
    """List all sections by their keys, the top as an empty one, and those that entries change in part."""
    yield "", config
    for name in type(config).model_fields:
        value = getattr(config, name)
        for key, one in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(one, BaseModel):
                yield f"{name}.{key}." if key else f"{name}.", one
    for name, model in config.models.items():
        yield f"models.{name}.settings.", _changed(getattr(config, model.rule), model.settings)
    for name, generation in config.generations.items():
        yield f"generations.{name}.responses.", _changed(config.write_responses, generation.responses)
    for key, engine in config.engines.items():
        if key != "engine":
            yield f"{key}.", _changed(config.engine, engine)


def _changed(section: BaseModel, values: dict[str, Any]) -> BaseModel:
    try:
        return type(section).model_validate(section.model_dump() | values)
    except ValidationError:  # Values were checked one by one; a reader's odd ones stay with that sentence.
        return section


def _numbers(section: BaseModel) -> Iterator[str]:
    """Find numbers that are none, and seeds that no generator takes."""
    for key, value in section:
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{key}: {value} is no finite number; write one"
        if (key == "seed" or key.endswith("_seed")) and isinstance(value, int) and not 0 <= value < 2**63:
            yield f"{key}: {value} is no seed; write a whole number from 0 to 2^63 - 1"


def _between(section: BaseModel) -> Iterator[str]:
    """Find pairs of settings that contradict each other."""
    values = dict(section)
    for key, low in values.items():
        for least, most in LEAST_AND_MOST:
            other = most + key.removeprefix(least)
            high = values.get(other)
            if key.startswith(least) and low is not None and high is not None and low > high:
                yield f"{key}: {low} is above {other}, which is {high}: nothing would be kept; correct one of them"
    if "chunk_lines" in values and values["min_lines"] > values["chunk_lines"]:
        yield f"min_lines: {values['min_lines']} is above chunk_lines, which is {values['chunk_lines']}; correct one"


def _names(config: Config) -> Iterator[str]:
    """Find names that would be another file of another entry."""
    for section in ("generations", "datasets", "other_datasets", "models", "other_models"):
        for name in getattr(config, section):
            if (ending := name.rpartition(".")[2]) in ENDINGS and "." in name:
                yield f"config key {section}.{name}: names of files end in .{ending}; choose a name that does not"
    for name in config.benchmarks:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            yield f"config key benchmarks.{name}: use lower-case letters, digits, '_' and '-' in a name"
    for name in config.data.other_benchmarks:
        label, _, kind = name.partition(":")
        if not re.fullmatch(r"[\w.-]+", label):
            yield f"config key data.other_benchmarks.{name}: use letters, digits, '.', '_' and '-' in a name"
        elif kind and find(kind) is None:
            yield f"config key data.other_benchmarks.{name}: there is no benchmark {kind!r}; leave it out or correct it"
        elif name in config.benchmarks:
            yield f"config key data.other_benchmarks.{name}: benchmarks has an entry of this name too; choose another"


def _weights(config: Config) -> Iterator[str]:
    for key in ("categories", "difficulties"):
        weights = getattr(config.write_instructions, key)
        where = f"config key write_instructions.{key}"
        wrong = {name: weight for name, weight in weights.items() if not (math.isfinite(weight) and weight >= 0)}
        fractions = {name: weight for name, weight in weights.items() if weight != int(weight)} if not wrong else {}
        if not weights:
            yield f"{where}: is empty; leave the key out for the paper's, or name one with its weight"
        elif wrong:
            name, weight = next(iter(wrong.items()))
            yield f"{where}.{name}: {weight} is no weight; write a number from 0 up"
        elif not sum(weights.values()):
            yield f"{where}: all weights are 0; give one a weight above 0"
        elif fractions and config.mode == "reference":
            name, weight = next(iter(fractions.items()))
            yield f"{where}.{name}: mode reference takes whole numbers only, not {weight}"
        if any(not name.strip() for name in weights):
            yield f"{where}: a name is empty; write one"


def _empty(config: Config) -> Iterator[str]:
    """Find lists and texts that are empty where something is needed."""
    data = config.data
    if not data.raw_shards or any(not one.strip() for one in _listed(data.raw_shards)):
        yield "config key data.raw_shards: names no file; name the raw files that seeds are gathered from"
    if data.seeds is not None and not all([data.seeds, *(one.strip() for one in _listed(data.seeds))]):
        yield "config key data.seeds: names no file; leave the key out, or name files of filtered seeds"
    for name, generation in config.generations.items():
        if data.seeds is not None and generation.seeds == "snippets":
            yield (
                f"config key generations.{name}.seeds: snippets are cut out of raw files, but data.seeds gives "
                "functions in their place; leave one of them out"
            )
    if not data.content_column.strip():
        yield "config key data.content_column: is empty; name the column with a file's text"
    if not config.model.base.strip():
        yield "config key model.base: is empty; name a local folder or a Hub id"
    for name, run in config.benchmarks.items():
        if run.file is not None and not all([run.file, *_listed(run.file)]):
            yield f"config key benchmarks.{name}.file: names no file; leave the key out, or name one"
    for name, given in config.other_datasets.items():
        for key in ("source", "instruction", "response"):
            value = getattr(given, key)
            if not all([value, *_listed(value)]):
                yield f"config key other_datasets.{name}.{key}: is empty; name at least one"
    for name, generation in config.generations.items():
        if generation.tasks and not all([generation.tasks.source, *_listed(generation.tasks.source)]):
            yield f"config key generations.{name}.tasks.source: is empty; name at least one"
    for name, dataset in config.datasets.items():
        if name in dataset.equal_rows_with:
            yield f"config key datasets.{name}.equal_rows_with: names {name} itself; name others"


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
