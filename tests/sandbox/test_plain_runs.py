"""Honest programs end in the sandbox as in pytest, or as in Python where there is nothing for pytest to collect."""

import json
import re
import tomllib
from importlib.util import find_spec

import pytest

from tests.conftest import missing
from tests.sandbox import suite

HONEST = {"honest", "pytest_style", "styles", "theirs", "streams"}
"""Categories of programs that attack nothing; of others, only those that deserve to pass are honest."""
PASSING = {"output", "unittest_values", "vacuous"}
COMPARABLE = {"pass", "fail", "error"}
COLLECTED = re.compile(r"^\s*(?:async )?def test|^class Test|TestCase", re.MULTILINE)
"""What pytest may find a test in."""
PLUGIN = "a coroutine as a test, for which pytest needs a plug-in"
OWN_END = "the response itself ends, skips or excuses its tests"
SHARED = "two files are one here"
JUDGED_AS = "LiveCodeBench allows more than plain Python"
EXPLAINED = {
    **dict.fromkeys(("asyncio", "async_generator_in_use", "asyncio_mark"), PLUGIN),
    **dict.fromkeys(("response_exits_in_test_main", "response_pytest_exit", "response_skips"), OWN_END),
    "response_xfails": OWN_END,
    "all_skipped": "tests that are all skipped show nothing",
    "pytest_main_of_a_wrong_response": "the file leaves without the status that pytest.main() returned",
    "failing_doctests": "the tests import doctest and leave the examples to whoever runs them",
    "tests_that_are_a_doctest": SHARED,
    "bom_in_the_tests": SHARED,
    "stdout_is_a_pipe": "it is a file here",
    "script: names without imports": JUDGED_AS,
    "script: a large number": JUDGED_AS,
}
"""Cases that end otherwise outside the sandbox, and why that is right."""


def wanted(case: dict) -> set[str]:
    """Return the verdicts that a case may get; `test_suite` holds the sandbox to them."""
    return set(case.get("expect_any", [case.get("expect")]))


def comparable(case: dict) -> bool:
    """Tell whether a case may run without a sandbox, and ends the same way wherever it runs."""
    named = case["category"] in HONEST or (case["category"] in PASSING and wanted(case) == {"pass"})
    return named and wanted(case) <= COMPARABLE and not re.search("@[A-Z_]+@", json.dumps(case))


def as_file(case: dict) -> dict:
    """Return what is written for a run of a case."""
    text = case["program"] if "program" in case else f"{case['code']}\n\n{case['test']}\n"
    collected = "program" not in case and "__main__" not in text and COLLECTED.search(text) is not None
    return {
        "text": text,
        "files": case.get("files", {}),
        "stdin": case.get("stdin", ""),
        "collected": collected,
    }


def of_benchmarks() -> dict[str, dict]:
    """Return the programs that must pass in benchmarks, as scripts that print 6."""
    programs = tomllib.loads((suite.ROOT / "tests/unit/evaluation_programs.toml").read_text())
    found = {f"script: {name}": text for name, text in programs["scripts"]["passes"].items()}
    # A module of its own, which is not `__main__`.
    load = "import sys\nopen('solution.py', 'w').write({text!r})\nimport solution\nprint()\nprint(solution.add(1, 5))\n"
    found |= {f"module: {name}": load.format(text=text) for name, text in programs["values"]["passes"].items()}
    return {name: {"program": text, "stdin": "3\n1 2 3\n"} for name, text in found.items()}


CASES = {case["id"]: case for case in suite.load() if comparable(case)} | of_benchmarks()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Run all cases: tests by pytest, programs and what pytest finds no test in by Python."""
    given = {name: as_file(case) for name, case in CASES.items() if all(map(find_spec, case.get("needs", ())))}
    return suite.plain_outcomes(given, tmp_path_factory.mktemp("plain-runs"))


@pytest.mark.parametrize("name", CASES)
def test_an_honest_program_ends_as_it_does_outside(name, outcomes):
    case = CASES[name]
    if name not in outcomes:
        missing(f"this interpreter lacks one of {', '.join(case['needs'])}")
    status, printed = outcomes[name]
    if "category" in case:
        differs = (status == 0) is not (wanted(case) == {"pass"})
    else:
        differs = status != 0 or not re.search(r"^6$|[^\d]6\s*$", printed, re.MULTILINE)
    assert differs is (name in EXPLAINED), f"exit status {status}, wanted {wanted(case)}\n{printed[-1500:]}"


def test_there_are_three_hundred_and_each_explanation_is_of_one():
    assert set(EXPLAINED) <= set(CASES)
    assert len(CASES) > 400
