"""The fixtures that pytest brings along, as far as tests of one file ask for them by name.

Each entry of `BUILT_IN` makes a value and says what ends it, or None.
"""

import contextlib
import importlib
import io
import os
import sys


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


BUILT_IN = {
    "capsys": lambda: _stopped(Capture()),
    "capsysbinary": lambda: _stopped(Capture(True)),
    "capfd": lambda: _stopped(DescriptorCapture()),
    "capfdbinary": lambda: _stopped(DescriptorCapture(True)),
    "caplog": lambda: _stopped(LogCapture()),
    "monkeypatch": _monkeypatch,
    "recwarn": _recwarn,
    "tmp_path": lambda: (Folders.mktemp("test"), None),
    "tmp_path_factory": lambda: (Folders, None),
    "tmpdir": _tmpdir,
}
