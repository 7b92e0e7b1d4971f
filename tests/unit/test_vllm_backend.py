import re

import pytest

from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Request, Sampling, open_backend
from selfcodealign.generation.backends.vllm import VllmBackend, server_command, visible_gpus
from selfcodealign.generation.settings import EngineSettings, ModelSettings

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
    command = server_command(ModelSettings(name="org/model", revision="abc"), settings, 8123)
    assert visible_gpus() == 2
    assert value(command, "--model") == "org/model"
    assert value(command, "--revision") == "abc"
    assert value(command, "--tensor-parallel-size") == "2"
    assert value(command, "--port") == "8123"
    assert value(command, "--host") == "127.0.0.1"
    assert value(command, "--max-model-len") == "3000"
    assert value(command, "--load-format") == "safetensors"
    assert value(command, "--gpu-memory-utilization") == "0.9"
    assert command[-2:] == ["--swap-space", "0"]
    assert "--trust-remote-code" not in command


def test_remote_code_and_tensor_parallelism_follow_the_config(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    model = ModelSettings(name="org/model", trust_remote_code=True)
    command = server_command(model, EngineSettings(backend="vllm", tensor_parallel=2), 1)
    assert "--trust-remote-code" in command
    assert value(command, "--tensor-parallel-size") == "2"


def test_a_local_folder_has_no_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    command = server_command(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm"), 1)
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


def test_a_server_that_ends_while_it_is_asked_is_named_with_its_exit_status(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    package = tmp_path / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(DYING)
    server = VllmBackend(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm", backoff_s=0.01, retries=1))
    try:
        with pytest.raises(UserError, match=r"vLLM server ended \(exit status 3\): .*out of memory.*logs/vllm/"):
            list(server.complete([Request("row/0", 0, lambda: "Question")], Sampling(0.0, 1.0, 8)))
    finally:
        server.close()


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"engine\.python /nowhere/python cannot be started"):
        open_backend(ModelSettings(name=str(tmp_path)), EngineSettings(backend="vllm", python="/nowhere/python"))
