"""Write values down by their exact types and read them back, as JSON: reading runs nothing and trusts nothing.

A document is `[root, nodes]`. Plain numbers, texts, None and truth values stand for themselves, `[n]` for the n-th
node. So values may be nested however deep, share parts, and contain themselves. What cannot be written out becomes an
`Opaque`, which equals nothing.
"""

import base64
import builtins
import collections
import datetime
import decimal
import fractions
import importlib
import itertools
import json
from typing import Any

BIG = 10**300
"""From here on an integer is written in base 16: reading decimal digits takes quadratic time."""
MOST_ITEMS = 1_000_000
"""Taken from an iterator, which may have no end."""

PLAIN = {float, bool, type(None)}
VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}
DATES = {kind.__name__: kind for kind in (datetime.date, datetime.datetime, datetime.time, datetime.timedelta)}
LISTS = {"list": list, "set": set, "deque": collections.deque}
DICTS = {
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "Counter": collections.Counter,
    "defaultdict": collections.defaultdict,
}
MUTABLE = {**LISTS, **DICTS}
PARTS = {"tuple": tuple, "frozenset": frozenset}
VALUES = {"int": int, "float": float, "str": str, "bytes": bytes, "bytearray": bytearray}
ROWS = ({list}, {tuple})
FEWEST_ROWS = 4
FLAT = {*VALUES, "array", "opaque"}
"""Kinds whose content names no other node."""
KINDS = {kind: name for name, kind in {**MUTABLE, **PARTS, **VALUES}.items()}


class Opaque:
    """Stands for a value that cannot be written out: equal to nothing, true if the value was."""

    def __init__(self, kind, truth):
        self.kind, self.truth = kind, truth

    def __bool__(self):
        return self.truth


def encode(value, keep=None):
    """Return the document of a value. `keep(value)` returns a number for one that cannot be written out."""
    order: list[Any] = []
    places: dict[int, int] = {}

    def ref(item):
        kind = type(item)
        if kind in PLAIN or (kind is int and -BIG < item < BIG) or (kind is str and clean(item)):
            return item
        at = places.get(id(item))
        if at is None:
            at = places[id(item)] = len(order)
            order.append(item)  # which keeps it alive, and its id its own
        return [at]

    root = ref(value)
    return json.dumps([root, [node(item, ref, keep) for item in order]])


