"""Run a stage's `main` from a command line: the same way for a Snakemake rule, a person and a test."""

import argparse
import errno
import inspect
import logging
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from selfcodealign.errors import ERROR_FILE, UserError

TRUE_FALSE = {"true": True, "false": False}
LOG_LINE = "{desc}: {n_fmt}/{total_fmt} {percentage:3.0f}% {rate_fmt} left {remaining}\n"


def run(main: Callable[..., None], argv: list[str] | None = None) -> None:
    """Call `main` with the keywords its signature names, read from the command line.

    A rule's keyword, the flag and `main`'s keyword are one and the same: `output: seeds=...`, `--seeds ...` and
    `main(seeds=...)`. A `UserError` becomes one line on stderr and exit status 1.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    keywords = vars(parser(main).parse_args(argv))
    with one_line_errors():
        main(**keywords)


class one_line_errors:
    """Turn a `UserError`, or a full disk, inside the block into one sentence on stderr and exit status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            error = UserError(f"no space is left on the disk of {error.filename or Path.cwd()}; make room")
        if isinstance(error, UserError):
            if told := os.environ.get(ERROR_FILE):
                Path(told).write_text(str(error))
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None


def parser(main: Callable[..., None]) -> argparse.ArgumentParser:
    """Build the command line that `main`'s signature and docstring describe.

    Understood types: Path, str, int, float, bool (true/false), list[...] (zero or more values), dict (NAME=VALUE pairs)
    and `X | None` (the flag may be left out).
    """
    built = argparse.ArgumentParser(
        description=inspect.getdoc(main), allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    hints = typing.get_type_hints(main)
    for name, parameter in inspect.signature(main).parameters.items():
        kind = _without_none(hints[name])
        options: dict[str, Any] = {}
        if parameter.default is parameter.empty:
            options["required"] = True
        else:
            options["default"] = parameter.default
        if typing.get_origin(kind) is list:
            options |= {"type": _reader(typing.get_args(kind)[0]), "nargs": "*"}
        elif typing.get_origin(kind) is dict or kind is dict:
            options |= {"nargs": "*", "action": _Pairs, "metavar": "NAME=VALUE"}
        else:
            options |= {"type": _reader(kind)}
        built.add_argument(f"--{name.replace('_', '-')}", **options)
    return built


def _without_none(kind: Any) -> Any:
    """Return X for `X | None`, and anything else as it is."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [item for item in typing.get_args(kind) if item is not type(None)]
        if len(rest) == 1:
            return rest[0]
        # Of several alternatives the reader must accept any text.
        return str
    return kind


def _reader(kind: Any) -> Callable[[str], Any]:
    if typing.get_origin(kind) is typing.Literal:
        return _choice(typing.get_args(kind))
    return _true_or_false if kind is bool else kind


def _true_or_false(text: str) -> bool:
    if text.lower() not in TRUE_FALSE:
        raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")
    return TRUE_FALSE[text.lower()]


def _choice(choices: tuple[Any, ...]) -> Callable[[str], Any]:
    by_text = {str(choice): choice for choice in choices}

    def read(text: str) -> Any:
        if text not in by_text:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(by_text)}, not {text!r}")
        return by_text[text]

    return read


class _Pairs(argparse.Action):
    """Collect NAME=VALUE pairs into a dict of strings."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        pairs = {}
        for value in values:
            name, separator, text = value.partition("=")
            if not separator:
                parser.error(f"{option_string} expects NAME=VALUE, not {value!r}")
            pairs[name] = text
        setattr(namespace, self.dest, pairs)


def progress(items: Iterable[Any], total: int | None = None, unit: str = "rows", label: str = "") -> Iterator[Any]:
    """Yield the items while showing count, rate and time left: a bar on a terminal, a line every 30 s in a log."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return iter(
        tqdm(
            items,
            total=total,
            unit=f" {unit}",
            desc=label or None,
            file=sys.stderr,
            mininterval=0.2 if terminal else 30,
            maxinterval=0.2 if terminal else 30,
            dynamic_ncols=terminal,
            ascii=not terminal,
            bar_format=None if terminal else LOG_LINE,
        )
    )
