"""See whether a response has changed what its tests rely on, and keep the tests' own names out of its reach."""

import builtins
import ctypes
import gc
import importlib.machinery
import sys
import types
import unittest

import objects  # pyright: ignore[reportMissingImports]
import translate  # pyright: ignore[reportMissingImports]
import values  # pyright: ignore[reportMissingImports]

VERSION_OFFSET = 24  # of a dict's version: after reference count, type and length
GUARDED = (
    "builtins", "unittest", "unittest.case", "unittest.suite", "unittest.loader", "unittest.result", "unittest.runner",
    "unittest.main", "unittest.mock", "doctest", "math", "cmath", "operator", "functools", "itertools", "copy", "json",
    "re", "types", "collections", "contextlib", "numbers", "decimal", "fractions", "statistics", "random", "string",
    "inspect", "time", "os", "posixpath", "genericpath", "pathlib", "difflib", "io", "asyncio", "asyncio.runners",
    "threading", "atexit", "numpy", "numpy.testing",
    "pandas", "pandas.testing", "pytest", "_pytest.raises", "_pytest.python_api", "_pytest.outcomes", "_pytest.recwarn",
    "_pytest.fixtures", "_pytest.mark.structures", "_pytest.monkeypatch",
)  # fmt: skip
GUARDED_CLASSES = (unittest.TestCase, unittest.TestResult, unittest.TestSuite, unittest.TestLoader)
# Libraries whose classes decide tests, and which no test patches either.
DECIDING_LIBRARIES = ("_pytest", "pytest", "unittest")
WATCHED_MODULES = ("unittest.mock",)
LIFTED = frozenset(
    {"input", "print", "open", "breakpoint", "help", "exit", "quit", "copyright", "credits", "license", "_"}
)
# What a library changes when it is imported, and which one; tests do not decide by it.
PATCHED_BY = {"inspect.getfile": "torch.package.package_importer"}
# What a class's own work changes in it.
SPARED = frozenset({"__abstractmethods__", "_abc_impl", "__doc__", "__dict__", "__weakref__", "__annotations__"})
# Nothing honest writes to these, so that not even a change for a moment is.
STEADY = (
    "math", "cmath", "operator", "itertools", "copy", "numbers", "unittest.case", "pytest", "_pytest.raises",
    "_pytest.python_api", "_pytest.outcomes",
)  # fmt: skip
# A response that defines one of these beside what is tested would decide the tests by it.
DECIDING = frozenset({"all", "any", "isinstance", "issubclass", "hasattr", "callable", "abs", "len"})
# A library's `abs` in its place is as good: `from numpy import *`.
OF_LIBRARIES = ("builtin_function_or_method", "ufunc")
TOOLS = frozenset({"unittest", "math", "pytest", "np", "numpy", "pd", "pandas", "doctest"})


# All that lies in these packages decides tests, down to the code of each function.
SWEPT = (
    "unittest", "doctest", "asyncio", "numpy.testing", "pandas._testing", "pandas._libs.testing", "pytest", "_pytest",
)  # fmt: skip
# All of these modules' classes does, too, but for what programs write to in earnest.
SWEPT_CLASSES = frozenset({"collections", "fractions", "statistics", "difflib", "json.encoder", "json.decoder"})
LEFT_TO_PROGRAMS = frozenset({"default"})
# By what they say of themselves, values of a library's class pass or fail.
DECIDING_METHODS = (
    *values.DECIDING, "__hash__", "__bool__", "__abs__", "__round__", "__len__", "__iter__",
)  # fmt: skip
COMPARING_METHODS = ("equals", "eq", "ne", "all", "any")  # of arrays and tables; also where they inherit them


