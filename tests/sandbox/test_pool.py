"""Workers that stay: whoever asks, from however many threads, gets every verdict, also when workers are killed."""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from selfcodealign.errors import UserError
from selfcodealign.sandbox import Settings
from selfcodealign.sandbox.pool import Pool
from selfcodealign.sandbox.supervisor import Crew, Job
from tests.sandbox.test_kill import below, depth
from tests.sandbox.test_suite import require

SLOW = {"code": "import time\ntime.sleep(1)\ndef f(x): return x", "test": "assert f(3) == 3"}


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Open a pool of two workers."""
    require("bubblewrap")
    with Pool(Settings(workers=2, isolation="bubblewrap")) as made:
        yield made


def case(number: int) -> dict[str, str]:
    """Make a case that passes if its number is even."""
    test = f"assert f(1) == {number + 1 - number % 2}"
    return {"id": f"case {number}", "code": f"def f(x): return x + {number}", "test": test}


def test_verdicts_come_in_the_order_of_the_cases_and_later_cases_find_the_workers_there(pool):
    first = pool.run([case(2), case(1), {**case(4), "id": "case 2"}])
    assert [(verdict["id"], verdict["passed"]) for verdict in first] == [
        ("case 2", True),
        ("case 1", False),
        ("case 2", True),
    ]
    before = workers()
    assert pool.run([case(6)])[0]["passed"]
    assert before
    assert workers() == before


def test_two_hundred_requests_at_once_get_two_hundred_verdicts(pool):
    ask_two_hundred_times(pool.run)


def test_a_worker_that_is_killed_is_replaced_and_its_case_runs_again(pool):
    pool.run([case(2)])
    waiting = [pool.submit({"id": str(number), **SLOW, "stdin": str(number)}) for number in range(3)]
    time.sleep(0.3)
    killed = kill_workers()
    assert [future.result(timeout=60)["verdict"] for future in waiting] == ["pass"] * 3
    assert not workers() & killed


def test_a_malformed_case_is_refused_at_once_and_harms_no_other(pool):
    with pytest.raises(UserError, match="code is missing"):
        pool.submit({"id": "bad", "code": None, "test": ""})
    assert pool.run([case(2)])[0]["passed"]


def test_a_case_that_is_cancelled_harms_no_other(pool):
    waiting = [pool.submit(case(number)) for number in (2, 4)]
    assert not waiting[0].cancel()
    assert [future.result(timeout=60)["passed"] for future in waiting] == [True, True]


def test_who_waits_when_the_pool_is_closed_is_told(pool):
    waiting = pool.submit({"id": "slow", **SLOW})
    pool.close()
    with pytest.raises(UserError, match="the pool was closed"):
        waiting.result(timeout=10)
    with pytest.raises(UserError, match="have ended: the pool was closed"):
        pool.submit(case(2))
    assert not workers()


def test_a_timeout_runs_again_though_other_cases_never_stop_coming(monkeypatch):
    require("bubblewrap")
    monkeypatch.setattr("selfcodealign.sandbox.pool.PATIENCE_S", 0.5)
    take = Crew.take

    def starve(crew: Crew, job: Job, result: dict[str, Any]) -> None:
        take(crew, job, {**result, "starved": "starved" in job.message["code"]})

    monkeypatch.setattr(Crew, "take", starve)
    numbers = itertools.count()
    with Pool(Settings(workers=2, isolation="bubblewrap")) as made:
        starved = made.submit({"id": "slow", "code": "def starved(x): return x", "test": "assert starved(1) == 1"})
        deadline = time.monotonic() + 60
        while not starved.done() and time.monotonic() < deadline:
            while made.waits() < 20:
                made.submit(case(next(numbers)))
            time.sleep(0.01)
        assert starved.done()
        assert starved.result()["passed"]


def ask_two_hundred_times(ask: Callable[[list[dict[str, str]]], list[dict[str, Any]]]) -> None:
    """Ask from as many threads at once, each for one case, and look at every verdict."""
    found: dict[int, list[dict]] = {}
    threads = [
        threading.Thread(target=lambda number=number: found.update({number: ask([case(number)])}))
        for number in range(200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    assert {number: verdict["passed"] for number, (verdict,) in found.items()} == {
        number: number % 2 == 0 for number in range(200)
    }


def workers() -> set[int]:
    """Return the process ids of the workers that are alive below this process."""
    return {pid for pid in below(os.getpid()) if depth(pid) == 3}


def kill_workers() -> set[int]:
    """Kill all workers at once and return their process ids."""
    killed = workers()
    assert killed
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):  # One may end with another.
            os.kill(pid, signal.SIGKILL)
    return killed
