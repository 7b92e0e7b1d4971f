"""Run a stage's `main` from a command line: the same way for a Snakemake rule, a person and a test."""

import argparse
import atexit
import gc
import inspect
import json
import logging
import re
import sys
import threading
import time
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typing_extensions import TypedDict

from selfcodealign.errors import UserError, one_line_errors

log = logging.getLogger(__name__)

ARGUMENT = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
LOG_LINE = "{desc}: {n_fmt}/{total_fmt} {percentage:3.0f}% {rate_fmt} left {remaining}{postfix}\n"

BEAT_S = 30.0
"""Seconds between two lines of a log that say how far a loop is."""

TOOK = re.compile(r"(\d+) (\w+) took ([\d.]+) s$", re.MULTILINE)
"""The line that ends a loop's progress in a log: how many of what, and seconds."""

Kind = typing.TypeVar("Kind", bound=BaseModel)

PAIRS = "NAME=VALUE"
"""Marks a parameter that is one flag of NAME=VALUE words rather than a flag for each of its keys."""
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
NAMES = {str: "text", int: "integer", float: "number", bool: "true/false", type(None): "empty"}


def run(main: Callable[..., None], argv: list[str] | None = None) -> None:
    """Call `main` with the keywords its signature names, read from the command line.

    A rule's keyword, the flag and `main`'s keyword are one and the same: `output: seeds=...`, `--seeds ...` and
    `main(seeds=...)`. A `UserError` becomes one line on stderr and exit status 1.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    collect_rarely()
    with one_line_errors():
        values = read(main, argv)
        _leave_out_pandas()
        main(**values)


def collect_rarely() -> None:
    """Let Python look for garbage in circles after 50,000 new objects, and no more when the process ends.

    By default it looks after 700, often at all that torch and transformers have brought so far, and three times at the
    end: 1.5 of the 6 s in which a job with a model starts and ends, and a quarter of a dry run.
    """
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


class _WithoutPandas:
    """Answer an import of pandas as if it were not installed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def _leave_out_pandas() -> None:
    """Keep pyarrow from importing pandas, which no stage needs and which is a third of the start of a job.

    It does so once, with the first list that it reads, to know a Series from other objects. Whoever imports pandas
    later gets it, and `to_pandas` looks for it again.
    """
    import pyarrow as pa

    sys.meta_path.insert(0, _WithoutPandas)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_WithoutPandas)


def read(main: Callable[..., None], argv: list[str] | None = None) -> dict[str, Any]:
    """Read the keywords of `main` from a command line; one that is not given is left to `main`'s own default.

    Raises:
        UserError: a flag is unknown or missing, or a value is wrong; the sentence names the flag.
    """
    given = vars(parser(main).parse_args(argv))
    hints = typing.get_type_hints(main, include_extras=True)
    values: dict[str, Any] = {}
    for name, kind in hints.items():
        if section := _section(kind):
            values[name] = {key: given.pop(key) for key in section.model_fields if key in given}
    values |= given
    try:
        hints.pop("return", None)
        flags: Any = TypedDict("Flags", hints, total=False)  # pyright: ignore
        return dict(TypeAdapter(flags).validate_python(values))
    except ValidationError as error:
        raise UserError("; ".join(_sentence(item, hints) for item in error.errors())) from None


def words(settings: Mapping[str, Any]) -> list[str]:
    """Write settings as the words of a command line that `read` makes equal settings of; only None is left out.

    Each value stands in one word with its flag, so that it may begin with a dash.
    """
    found = []
    for key, value in settings.items():
        if value is not None:
            flag = f"--{key.replace('_', '-')}"
            several = pairs(value) if isinstance(value, dict) else value if isinstance(value, list) else [value]
            found += [f"{flag}={_text(one)}" for one in several] or [flag]
    return found


def pairs(values: Mapping[str, Any]) -> list[str]:
    """Write values by name as NAME=VALUE words; only None is left out.

    Raises:
        UserError: a name holds the sign that ends it.
    """
    for name in values:
        if "=" in name:
            raise UserError(f"{name!r} has a = in it, which no name of a value may have; choose another name")
    return [f"{name}={_text(value)}" for name, value in values.items() if value is not None]


def _text(value: Any) -> str:
    """Write a value so that its type reads it back: true or false, JSON for what is nested."""
    return json.dumps(value) if isinstance(value, bool | dict | list) else str(value)


