"""The sandbox over HTTP: the same verdicts, nothing lost, and nobody in who may not be."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selfcodealign.sandbox import Settings, run_cases
from tests.sandbox import suite
from tests.sandbox.serving import require_packages, serving

pytestmark = pytest.mark.slow

GOOD = {"id": "good", "code": "def f(x): return x + 1", "test": "assert f(1) == 2"}
MEASURED = {"cpu_s", "wall_s", "memory_mb"}
SLEEPS = "import time\ntime.sleep({seconds})  # {name}"
CASES = suite.load()


def fixed(row: dict) -> dict:
    """Leave out what no two runs share."""
    return {key: value for key, value in row.items() if key not in MEASURED}


@pytest.fixture(scope="module")
def server():
    with serving("--workers", 2) as started:
        yield started


def sample() -> list[dict]:
    """Take every sixth case of each file, at least ten of each file that has as many, and every kind of verdict."""
    chosen = {}
    for category in sorted({case["category"] for case in CASES}):
        own = [case for case in CASES if case["category"] == category]
        step = max(1, min(6, len(own) // 10))
        chosen |= {case["id"]: case for case in own[::step]}
    return list(chosen.values())


def test_the_sample_is_spread():
    chosen = sample()
    assert len(chosen) >= 120
    assert {case["category"] for case in chosen} == {case["category"] for case in CASES}
    verdicts = {case.get("expect") for case in chosen}
    assert verdicts >= {"pass", "fail", "error", "timeout", "memory", "vacuous", "crashed"}


def test_hostile_programs_get_the_verdicts_they_deserve(server):
    cases = CASES if os.environ.get("SELFCODEALIGN_SERVE_SUITE") == "full" else sample()
    with tempfile.TemporaryDirectory(prefix="serve-suite-") as folder, suite.host(Path(folder)) as texts:
        rows = [suite.given(case, texts) for case in cases]
        # Some alone and some together, all at the same time.
        asked = (
            [rows[:20], *rows[20:]]
            if len(rows) <= 200
            else [rows[start : start + 25] for start in range(0, len(rows), 25)]
        )
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda body: server.ask("/run", body), asked))
        assert {answer.status for answer in answers} == {200}
        found = [row for answer in answers for row in (answer.body if isinstance(answer.body, list) else [answer.body])]
        assert [row["id"] for row in found] == [case["id"] for case in cases]
        wrong = {
            row["id"]: f"{row['verdict']}: {row['reason']}"
            for row, case in zip(found, cases, strict=True)
            if row["verdict"] not in case.get("expect_any", [case.get("expect")])
            or any(row[key] != case[key] for key in suite.COMPARED if key in case)
        }
    assert wrong == {}
    assert [case["survivor"] for case in cases if "survivor" in case and suite.survivors(case["survivor"])] == []


def test_a_verdict_is_the_one_that_run_cases_gives(server):
    cases = [
        GOOD,
        {"id": "vacuous", "code": "def f(): return 1", "test": "f()"},
        {"id": "script", "program": "print(input())\nraise SystemExit(3)", "stdin": "in"},
        {"id": "files", "program": "print(open('a/b').read())", "files": {"a/b": "text é"}},
        {"id": "odd \ud800 text", "program": "print('\ud800'.encode('utf-8', 'surrogatepass'))"},
    ]
    settings = Settings(workers=1, isolation="bubblewrap")
    direct = {row["id"]: fixed(row) for row in run_cases(cases, settings)}
    assert {row["id"]: fixed(row) for row in server.ask("/run", cases).body} == direct
    assert fixed(server.ask("/run", GOOD).body) == direct["good"]


def test_200_requests_at_once_are_all_answered(server):
    programs = [{"id": f"case {number}", "program": f"print({number})"} for number in range(200)]
    with ThreadPoolExecutor(200) as threads:
        answers = list(threads.map(lambda case: server.ask("/run", case), programs))
    assert {answer.status for answer in answers} == {200}
    assert [answer.body["stdout"] for answer in answers] == [f"{number}\n" for number in range(200)]
    assert server.get("/health").body["cases"] == 0


def test_scripts_run_in_sandboxfusions_form(server):
    asked = {"language": "python", "compile_timeout": 10, "run_timeout": 5, "files": {}, "fetch_files": []}
    ended = {
        "print(int(input()) + 1)": ("Success", "Finished", 0, "2\n"),
        "print(1); raise SystemExit(4)": ("Failed", "Finished", 4, "1\n"),
        "import os\nprint(1, flush=True); os._exit(0)\nassert False": ("Failed", "Finished", 1, "1\n"),
        "while True: pass": ("Failed", "TimeLimitExceeded", None, ""),
        "x = 'a' * (10 ** 10)": ("Failed", "Finished", 1, ""),
    }
    for code, wanted in ended.items():
        timeout = {"run_timeout": 0.5} if "while" in code else {}
        answer = server.ask("/run_code", {**asked, **timeout, "code": code, "stdin": "1"}).body
        run = answer["run_result"]
        assert (answer["status"], run["status"], run["return_code"], run["stdout"]) == wanted, (code, answer)
    long = server.ask("/run_code", {**asked, "code": "print('a' * 300_000)"}).body
    assert len(long["run_result"]["stdout"]) == 300_001


def test_tests_run_in_open_instructs_form(server):
    none = "def find(xs): return xs[0] if xs else None"
    tests = ["assert find([1]) == 1", "assert find([]) is None", "assert find([2]) == 1", "1 +"]
    answer = server.ask("/test_program", {"program": none, "tests": tests, "max_execution_time": 2.0}).body
    assert answer["results"] == [1, 1, 0, 0]
    assert [runtime > 0 for runtime in answer["runtimes"]] == [True, True, False, False]
    forged = "class Any(int):\n    def __eq__(self, other): return True\ndef find(xs): return Any()"
    assert server.ask("/test_program", {"program": forged, "tests": tests[:3]}).body["results"] == [0, 0, 0]
    echo = {"program": "print(input())", "tests": [{"input": "a", "output": "a"}, {"input": "a", "output": "b"}]}
    assert server.ask("/test_program_stdio", echo).body["results"] == [1, 0]


def test_what_is_no_request_is_refused_in_one_sentence(server):
    deep = b"[" * 100_000
    refused = {
        400: [("/run", b"{"), ("/run", b"\xff\xff"), ("/run", deep), ("/run", b"1" * 5000)],
        422: [
            ("/run", {"id": "a"}),
            ("/run", {**GOOD, "memory_mb": 4096}),
            ("/run", [GOOD, {**GOOD, "network": True}]),
        ],
        404: [("/elsewhere", GOOD)],
        413: [("/run", [GOOD] * 1025), ("/run", b" " * (17 << 20))],
    }
    for status, requests in refused.items():
        for path, body in requests:
            answer = server.ask(path, body)
            assert answer.status == status, (path, answer)
            assert answer.body.keys() == {"detail"}
            assert "\n" not in answer.body["detail"]
    assert server.get("/run").status == 405
    assert server.ask("/run", GOOD).status == 200


def test_a_gigabyte_is_refused_before_it_is_read(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


def test_a_page_in_a_browser_is_turned_away(server):
    assert server.ask("/run", GOOD, Origin="https://example.org").status == 403


def test_a_client_that_hangs_up_takes_its_waiting_cases_along(server):
    cases = [{"id": str(number), "program": SLEEPS.format(seconds=0.4, name=number)} for number in range(300)]
    body = json.dumps(cases).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: server.get("/health").body["cases"] == 300)
    started = time.monotonic()
    assert server.ask("/run", {**GOOD, "id": "after"}).body["passed"]
    assert time.monotonic() - started < 30  # All of them would have taken a minute.
    assert server.get("/health").body["cases"] == 0


def test_a_full_queue_says_when_to_come_again():
    with serving("--workers", 1, "--queue", 8) as small, ThreadPoolExecutor(2) as threads:
        cases = [{"id": str(number), "program": SLEEPS.format(seconds=0.5, name=number)} for number in range(8)]
        running = threads.submit(small.ask, "/run", cases)
        until(lambda: small.get("/health").body["cases"] == 8)
        answer = small.ask("/run", GOOD)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert len(running.result().body) == 8
        assert small.ask("/run", GOOD).body["passed"]
        assert small.ask("/run", [GOOD] * 9).status == 413


def test_a_signal_lets_what_was_accepted_finish_and_refuses_the_rest():
    with serving("--workers", 1) as ending, ThreadPoolExecutor(2) as threads:
        cases = [{"id": str(number), "program": SLEEPS.format(seconds=0.5, name=number)} for number in range(6)]
        running = threads.submit(ending.ask, "/run", cases)
        until(lambda: ending.get("/health").body["cases"] == 6)
        ending.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(ending.port))
        assert [row["verdict"] for row in running.result().body] == ["pass"] * 6
        assert ending.process.wait(30) == 0
        assert ending.log[-1] == "stopped\n"


def test_a_signal_before_the_server_runs_is_not_lost():
    require_packages()
    from selfcodealign.serving.server import ended_by_signals

    asked, before = [], signal.getsignal(signal.SIGTERM)
    with ended_by_signals(lambda: asked.append("stop")):
        signal.raise_signal(signal.SIGTERM)
    assert asked == ["stop"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_that_is_killed_loses_nothing(server):
    programs = [{"id": f"kill {number}", "program": SLEEPS.format(seconds=0.2, name=number)} for number in range(20)]
    with ThreadPoolExecutor(20) as threads:
        running = [threads.submit(server.ask, "/run", case) for case in programs]
        until(lambda: server.get("/health").body["cases"] > 10)
        tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
        os.kill(next(int(pid) for task in tasks for pid in task.read_text().split()), signal.SIGKILL)
        assert [task.result().body["verdict"] for task in running] == ["pass"] * 20


def test_other_machines_need_the_token(tmp_path):
    token = "0123456789abcdef0123456789abcdef"
    (tmp_path / "token").write_text(token + "\n")
    with serving("--workers", 1, "--host", "0.0.0.0", "--token-file", tmp_path / "token") as guarded:
        wrong = ({}, {"Authorization": token}, {"Authorization": f"Bearer {token[:-1]}"}, {"Authorization": "Bearer é"})
        for headers in (*wrong, {"Authorization": f"Basic {token}"}, {"Authorization": "Bearer"}):
            answer = guarded.ask("/run", GOOD, **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), headers
        assert guarded.ask("/run", GOOD, Authorization=f"Bearer {token}").body["passed"]
        assert guarded.get("/health").body["status"] == "healthy"
    assert token not in "".join(guarded.log)


def test_it_does_not_start_where_it_should_not(server, tmp_path):
    (tmp_path / "short").write_text("short")
    refused = {
        ("--host", "0.0.0.0"): "there is no token",
        ("--token-file", tmp_path / "short"): "holds no token",
        ("--port", server.port): "choose another",
        ("--isolation", "none"): "i-understand",
        ("--network", "true"): "--network cannot be had",
    }
    for flags, told in refused.items():
        command = [sys.executable, "-m", "selfcodealign", "serve", "--port", "0", *map(str, flags)]
        done = subprocess.run(command, cwd=suite.ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1, done.stderr
        assert told in done.stderr.splitlines()[-1]
        assert done.stderr.splitlines()[-1].startswith("error: ")


def test_the_examples_of_the_page_work(server):
    page = (suite.ROOT / "docs" / "serve.md").read_text()
    examples = re.findall(r"^    curl (?:.*\\\n)*.*\n(?:\n?    \{.*\n)", page, re.MULTILINE)
    assert len(examples) == 5
    for example in examples:
        command, _, wanted = example.strip().rpartition("\n")
        command = command.strip().replace("localhost:8080", f"127.0.0.1:{server.port}")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
        assert shown(json.loads(done.stdout)) == shown(json.loads(wanted)), command


def shown(value):
    """Turn times and memory, which every run has others of, into their kind."""
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items() if key not in ("workers", "isolation")}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return "a number" if isinstance(value, float) else value


def refuses(port: int) -> bool:
    """Tell whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def until(holds, seconds: float = 30.0) -> None:
    """Wait for something to hold."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)
