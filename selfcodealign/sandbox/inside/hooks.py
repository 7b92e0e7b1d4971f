"""What the harness puts into the tests: counters, a look at compared values, and its own unittest."""

import inspect
import sys
import unittest

import pytest_style  # pyright: ignore[reportMissingImports]
from translate import TESTS  # pyright: ignore[reportMissingImports]


class Finished(BaseException):
    """Raised after `unittest.main()`, which would have ended the program."""


class Instruments:
    """What the harness puts into the tests: counters, a look at compared values, and its own unittest."""

    def __init__(self, main, names):
        self.main, self.names = main, names
        self.ran = self.held = self.tests = 0
        self.each = []  # numbers of the tests' assertions that held, where all are to run
        self.calls, self.called = 0, set()
        self.marked, self.marks = frozenset(), False  # names of the tests' test functions; do they set `pytestmark`?
        self.unittest_done = self.pytest_done = False
        self.doctests_called, self.examples_failed = False, 0
        self.at_end = False  # is the last statement of the tests running?
        self.leaving = None  # the SystemExit with which the tests themselves ended, successfully
        self.collected = lambda: ({}, {})

    def hook(self, what, value=None):
        """Do what a hook in the tests asks for."""
        if what == "ran":
            self.ran += 1
        elif what == "held":
            self.held += 1
        elif what == "each":
            self.each.append(value)
        elif what == "fell":
            # The next assertion runs only after an ordinary failure: not after an exit, nor with no memory left.
            if not isinstance(sys.exc_info()[1], Exception) or isinstance(sys.exc_info()[1], MemoryError):
                raise
        elif what == "called":
            self.called.add(value)
            self.calls += 1
        elif what == "unittest":
            self.run_unittest()
            if value:
                raise Finished
        elif what == "pytest":
            self.run_unittest()
            self.run_uncalled(*self.collected())
            return 0
        elif what == "end":
            self.at_end = True
        elif what == "exit":
            self.leave(value)
        return None

    def leave(self, status):
        """End the tests as they ask to; with status 0 at their end they have passed so far."""
        error = SystemExit(status)
        if self.at_end and (status is None or (isinstance(status, int) and status == 0)):
            self.leaving = error
        raise error

    def run_unittest(self):
        """Run every TestCase of the program; raises the failure that counts."""
        if self.unittest_done:
            return
        self.unittest_done = True
        kinds = [
            value
            for value in list(self.names.values())
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == "__main__"
        ]
        if not kinds:
            return
        loader = unittest.TestLoader()
        suite = unittest.TestSuite()
        for kind in kinds:
            suite.addTests(loader.loadTestsFromTestCase(kind))
        if not suite.countTestCases():
            return
        result = Result(self)
        suite.run(result)
        self.tests += result.testsRun
        if result.testsRun > result.ended + len(result.skipped) and result.first is None:
            raise AssertionError("a test ended without a result")
        if result.first is not None:
            raise result.first
        if result.testsRun and len(result.skipped) >= result.testsRun:
            raise unittest.SkipTest("every test was skipped")

    def run_uncalled(self, functions, classes):
        """Run pytest-style functions and classes of the tests that nothing has called."""
        if self.pytest_done:
            return
        self.pytest_done = True
        session = self.session()
        session.run(functions, classes, lenient=self.ran > 0)
        self.tests += session.tests

    def session(self):
        """Return what runs pytest-style tests and makes their fixtures."""
        return pytest_style.Session(self.names, self.called, self.really_ran, self.marks)

    def really_ran(self, call, name):
        """Call a test; raises if it was the tests' own and its body was not what ran."""
        before = self.calls
        outcome = call()
        if name in self.marked and self.calls == before and not inspect.iscoroutine(outcome):
            raise AssertionError(f"{name} was replaced")
        return outcome

    def doctests(self, function, bare, *given, **words):
        """Call a function of `doctest` for the tests; failed examples count, unless the tests see to it themselves."""
        if getattr(function, "__module__", "") != "doctest":
            return function(*given, **words)
        self.doctests_called = True
        if function.__name__ == "run_docstring_examples":
            found, answer = self.run_examples_of(*given, **words), None
        else:
            found = answer = function(*given, **words)
        self.tests += 1
        self.ran += found.attempted
        if bare:
            self.examples_failed += found.failed
        return answer

    @staticmethod
    def run_examples_of(f, globs, verbose=False, name="NoName", compileflags=None, optionflags=0):
        """Do what `doctest.run_docstring_examples` does, which keeps the number of failures to itself."""
        import doctest

        runner = doctest.DocTestRunner(verbose=verbose, optionflags=optionflags)
        for item in doctest.DocTestFinder(verbose=verbose, recurse=False).find(f, name, globs=globs):
            runner.run(item, compileflags=compileflags)
        return doctest.TestResults(runner.failures, runner.tries)

    def run_doctests(self, whole, text):
        """Run the examples in docstrings; `whole`: the text itself is a doctest."""
        import doctest  # loaded and guarded already wherever the texts say so

        runner = doctest.DocTestRunner(verbose=False)
        if whole:
            found = [doctest.DocTestParser().get_doctest(text, self.names, "tests", TESTS, 0)]
        else:
            found = doctest.DocTestFinder().find(self.main, "__main__", module=self.main, globs=self.names)
        quiet = []
        for item in found:
            if not item.examples:
                continue
            runner.run(item, out=quiet.append)
            self.tests += 1
            self.ran += len(item.examples)
        if runner.failures:
            raise AssertionError("doctest: " + " ".join("".join(quiet).split())[:300])


