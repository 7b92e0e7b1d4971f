"""Packages that only some tools need: which extra of the wheel brings them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from selfcodealign.errors import UserError

WANTED = re.compile(r"""^([A-Za-z0-9_.-]+).*; extra == ['"]([a-z]+)['"]$""")
"""A line of the wheel's metadata: a package and the extra that it belongs to."""
ABOUT_TRAINING = "plan-training"
"""A tool whose packages more than one extra has."""


@contextmanager
def missing_packages_named(tool: str) -> Iterator[None]:
    """Turn the lack of somebody else's package into one sentence that says how to get it.

    Raises:
        UserError: a tool imports a package that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "selfcodealign"):
            raise
        raise UserError(
            f"{tool} needs the package {package}, which is not installed: {_cure(package, tool)}"
        ) from error


def _cure(package: str, tool: str) -> str:
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("selfcodealign") or []
    except PackageNotFoundError:  # A checkout, whose packages come from lock files.
        return "run `make setup`"
    found = (match.groups() for line in lines if (match := WANTED.match(line)))
    extras = [extra for name, extra in found if re.sub("[-.]", "_", name) == package]
    if not extras:
        return f"run pip install {package}"
    extra = "train" if tool == ABOUT_TRAINING and "train" in extras else extras[0]
    return f"run pip install 'selfcodealign[{extra}]'"
