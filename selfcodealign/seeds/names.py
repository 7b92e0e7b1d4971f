"""Find the names a function uses without defining them, and the imports that define them.

Python's own symbol table says which names are free: it knows scopes, comprehensions, `global` and class bodies. A free
name that is neither a builtin nor importable under one obvious meaning cannot be checked or run, so its function is
rejected before the type checker sees it; of the functions that automatic import fixing leaves, 86 % are such. The text
of a function stays as it is, imports go above it; only decorators that nothing can provide are taken away.
"""

import ast
import builtins
import importlib
import re
import symtable
import sys
import typing
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from selfcodealign.seeds.uses import Use, local_names, parsed, uses

# Names that every module has, beside the builtins.
MODULE_NAMES = {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__path__", "__builtins__"}

ALIASES = {
    "np": "import numpy as np",
    "pd": "import pandas as pd",
    "plt": "import matplotlib.pyplot as plt",
    "mpl": "import matplotlib as mpl",
    "sns": "import seaborn as sns",
    "tf": "import tensorflow as tf",
    "nx": "import networkx as nx",
    "sp": "import scipy as sp",
    "sm": "import statsmodels.api as sm",
    "nn": "from torch import nn",
    "F": "import torch.nn.functional as F",
    "ET": "import xml.etree.ElementTree as ET",
    "dt": "import datetime as dt",
    "mp": "import multiprocessing as mp",
    "tqdm": "from tqdm import tqdm",
}
"""Short names that nearly all code gives one meaning."""

PACKAGES = (
    *("numpy", "scipy", "pandas", "sklearn", "torch", "networkx", "sympy", "matplotlib", "seaborn", "tensorflow"),
    *("statsmodels", "requests", "yaml", "six", "regex", "tqdm", "dateutil", "pytz", "attr", "jsonschema", "bs4"),
    *("lxml", "PIL", "cv2", "skimage", "joblib", "numba"),
)
"""Third-party packages known by their own name; whether they are installed is the type checker's business."""

MEMBERS = {
    "abc": "ABC ABCMeta abstractmethod",
    "bisect": "bisect_left bisect_right insort",
    "collections": "ChainMap Counter OrderedDict defaultdict deque namedtuple",
    "contextlib": "ExitStack closing contextmanager nullcontext redirect_stdout suppress",
    "copy": "deepcopy",
    "dataclasses": "asdict astuple dataclass",
    "datetime": "timedelta timezone",
    "decimal": "Decimal ROUND_HALF_UP",
    "difflib": "SequenceMatcher",
    "enum": "Enum Flag IntEnum",
    "fractions": "Fraction",
    "functools": "cached_property cmp_to_key lru_cache partial reduce singledispatch total_ordering wraps",
    "heapq": "heapify heappop heappush heappushpop nlargest nsmallest",
    "io": "BytesIO StringIO",
    "itertools": (
        "accumulate chain combinations combinations_with_replacement cycle dropwhile groupby islice permutations "
        "product starmap takewhile tee zip_longest"
    ),
    "math": "ceil factorial floor gcd hypot sqrt",
    "numbers": "Integral Number Real",
    "operator": "attrgetter itemgetter methodcaller",
    "pathlib": "Path PurePath PurePosixPath",
    "random": "randint",
    "string": "ascii_letters ascii_lowercase ascii_uppercase digits punctuation",
    "textwrap": "dedent",
    "threading": "Lock RLock Thread",
    "types": "FunctionType MappingProxyType ModuleType SimpleNamespace",
    "urllib.parse": "parse_qs quote_plus unquote urlencode urljoin urlparse urlsplit urlunparse urlunsplit",
    "uuid": "UUID uuid4",
}
"""Members of the standard library whose name says where they come from."""

MODULE_OR_MEMBER = (
    *("array", "bisect", "copy", "datetime", "dis", "fnmatch", "getpass", "glob", "locale", "mmap", "platform"),
    *("pprint", "random", "select", "shlex", "signal", "socket", "time", "timeit", "tokenize"),
)
"""Modules of the standard library with a member of their own name: which is meant shows in its use."""

_TYPES = {"time": "from datetime import time", "date": "from datetime import date"}
"""Names that mean a class where they stand as a type."""

_ROOTS = frozenset(name for name in sys.stdlib_module_names if not name.startswith("_")) | frozenset(PACKAGES)


@cache
def _known() -> dict[str, str]:
    """Map every importable name to its import statement."""
    known = {name: f"import {name}" for name in sys.stdlib_module_names if not name.startswith("_")}
    known |= {name: f"import {name}" for name in PACKAGES}
    known |= {name: f"from typing import {name}" for name in typing.__all__}
    known |= {name: f"from {module} import {name}" for module, names in MEMBERS.items() for name in names.split()}
    return known | ALIASES


@cache
def _given() -> frozenset[str]:
    """Return the names that need no import."""
    return frozenset(dir(builtins)) | MODULE_NAMES


def free_names(code: str) -> set[str]:
    """Return the global names that code uses, defines nowhere, and Python does not provide.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the code is not Python 3, or too deeply nested.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = symtable.symtable(code, "<seed>", "exec")
    used: set[str] = set()
    defined: set[str] = set()
    for symbol in top.get_symbols():
        if symbol.is_assigned() or symbol.is_imported():
            defined.add(symbol.get_name())
        elif symbol.is_referenced():
            used.add(symbol.get_name())
    pending = list(top.get_children())
    while pending:
        table = pending.pop()
        for symbol in table.get_symbols():
            if symbol.is_global():
                if symbol.is_declared_global() and symbol.is_assigned():
                    defined.add(symbol.get_name())
                elif symbol.is_referenced():
                    used.add(symbol.get_name())
        pending += table.get_children()
    return used - defined - _given()


@dataclass(frozen=True)
class Resolved:
    """What a function needs above it.

    Attributes:
        statements: imports, in order, then constants of the file and stand-ins for types that cannot be had.
        unknown: names that nothing can provide.
        undecorated: names of decorators that nothing can provide, while the function itself needs none of them, and
            private decorators of a package, which may serve that package's own functions alone.
    """

    statements: list[str]
    unknown: list[str]
    undecorated: list[str]


def resolve(code: str, bindings: Iterable[str] = ()) -> Resolved:
    """Find what provides the names that code does not define: its file's bindings first, then what is known.

    A name that only annotations use and nothing provides stands for any type, which has no parameters.

    Args:
        code: a function.
        bindings: what its file binds its words to, see `FunctionRow.bindings`.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `free_names`.
    """
    known = _known()
    bound: dict[str, list[str]] = {}
    for statement in bindings:
        bound.setdefault(_name_of(statement), []).append(statement)
    free = free_names(code)
    used: dict[str, Use] = {}
    # A second tree costs more than all the rest, and most functions can do without.
    if _QUOTED_TYPE.search(code) or any(
        name in MODULE_OR_MEMBER
        or name in _TYPES
        or (_of_the_file(bound[name]) if name in bound else known.get(name)) is None
        for name in free
    ):
        tree = parsed(code)
        used = uses(tree)
        # Names in strings are nobody's variables.
        free |= {name for name, use in used.items() if use.annotated} - local_names(tree) - _given()
    imports: dict[str, list[str]] = {}
    plain: list[str] = []
    constants: list[str] = []
    unknown: list[str] = []
    undecorated: list[str] = []
    for name in sorted(free):
        use = used.get(name, Use(elsewhere=True))
        if name in bound:
            statement = _of_the_file(bound[name])
        elif name in MODULE_OR_MEMBER or (name in _TYPES and use.as_type):
            statement = _by_use(name, use)
        else:
            statement = known.get(name)
        any_type = use.annotated and not (use.elsewhere or use.decorating or use.attributes or use.subscripted)
        if statement is None and any_type:
            imports.setdefault("typing", []).append("Any")
            constants.append(f"{name} = Any")
        elif statement is None:
            only_decorates = use.decorating and not use.elsewhere and not use.annotated and not _FEEDS.search(code)
            (undecorated if only_decorates else unknown).append(name)
        elif statement.startswith("from ") and " as " not in statement:
            module, _, member = statement.removeprefix("from ").partition(" import ")
            imports.setdefault(module, []).append(member)
        elif statement.startswith(("import ", "from ")):
            plain.append(statement)
        else:
            constants.append(statement)
            kind = statement.partition("=")[2].partition("(")[0].strip()
            if kind in typing.__all__:
                imports.setdefault("typing", []).append(kind)
    private = _PRIVATE.findall(code)
    if (undecorated or private) and not unknown:
        stripped = without_decorators(code, [*undecorated, *private])
        if stripped != code:  # What only those decorators used is not wanted either.
            bare = resolve(stripped, bindings)
            return Resolved(bare.statements, bare.unknown, [*undecorated, *private])
        unknown = undecorated  # They stand inside the function, where they cannot be taken away.
        undecorated = []
    grouped = [f"from {module} import {', '.join(sorted(set(names)))}" for module, names in sorted(imports.items())]
    return Resolved(sorted(set(plain)) + grouped + constants, unknown, undecorated)


def _name_of(statement: str) -> str:
    """Return the name that a binding binds."""
    if statement.startswith(("import ", "from ")):
        return statement.rpartition(" ")[2] if not _DOTTED.match(statement) else statement.split()[1].partition(".")[0]
    return _NAME.match(statement)[0]  # pyright: ignore[reportOptionalSubscript]


# Without these a function means nothing: the decorator is where its arguments, or what it returns, come from.
_FEEDS = re.compile(r"^@[\w.]*(?:fixture|parametrize|given|singleton)\b", re.MULTILINE)
_PRIVATE = re.compile(r"^@((?:\w+\.)+_\w+)", re.MULTILINE)
_DOTTED = re.compile(r"import [\w.]+$")
_NAME = re.compile(r"\w*")
_QUOTED_TYPE = re.compile(r"# type:|->\s*[^:]*[\"']|:\s*[\w.\[\], |]*[\"']|\bcast\(")


def _of_the_file(statements: list[str]) -> str | None:
    """Return the statement by which a file provides a name; None if it is its own or from a package nobody has."""
    for statement in statements:
        if statement.startswith(("import ", "from ")):
            if statement.split()[1].partition(".")[0] in _ROOTS:
                return statement
        elif not statement.isidentifier():
            return statement
    return None


def _by_use(name: str, use: Use) -> str:
    """Choose between a module and its member of the same name: a module is only ever asked for its attributes."""
    if use.as_type and name in _TYPES:
        return _TYPES[name]
    module = importlib.import_module(name)
    member = use.bare or not all(hasattr(module, attribute) for attribute in use.attributes)
    return f"from {name} import {name}" if member and hasattr(module, name) else f"import {name}"


def without_decorators(code: str, names: Iterable[str]) -> str:
    """Take away the decorators that use any of the names, or are called by one with dots."""
    gone = set(names)
    lines = code.split("\n")
    function = ast.parse(code).body[0]
    for decorator in reversed(getattr(function, "decorator_list", [])):
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if gone & {ast.unparse(called), *(node.id for node in ast.walk(decorator) if isinstance(node, ast.Name))}:
            del lines[decorator.lineno - 1 : decorator.end_lineno]
    return "\n".join(lines)


def with_imports(code: str, imports: list[str]) -> str:
    """Put imports above a function, two blank lines between, and leave its text alone."""
    return "\n".join(imports) + "\n\n\n" + code if imports else code