def parser(main: Callable[..., None]) -> argparse.ArgumentParser:
    """Build the command line that `main`'s signature and docstring describe; its values are left as text.

    A parameter is a flag of its name. One that is a section of the config (or any pydantic model) is a flag for each
    key of the section, with the key's description, type and default; marked `PAIRS`, it is one flag of NAME=VALUE
    words. A list takes zero or more words, a dict NAME=VALUE words, a bool true or false; a list or a dict may be given
    in several turns.
    """
    about, told = _docstring(main)
    built = _Parser(description=about, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    hints = typing.get_type_hints(main, include_extras=True)
    for name, parameter in inspect.signature(main).parameters.items():
        if section := _section(hints[name]):
            add_section(built, section)
        else:
            default = PydanticUndefined if parameter.default is parameter.empty else parameter.default
            _add(built, name, hints[name], default, told.get(name))
    return built


def add_section(parser: argparse.ArgumentParser, section: type[BaseModel]) -> None:
    """Declare a flag for each key of a section; what was given stays text, for `section_of`."""
    for key, field in section.model_fields.items():
        default = PydanticUndefined if field.is_required() else field.get_default(call_default_factory=True)
        _add(parser, key, field.rebuild_annotation(), default, field.description)


def section_of(section: type[Kind], given: Mapping[str, Any]) -> Kind:
    """Read a section from the values of the flags that `add_section` declared.

    Raises:
        UserError: a value is wrong; the sentence names the flag.
    """
    try:
        return section.model_validate({key: given[key] for key in section.model_fields if key in given})
    except ValidationError as error:
        found = [{**item, "loc": ("section", *item["loc"])} for item in error.errors()]
        raise UserError("; ".join(_sentence(item, {"section": section}) for item in found)) from None


def _section(kind: Any) -> type[BaseModel] | None:
    """Return the model that a parameter is unfolded from, if it is one."""
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _add(parser: argparse.ArgumentParser, name: str, kind: Any, default: Any, text: str | None) -> None:
    """Declare one flag, with its type and default in words."""
    metadata = getattr(kind, "__metadata__", ())
    bare = typing.get_args(kind)[0] if metadata else kind
    origins = {typing.get_origin(item) or item for item in (bare, *typing.get_args(bare))}
    options: dict[str, Any] = {"metavar": "VALUE"}
    if PAIRS in metadata or dict in origins:
        options = {"metavar": "NAME=VALUE", "nargs": "*", "action": _Pairs}
    elif list in origins:
        options |= {"nargs": "*", "action": "extend"}
    text = text or next((item.description for item in metadata if isinstance(item, FieldInfo)), None) or ""
    shown = "" if default in (PydanticUndefined, None) else f"; default: {default}"
    parser.add_argument(
        f"--{name.replace('_', '-')}",
        default=argparse.SUPPRESS,
        required=default is PydanticUndefined,
        help=f"{text} ({type_name(kind)}{shown})".strip().replace("%", "%%"),
        **options,
    )


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


def _docstring(main: Callable[..., None]) -> tuple[str, dict[str, str]]:
    """Split a docstring into what it says of the whole and, under Args, of each parameter."""
    about, _, rest = (inspect.getdoc(main) or "").partition("\n\nArgs:\n")
    arguments = rest.partition("\n\n")[0]
    return about, {name: " ".join(text.split()) for name, text in ARGUMENT.findall(arguments)}


def _sentence(item: Any, hints: dict[str, Any]) -> str:
    """Say what is wrong with one flag's value."""
    name, *inner = item["loc"]
    kind: Any = hints[name]
    if section := _section(kind):
        name, *inner = inner or [None]
        kind = section.model_fields[name].annotation if name else section
    message = item["msg"].removeprefix("Value error, ")
    if name is None:
        return message
    flag = f"--{name.replace('_', '-')}"
    if item["type"] == "extra_forbidden":
        known = (*typing.get_args(kind), kind)[0].model_fields
        return f"{flag}: {inner[0]} is unknown; known names: {', '.join(sorted(known))}"
    return f"{': '.join([flag, *map(str, inner)])}: {message}, not {item['input']!r}"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, like every other mistake of a person."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message}; --help explains every flag")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Take the words as they are; argparse would take away one that is `--`."""
        return arg_strings[-1] if action.nargs is None else arg_strings


class _Pairs(argparse.Action):
    """Collect NAME=VALUE words into a dict."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        pairs = dict(getattr(namespace, self.dest, {}))
        for value in values:
            name, separator, text = value.partition("=")
            if not separator or name in pairs:
                wrong = f"{name!r} is given twice" if separator else f"{value!r} lacks the ="
                parser.error(f"{option_string} takes NAME=VALUE words, each name once; {wrong}")
            pairs[name] = text
        setattr(namespace, self.dest, pairs)


def progress(
    items: Iterable[Any],
    total: int | None = None,
    unit: str = "rows",
    label: str = "",
    state: Callable[[], str] | None = None,
) -> Iterator[Any]:
    """Yield the items while showing count, rate and time left: a bar on a terminal, a line every 30 s in a log.

    The line also comes while no item does; `state` then says what goes on. At the end one line says how many items
    there were and how long they took (`TOOK`).
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    shown = tqdm(
        items,
        total=total,
        unit=f" {unit}",
        desc=label or None,
        file=sys.stderr,
        mininterval=0.2 if terminal else BEAT_S,
        maxinterval=0.2 if terminal else BEAT_S,
        dynamic_ncols=terminal,
        ascii=not terminal,
        bar_format=None if terminal else LOG_LINE,
    )
    ended = threading.Event()

    def beat() -> None:
        seen = shown.n
        while not ended.wait(BEAT_S):
            if shown.n == seen:
                shown.set_postfix_str(state() if state else "", refresh=False)
                shown.refresh()
            seen = shown.n

    threading.Thread(target=beat, daemon=True).start()
    begun, count = time.perf_counter(), 0
    try:
        for item in shown:
            count += 1
            yield item
    finally:
        ended.set()
    log.info("%s%d %s took %.2f s", f"{label}: " if label else "", count, unit, time.perf_counter() - begun)
