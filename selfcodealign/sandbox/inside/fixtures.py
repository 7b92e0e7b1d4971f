"""The fixtures of tests, and those that pytest brings along, as far as tests of one file ask for them by name.

Each entry of `BUILT_IN` makes a value and says what ends it, or None.
"""

import contextlib
import importlib
import inspect
import io
import os
import sys
import types

UNBOUND = inspect.Parameter.empty
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


# ---- of the tests ---------------------------------------------------------------------------------------------------


class Fixture:
    """One fixture function, of the module or of a class."""

    def __init__(self, name, function, marker, method):
        self.name, self.function, self.method = name, function, method
        self.scope = marker.scope if isinstance(marker.scope, str) else "function"
        self.params, self.ids = marker.params, marker.ids
        self.autouse = bool(marker.autouse)
        self.outer = None  # the fixture of the same name that this one may take

    def wants(self):
        """List the names of the fixtures that this one takes."""
        return wanted_names(self.function, self.method)


def fixture_in(key, value, method):
    """Return the Fixture that a name of a module or class stands for, or None."""
    marker = getattr(value, "_fixture_function_marker", None)
    function = getattr(value, "_fixture_function", None)
    if marker is None:  # before pytest 8.4
        marker = getattr(value, "_pytestfixturefunction", None)
        function = getattr(getattr(value, "__pytest_wrapped__", None), "obj", value)
    if marker is None or not isinstance(function, types.FunctionType):
        return None
    return Fixture(marker.name or key, function, marker, method)


def wanted_names(function, method):
    """List the parameters that have to be given to a function; the first of a method is its instance."""
    parameters = list(inspect.signature(function).parameters.values())
    given = bool(method) + mocks_given(function)
    return [item.name for item in parameters[given:] if item.kind in NAMED and item.default is UNBOUND]


def mocks_given(function):
    """Count the arguments that decorators of `unittest.mock.patch` will fill in, before all others."""
    return sum(
        patching.attribute_name is None and type(patching.new).__name__ == "_SentinelObject"
        for patching in getattr(function, "patchings", [])
    )


def fixtures_of(kind, outer):
    """Return the fixtures by name for the tests of a class: of its surroundings, of its bases, and its own."""
    found = dict(outer)
    for base in reversed(kind.__mro__):
        for key, value in vars(base).items():
            fixture = fixture_in(key, value, True)
            if fixture is not None:
                fixture.outer = found.get(fixture.name)
                found[fixture.name] = fixture
    return found


# ---- of pytest ------------------------------------------------------------------------------------------------------


class Captured(tuple):
    """What `readouterr` returns: a pair with names, as pytest has it."""

    out = property(lambda self: self[0])
    err = property(lambda self: self[1])


class Capture:
    """`capsys`: stdout and stderr of the interpreter go to buffers while a test runs."""

    def __init__(self, binary=False):
        self.binary = binary
        self.before = sys.stdout, sys.stderr
        self.buffers = ()
        self.start()

    def start(self):
        """Put empty buffers in place."""
        self.buffers = tuple(io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in "oe")
        sys.stdout, sys.stderr = self.buffers

    def readouterr(self):
        """Return what was written since the last call."""
        held = []
        for buffer in self.buffers:
            buffer.flush()
            held.append(buffer.buffer.getvalue())
            buffer.seek(0)
            buffer.truncate()
        return Captured(held if self.binary else [each.decode("utf-8", "replace") for each in held])

    @contextlib.contextmanager
    def disabled(self):
        """Let output through for a while."""
        inside = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.before
        try:
            yield
        finally:
            sys.stdout, sys.stderr = inside

    def stop(self):
        """Put back what was there."""
        sys.stdout, sys.stderr = self.before


class DescriptorCapture:
    """`capfd`: descriptors 1 and 2 go to files while a test runs."""

    def __init__(self, binary=False):
        import tempfile

        self.binary = binary
        self.files = [tempfile.TemporaryFile(buffering=0) for _ in "oe"]  # noqa: SIM115 - open until the test ends
        self.kept = []
        self.start()

    def start(self):
        """Turn the descriptors to the files."""
        self.flush()
        self.kept = [os.dup(1), os.dup(2)]
        for number, file in zip((1, 2), self.files):  # noqa: B905
            os.dup2(file.fileno(), number)

    @staticmethod
    def flush():
        """Bring what the interpreter holds to the descriptors."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()

    def readouterr(self):
        """Return what was written since the last call."""
        self.flush()
        held = []
        for file in self.files:
            file.seek(0)
            held.append(file.read())
            file.seek(0)
            file.truncate()
        return Captured(held if self.binary else [each.decode("utf-8", "replace") for each in held])

    @contextlib.contextmanager
    def disabled(self):
        """Let output through for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def stop(self):
        """Turn the descriptors back."""
        self.flush()
        for number, kept in zip((1, 2), self.kept):  # noqa: B905
            os.dup2(kept, number)
            os.close(kept)


