"""Write raw shards of the Python code that this machine has: the standard library and the installed packages.

A run that begins with them fetches no source file. They hold what this interpreter has, so that another version of a
package gives other seeds; the rule runs again when one changes.
"""

import hashlib
import logging
import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from selfcodealign.config.seeds import MakeLibraryShards
from selfcodealign.errors import UserError
from selfcodealign.seeds.stack import StackFile, write_shard
from selfcodealign.stage import run

log = logging.getLogger(__name__)

LEFT_OUT = {"test", "tests", "testing", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages"}
"""Folders whose code is about testing, or is no part of the standard library."""
PERMISSIVE = re.compile(r"\b(?:MIT|BSD|Apache|ISC|PSF|Python Software Foundation|0BSD|Zlib|Unlicense)\b", re.IGNORECASE)
COPYLEFT = re.compile(r"\b[AL]?GPL|\bMPL|General Public|Mozilla Public|EUPL|CDDL", re.IGNORECASE)


def licence_of(package: Distribution) -> str:
    """Return the licence that a package's metadata gives: the expression, else the classifier, else the first line."""
    expression, classifiers, texts = (
        package.metadata.get_all(name) or [] for name in ("License-Expression", "Classifier", "License")
    )
    classified = [value.rpartition(" :: ")[2] for value in classifiers if value.startswith("License :: ")]
    return "".join(expression) or ", ".join(classified) or "".join(texts).strip().partition("\n")[0]


def why_left_out(parts: tuple[str, ...], size: int, settings: MakeLibraryShards) -> str | None:
    """Say why a file is no seed's source, by its folders and its bytes, or None."""
    if LEFT_OUT & set(parts[:-1]) or parts[-1].startswith("test_"):
        return "tests"
    if not settings.min_bytes <= size <= settings.max_bytes:
        return "size"
    return None


def is_permissive(licence: str) -> bool:
    """Tell whether code under a licence may go into a dataset; a licence with a copyleft part may not."""
    return bool(PERMISSIVE.search(licence)) and not COPYLEFT.search(licence)


def standard_library(root: Path) -> Iterator[tuple[str, str, str, Path]]:
    """Yield (repository, path in it, licence, file) of every module of the standard library."""
    for path in root.rglob("*.py"):
        place = path.relative_to(root)
        if not {"site-packages", "dist-packages"} & set(place.parts):
            yield "python/cpython", f"Lib/{place.as_posix()}", "PSF-2.0", path


def packages(roots: list[Path]) -> Iterator[tuple[str, str, str, Path]]:
    """Yield (name, path in it, licence, file) of every module of the installed packages with a permissive licence."""
    for package in distributions(path=list(map(str, roots))):
        licence = licence_of(package)
        if is_permissive(licence):
            for file in package.files or ():
                if file.suffix == ".py" and ".." not in file.parts:
                    yield package.name.lower(), file.as_posix(), licence, Path(str(package.locate_file(file)))


def chosen(
    found: Iterator[tuple[str, str, str, Path]], settings: MakeLibraryShards
) -> list[tuple[str, str, str, Path]]:
    """Choose files by the hash of their names, so by nothing that changes; returns them in the order of their names.

    Raises:
        UserError: there are fewer than asked for.
    """
    fitting = [
        entry
        for entry in found
        if entry[3].is_file() and why_left_out(Path(entry[1]).parts, entry[3].stat().st_size, settings) is None
    ]
    if len(fitting) < settings.files:
        raise UserError(
            f"this interpreter has {len(fitting)} modules of a fitting size, not {settings.files}; lower "
            "make_library_shards.files in the config"
        )
    first = sorted(fitting, key=lambda entry: hashlib.sha256(f"{entry[0]}/{entry[1]}".encode()).hexdigest())
    return sorted(first[: settings.files])


def main(shards: list[Path], *, settings: MakeLibraryShards) -> None:
    """Write raw shards of the standard library and the installed packages, in The Stack's columns.

    Args:
        shards: where to write; the files are dealt out in turn.

    Raises:
        UserError: there are fewer modules than asked for.
    """
    library = Path(sysconfig.get_path("stdlib"))
    roots = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    found = [*standard_library(library), *packages(list(dict.fromkeys(roots)))]
    files = [
        StackFile(repo, path, licence, file.read_text(errors="replace"))
        for repo, path, licence, file in chosen(iter(found), settings)
    ]
    for number, path in enumerate(shards):
        write_shard(path, files[number :: len(shards)])
    log.info(
        "%d of %d modules of Python %s and %d packages",
        *(len(files), len(found), sys.version.split()[0], len({file.repo for file in files}) - 1),
    )


if __name__ == "__main__":
    run(main)
