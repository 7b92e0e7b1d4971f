"""Write what the config model knows into files: the JSON schema for editors, and a page that explains every key."""

import argparse
import json
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from selfcodealign.config import Config, schema
from selfcodealign.rows_io import write_text
from selfcodealign.stage import type_name

INTRODUCTION = """# Configuration

This page lists every key of `config.yaml`, with its type and default. `make schema` writes it and `config.schema.json`
from `selfcodealign/config/`; a test checks that both are up to date. A missing key has its default; an unknown key is
an error. Threads, memory and partitions are set in `profiles/`.

Use a preset of this folder with `snakemake --configfile config/<preset>.yaml`; then `config.yaml` is not read. To
override keys of a preset, or of your `config.yaml`, write a file that names it in `extends`.

"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the tool's flags."""
    parser.add_argument("--folder", type=Path, default=Path("config"), help="where to write (default: config)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the files are out of date")


def main(arguments: argparse.Namespace) -> None:
    """Write, or check, `config.schema.json` and `README.md`."""
    wanted = {
        arguments.folder / "config.schema.json": json.dumps(schema(), indent=2) + "\n",
        arguments.folder / "README.md": INTRODUCTION + page(),
    }
    for path, text in wanted.items():
        if arguments.check:
            if not path.is_file() or path.read_text() != text:
                raise SystemExit(f"{path} is out of date; run `make schema`")
        else:
            write_text(path, text)
            print(f"wrote {path}")


def page() -> str:
    """Describe every key as Markdown tables, one for the top level and one for each section."""
    plain = []
    sections = []
    for name, info in Config.model_fields.items():
        kind = _section_of(info.annotation)
        if kind is None:
            plain.append((name, info))
        else:
            repeated = typing.get_origin(info.annotation) is dict
            sections.append((f"{name}.<name>" if repeated else name, kind))
    blocks = ["## Top level\n\n" + _table(plain)]
    for name, kind in sections:
        doc = " ".join((kind.__doc__ or "").split())
        blocks.append(f"## `{name}`\n\n{doc}\n\n" + _table(list(kind.model_fields.items())))
    return "\n".join(blocks)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if typing.get_origin(annotation) is dict:
        annotation = typing.get_args(annotation)[1]
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _table(fields: list[tuple[str, Any]]) -> str:
    if not fields:
        return "No keys: nothing to choose.\n"
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, info in fields:
        default = info.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(mode="json")
        shown = "required" if default is PydanticUndefined else f"`{json.dumps(default, default=str)}`"
        cells = (f"`{info.alias or name}`", type_name(info.rebuild_annotation()), shown, info.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"