class Versions:
    """Tell cheaply whether dicts have been written to since they were looked at last.

    CPython 3.8 to 3.12 keeps a number in each dict that changes with every write. Comparing the contents instead would
    touch the reference count of every function, and so copy most of the memory shared with the zygote.
    """

    def __init__(self, dicts):
        known = sys.implementation.name == "cpython" and (3, 8) <= sys.version_info[:2] <= (3, 12)
        self.count = len(dicts)
        self.fields = [ctypes.c_uint64.from_address(id(item) + VERSION_OFFSET) for item in dicts] if known else []
        self.seen = [field.value for field in self.fields]
        if len(set(self.seen)) < 2:
            self.fields = []

    def changed(self):
        """List the places of the dicts that have been written to, of all where that cannot be known."""
        if not self.fields:
            return range(self.count)
        now = [field.value for field in self.fields]
        return [] if now == self.seen else [place for place, value in enumerate(now) if value != self.seen[place]]


def is_function(value):
    """Tell whether a value is a function written in Python."""
    return isinstance(value, types.FunctionType)


def functions_of(value):
    """List the functions that a module's or class's entry stands for."""
    if isinstance(value, property):
        return [each for each in (value.fget, value.fset) if is_function(each)]
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    found = []
    value = getattr(value, "_implementation", value)  # numpy's own, behind what it dispatches
    while is_function(value):
        found.append(value)
        value = value.__dict__.get("__wrapped__")
    return found


def made_of(function):
    """Return what a function is made of: code, defaults, and what it encloses."""
    cells = function.__closure__ or ()
    return (function.__code__, function.__defaults__, function.__kwdefaults__, *(_content(cell) for cell in cells))


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:
        return None


class Names(dict):
    """The names of the tests, where the response has the means to rewrite them.

    It shares `__main__` with its tests. What the tests bind is kept here, out of its sight, but for functions, classes
    and modules, which may be looked up there, as pickle does. All other names are those of `__main__`. `classes` are
    those of the tests, `assigned` the attributes to which the tests themselves write.
    """

    def __init__(self, main, owned, classes, assigned):
        super().__init__(main)
        self.main, self.owned, self.classes, self.assigned = main, owned, classes, assigned
        self.functions, self.attributes = [], []

    def __getitem__(self, name):
        return dict.__getitem__(self, name) if name in self.owned else self.main[name]

    def __setitem__(self, name, value):
        dict.__setitem__(self, name, value)
        if name not in self.owned or isinstance(value, (types.FunctionType, types.ModuleType, type)):
            self.main[name] = value
        if name in self.owned:
            inner = vars(value).items() if isinstance(value, type) else [(name, value)]
            for key, each in inner:
                functions = functions_of(each)
                steady = functions or (name in self.classes and key not in self.assigned and key not in SPARED)
                if isinstance(value, type) and steady:
                    self.attributes.append((value, key, each))
                self.functions += [(one, made_of(one)) for one in functions]

    def __delitem__(self, name):
        dict.__delitem__(self, name)
        self.main.pop(name, None)

    def __contains__(self, name):
        return dict.__contains__(self, name) if name in self.owned else name in self.main

    def replaced(self):
        """Name a function of the tests that has been changed, or None."""
        for holder, key, each in self.attributes:
            if vars(holder).get(key) is not each:
                return f"{holder.__name__}.{key}"
        for function, made in self.functions:
            if any(now is not before for now, before in zip(made_of(function)[:3], made)):  # noqa: B905
                return function.__qualname__
        return None


