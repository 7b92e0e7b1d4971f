import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Request, Sampling, keeper, open_backend
from selfcodealign.generation.backends.vllm import VllmBackend, server_command, visible_gpus
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SERVING = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        body = json.dumps({"choices": [{"text": str(os.getpid()), "finish_reason": "stop"}]}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
"""A program in the place of vLLM that answers everything with its process id."""

DYING = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        print("RuntimeError: out of memory", flush=True)
        os._exit(3)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
"""A program in the place of vLLM that is ready at once and dies of the first question."""


def value(command, flag):
    return command[command.index(flag) + 1]


def test_the_command_names_model_revision_and_the_jobs_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    settings = EngineSettings(backend="vllm", dtype="bfloat16", max_model_len=3000, server_args="--swap-space 0")
    command = server_command(ModelSettings(name="org/model", revision="abc"), settings)
    assert visible_gpus() == 2
    assert value(command, "--model") == "org/model"
    assert value(command, "--revision") == "abc"
    assert value(command, "--tensor-parallel-size") == "2"
    assert value(command, "--host") == "127.0.0.1"
    assert value(command, "--max-model-len") == "3000"
    assert value(command, "--load-format") == "safetensors"
    assert value(command, "--gpu-memory-utilization") == "0.9"
    assert command[-2:] == ["--swap-space", "0"]
    assert "--trust-remote-code" not in command


def test_remote_code_and_tensor_parallelism_follow_the_config(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    model = ModelSettings(name="org/model", trust_remote_code=True)
    command = server_command(model, EngineSettings(backend="vllm", tensor_parallel=2))
    assert "--trust-remote-code" in command
    assert value(command, "--tensor-parallel-size") == "2"


def test_a_local_folder_has_no_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    command = server_command(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm"))
    assert "--revision" not in command
    assert value(command, "--tensor-parallel-size") == "1"


@pytest.mark.parametrize(("given", "count"), [("0", 1), ("0,1,2", 3), ("", 0), ("-1", 0)])
def test_gpus_are_those_that_the_scheduler_gave(monkeypatch, given, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == count


def test_a_server_that_ends_is_an_error_of_one_sentence_and_leaves_its_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = r"ended while it started \(exit status 1\): .*No module named.*; its log is (logs/vllm/\S+\.log)$"
    with pytest.raises(UserError, match=said) as error:
        open_backend(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm"))
    log = re.search(said, str(error.value))
    assert log is not None
    assert "No module named" in (tmp_path / log[1]).read_text()


@pytest.fixture
def in_place_of_vllm(tmp_path, monkeypatch):
    """Return a function that installs a program in the place of vLLM."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    package = tmp_path / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    return (package / "api_server.py").write_text


def answer_of(server):
    (completion,) = server.complete([Request("row/0", 0, lambda: "Question")], Sampling(0.0, 1.0, 8))
    return completion.text


def gone(pid, within_s=30.0):
    """Wait until a process group has ended; False if it lives on."""
    deadline = time.monotonic() + within_s
    while keeper.runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not keeper.runs(pid)


def test_without_waiting_a_server_ends_with_its_job(tmp_path, in_place_of_vllm):
    in_place_of_vllm(SERVING)
    server = VllmBackend(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm"))
    assert answer_of(server) == str(server.pid)
    server.close()
    assert not keeper.runs(server.pid)
    assert list((tmp_path / f"selfcodealign-{os.getuid()}").iterdir()) == []


def test_a_server_that_waits_is_taken_by_the_next_job_of_the_same_model_and_settings(
    tmp_path, in_place_of_vllm, monkeypatch
):
    in_place_of_vllm(SERVING)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    settings = EngineSettings(backend="vllm", keep_server_s=3)

    def started(**changes):
        return VllmBackend(ModelSettings(name=str(tmp_path / "model")), settings.model_copy(update=changes))

    first = started()
    first.close()
    second, third = started(), started()
    assert {answer_of(one) for one in (second, third)} == {str(first.pid)}
    other = started(max_model_len=77)
    assert other.pid != first.pid
    (tmp_path / "model" / "config.json").write_text('{"other": 1}')
    changed = started()
    assert changed.pid != first.pid
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    job = started()
    assert job.pid not in (first.pid, changed.pid)
    for one in (second, other, changed, job):
        one.close()
    time.sleep(4)
    assert answer_of(third) == str(first.pid)  # it has a user still
    third.close()
    assert all(gone(one.pid) for one in (first, other, changed, job))


@pytest.mark.parametrize("whom", ["job", "server", "keeper"])
def test_whoever_is_killed_the_next_job_has_a_server_and_none_is_left(tmp_path, in_place_of_vllm, whom):
    in_place_of_vllm(SERVING)
    code = """
        import sys, time
        from selfcodealign.generation.backends.vllm import VllmBackend
        from selfcodealign.generation.settings import EngineSettings, ModelSettings
        engine = EngineSettings(backend="vllm", keep_server_s=2)
        print(VllmBackend(ModelSettings(name=sys.argv[1]), engine).pid, flush=True)
        time.sleep(100)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    pid = int(job.stdout.readline())
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill({"job": job.pid, "server": pid, "keeper": parent}[whom], signal.SIGKILL)
    if whom != "job":
        assert gone(pid)
    next_one = VllmBackend(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm", keep_server_s=2))
    assert (next_one.pid == pid) == (whom == "job")
    assert answer_of(next_one) == str(next_one.pid)
    job.kill()
    job.wait()
    next_one.close()
    assert gone(pid)
    assert gone(next_one.pid)


def test_a_server_that_ends_while_it_is_asked_is_named_with_its_exit_status(tmp_path, in_place_of_vllm):
    in_place_of_vllm(DYING)
    server = VllmBackend(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm", backoff_s=0.01, retries=1))
    try:
        with pytest.raises(UserError, match=r"vLLM server ended \(exit status 3\): .*out of memory.*logs/vllm/"):
            list(server.complete([Request("row/0", 0, lambda: "Question")], Sampling(0.0, 1.0, 8)))
    finally:
        server.close()


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"engine\.python /nowhere/python cannot be started"):
        open_backend(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm", python="/nowhere/python"))
