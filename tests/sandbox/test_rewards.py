"""Rewards by the real sandbox: no forgery earns one, and one pool of workers serves all processes of a machine."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import pytest

from selfcodealign.config import TrainGrpo
from selfcodealign.errors import UserError
from selfcodealign.sandbox import Settings
from selfcodealign.sandbox.pool import Pool
from selfcodealign.training.rewards import Answer, Server, ask, code_of, judge
from tests.sandbox import suite
from tests.sandbox.test_pool import SLOW, ask_two_hundred_times, case, kill_workers, workers
from tests.sandbox.test_suite import require

HONEST_IN_PART = {"name_error_in_the_tests", "replaces_its_own_test_function", "function_rebound"}
"""Programs that earn a share by a test which truly holds: what they replace would have to pass the other one."""

OWN_LIMITS = {"files", "stdin", "needs", "timeout_s", "memory_mb", "scratch_mb", "processes", "output_kb"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve a pool of two workers."""
    require("bubblewrap")
    made = Server(Pool(Settings(workers=2, isolation="bubblewrap")))
    yield made
    made.close()


def test_a_hostile_program_as_an_answer_earns_nothing(server, tmp_path):
    cases = [case for case in suite.load() if "code" in case and "test" in case and not OWN_LIMITS & set(case)]
    with suite.host(tmp_path) as texts:
        given = [suite.given(case, texts) for case in cases]
        answers = [Answer(f"```python\n{case['code']}\n```", case["test"], 1, True) for case in given]
        whole, share = (judge(answers, server.pool.run, TrainGrpo(reward=reward)) for reward in ("all", "share"))
    honest = {case["id"] for case in cases if case.get("expect") == "pass"}
    unread = {case["id"] for case, answer in zip(cases, answers, strict=True) if code_of(answer.text, "-") is None}
    assert len(honest) > 150
    assert len(cases) - len(honest) > 300
    earned = [
        {case["id"]: worth.tests for case, worth in zip(cases, worths, strict=True) if worth.tests}
        for worths in (whole, share)
    ]
    assert earned[0] == dict.fromkeys(honest - unread, 1.0)
    in_part = {name: worth for name, worth in earned[1].items() if name not in honest}
    assert in_part == dict.fromkeys(HONEST_IN_PART, 0.5)


def test_two_hundred_requests_of_others_at_once_are_all_answered(server):
    ask_two_hundred_times(partial(ask, server.address))


def test_another_process_gets_its_verdicts_though_all_workers_are_killed_meanwhile(server):
    code = "import json, sys; from selfcodealign.training.rewards import ask\n"
    code += "print(json.dumps([one['verdict'] for one in ask(sys.argv[1], json.loads(sys.argv[2]))]))"
    cases = [{"id": str(number), **SLOW, "test": f"assert f({number}) == {number}"} for number in range(4)]
    server.pool.run([case(0)])
    words = [sys.executable, "-c", code, server.address, json.dumps(cases)]
    other = subprocess.Popen(words, cwd=suite.ROOT, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while server.pool.waits() < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    killed = kill_workers()
    assert json.loads(other.communicate(timeout=120)[0]) == ["pass"] * 4
    assert not workers() & killed


def test_a_process_that_has_ended_and_a_malformed_case_are_told(server):
    with pytest.raises(UserError, match="code is missing"):
        ask(server.address, [{"id": "a", "code": None, "test": ""}])
    with pytest.raises(UserError, match="the process that runs the rewards has ended"):
        ask(f"{server.address}-no", [case(0)])
    assert ask(server.address, []) == []
