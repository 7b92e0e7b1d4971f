"""What a caller may rely on: one row for each case, nothing run twice, flakiness seen, clear refusals."""

import itertools
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfcodealign.errors import UserError
from selfcodealign.sandbox import VERDICTS, Settings, cache, choose_layer, layers, run_cases, selftest, supervisor
from selfcodealign.sandbox.supervisor import Crew, Job
from tests.sandbox import suite

GOOD = {"code": "def f(x): return x + 1", "test": "assert f(1) == 2"}
COUNTING = """
import os
import time
def f(x):
    return time.time_ns()
"""


def run(cases, **settings):
    return {row["id"]: row for row in run_cases(cases, Settings(workers=1, **settings))}


def command_line(*arguments, **options):
    command = [sys.executable, "-m", "selfcodealign", "sandbox", *map(str, arguments)]
    return subprocess.run(command, cwd=suite.ROOT, capture_output=True, text=True, timeout=120, **options)


def test_equal_programs_run_once_and_every_id_gets_its_row():
    # The time it ran is printed: two runs would print two times.
    case = {"code": COUNTING, "test": "print(f(1))\nassert f(1) > 5"}
    found = run([{"id": str(number), **case} for number in range(6)])
    assert len(found) == 6
    assert len({row["stdout"] for row in found.values()}) == 1


def test_the_cache_spares_a_second_run_and_knows_the_limits(tmp_path):
    case = {"id": "a", "code": COUNTING, "test": "print(f(1))\nassert f(1) > 5"}
    cache = tmp_path / "cache.sqlite"
    first, again = (run([case], cache=cache)["a"] for _ in range(2))
    assert first == again
    other = run([{**case, "timeout_s": 9}], cache=cache)["a"]
    assert other["stdout"] != first["stdout"]


