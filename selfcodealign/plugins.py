"""Benchmarks and backends that other packages bring, by entry point.

A package that is installed beside this one names a class under `[project.entry-points."selfcodealign.benchmarks"]` or
`[project.entry-points."selfcodealign.backends"]` of its pyproject.toml, as `name = "package.module:Class"`. Entry
points are read only for a name that this project does not have itself: every start would pay for it otherwise.

What a plug-in does decides rows as this project's own modules do. So every file of its package is an input of the rules
that use it, and is hashed into their ledgers.
"""

import hashlib
import importlib.util
import re
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfcodealign.errors import UserError, first_line
from selfcodealign.ids import digest_of_file

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["benchmarks", "backends"]
NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
LINKS = Path(".snakemake/plugins")
"""Links to the packages in the folder of a run: their names, which Snakemake compares, are then the same everywhere."""


def named(kind: Kind, own: Collection[str]) -> dict[str, "EntryPoint"]:
    """Return the plug-ins of a kind by name.

    Args:
        kind: of what.
        own: names that this project has itself.

    Raises:
        UserError: two packages use one name, or one uses a name of this project or one that no config can hold.
    """
    found: dict[str, EntryPoint] = {}
    for point in _entry_points(kind):
        if not NAME.fullmatch(point.name):
            raise UserError(f"{_called(point)}: use lower-case letters, digits and '_' in the name of a plug-in")
        if point.name in own:
            raise UserError(f"{_called(point)}: selfcodealign has one of this name itself; uninstall the package")
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise UserError(f"{_called(point)}: {_called(other)} has the same name; uninstall one of the two packages")
    return found


def load(kind: Kind, name: str, own: Collection[str]) -> Any:
    """Return the class that a plug-in names; None if there is no such plug-in.

    Raises:
        UserError: it cannot be imported; the sentence names its package and its entry point.
    """
    point = named(kind, own).get(name)
    if point is None:
        return None
    try:
        return point.load()
    except Exception as error:
        raise UserError(
            f"{_called(point)}: {point.value} cannot be loaded ({type(error).__name__}: {first_line(error)}); mend or "
            "uninstall the package"
        ) from error


def broken(kind: Kind, name: str, own: Collection[str], why: str) -> UserError:
    """Return the error that says that a plug-in is not what its entry point promises."""
    return UserError(f"{_called(named(kind, own)[name])}: {why}; mend or uninstall the package")


def packages(kind: Kind, names: Iterable[str], own: Collection[str]) -> dict[str, Path]:
    """Return where the packages lie that plug-ins are in: name of the folder or file → its path.

    Args:
        kind: of the plug-ins.
        names: of some of them, and of others; those of `own` have no package.
        own: names that this project has itself.
    """
    found: dict[str, Path] = {}
    for name in sorted({*names} - {*own}):
        point = named(kind, own).get(name)
        place = _place(point.module) if point else None
        if place:
            found[place.name] = place
    return found


def files(place: Path) -> list[Path]:
    """List the files of a package by name, without what Python caches; of a module, itself."""
    found = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sorted(file for file in found if "__pycache__" not in file.parts)


def content(kind: Kind, name: str, own: Collection[str]) -> dict[str, str]:
    """Return what a ledger holds of a plug-in, a hash of its package; nothing for what is none."""
    total = hashlib.sha256()
    places = packages(kind, [name], own)
    for place in places.values():
        for file in files(place):
            total.update(f"{file.relative_to(place.parent).as_posix()}\0{digest_of_file(file)}\n".encode())
    return {"plugin": total.hexdigest()} if places else {}


@cache
def _entry_points(kind: Kind) -> tuple["EntryPoint", ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=f"selfcodealign.{kind}"))


def _place(module: str) -> Path | None:
    """Find the package that a module lies in: the outermost one that is no namespace of several distributions."""
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        try:
            spec = importlib.util.find_spec(name)
        except ImportError:  # A package around it cannot be imported; `load` says so.
            return None
        if spec is None:
            return None
        if spec.origin:
            file = Path(spec.origin)
            return file.parent if spec.submodule_search_locations is not None else file
    return None


def _called(point: "EntryPoint") -> str:
    """Name a plug-in for an error: its entry point and its package."""
    package = point.dist.name if point.dist else "?"
    return f"entry point {point.name} of {point.group} in the package {package}"