def clean(text):
    """Whether a text has no half of a surrogate pair, which JSON might join with another."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def all_plain(items):
    """Whether items are known at a glance to stand for themselves: much faster than to look at each."""
    kinds = set(map(type, items))
    if kinds <= PLAIN or (kinds == {int} and min(items) > -BIG and max(items) < BIG):
        return True
    return kinds == {str} and "".join(items).isascii()


def refs(items, ref):
    """Return what stands for each of some items."""
    return items if all_plain(items) else [ref(item) for item in items]


def table(items):
    """Return (flat content, kind of the rows, their lengths) of rows of plain values; None if items are none."""
    kinds = set(map(type, items))
    if len(items) < FEWEST_ROWS or kinds not in ROWS:
        return None
    flat = list(itertools.chain.from_iterable(items))
    if not all_plain(flat):
        return None
    return flat, KINDS[kinds.pop()], list(map(len, items))


def node(item: Any, ref, keep):
    """Return the node of one value: [kind, content, is it of a subclass?]."""
    kind: Any = type(item)
    base = next((each for each in kind.__mro__ if each in KINDS), None)
    try:
        if kind.__module__ == "numpy":
            return numpy_node(item, ref)
        if base is not None:
            # Read by the methods of the builtin: an own subclass counts as what it holds.
            name, content = KINDS[base], None
            if name in DICTS:
                content = refs([part for pair in dict.items(item) for part in pair], ref)
            elif name in LISTS or name in PARTS:
                content = list(base.__iter__(item))
                if (rows := table(content)) is not None:
                    return [name, rows[0], int(base is not kind), *rows[1:]]
                content = refs(content, ref)
            elif name == "int":
                content = hex(int.__int__(item))
            elif name == "float":
                content = float.__float__(item).hex()
            elif name == "str":
                content = str.__str__(item).encode("utf-8", "surrogatepass").hex()
            else:
                content = bytes(base.__getitem__(item, slice(None))).hex()
            return [name, content, int(base is not kind)]
        if kind is complex:
            return ["complex", [item.real.hex(), item.imag.hex()]]
        if kind is range:
            return ["range", refs([item.start, item.stop, item.step], ref)]
        if kind in VIEWS:
            return [VIEWS[kind], refs([part for pair in pairs(item) for part in pair], ref)]
        if kind is decimal.Decimal:
            return ["decimal", str(item)]
        if kind is fractions.Fraction:
            return ["fraction", [hex(item.numerator), hex(item.denominator)]]
        if DATES.get(kind.__name__) is kind and getattr(item, "tzinfo", None) is None:
            return ["date", [kind.__name__, *date_parts(item)]]
        if isinstance(item, type) and getattr(builtins, item.__name__, None) is item:
            return ["type", item.__name__]
        if item is Ellipsis:
            return ["ellipsis", ""]
        if hasattr(kind, "__next__"):
            taken = list(itertools.islice(iter(item), MOST_ITEMS))  # pyright: ignore
            if len(taken) < MOST_ITEMS:
                return ["iterator", refs(taken, ref)]
        truth = bool(item)
    except Exception:
        truth = True
    return ["opaque", [str(kind.__name__)[:100], truth, -1 if keep is None else keep(item)]]


def pairs(view):
    """Return the keys and values behind a view of a dict; what the view does not show is None or a number."""
    if type(view) is type({}.keys()):
        return [(key, None) for key in view]
    return enumerate(view) if type(view) is type({}.values()) else list(view)


def date_parts(item: Any):
    """Return the numbers that a date, a time or a difference is made of."""
    if isinstance(item, datetime.timedelta):
        return [item.days, item.seconds, item.microseconds]
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return [getattr(item, name) for name in names if hasattr(item, name)]


def numpy_node(item, ref):
    """Return the node of an array or a scalar of numpy's own; raises for anything else."""
    array = importlib.import_module("numpy").asarray(item)
    shape = None if type(item) is not type(array) else list(array.shape)
    if array.dtype.kind in "biufcSUmM":
        return ["array", [array.dtype.str, shape, base64.b64encode(array.tobytes()).decode()]]
    if array.dtype.kind != "O" or shape is None:
        raise TypeError("no plain array")
    return ["objects", [len(shape), *shape, *refs(list(array.flat), ref)]]


def decode(text, recall=None):
    """Return the value of a document; raises ValueError, TypeError or the like if it is none.

    Args:
        text: the document, by whomever it was made.
        recall: returns what stands for the kept value of a number; `Opaque` by default.
    """
    root, nodes = json.loads(text)
    if not nodes:
        return plain(root)
    built: list[Any] = [None] * len(nodes)
    if not simply(nodes, built):
        thoroughly(nodes, built, recall)
    return built[root[0]] if type(root) is list else plain(root)


def simply(nodes, built):
    """Rebuild lists, tuples and dicts whose parts all come after them; False if there is anything else."""
    for at in range(len(nodes) - 1, -1, -1):
        name, content, own, *rows = nodes[at] if len(nodes[at]) > 2 else ("", (), 1)
        if own or rows or name not in ("list", "tuple", "dict"):
            return False
        if list in set(map(type, content)):
            if min(part[0] for part in content if type(part) is list) <= at:
                return False
            content = [built[part[0]] if type(part) is list else part for part in content]
        if name == "dict":
            content = dict(zip(content[::2], content[1::2], strict=True))
        built[at] = tuple(content) if name == "tuple" else content
    return True


