"""Find the pytest-style tests that nobody has called, and run them with their marks and fixtures.

Pytest itself is not used: its plugins, reports and hooks are objects that a response could reach and change, and its
start costs more than most programs. What stands here is the part of its rules that tests of one file rely on:
`test…` functions and `Test…` classes, setup and teardown functions of modules, functions, classes and methods, marks
(parametrize, skip, skipif, xfail, usefixtures), fixtures with scopes, parameters, `yield`, `autouse` and `request`, and
the built-in fixtures below.
"""

import contextlib
import functools
import importlib
import inspect
import itertools
import operator
import sys
import types
import unittest

from fixtures import (  # pyright: ignore[reportMissingImports]
    BUILT_IN,
    CONFIG,
    UNBOUND,
    fixture_in,
    fixtures_of,
    wanted_names,
)
from marks import (  # pyright: ignore[reportMissingImports]
    filtered,
    is_parameter_set,
    labelled,
    left_out,
    marks_of,
    parameters,
)
from translate import RESPONSE, TESTS  # pyright: ignore[reportMissingImports]

SCOPES = ("session", "package", "module", "class")
# What is made first for a test, in pytest's order: fixtures of wider scopes, then these, then all others.
SETUP_FUNCTION, AUTOUSE_OF_MODULE, SETUP_METHOD, AUTOUSE_OF_CLASS, OTHERS = range(len(SCOPES), len(SCOPES) + 5)


# ---- one test and its fixtures --------------------------------------------------------------------------------------


class Node:
    """What `request.node` is: names, marks, and what it stands for."""

    def __init__(self, run):
        self.name = f"{run.name}[{run.label}]" if run.label else run.name
        self.originalname = run.name
        self.nodeid = "::".join(["tests.py", *([run.kind.__name__] if run.kind else []), self.name])
        self.function = self.obj = run.function
        self.cls, self.instance, self.own_markers = run.kind, run.instance, list(run.marks)
        self.module = run.session.view
        self.funcargs, self.keywords = run.values, {mark.name: mark for mark in reversed(run.marks)}
        self.fixturenames = [*run.fixtures]
        self.user_properties = []
        self.callspec = types.SimpleNamespace(params={**run.direct, **run.params}, id=run.label)

    def iter_markers(self, name=None):
        """Yield its marks, the closest first."""
        return (mark for mark in self.own_markers if name in (None, mark.name))

    def get_closest_marker(self, name, default=None):
        """Return the closest mark of a name."""
        return next(self.iter_markers(name), default)

    def add_marker(self, marker, append=True):
        """Add a mark."""
        self.own_markers.insert(len(self.own_markers) if append else 0, getattr(marker, "mark", marker))


class Request:
    """What a fixture or a test gets that takes `request`."""

    def __init__(self, run, fixture=None, param=UNBOUND):
        self.run, self.fixturename = run, fixture.name if fixture else None
        self.scope = fixture.scope if fixture else "function"
        self.function, self.instance, self.cls = run.function, run.instance, run.kind
        self.module, self.node, self.config = run.session.view, run.node, CONFIG
        self.fixturenames = run.node.fixturenames
        self.finalizers = []
        if param is not UNBOUND:
            self.param = param

    def getfixturevalue(self, argname):
        """Return the value of another fixture."""
        return self.run.value_of(argname)

    def addfinalizer(self, finalizer):
        """Call a function when the fixture is torn down."""
        self.finalizers.append(finalizer)


