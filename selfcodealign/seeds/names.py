"""Find the names a function uses without defining them, and the imports that define them.

Python's own symbol table says which names are free: it knows scopes, comprehensions, `global` and class bodies. A free
name that is neither a builtin nor importable under one obvious meaning cannot be checked or run, so its function is
rejected before the type checker sees it; of the functions that automatic import fixing leaves, 86 % are such. The text
of a function is never edited: imports go above it.
"""

import builtins
import re
import symtable
import sys
import typing
import warnings
from functools import cache

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

_DATETIME_CLASS = re.compile(r"\bdatetime\.(?:now|utcnow|today|strptime|fromtimestamp|combine|fromisoformat|min|max)\b")


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


def resolve(code: str) -> tuple[list[str], list[str]]:
    """Return the import statements that code needs, in order, and the names that none can provide.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `free_names`.
    """
    known = _known()
    imports: dict[str, list[str]] = {}
    plain: list[str] = []
    unknown: list[str] = []
    for name in sorted(free_names(code)):
        statement = known.get(name)
        if name == "datetime" and _DATETIME_CLASS.search(code) and "datetime.datetime" not in code:
            statement = "from datetime import datetime"
        if statement is None:
            unknown.append(name)
        elif statement.startswith("from ") and " as " not in statement:
            imports.setdefault(statement.split()[1], []).append(name)
        else:
            plain.append(statement)
    grouped = [f"from {module} import {', '.join(names)}" for module, names in sorted(imports.items())]
    return sorted(plain) + grouped, unknown


def with_imports(code: str, imports: list[str]) -> str:
    """Put imports above a function, two blank lines between, and leave its text alone."""
    return "\n".join(imports) + "\n\n\n" + code if imports else code
