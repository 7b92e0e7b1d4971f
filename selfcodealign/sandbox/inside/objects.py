"""Look at objects and their classes as the interpreter does: nothing that they say of themselves counts.

A metaclass may give any hash, equal any other class and hide flags and names; a subclass of a list may iterate over
something else. So classes are told apart by their ids, and read through the descriptors of `type`.
"""

import collections
import gc
import sys
import types
import weakref

bases_of, names_of, flags_of, name_of, place_of = (
    type.__dict__[f"__{name}__"].__get__ for name in ("mro", "dict", "flags", "name", "qualname")
)

# Of the runs with other values, for whoever asks for them; this module can be imported outside, too.
RUNS = 3
ANYWHERE = "anywhere"  # stands for all places
HEAP_TYPE = 1 << 9
MOST = 50_000  # values looked at in one comparison
DEPTH = 3  # of a ChainMap: its names, their list of dictionaries, what these hold


class Kinds:
    """A set of classes, by their ids."""

    def __init__(self, kinds=()):
        self.found = {id(kind): kind for kind in kinds}

    def add(self, kind):
        """Add a class, and keep it: no other one gets its id."""
        self.found[id(kind)] = kind

    def __contains__(self, kind):
        return id(kind) in self.found


class Walk:
    """What has been looked at in one comparison. It is kept, for nothing that comes later to get its id."""

    def __init__(self):
        self.left, self.seen = MOST, {}

    def new(self, *values):
        """Tell whether values have not been looked at together before."""
        key = tuple(map(id, values))
        known = key in self.seen
        self.seen[key] = values
        return not known


PLAIN = frozenset(
    map(id, (int, str, float, bool, bytes, type(None), complex, range, type(...), type, types.FunctionType))
)
LISTS, SETS, DICTS = (list, tuple, collections.deque), (set, frozenset), (dict,)
CONTAINERS = (*LISTS, *SETS, *DICTS)
NO_PARTS = (type, types.ModuleType, types.FunctionType, types.CodeType, types.FrameType)
PROXIES = Kinds(weakref.ProxyTypes)


def origin_of(kind):
    """Return the file of the library that a class stands in, or None."""
    module = sys.modules.get(names_of(kind).get("__module__", ""))
    origin = getattr(getattr(module, "__spec__", None), "origin", None) or "/tmp/"
    found = module
    for part in place_of(kind).split("."):
        found = getattr(found, part, None)
    return origin if found is kind and not origin.startswith("/tmp/") else None


def is_plain(value):
    """Tell whether a value is of a plain type, or a list of such."""
    kind = type(value)
    return id(kind) in PLAIN or ((kind is list or kind is tuple) and PLAIN.issuperset(map(id, map(type, value))))


def kind_of(value, kinds):
    """Return the one of some classes that a value is of, or None."""
    return next((kind for base in bases_of(type(value)) for kind in kinds if base is kind), None)


def members(value):
    """Return the members of a container, as the comparison of its own class finds them; nothing for another value.

    What the response's `__iter__` gives may be something else.
    """
    kind = kind_of(value, CONTAINERS)
    return tuple(kind.__iter__(value)) if kind else ()


def parts(value):
    """Return what a value holds: the members of a container, or what an object of a library is made of.

    No method of the response runs.
    """
    if kind_of(value, CONTAINERS):
        return members(value) + (tuple(dict.values(value)) if kind_of(value, DICTS) else ())
    if kind_of(value, (weakref.ref,)):
        return (weakref.ref.__call__(value),)
    for base in bases_of(type(value)):
        if name_of(base) == "ndarray" and not flags_of(base) & HEAP_TYPE:
            # The one class of numpy that the garbage collector does not look into.
            held = names_of(base)
            return (held["tolist"](value),) if held["dtype"].__get__(value).hasobject else ()
    return tuple(each for each in gc.get_referents(value) if not kind_of(each, NO_PARTS))


def wrapped(value):
    """Return what an object of a library is made of, and what the containers in it hold."""
    found = deeper = list(parts(value))
    for _ in range(DEPTH):
        deeper = [part for each in deeper if kind_of(each, CONTAINERS) for part in parts(each)][:MOST]
        found = found + deeper
    return found
