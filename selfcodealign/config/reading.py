"""From YAML files to a checked config, with one sentence for everything that is wrong."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfcodealign.config.cells import check_tables
from selfcodealign.config.checks import check_values
from selfcodealign.config.config import Config
from selfcodealign.errors import UserError

REPLACED = (
    *("generations", "datasets", "models", "other_models", "other_datasets", "paper_models", "benchmarks", "tables"),
    *("categories", "difficulties"),
)
"""Sections of named entries: a config that has one means these entries and no others."""
RENAMED = {("models", "base"): "from"}
"""Section and former name of a key → its name."""


def load(values: dict[str, Any]) -> Config:
    """Validate a config as read from YAML.

    Raises:
        UserError: one sentence for each wrong key or value, naming it.
    """
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise UserError("; ".join(_sentence(item) for item in error.errors())) from None
    check_values(config)
    check_tables(config)
    return config


def extended(
    values: dict[str, Any], roots: tuple[Path, ...] = (Path(),), files: Iterable[str | Path] = ()
) -> dict[str, Any]:
    """Lay a config over the file that its key `extends` names, and over the file which that one extends, and so on.

    Args:
        values: a config as read from YAML.
        roots: folders that `extends` is looked up in, in order.
        files: what the config was read from, by somebody who takes the last of two equal keys.

    Raises:
        UserError: a file is missing, is no YAML, has a key twice, or extends itself.
    """
    for file in files:
        read(Path(file))
    seen = []
    while "extends" in values:
        name = values["extends"]
        if not isinstance(name, str):
            raise UserError(f"config key extends: {name!r} is no file; name one config file")
        path = next((root / name for root in roots if (root / name).is_file()), None)
        if path is None or path in seen:
            problem = "extends itself" if path else "does not exist"
            raise UserError(f"config key extends: {name} {problem}; name another file")
        seen.append(path)
        values = merged(read(path), {key: value for key, value in values.items() if key != "extends"})
    return values


def read(path: Path) -> dict[str, Any]:
    """Read one YAML config file.

    Raises:
        UserError: the file is missing or is no YAML mapping.
    """
    import yaml

    if not path.is_file():
        raise UserError(f"config file {path} does not exist; name one with --configfile")
    try:
        text = path.read_text(encoding="utf-8-sig")
        try:  # JSON may be indented with tabs, which YAML may not.
            values = json.loads(text, object_pairs_hook=lambda pairs: _section(path, pairs))
        except ValueError:
            values = yaml.load(text, Loader=_unique_keys(path))
    except yaml.YAMLError as error:
        raise UserError(f"config file {path} is not YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"config file {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise UserError(f"config file {path} must hold keys and values, not {type(values).__name__}")
    return values


def _section(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make one section of its keys and values; a key twice is refused, though JSON and PyYAML take the last."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise UserError(f"config file {path}: the key {twice[0]} stands twice in one section; keep one of the two")
    return dict(pairs)


def _unique_keys(path: Path) -> Any:
    """Make a YAML loader that refuses a key twice; keys that an anchor brings in (`<<`) may be given again."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            _section(path, [(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
            return node

    return Loader


def merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one config over another, section by section; sections of named entries are replaced whole."""
    result = dict(values)
    for key, value in over.items():
        mergeable = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if mergeable and key not in REPLACED else value
    return result


def _sentence(item: Any) -> str:
    """Say what is wrong with one key."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        if new := RENAMED.get((item["loc"][0], item["loc"][-1])):
            return f"config key {key} has a new name: write {new} in its place"
        known = _keys_at(item["loc"][:-1])
        return f"config key {key} is unknown" + (f"; known keys there: {', '.join(known)}" if known else "")
    message = item["msg"].removeprefix("Value error, ")
    return f"config key {key}: {message}, not {item['input']!r}" if key else f"config: {message}"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """List the keys that a section of the config may have."""
    kind: Any = Config
    for part in location:
        annotation = kind.model_fields[part].annotation if part in getattr(kind, "model_fields", {}) else None
        if annotation is None:
            return []
        kind = annotation.__args__[-1] if getattr(annotation, "__origin__", None) is dict else annotation
    return sorted(info.alias or name for name, info in getattr(kind, "model_fields", {}).items())


def schema() -> dict[str, Any]:
    """Return the JSON schema of the config, for editors and for `config/config.schema.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