class Run:
    """One call of one test, with the fixtures made for it."""

    def __init__(self, session, fixtures, name, function, instance, kind, direct=(), params=(), label="", marks=()):
        self.session, self.fixtures, self.name, self.function = session, fixtures, name, function
        self.instance, self.kind, self.direct, self.params = instance, kind, dict(direct), dict(params)
        self.label, self.marks = label, marks
        self.values, self.ends = {}, []
        self.node = Node(self)

    def value_of(self, name):
        """Return what a test or fixture gets for a name; makes it if it must."""
        if name in self.direct:
            return self.direct[name]
        if name == "request":
            return Request(self)
        return self.value_by(self.fixtures.get(name), name)

    def value_by(self, fixture, name):
        """Return what a fixture makes for a name; None stands for the one that pytest brings along."""
        param = self.params.get(name, UNBOUND)
        if fixture is None:
            if name not in BUILT_IN:
                raise LookupError(f"fixture '{name}' not found")
            if name not in self.values:
                self.values[name], end = BUILT_IN[name]()
                if end is not None:
                    self.ends.append(end)
            return self.values[name]
        values, ends = self.values, self.ends
        key = fixture
        if fixture.scope in ("module", "package", "session"):
            values, ends = self.session.values, self.session.ends
            key = (fixture, id(param))
        elif fixture.scope == "class" and self.kind is not None:
            values, ends = self.session.values, self.session.ends_of_class
            key = (fixture, self.kind, id(param))
        if key not in values:
            values[key] = self.make(fixture, param, ends)
        return values[key]

    def make(self, fixture, param, ends):
        """Call a fixture function; `ends` gets what tears its value down."""
        request = Request(self, fixture, param)
        arguments = {
            each: request if each == "request" else self.value_of(each)
            for each in fixture.wants()
            if each != fixture.name
        }
        if fixture.name in fixture.wants():
            arguments[fixture.name] = self.value_by(fixture.outer, fixture.name)
        function = fixture.function.__get__(self.instance) if fixture.method else fixture.function
        # Finalizers run last-in first-out, and after the part behind `yield`.
        ends.append(lambda: [end() for end in reversed(request.finalizers)])
        made = function(**arguments)
        if inspect.isgenerator(made):
            value = next(made)
            ends.append(lambda: next(made, None))
            return value
        if inspect.isasyncgen(made):
            loop = self.session.loop()
            value = loop.run_until_complete(made.__anext__())
            ends.append(lambda: self.session.finish(made))
            return value
        return self.session.loop().run_until_complete(made) if inspect.iscoroutine(made) else made

    def end(self):
        """Tear down what was made for this test alone."""
        while self.ends:
            self.ends.pop()()


class Metafunc:
    """What `pytest_generate_tests` gets of a test function."""

    def __init__(self, session, function, kind, names):
        self.function, self.cls, self.module, self.config = function, kind, session.view, CONFIG
        self.fixturenames, self.definition = names, function
        self.chosen = []  # of `marks.parameters`

    def parametrize(self, argnames, argvalues, indirect=False, ids=None, scope=None):
        """Call the test once for each of the values."""
        given = {"indirect": indirect, "ids": ids}
        self.chosen.append(parameters(types.SimpleNamespace(args=(argnames, argvalues), kwargs=given)))


class View(types.ModuleType):
    """`__main__` as the tests know it, where their names are kept apart."""

    def __init__(self, names):
        super().__init__("__main__")
        object.__setattr__(self, "names", names)

    def __getattr__(self, name):
        try:
            return self.names[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name, value):
        self.names[name] = value