class Result(unittest.TestResult):
    """Keep the first failure as an exception; a test that skips itself while it runs has not passed."""

    first = None
    ended = 0

    def __init__(self, instruments):
        super().__init__()
        self.instruments, self.session = instruments, instruments.session()
        self.tear_down = lambda: None
        self.before = 0

    def startTest(self, test):
        """Make the fixtures that pytest would, for a class that uses both."""
        super().startTest(test)
        self.before = self.instruments.calls
        self.tear_down = self.session.around_unittest(test)

    def stopTest(self, test):
        """Tear them down."""
        super().stopTest(test)
        self.tear_down()

    def addSuccess(self, test):
        """Count it."""
        super().addSuccess(test)
        self.ended += 1
        name = getattr(test, "_testMethodName", "")
        if name in self.instruments.marked and self.instruments.calls == self.before:
            self._keep(AssertionError(f"{name} was replaced"))

    def addExpectedFailure(self, test, err):
        """Count it."""
        super().addExpectedFailure(test, err)
        self.ended += 1

    def _keep(self, error):
        if self.first is None:
            self.first = error

    def addFailure(self, test, err):
        """Keep the failure."""
        super().addFailure(test, err)
        self._keep(err[1])

    def addError(self, test, err):
        """Keep the error; leaving the program inside a test is a failure."""
        super().addError(test, err)
        self._keep(err[1] if not isinstance(err[1], SystemExit) else AssertionError("SystemExit in a test"))

    def addSubTest(self, test, subtest, err):
        """Keep a subtest's failure."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._keep(err[1])

    def addUnexpectedSuccess(self, test):
        """Count as a failure."""
        super().addUnexpectedSuccess(test)
        self._keep(AssertionError("unexpected success"))

    def addSkip(self, test, reason):
        """Count as a failure, unless a decorator of the tests asked for it."""
        super().addSkip(test, reason)
        method = getattr(test, getattr(test, "_testMethodName", ""), None)
        decorated = getattr(type(test), "__unittest_skip__", False) or getattr(method, "__unittest_skip__", False)
        if not decorated:
            self._keep(unittest.SkipTest(f"skipped while running: {reason}"))