class Snapshot:
    """What the guarded modules and classes hold, remembered before any program runs."""

    def __init__(self):
        kinds = (types.FunctionType, types.BuiltinFunctionType, type)
        self.modules = []
        for name in GUARDED:
            module = sys.modules.get(name)
            if module is not None:
                if name in STEADY:
                    # Made by the first warning about a file that was left open, say: no change of the program's.
                    vars(module).setdefault("__warningregistry__", {})
                every = name == "numpy"  # most of its functions are of a class of their own
                held = {
                    key: value
                    for key, value in vars(module).items()
                    if isinstance(value, kinds) or (every and callable(value))
                }
                self.modules.append((name, module, tuple(held.items())))
        guarded = [*GUARDED_CLASSES]
        for name, module, _ in self.modules:
            if name.startswith("_pytest."):
                guarded += [kind for kind in vars(module).values() if getattr(kind, "__module__", "") == name]
        guarded = [kind for kind in guarded if isinstance(kind, type)]
        self.classes = [(kind, tuple(vars(kind).items())) for kind in guarded]
        self.builtins = dict(vars(builtins))
        self.finders, self.table, self.path = tuple(sys.meta_path), sys.modules, sys.path[:]
        dicts = [vars(module) for _, module, _ in self.modules]
        # A class shows its dict only through a proxy.
        dicts += [item for kind in guarded for item in gc.get_referents(vars(kind)) if type(item) is dict]
        self.versions = Versions(dicts)
        self.note_table()
        self.look_deeper()

    def note_table(self):
        """Remember which modules are loaded, once `__main__` is the program's."""
        self.table_version = Versions([self.table, {}])

    def look_deeper(self):
        """Remember what only a response could change that writes to what is not its own, or finds names by texts."""
        kinds = [item for item in gc.get_objects() if issubclass(type(item), type)]
        self.kinds = kinds  # kept: a class of the response would get the id of one that has gone
        self.known = frozenset(map(id, kinds))  # classes that no response has made
        held = []  # (class or module, its dict, name, value)
        for kind in kinds:
            names = objects.names_of(kind)
            module = str(names.get("__module__", ""))
            if module.startswith(SWEPT):
                held += [(kind, names, *item) for item in names.items() if item[0] not in SPARED]
            elif module in SWEPT_CLASSES:
                spared = SPARED | LEFT_TO_PROGRAMS
                held += [(kind, names, *item) for item in names.items() if item[0] not in spared]
            else:
                held += [(kind, names, name, names[name]) for name in DECIDING_METHODS if name in names]
            held += [(kind, names, name, names.get(name)) for name in COMPARING_METHODS if hasattr(kind, name)]
        swept = []
        for name, module in list(sys.modules.items()):
            if name.startswith(SWEPT) and isinstance(module, types.ModuleType):
                decisive = [item for item in vars(module).items() if callable(item[1]) or item[0] == "__builtins__"]
                held += [(module, vars(module), *item) for item in decisive]
                swept.append((module, self.builtins.keys() & vars(module).keys()))
        self.held, self.swept = held, swept
        self.swept_versions = Versions([vars(module) for module, _ in swept])
        functions = {}
        for value in (item[3] for item in held):
            functions.update((id(each), each) for each in functions_of(value))
        for _, _, items in self.modules:
            functions.update((id(each), each) for _, value in items for each in functions_of(value))
        self.functions = [(each, made_of(each)) for each in functions.values()]

    def replaced_deeply(self):
        """Name the first thing that a response has changed inside of what decides tests, or None."""
        for where, names, name, value in self.held:
            if names.get(name) is not value:
                return f"{where.__name__}.{name}"
        for place in self.swept_versions.changed():
            module, own = self.swept[place]
            hidden = (self.builtins.keys() & vars(module).keys()) - own
            if hidden:
                return f"{module.__name__}.{sorted(hidden)[0]}"
        for function, made in self.functions:
            if not all(now is before for now, before in zip(made_of(function), made)):  # noqa: B905
                return function.__qualname__
        return None

    def replaced_loop(self):
        """Tell whether coroutines would run in an event loop that the response has made."""
        policy = getattr(sys.modules.get("asyncio.events"), "_event_loop_policy", None)
        if policy is None:
            return None
        loop = getattr(getattr(policy, "_local", None), "_loop", None)
        for each in (policy, loop):
            module = sys.modules.get(type(each).__module__)
            foreign = id(type(each)) not in self.known and getattr(module, "__spec__", None) is None
            own = {"new_event_loop", "get_event_loop", "_loop_factory"}.intersection(getattr(each, "__dict__", ()))
            if each is not None and (foreign or own):
                return "the event loop"
        return None

    def for_tests(self):
        """Return a dict of the builtins for the tests, which keep those they know even if a response replaces some.

        From here on `momentarily` sees what changes.
        """
        own = self.builtins
        if 0 in self.versions.changed():
            own = {**vars(builtins), **dict(self.modules[0][2])}
        self.steady = [module for name, module, _ in self.modules if name in STEADY]
        self.steady_versions = Versions([own, *map(vars, self.steady)])
        return own

    def momentarily(self, patches):
        """Name what has been written to since the tests began, even if all is as it was; None where unknown.

        Tests that patch things (`patches`) may do so to all but what decides them.
        """
        if not self.steady_versions.fields:
            return None
        for place in self.steady_versions.changed():
            name = self.steady[place - 1].__name__ if place else "builtins"
            if not patches or name.split(".")[0] in DECIDING_LIBRARIES:
                return name
        return None

    def hidden(self, names, used, called, bound, imports):
        """Name what the tests would find replaced, or None.

        Args:
            names: dict of `__main__` after the response has loaded.
            used: names that the tests read.
            called: those of them that they call.
            bound: names that the tests bind themselves.
            imports: modules that the tests import.
        """
        taken = {name for name in DECIDING & names.keys() if name in called and name not in bound}
        taken -= {name for name in ("abs",) if type(names.get(name)).__name__ in OF_LIBRARIES}
        if taken and any(name in names and name not in taken and name not in TOOLS for name in used):
            return sorted(taken)[0]
        modules = set(imports)
        for name in used:
            value = names.get(name)
            if isinstance(value, types.ModuleType):
                modules.add(value.__name__)
                if name not in bound and name in TOOLS and self.table.get(value.__name__) is not value:
                    return name
            elif name in TOOLS and name in names and name not in bound:
                return name
        known = {name for name, _, _ in self.modules}
        for name in sorted(modules - known):
            found = self._foreign(name)
            if found:
                return found
        return None

    def _foreign(self, name):
        """Name what a response has put in the place of a module, or into it."""
        module = self.table.get(name)
        if module is None:
            spec = importlib.machinery.PathFinder.find_spec(name) if "." not in name else None
            origin = getattr(spec, "origin", None) or ""
        else:
            spec = getattr(module, "__spec__", None)
            origin = getattr(spec, "origin", None) or ("" if spec is not None else "/tmp/")
        if origin.startswith("/tmp/") and "." not in name and self._installed(name):
            return name
        for key, value in list(vars(module).items()) if isinstance(module, types.ModuleType) else ():
            if isinstance(value, type):
                made_here = value.__module__ == "__main__"
            else:
                function = getattr(value, "__wrapped__", value) if isinstance(value, types.FunctionType) else None
                made_here = isinstance(function, types.FunctionType) and (
                    function.__code__.co_filename == translate.RESPONSE
                )
            if made_here and name != "__main__":
                return f"{name}.{key}"
        return None

    def _installed(self, name):
        """Tell whether the interpreter would have a module of this name without the response."""
        if name in getattr(sys, "stdlib_module_names", sys.builtin_module_names):
            return True
        return importlib.machinery.PathFinder.find_spec(name, self.path) is not None

    def _by_library(self, name, now):
        """Tell whether a library has put a function of its own there, whose code lies in its file."""
        module = self.table.get(PATCHED_BY.get(name, ""))
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        return is_function(now) and type(origin) is str and now.__code__.co_filename == origin

    def replaced(self, allowed=""):
        """Name the first thing that differs, or None; names that `allowed` mentions may differ."""
        if 0 in self.table_version.changed():
            for name, module, _ in self.modules:
                if self.table.get(name) is not module:
                    return name
        for place in self.versions.changed():
            if place < len(self.modules):
                name, module, held = self.modules[place]
                current = module.__dict__
                for key, value in held:
                    now = current.get(key)
                    if now is value:
                        continue
                    spared = key in LIFTED or (key in allowed and name.split(".")[0] not in DECIDING_LIBRARIES)
                    if not spared and not self._by_library(f"{name}.{key}", now):
                        return f"{name}.{key}"
            else:
                kind, held = self.classes[place - len(self.modules)]
                for key, value in held:
                    special = key.startswith("__") and not isinstance(value, types.FunctionType)
                    if kind.__dict__.get(key) is not value and not special:
                        return f"{kind.__name__}.{key}"
        finders = self.finders
        if tuple(sys.meta_path[: len(finders)]) != finders and not set(finders) <= set(sys.meta_path):
            return "sys.meta_path"
        return "sys.settrace" if sys.gettrace() is not None or sys.getprofile() is not None else None