def thoroughly(nodes, built, recall):
    """Rebuild values of every kind, in whatever order they name each other."""
    ready = [False] * len(nodes)
    for at, each in enumerate(nodes):
        if each[0] in MUTABLE:
            # Filled last: they may contain what contains them.
            built[at], ready[at] = made(MUTABLE[each[0]], each)(), True
    opened = set()
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            at = stack[-1]
            content = nodes[at][1]
            waits = []
            if not ready[at] and nodes[at][0] not in FLAT and type(content) is list:
                waits = [part[0] for part in content if type(part) is list and not ready[part[0]]]
            if waits and at in opened:
                raise ValueError("a tuple contains itself")
            if waits:
                opened.add(at)
                stack.extend(waits)
                continue
            stack.pop()
            if not ready[at]:
                built[at], ready[at] = rebuilt(nodes[at], built, recall), True
    for at, each in enumerate(nodes):
        if each[0] in DICTS:
            parts = items_of(each[1], built)
            for key, value in zip(parts[::2], parts[1::2], strict=True):
                built[at][key] = value
        elif each[0] in LISTS:
            parts = values_of(each, built)
            built[at].update(parts) if each[0] == "set" else built[at].extend(parts)


def plain(value):
    """Return a value that stands for itself."""
    if isinstance(value, (list, dict)):
        raise ValueError("a document without the node it names")
    return value


def values_of(each, built):
    """Return the values that a node of several holds."""
    if len(each) < 5:
        return items_of(each[1], built)
    kind, rest = MUTABLE.get(each[3]) or PARTS[each[3]], iter(each[1])
    return [kind(itertools.islice(rest, length)) for length in each[4]]


def items_of(content, built):
    """Return the values that the parts of a node stand for."""
    if list not in set(map(type, content)):
        return content
    return [built[part[0]] if type(part) is list else part for part in content]


SUBCLASSES = {kind: type(f"Own{kind.__name__.title()}", (kind,), {}) for kind in KINDS}


def made(kind, each):
    """Return the type that a node asks for: the builtin, or what stands for a subclass of it."""
    return SUBCLASSES[kind] if each[2:3] == [1] else kind


def rebuilt(each, built, recall):
    """Return the value of a node that is not filled later."""
    name, content = each[:2]
    if name in PARTS:
        return made(PARTS[name], each)(values_of(each, built))
    if name == "int":
        return made(int, each)(int(content, 16))
    if name == "float":
        return made(float, each)(float.fromhex(content))
    if name == "str":
        return made(str, each)(bytes.fromhex(content).decode("utf-8", "surrogatepass"))
    if name in VALUES:
        return made(VALUES[name], each)(bytes.fromhex(content))
    if name == "complex":
        return complex(*map(float.fromhex, content))
    if name == "range":
        return range(*items_of(content, built))
    if name in VIEWS.values():
        parts = items_of(content, built)
        return getattr(dict(zip(parts[::2], parts[1::2], strict=True)), name)()
    if name == "decimal":
        return decimal.Decimal(content)
    if name == "fraction":
        return fractions.Fraction(*(int(part, 16) for part in content))
    if name == "date":
        return DATES[content[0]](*content[1:])
    if name == "type" and isinstance(getattr(builtins, content), type):
        return getattr(builtins, content)
    if name == "ellipsis":
        return ...
    if name == "iterator":
        return iter(items_of(content, built))
    if name == "array":
        return numpy_value(*content)
    if name == "objects":
        return objects_value(content, built)
    if name == "opaque":
        kind, truth, number = content
        return Opaque(str(kind), bool(truth)) if recall is None or number == -1 else recall(number)
    raise ValueError(f"there is no kind {name!r}")


def numpy_value(kind, shape, data):
    """Return an array, or a scalar if it has no shape."""
    numpy = importlib.import_module("numpy")
    dtype = numpy.dtype(str(kind))
    if dtype.kind not in "biufcSUmM":
        raise ValueError("no plain array")
    array = numpy.frombuffer(base64.b64decode(data), dtype=dtype).copy()
    return array.reshape(shape) if shape is not None else array[0]


def objects_value(content, built):
    """Return an array of objects."""
    numpy = importlib.import_module("numpy")
    shape, items = content[1 : 1 + content[0]], items_of(content[1 + content[0] :], built)
    array = numpy.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        array[place] = item
    return array.reshape(shape)
