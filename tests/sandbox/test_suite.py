"""Honest programs keep their verdict, hostile ones get nothing: the same suite as root, as a user, and in Apptainer."""

import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from selfcodealign.images import images_folder
from selfcodealign.sandbox.layers import apptainer_program
from tests.conftest import missing
from tests.sandbox import suite

CASES = suite.load()
SETTINGS = ("bubblewrap", "bubblewrap as a user", "apptainer")

PYTEST = {"pytest_style", "pytest_forgeries"}
KINDS = {"values", "unittest_values", "tampering", "theirs", "styles", "streams"}


def test_there_are_cases_of_every_kind():
    categories = {case["category"] for case in CASES}
    assert categories == {"honest", "false_passes", "vacuous", "escapes", "exhaustion", "output"} | PYTEST | KINDS
    assert len(CASES) >= 600
    assert len({case["id"] for case in CASES}) == len(CASES)


def test_the_documentation_states_the_number_of_cases():
    text = " ".join((suite.ROOT / "docs" / "sandbox.md").read_text().split())
    assert [int(number) for number in re.findall(r"holds (\d+) honest and hostile", text)] == [len(CASES)]


@pytest.fixture(scope="session")
def verdicts():
    """Return a function that runs all cases in one setting, once: verdicts by id, and the processes that were left."""

    @cache
    def run(setting: str) -> suite.Outcome | str:
        # Not pytest's own temporary folder: other users cannot read it.
        with tempfile.TemporaryDirectory(prefix="sandbox-suite-", ignore_cleanup_errors=True) as folder:
            try:
                return suite.run(CASES, Path(folder), "--isolation", setting.split()[0], user=user_of(setting))
            except AssertionError as error:
                # Kept as an answer, so that each of the tests fails at once instead of trying again.
                return str(error)

    def checked(setting: str) -> suite.Outcome:
        outcome = run(setting)
        assert not isinstance(outcome, str), outcome
        return outcome

    return checked


def user_of(setting: str) -> int | None:
    """Return the user that a setting runs as, None for this one."""
    return suite.NOBODY if setting.endswith("as a user") else None


def require(setting: str) -> None:
    """Skip a setting that this machine cannot have; in CI that is a failure."""
    if setting == "apptainer" and (apptainer_program() is None or not (images_folder() / "sandbox").exists()):
        missing(f"no Apptainer, or no image {images_folder() / 'sandbox'}: containers/build_directory.sh makes it")
    if setting.startswith("bubblewrap") and shutil.which("bwrap") is None:
        missing("bubblewrap is not installed")
    if setting.endswith("as a user") and os.getuid() != 0:
        missing("only root can become another user")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_program_gets_the_verdict_it_deserves(case, setting, verdicts):
    require(setting)
    found = verdicts(setting).verdicts
    if case["id"] not in found:
        assert case.get("needs"), "only cases that need a package may be left out"
        missing(f"the interpreter of this user lacks one of {', '.join(case['needs'])}")
    verdict = found[case["id"]]
    told = f"{verdict['verdict']}: {verdict['reason']}\n{verdict['stderr'][-1500:]}"
    assert verdict["verdict"] in case.get("expect_any", [case.get("expect")]), told
    assert verdict["passed"] == (verdict["verdict"] == "pass")
    assert verdict["isolation"] == setting.split()[0]
    for key in suite.COMPARED:
        if key in case:
            assert verdict[key] == case[key], f"{key}: {verdict[key]!r}"
    # One process is held by the kernel. The sum of several is looked at, which on a busy machine comes late.
    assert verdict["memory_mb"] <= (1.5 if case.get("several") else 1.1) * case.get("memory_mb", 1024)
    assert len(verdict["stdout"]) <= 16 * 1024
    assert len(verdict["stderr"]) <= 16 * 1024
    # The limit counts CPU time and sleep; on a busy machine the clock may show more.
    assert verdict["cpu_s"] <= case.get("timeout_s", 4) + 1
    if "survivor" in case:
        assert not suite.survivors(case["survivor"])


@pytest.mark.parametrize("setting", SETTINGS)
def test_nothing_is_left_running(setting, verdicts):
    require(setting)
    assert verdicts(setting).left == []
