"""Seeds, and the flags that let a generating script ask a stub server, for tests of the generating stages."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

from selfcodealign.config.section import Section
from selfcodealign.ids import content_id
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.conftest import ROOT

PROMPTS = ROOT / "prompts" / "selfcodealign.yaml"


def seed(number: int, docstring: bool = True) -> dict[str, Any]:
    """Make a seed; without a docstring the stub server's judge says no."""
    doc = f'    """Return {number}."""\n' if docstring else ""
    content = f"def number_{number}(x):\n{doc}    return {number}"
    return {
        "id": content_id("seed", content),
        "function_id": content_id("fn", content),
        "content": content,
        "imports": [],
        "repo": "someone/something",
        "path": "a.py",
        "line": 1,
        "licence": "MIT",
        "judge_score": None,
    }


def write_seeds(path: Path, count: int, docstrings: bool = True) -> Path:
    """Write a shard of seeds, in the order of their ids."""
    made = [seed(number, docstrings or number % 2 == 0) for number in range(count)]
    write_rows(path, SeedRow, sorted(made, key=lambda row: row["id"]))
    return path


def outputs(folder: Path, name: str = "out") -> dict[str, Path]:
    """Name a stage's outputs and its work folder."""
    return {
        "rows": folder / f"{name}.parquet",
        "dropped": folder / f"{name}.dropped.parquet",
        "funnel": folder / f"{name}.funnel.json",
        "work": folder / "work" / name,
    }


def asking(url: str, **engine: object) -> dict[str, Any]:
    """Flags that let a script ask a stub server."""
    settings = {"backend": "openai", "base_url": url, "concurrency": 8, "backoff_s": 0.001, **engine}
    return {"model": "stub", "engine": {name: str(value) for name, value in settings.items()}}


def call(main: Callable[..., None], *files: Path | str, **flags: Any) -> None:
    """Call a script that asks a model with its flags as keywords: each goes to the section that has a key of its name.

    `prompts` and `run_seed` have a value here.
    """
    given: dict[str, Any] = {"prompts": PROMPTS, "run_seed": 3407, **flags}
    sections = {}
    for name, kind in get_type_hints(main).items():
        if isinstance(kind, type) and issubclass(kind, Section):
            keys = {key: given.pop(key) for key in kind.model_fields if key in given}
            sections[name] = flags.get(name) or kind(**keys)
    own = signature(main).parameters
    main(*files, **{name: value for name, value in given.items() if name in own or name in flags} | sections)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read all rows of a file."""
    return list(read_rows(path))