class LogCapture:
    """`caplog`: the records that the root logger is handed while a test runs."""

    def __init__(self):
        import logging

        class Keep(logging.StreamHandler):
            def __init__(self):
                super().__init__(io.StringIO())
                self.records = []

            def emit(self, record):
                self.records.append(record)
                super().emit(record)

            def handleError(self, record):
                raise  # a malformed call of a logger is the test's to see

        self.handler = Keep()
        self.handler.setFormatter(logging.Formatter("%(levelname)-8s %(name)s:%(filename)s:%(lineno)d %(message)s"))
        self.root = logging.getLogger()
        self.root.addHandler(self.handler)
        self.levels = {}

    @property
    def records(self):
        """List the records."""
        return self.handler.records

    @property
    def text(self):
        """Return them formatted, one a line."""
        return self.handler.stream.getvalue()

    @property
    def messages(self):
        """List their messages."""
        return [record.getMessage() for record in self.records]

    @property
    def record_tuples(self):
        """List (logger, level, message)."""
        return [(record.name, record.levelno, record.getMessage()) for record in self.records]

    def get_records(self, when):
        """List the records of a phase of the test: all are of its call."""
        return self.records if when == "call" else []

    @contextlib.contextmanager
    def filtering(self, filter_):
        """Let a filter decide for a block."""
        self.handler.addFilter(filter_)
        try:
            yield
        finally:
            self.handler.removeFilter(filter_)

    def clear(self):
        """Forget them."""
        self.handler.records = []
        self.handler.stream = io.StringIO()

    def set_level(self, level, logger=None):
        """Set the level of a logger, for this test."""
        import logging

        found = logging.getLogger(logger)
        self.levels.setdefault(found, found.level)
        found.setLevel(level)
        self.handler.setLevel(level)

    @contextlib.contextmanager
    def at_level(self, level, logger=None):
        """Set the level of a logger, for a block."""
        import logging

        found = logging.getLogger(logger)
        before, handled = found.level, self.handler.level
        found.setLevel(level)
        self.handler.setLevel(level)
        try:
            yield
        finally:
            found.setLevel(before)
            self.handler.setLevel(handled)

    def stop(self):
        """Undo everything."""
        for logger, level in self.levels.items():
            logger.setLevel(level)
        self.root.removeHandler(self.handler)


class Folders:
    """`tmp_path_factory`."""

    @staticmethod
    def mktemp(basename, numbered=True):
        """Make a folder of its own."""
        import pathlib
        import tempfile

        return pathlib.Path(tempfile.mkdtemp(prefix=f"{basename}-" if numbered else str(basename)))

    @staticmethod
    def getbasetemp():
        """Return the folder in which such folders lie."""
        import pathlib

        return pathlib.Path("/tmp")


class Config:
    """`pytestconfig` and `request.config`, of a run without options."""

    def __init__(self):
        self.option = types.SimpleNamespace(verbose=0)

    @property
    def rootpath(self):
        """The folder of the tests."""
        return Folders.getbasetemp()

    def getoption(self, name, default=None, skip=False):
        """Return the default of an option: none has been given."""
        return default

    def getini(self, name):
        """Return a setting: there are none."""
        return ""

    def addinivalue_line(self, name, line):
        """Take a line of a setting, such as that of an own mark."""


CONFIG = Config()


class Cache(dict):
    """`cache`, empty at the start of each run."""

    set = dict.__setitem__


def _monkeypatch():
    patch = importlib.import_module("pytest").MonkeyPatch()  # the image's; without it the fixture is an error
    return patch, patch.undo


def _recwarn():
    recorder = importlib.import_module("pytest").WarningsRecorder(_ispytest=True)
    recorder.__enter__()
    import warnings

    warnings.simplefilter("default")
    return recorder, lambda: recorder.__exit__(None, None, None)


def _tmpdir():
    return importlib.import_module("_pytest._py.path").local(Folders.mktemp("tmpdir")), None


def _stopped(made):
    return made, made.stop


def _recorder():
    return lambda name, value: None, None


BUILT_IN = {
    "cache": lambda: (Cache(), None),
    "capsys": lambda: _stopped(Capture()),
    "capsysbinary": lambda: _stopped(Capture(True)),
    "capfd": lambda: _stopped(DescriptorCapture()),
    "capfdbinary": lambda: _stopped(DescriptorCapture(True)),
    "caplog": lambda: _stopped(LogCapture()),
    "doctest_namespace": lambda: ({}, None),
    "monkeypatch": _monkeypatch,
    "pytestconfig": lambda: (CONFIG, None),
    "record_property": _recorder,
    "record_testsuite_property": _recorder,
    "record_xml_attribute": _recorder,
    "recwarn": _recwarn,
    "tmp_path": lambda: (Folders.mktemp("test"), None),
    "tmp_path_factory": lambda: (Folders, None),
    "tmpdir": _tmpdir,
}
