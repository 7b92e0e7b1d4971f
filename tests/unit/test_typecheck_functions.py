"""One bad function never costs its neighbours, and a broken checker is found out."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from scripts.typecheck_functions import checked, main, why_dropped
from selfcodealign.config.seeds import TypecheckFunctions
from selfcodealign.errors import UserError
from selfcodealign.ledger import Ledger
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.seeds import typecheck
from selfcodealign.seeds.typecheck import (
    CRASHED,
    TIMED_OUT,
    CheckerFailed,
    Pyright,
    Verdict,
    bisected,
    default_python,
    environment,
)
from tests.seed_rows import DOUBLE, seed_row

pytestmark = pytest.mark.slow

WRONG = 'def length(x: int) -> str:\n    """Doc."""\n    return x'
MISSING = 'import no_such_package\n\n\ndef f(x):\n    """Doc."""\n    return no_such_package.f(x)'
BROKEN = 'def f(x):\n    """Doc."""\n    return (x'


def test_verdicts_name_the_rules_and_file_names_shadow_nothing():
    verdicts = Pyright().check(
        {
            "numpy": DOUBLE,
            "seed-1": WRONG,
            "seed-2": MISSING,
            "seed-3": BROKEN,
            "seed-4": 'import numpy as np\n\n\ndef f(x):\n    """Doc."""\n    return np.sum(x)',
        }
    )
    assert {key: verdict.passed for key, verdict in verdicts.items()} == {
        "numpy": True,
        "seed-1": False,
        "seed-2": False,
        "seed-3": False,
        "seed-4": True,
    }
    assert verdicts["seed-1"].rules == ("reportReturnType",)
    assert "str" in verdicts["seed-1"].message
    assert verdicts["seed-2"].rules == ("reportMissingImports",)
    assert verdicts["seed-3"].rules == ("syntax",)


def fails_on(bad: set[str], *, timed_out: bool = False, calls: list[int] | None = None):
    """Make a checker that dies on a batch with a bad key and passes every other."""

    def run(functions):
        if calls is not None:
            calls.append(len(functions))
        if bad & functions.keys():
            raise CheckerFailed("it died", timed_out=timed_out)
        return dict.fromkeys(functions, Verdict(()))

    return run


@pytest.mark.parametrize(("timed_out", "expected"), [(False, CRASHED), (True, TIMED_OUT)])
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_failing_batch_is_halved_until_the_culprit_is_alone(size, timed_out, expected):
    functions = {str(n): "" for n in range(size)}
    bad = {"0", str(size - 1)}
    calls: list[int] = []
    verdicts = bisected(functions, fails_on(bad, timed_out=timed_out, calls=calls), lambda: None)
    assert list(verdicts) == list(functions)
    assert {key for key, verdict in verdicts.items() if verdict == expected} == bad
    assert len(calls) <= 4 * size.bit_length() + 1


def test_a_crash_is_blamed_on_the_package_in_few_runs():
    functions = {str(n): DOUBLE for n in range(1_000)}
    functions |= {f"np{n}": "import numpy as np\n\n\n" + DOUBLE for n in range(100)}
    functions |= {"bad": "def f(x):\n    from transformers import AutoModel\n    return AutoModel"}
    calls: list[int] = []
    verdicts = bisected(functions, fails_on({"bad"}, calls=calls), lambda: None)
    assert [key for key, verdict in verdicts.items() if verdict == CRASHED] == ["bad"]
    assert list(verdicts) == list(functions)
    assert calls == [1_101, 1_000, 101, 100, 1]


def test_what_needs_memory_has_more_after_a_failure():
    functions = {str(n): DOUBLE for n in range(1_000)}
    functions |= {name: f"def f(x):\n    from {name} import g\n    return g(x)" for name in ("torch", "numpy", "huge")}
    calls: list[int] = []
    more: list[int] = []
    verdicts = bisected(
        functions,
        fails_on({"torch", "huge"}, calls=calls),
        lambda: None,
        fails_on({"huge"}, calls=more),
    )
    assert [key for key, verdict in verdicts.items() if verdict == CRASHED] == ["huge"]
    assert list(verdicts) == list(functions)
    assert (calls, more) == ([1_003, 1_000], [3, 1, 1, 1])


HEAPS = [
    pytest.param("from scipy.stats import norm", "norm.pdf", True, id="more-than-twice-the-heap"),
    pytest.param("import torch", "torch.sum", False, id="less-than-twice-the-heap"),
]


@pytest.mark.parametrize(("statement", "call", "crashes"), HEAPS)
def test_a_package_too_large_for_the_heap_costs_its_own_function_alone(statement, call, crashes, monkeypatch):
    """Node runs out of its heap here, as it does at the default one with `from transformers import AutoModel`."""
    checker = Pyright(sys.executable, heap_mb=64)
    sizes: list[int] = []
    once = Pyright.run

    def run(self: Pyright, functions: dict[str, str], heap_mb: int | None = None) -> dict[str, Verdict]:
        sizes.append(len(functions))
        return once(self, functions, heap_mb)

    monkeypatch.setattr(Pyright, "run", run)
    functions = {f"good{n}": DOUBLE for n in range(20)} | {"bad": WRONG}
    functions["large"] = f'def f(x):\n    """Return a value."""\n    {statement}\n    return {call}(x)\n'
    verdicts = checker.check(functions)
    assert all(verdict.passed for key, verdict in verdicts.items() if key.startswith("good"))
    assert verdicts["bad"].rules == ("reportReturnType",)
    assert verdicts["large"] == (CRASHED if crashes else Verdict(()))
    assert [size for size in sizes if size] == [22, 21, 1], "the batch is not halved"


PRAGMAS = [
    "# pyright: strict",
    "#pyright:strict",
    "# pyright: basic, reportUnknownParameterType=true",
    "y = x  # pyright: reportMissingParameterType=error",
    "# said  # pyright: strict",
    "# pyright: strict, no words of the checker",
]


def test_pragmas_change_no_verdict():
    code = {str(n): f'def f(x):\n    """Doc."""\n    {text}\n    return x' for n, text in enumerate(PRAGMAS)}
    wrong = WRONG.replace("return x", "return x  # pyright: ignore")
    text = 'def f(x):\n    """Doc."""\n    return x + "# pyright: strict"'
    verdicts = Pyright().check(code | {"wrong": wrong, "text": text})
    assert [key for key, verdict in verdicts.items() if not verdict.passed] == ["wrong"]
    assert typecheck.without_pragmas(text) == text


def test_a_package_of_which_only_types_are_here_is_missing(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    code = {
        name: f'{line}\n\n\ndef f(x):\n    """Doc."""\n    return {name}, x'
        for name, line in {
            "yaml": "import yaml",
            "requests": "import requests",
            "six": "import six",
            "parser": "from dateutil import parser",
            "simplejson": "import simplejson",
            "json": "import json",
        }.items()
    }
    verdicts = Pyright(str(tmp_path / "bare/bin/python")).check(code)
    assert [key for key, verdict in verdicts.items() if verdict.passed] == ["json"]
    assert verdicts["yaml"].rules == ("reportMissingModuleSource",)


def test_the_check_has_an_interpreter_of_its_own(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(typecheck, "OWN_PYTHON", tmp_path / ".venv-typecheck/bin/python")
    assert typecheck.default_python() == sys.executable
    assert ".venv-typecheck is not there" in caplog.text
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv-typecheck")], check=True)
    assert typecheck.default_python() == str(tmp_path / ".venv-typecheck/bin/python")


def test_a_dead_checker_is_blamed_on_itself():
    def dead():
        raise UserError("pyright does not work here")

    with pytest.raises(UserError, match="does not work"):
        bisected({"a": "", "b": ""}, fails_on({"a"}), dead)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("process.exit(0)", "no JSON"),
        ("console.log('{}'.slice(0, 1)); process.exit(0)", "no JSON"),
        ("process.exit(3)", "status 3"),
        (
            "console.log(JSON.stringify({generalDiagnostics: [], summary: {filesAnalyzed: 3}})); process.exit(0)",
            "not as it should",
        ),
        ("setTimeout(() => {}, 60000)", "took longer"),
    ],
    ids=["says nothing", "says half", "fails", "passes everything", "hangs"],
)
def test_a_checker_that_lies_or_hangs_stops_the_run(script, said, tmp_path):
    (tmp_path / "index.js").write_text(script)
    checker = Pyright(start_s=1.5)
    checker._command = [typecheck.node(), str(tmp_path / "index.js")]
    with pytest.raises(UserError, match=said):
        checker.check({"a": DOUBLE})


def test_a_checker_killed_in_the_middle_loses_nothing():
    checker = Pyright()
    killed = []

    def kill_first():
        while not killed:
            found = subprocess.run(["pgrep", "-P", str(os.getpid()), "node"], capture_output=True, text=True).stdout
            if found.split():
                os.kill(int(found.split()[0]), signal.SIGKILL)
                killed.append(found)
            time.sleep(0.02)

    killer = threading.Thread(target=kill_first, daemon=True)
    killer.start()
    verdicts = checker.check({"good": DOUBLE, "bad": WRONG})
    killer.join(timeout=10)
    assert killed
    assert verdicts["good"].passed
    assert not verdicts["bad"].passed


@pytest.mark.parametrize(
    ("verdict", "fate"),
    [
        (Verdict(()), None),
        (
            Verdict(("reportCallIssue", "reportReturnType"), "No."),
            ("type_error", "reportCallIssue reportReturnType: No."),
        ),
        (CRASHED, ("checker_crashed", "")),
        (TIMED_OUT, ("checker_timed_out", "")),
    ],
)
def test_why_dropped(verdict, fate):
    assert why_dropped(verdict) == fate


def test_finished_batches_are_not_checked_again(tmp_path):
    rows = [seed_row(path=f"{n}.py") for n in range(5)]
    seen: list[str] = []

    def check(functions):
        if len(seen) >= 4:
            raise KeyboardInterrupt
        seen.extend(functions)
        return dict.fromkeys(functions, Verdict(("rule",), "said"))

    with pytest.raises(KeyboardInterrupt), Ledger(tmp_path, {"v": 1}) as ledger:
        list(checked(iter(rows), check, ledger, 2))
    seen.clear()
    with Ledger(tmp_path, {"v": 1}) as ledger:
        found = list(checked(iter(rows), check, ledger, 2))
    assert seen == [rows[4]["id"]]
    assert [row for row, _ in found] == rows
    assert {verdict for _, verdict in found} == {Verdict(("rule",), "said")}
    with Ledger(tmp_path, {"v": 2}) as ledger:
        assert rows[0]["id"] not in ledger, "verdicts of other versions must not be used"


def test_the_environment_of_verdicts_is_recorded(tmp_path):
    rows = [seed_row(), seed_row(WRONG), seed_row(MISSING)]
    write_rows(tmp_path / "s.parquet", SeedRow, rows)
    outputs = [tmp_path / name for name in ("k.parquet", "d.parquet", "n.json", "v.json")]
    main(tmp_path / "s.parquet", *outputs, tmp_path / "work", settings=TypecheckFunctions(batch_size=2))
    assert [row["id"] for row in read_rows(outputs[0])] == [rows[0]["id"]]
    assert [row["reason"] for row in read_rows(outputs[1])] == ["type_error", "type_error"]
    versions = json.loads(outputs[3].read_text())
    assert versions == environment(default_python())
    assert versions["packages"]["numpy"]
    assert versions["pyright"] == "1.1.414"


def test_a_wrong_interpreter_is_named():
    with pytest.raises(UserError, match="typecheck_functions.python"):
        environment("/no/such/python")


def test_an_interpreter_may_be_named_by_a_relative_path(monkeypatch):
    monkeypatch.chdir(sys.prefix)
    checker = Pyright(os.path.relpath(sys.executable))
    code = "import numpy\n\n\ndef zeros(n: int):\n    return numpy.zeros(n)\n"
    assert checker.check({"zeros": code})["zeros"].passed