@pytest.fixture
def checkout():
    """Lay out a copy of the package, in a folder that other users can read, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="sandbox-checkout-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(suite.ROOT / "selfcodealign", folder / "selfcodealign", ignore=ignored)
        yield folder


def test_verdicts_of_other_rules_are_not_taken_from_the_cache(checkout):
    case = {"id": "a", "code": "def f(peculiar): return peculiar + 1", "test": GOOD["test"]}
    (checkout / "cases.jsonl").write_text(json.dumps(case) + "\n")
    command = [sys.executable, "-m", "selfcodealign", "sandbox", "--input", "cases.jsonl", "--cache", "cache.sqlite"]

    def verdict(name: str) -> str:
        command_line = [*command, "--isolation", "bubblewrap", "--output", name]
        done = subprocess.run(command_line, cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-1000:]
        return json.loads((checkout / name).read_text())["verdict"]

    assert verdict("first.jsonl") == "pass"
    rules = checkout / "selfcodealign/sandbox/inside/refused.py"
    words = "FRAME_WALKING = {"
    assert words in rules.read_text()
    rules.write_text(rules.read_text().replace(words, f'{words}"peculiar", '))
    assert verdict("second.jsonl") == "fail"


def test_a_cache_that_is_no_database_is_named(tmp_path):
    (tmp_path / "cache").write_text("hello, this is not a database file at all" * 50)
    with pytest.raises(UserError, match="cache"):
        run([{"id": "a", **GOOD}], cache=tmp_path / "cache")


def test_a_verdict_that_changes_between_runs_is_flaky():
    drawn = "import random\ndef f():\n    return random.random()"
    found = run(
        [{"id": "drawn", "code": drawn, "test": "x = f()\nassert 0 <= x < 0.6"}, {"id": "steady", **GOOD}], reruns=12
    )
    assert found["steady"]["verdict"] == "pass"
    # The draw follows from the text and the number of the run; the first is below 0.6, and not all of the others are.
    assert found["drawn"]["verdict"] in ("flaky", "fail")
    assert not found["drawn"]["passed"]


def test_flakiness_is_found_among_many_random_programs():
    drawn = "import random\ndef f():\n    return random.random()  # {n}"
    cases = [{"id": str(n), "code": drawn.format(n=n), "test": "assert 0 <= f() < 0.5"} for n in range(8)]
    once = [row["verdict"] for row in run(cases).values()]
    often = [row["verdict"] for row in run(cases, reruns=6).values()]
    assert "pass" in once
    assert "flaky" in often
    assert often.count("pass") < once.count("pass")


def test_two_runs_give_the_same_verdicts_to_random_programs():
    drawn = "import random\ndef f():\n    return random.random()  # {n}"
    cases = [{"id": str(n), "code": drawn.format(n=n), "test": "assert 0 <= f() < 0.5"} for n in range(8)]
    first, second = ({name: row["verdict"] for name, row in run(cases).items()} for _ in range(2))
    assert first == second


def test_the_mutation_score_tells_strong_tests_from_weak_ones():
    code = "def f(a, b):\n    if a > b:\n        return a - b\n    return b - a + 0"
    weak, strong = "assert f(3, 1) == 2", "assert f(3, 1) == 2\nassert f(1, 4) == 3\nassert f(2, 2) == 0"
    found = run([{"id": "weak", "code": code, "test": weak}, {"id": "strong", "code": code, "test": strong}], mutants=6)
    assert 0 <= found["weak"]["mutation_score"] < found["strong"]["mutation_score"] <= 1
    assert run([{"id": "a", **GOOD}])["a"]["mutation_score"] is None


def test_a_case_may_have_limits_of_its_own():
    sleeping = "import time\ndef f():\n    time.sleep(0.7)\n    return 1"
    case = {"code": sleeping, "test": "assert f() == 1"}
    found = run([{"id": "short", **case, "timeout_s": 0.3}, {"id": "long", **case, "timeout_s": 10}])
    assert (found["short"]["verdict"], found["long"]["verdict"]) == ("timeout", "pass")


@pytest.mark.parametrize(("starved", "again"), [(False, 0), (True, 1)])
def test_a_timeout_runs_again_only_if_it_was_starved(starved, again):
    crew = Crew(layers.Layer("bubblewrap", ()), Settings(workers=1), {"nested": True})
    job = crew.running["key"] = Job(["a"], {}, "key")
    crew.take(job, {"verdict": "timeout", "reason": "", "starved": starved})
    assert (len(crew.slow), len(crew.done)) == (again, 1 - again)
    crew.end()


class Deaf:
    """A worker that takes cases and says nothing."""

    def __init__(self) -> None:
        self.given: deque[Job] = deque()
        self.served = 0

    def give(self, job: Job) -> None:
        """Take a case."""
        self.given.append(job)


@pytest.mark.parametrize(
    ("patience_s", "order"),
    [(10.0, ["0", "1", "2", "3", "slow", "4"]), (math.inf, ["0", "1", "2", "3", "4", "5"])],
    ids=["ten_seconds", "until_the_end"],
)
def test_where_cases_never_end_a_timeout_runs_again_alone_after_a_while(monkeypatch, patience_s, order):
    clock = [0.0]
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    crew: Any = Crew(layers.Layer("bubblewrap", ()), Settings(workers=1), {"nested": True})
    crew.patience_s = patience_s
    worker = Deaf()
    crew.workers.append(worker)
    crew.running["key"] = Job(["slow"], {}, "key")
    crew.take(crew.running["key"], {"verdict": "timeout", "reason": "", "starved": True})
    cases = ({"id": str(number), "code": f"x = {number}", "test": "assert x"} for number in itertools.count())

    def next_one(now: float) -> str:
        clock[0] = now
        crew.feed(cases)
        return worker.given.popleft().owners[0]

    # A worker holds two cases, so that one still runs when the pause begins.
    assert [next_one(now) for now in (0, 5, 9, 11, 12, 13)] == order
    crew.workers.clear()
    crew.end()


def test_reruns_have_other_orders_of_sets():
    words = ("pear", "fig", "kiwi", "plum", "lime", "date", "sloe", "acai")
    code = "def uniq(xs): return list(set(xs))"
    cases = [{"id": word, "code": code, "test": f"assert uniq({words})[0] == {word!r}"} for word in words]
    once = [row["verdict"] for row in run(cases).values()]
    often = [row["verdict"] for row in run(cases, reruns=4).values()]
    assert once.count("pass") == 1
    assert often.count("flaky") == 1


@pytest.mark.parametrize(
    ("program", "reason"), [("while True: pass", "CPU time"), ("import time\ntime.sleep(60)", "not finished")]
)
def test_a_timeout_is_told_within_a_second_of_its_limit(program, reason):
    warm = {"id": "warm", "program": "pass"}
    verdicts = run_cases([warm, {"id": "slow", "program": program, "timeout_s": 1}], Settings(workers=1))
    assert next(verdicts)["verdict"] == "pass"
    slow = next(verdicts)
    assert slow["verdict"] == "timeout"
    assert reason in slow["reason"]
    assert slow["cpu_s"] <= 2
    verdicts.close()


def test_stopping_early_ends_the_workers():
    endless = ({"id": str(n), "program": f"print({n})"} for n in range(10**9))
    verdicts = run_cases(endless, Settings(workers=2))
    assert next(verdicts)["verdict"] == "pass"
    verdicts.close()


def test_a_row_has_the_promised_keys():
    row = run([{"id": "a", **GOOD}])["a"]
    promised = ("id", "verdict", "passed", "reason", "stdout", "stderr", "cpu_s", "wall_s", "memory_mb", "isolation")
    assert set(promised) <= set(row)
    assert row["verdict"] in VERDICTS
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ({"code": "x", "test": "y"}, "id"),
        ({"id": 3, "code": "x"}, "id"),
        ({"id": "a"}, "program, or code and test"),
        ({"id": "a", "code": "x", "program": "y"}, "either program, or code"),
        ({"id": "a", "code": 3, "test": ""}, "code is int"),
        ({"id": "a", "response": "x"}, "unknown key response"),
    ],
)
def test_a_malformed_case_is_named(case, named):
    with pytest.raises(UserError, match=named):
        list(run_cases([case], Settings(workers=1)))


@pytest.mark.parametrize("key", ["timeout_s", "memory_mb", "workers", "processes"])
def test_limits_must_be_above_zero(key):
    with pytest.raises(UserError, match=key):
        Settings(**{key: 0})


def test_without_a_layer_it_refuses_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(layers.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"nothing was run.*install bubblewrap"):
        list(run_cases([{"id": "a", **GOOD}], Settings(workers=1)))


def test_a_layer_that_has_passed_is_not_tested_again_for_the_same_limits(monkeypatch):
    passed, probe = [], selftest.probe

    def counted(layer, settings):
        greeting = probe(layer, settings)
        passed.append(layer.name)
        return greeting

    monkeypatch.setattr(selftest, "PASSED", {})
    monkeypatch.setattr(selftest, "probe", counted)
    one, again = choose_layer(Settings()), choose_layer(Settings(workers=3, timeout_s=1))
    assert one == again
    assert len(passed) == 1
    choose_layer(Settings(processes=9))
    assert len(passed) == 2


def test_an_interpreter_that_reads_other_code_compiles_the_sources_itself(monkeypatch):
    inside = {**layers._inside(), "magic": "another", "compiled": "this would not load"}
    monkeypatch.setattr(layers, "_inside", lambda: inside)
    monkeypatch.setattr(selftest, "PASSED", {})
    # A rerun has an interpreter of its own, with another hash seed.
    assert run([{"id": "a", **GOOD}], reruns=1)["a"]["verdict"] == "pass"


def test_no_isolation_needs_an_explicit_word_and_is_recorded_in_every_row(tmp_path):
    (tmp_path / "cases.jsonl").write_text(json.dumps({"id": "a", **GOOD}) + "\n")
    files = ("--input", tmp_path / "cases.jsonl", "--output", tmp_path / "verdicts.jsonl", "--workers", 1)
    refused = command_line(*files, "--isolation", "none")
    assert refused.returncode == 1
    assert "i-understand" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    done = command_line(*files, "--isolation", "none", "--i-understand")
    assert done.returncode == 0, done.stderr
    assert "isolation is OFF" in done.stderr
    row = json.loads((tmp_path / "verdicts.jsonl").read_text())
    assert (row["verdict"], row["isolation"]) == ("pass", "none")


def test_without_isolation_limits_hold_and_nothing_is_left_running():
    cases = [
        case for case in suite.load() if case["id"] in ("endless_loop", "child_outlives_its_parent", "memory_bomb")
    ]
    found = run([suite.given(case, {}) for case in cases], isolation="none", i_understand=True, retry_timeouts=False)
    assert {name: row["verdict"] for name, row in found.items()} == {case["id"]: case["expect"] for case in cases}
    assert not suite.survivors("sandbox-orphan")


def test_a_finished_output_is_left_as_it_is_and_an_id_that_comes_twice_runs_once(tmp_path):
    line = json.dumps({"id": "a", **GOOD}) + "\n"
    (tmp_path / "cases.jsonl").write_text(line * 3)
    files = ("--input", tmp_path / "cases.jsonl", "--output", tmp_path / "verdicts.jsonl", "--workers", 1)
    for _ in range(2):
        done = command_line(*files)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "verdicts.jsonl").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(("text", "named"), [("not json\n", "line 1"), ('{"code": "x"}\n', "id")])
def test_a_wrong_line_of_the_input_is_named(tmp_path, text, named):
    (tmp_path / "cases.jsonl").write_text(text)
    done = command_line("--input", tmp_path / "cases.jsonl", "--output", tmp_path / "out.jsonl", "--workers", 1)
    assert done.returncode == 1
    assert named in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_self_test_names_the_layer():
    done = command_line("--self-test")
    assert done.returncode == 0, done.stderr
    assert "self-test passed" in done.stderr


def test_a_cache_without_a_file_forgets_before_it_fills_the_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "MOST_KEPT", 500)
    passing, lasting = cache.Cache(None), cache.Cache(tmp_path / "cache")
    for number in range(20):
        for one in (passing, lasting):
            one.put(str(number), {"stdout": "x" * 100})
    kept = [sum(one.get(str(number)) is not None for number in range(20)) for one in (passing, lasting)]
    assert passing.get("19") is not None
    assert 1 <= kept[0] <= 5
    assert kept[1] == 20