class Session:
    """All pytest-style tests of one program."""

    def __init__(self, names, called, call, marks):
        """Look for the fixtures of the module.

        Args:
            names: what the tests know by name.
            called: names of the test functions that have run already, a set that the tests' own code adds to.
            call: calls a test and makes sure that it is the one of the tests.
            marks: do the tests set marks for all? Those of a response do not count.
        """
        self.names, self.called, self.call = names, called, call
        main = sys.modules["__main__"]
        self.view = main if names is main.__dict__ else View(names)
        self.marks = marks_of(types.SimpleNamespace(pytestmark=names.get("pytestmark", []))) if marks else []
        self.steps = []
        self.module = {}
        self.values, self.ends, self.ends_of_class = {}, [], []
        self.tests = self.skipped = 0
        self.own_loop = None
        self.lenient = False
        for key, value in list(self.names.items()):
            fixture = fixture_in(key, value, False)
            # A fixture of the response that nothing asks for would only be there to change the tests.
            if fixture is not None and not (fixture.autouse and fixture.function.__code__.co_filename == RESPONSE):
                self.module[fixture.name] = fixture

    def loop(self):
        """Return the event loop of coroutine tests and fixtures."""
        if self.own_loop is None:
            import asyncio  # loaded and guarded already wherever the texts say `async`

            self.own_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.own_loop)
        return self.own_loop

    def finish(self, made):
        """Run an asynchronous generator to its end."""
        with contextlib.suppress(StopAsyncIteration):
            self.loop().run_until_complete(made.__anext__())

    def run(self, functions, classes, lenient):
        """Run functions and classes that nothing has called.

        Args:
            functions: by name, as they were before the first test.
            classes: likewise.
            lenient: leave out functions that take what is no fixture: the tests have run by themselves, and these are
                their helpers.
        """
        self.lenient = lenient
        waiting = {
            name: value
            for name, value in functions.items()
            if name not in self.called
            and isinstance(value, types.FunctionType)
            and value.__dict__.get("__test__", True)
        }
        kinds = {
            name: value for name, value in classes.items() if isinstance(value, type) and self.collects(value, classes)
        }
        # All is decided before the first test runs, so that none can change another; in the order of the text.
        for name in list(self.names):
            if name in waiting:
                self.plan_function(name, waiting[name], None, self.module, [])
            elif name in kinds:
                self.plan_class(kinds[name], self.module, [])
        if not any(step.func == self.run_once for step in self.steps):
            if self.skipped and not lenient:
                raise unittest.SkipTest("every test was skipped")
            return
        self.around("setup_module", self.view)
        for step in self.steps:
            step()
        self.around("teardown_module", self.view)
        while self.ends:
            self.ends.pop()()
        if self.own_loop is not None:
            self.own_loop.close()

    def collects(self, kind, classes):
        """Tell whether a class may hold tests: not unittest's, nor a base of others, nor one that takes arguments."""
        if issubclass(kind, unittest.TestCase) or not getattr(kind, "__test__", True):
            return False
        base = any(
            other is not kind and isinstance(other, type) and issubclass(other, kind) for other in classes.values()
        )
        if base and not kind.__name__.startswith("Test"):
            return False
        return kind.__init__ is object.__init__ or not wanted_names(kind.__init__, True)

    def around(self, name, *given):
        """Call a setup or teardown function of the module, with as many arguments as it takes."""
        hook = self.names.get(name)
        if isinstance(hook, types.FunctionType):
            hook(*given[: len(wanted_names(hook, False))])

    def plan_class(self, kind, fixtures, marks):
        """Plan the tests of a class and of the classes inside it."""
        members = {}
        for base in reversed(kind.__mro__):
            members.update(vars(base) if base is not object else {})
        methods = [key for key, value in members.items() if key.startswith("test") and callable(getattr(kind, key))]
        marks = [*marks_of(kind), *marks]
        fixtures = fixtures_of(kind, fixtures)
        if left_out(marks, self.names):
            self.skipped += len(methods)
            return
        if methods and not set(methods) & self.called:
            self.steps.append(functools.partial(self.of_class, kind, "setup_class"))
            for key in methods:
                self.plan_function(key, getattr(kind, key), kind, fixtures, marks)
            self.steps.append(self.end_class)
            self.steps.append(functools.partial(self.of_class, kind, "teardown_class"))
        for key, value in members.items():
            if isinstance(value, type) and key.startswith("Test"):
                self.plan_class(value, fixtures, marks)

    def end_class(self):
        """Tear down what was made for the tests of a class."""
        while self.ends_of_class:
            self.ends_of_class.pop()()

    @staticmethod
    def of_class(kind, name):
        """Call `setup_class` or `teardown_class`, a class method or not."""
        hook = getattr(kind, name, None)
        if hook is not None:
            hook(*([kind] if isinstance(hook, types.FunctionType) else []))

    @staticmethod
    def of_method(instance, key, name):
        """Call `setup_method` or `teardown_method` of an instance."""
        hook = getattr(instance, name, None)
        if hook is not None:
            hook(*([getattr(instance, key)] if wanted_names(hook, False) else []))

    def plan_function(self, name, function, kind, fixtures, marks):
        """Plan one test for each of its parameters and those of its fixtures."""
        marks = [*marks_of(function), *marks, *self.marks]
        self.skipped += 1
        if left_out(marks, self.names):
            return
        method = kind is not None and isinstance(function, types.FunctionType) and not _static(kind, name)
        choices, indirect = [], set()
        for mark in marks:
            if mark.name == "parametrize":
                chosen, through = parameters(mark)
                choices.append(chosen)
                indirect |= through
        for chosen, through in self.generated(function, kind, [*fixtures, *wanted_names(function, method)]):
            choices.append(chosen)
            indirect |= through
        given = {key for chosen in choices for arguments, _, _ in chosen for key in arguments}
        used = [each for mark in marks if mark.name == "usefixtures" for each in mark.args]
        wanted = wanted_names(function, method)
        needed = self.closure([*used, *wanted], fixtures, given - indirect)
        unknown = [each for each in wanted if each not in {*given, *fixtures, *BUILT_IN, "request"}]
        if unknown:
            if self.lenient or not name.startswith("test"):
                return
            raise LookupError(f"fixture '{unknown[0]}' not found")
        for each in needed:
            fixture = fixtures.get(each)
            if fixture is not None and fixture.params is not None and each not in given:
                choices.append(labelled([_of_fixture(each, value) for value in fixture.params], fixture.ids))
                indirect = indirect | {each}
        for combination in itertools.product(*choices):
            own = [mark for _, each, _ in combination for mark in each]
            if left_out(own, self.names):
                continue
            arguments = {key: value for chosen, _, _ in combination for key, value in chosen.items()}
            direct = {key: value for key, value in arguments.items() if key not in indirect}
            params = {key: value for key, value in arguments.items() if key in indirect}
            label = "-".join(each for _, _, each in combination)
            run = functools.partial(Run, self, fixtures, name, function, direct=direct, params=params, label=label)
            run = functools.partial(run, kind=kind, marks=[*own, *marks])
            self.steps.append(functools.partial(self.run_once, run, kind, method, needed, wanted))

    def generated(self, function, kind, names):
        """Return the parameters that the tests' own `pytest_generate_tests` gives a function."""
        metafunc = Metafunc(self, function, kind, names)
        inner = getattr(kind, "pytest_generate_tests", None)
        for hook in (self.names.get("pytest_generate_tests"), inner):
            if isinstance(hook, types.FunctionType) and hook.__code__.co_filename == TESTS:
                hook(*([kind()] if hook is inner else []), metafunc)
        return metafunc.chosen

    def closure(self, names, fixtures, given):
        """List the fixtures that a test needs, itself or through others, those of its surroundings first."""
        queue = [each.name for each in fixtures.values() if each.autouse] + list(names)
        found = []
        while queue:
            each = queue.pop(0)
            if each not in found and each not in given:
                found.append(each)
                if each in fixtures:
                    queue.extend(fixtures[each].wants())
        return found

    def run_once(self, run, kind, method, needed, wanted):
        """Make what a test needs, call it, and tear down."""
        instance = kind() if kind is not None else None
        run = run(instance=instance)
        with filtered(run.marks), logs_kept():
            self.run_filtered(run, method, needed, wanted)

    def run_filtered(self, run, method, needed, wanted):
        """Do so, where warnings are as the test wants them."""
        name, function, instance, fixtures = run.name, run.function, run.instance, run.fixtures
        self.tests += 1
        try:
            turns = [(_turn(fixtures.get(each)), functools.partial(run.value_of, each)) for each in needed]
            if instance is None:
                turns.append((SETUP_FUNCTION, functools.partial(self.around, "setup_function", function)))
            else:
                turns.append((SETUP_METHOD, functools.partial(self.of_method, instance, name, "setup_method")))
            for _, make in sorted(turns, key=operator.itemgetter(0)):
                make()
            bound = function.__get__(instance) if method else function
            arguments = {each: run.value_of(each) for each in wanted}
            outcome = self.call(functools.partial(bound, **arguments), name)
            if inspect.iscoroutine(outcome):
                self.loop().run_until_complete(outcome)
            if instance is not None:
                self.of_method(instance, name, "teardown_method")
        except BaseException:
            with contextlib.suppress(BaseException):
                run.end()  # what the program wrote shall be seen, and this failure is the one that counts
            raise
        run.end()
        if instance is None:
            self.around("teardown_function", function)

    def around_unittest(self, test):
        """Make the `autouse` fixtures of a unittest class for one of its tests; returns what tears them down."""
        fixtures = fixtures_of(type(test), self.module)
        run = Run(self, fixtures, test.id().split(".")[-1], None, test, type(test))
        for fixture in fixtures.values():
            if fixture.autouse:
                run.value_of(fixture.name)
        return run.end


def _of_fixture(name, value):
    """Return one parameter of a fixture as `parameters` has those of a test."""
    if not is_parameter_set(value):
        return {name: value}, [], None
    marks = [getattr(each, "mark", each) for each in value.marks]
    return {name: value.values[0]}, marks, value.id if isinstance(value.id, str) else None


def _static(kind, name):
    return any(isinstance(vars(base).get(name), staticmethod) for base in kind.__mro__)


def _turn(fixture):
    """Return when a fixture is made for a test; None is one of pytest's."""
    if fixture is None or (fixture.scope not in SCOPES and not fixture.autouse):
        return OTHERS
    if fixture.scope in SCOPES:
        return SCOPES.index(fixture.scope)
    return AUTOUSE_OF_CLASS if fixture.method else AUTOUSE_OF_MODULE


@contextlib.contextmanager
def logs_kept():
    """Have a handler at the root of all loggers, as pytest does: else warnings would go to stderr."""
    if "logging" not in sys.modules:
        yield
        return
    logging = importlib.import_module("logging")
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
