"""Start a vLLM server for the job, wait until it answers, use it, and end it with everything it started."""

import logging
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.generation.backends.openai import OpenAIBackend
from selfcodealign.generation.settings import EngineSettings, ModelSettings

log = logging.getLogger(__name__)

KEY_VARIABLE = "VLLM_API_KEY"
"""Read by the server and by the client; holds a key made for this job, because other users share the machine."""

ERROR = re.compile(r"(\w+Error|\w+Exception|No module named)\b.*")
CONSEQUENCE = "Engine core initialization failed"
"""How the server names an error in its log, and what it says last whatever the error was."""

LOGS = Path("logs/vllm")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine, whatever proxy the environment names."""

CPU_MEMORY_SHARE = 0.2
END_S = 20.0

GUARD = """
import os, signal, sys, time
sys.stdin.read()
for sign in (signal.SIGTERM, signal.SIGKILL):
    try:
        os.killpg(int(sys.argv[1]), sign)
    except ProcessLookupError:
        break
    time.sleep(10)
"""
"""Waits for the end of its standard input, which the job holds open, and ends the server's process group. The kernel
closes it however the job dies (kill -9, out of memory); the server alone would live on."""


class VllmBackend(OpenAIBackend):
    """An OpenAI-compatible client together with a server of its own on this machine.

    Raises:
        UserError: vLLM is not installed for the interpreter, or the server ends or stays silent while it starts.
    """

    def __init__(self, model: ModelSettings, engine: EngineSettings) -> None:
        port = _free_port()
        os.environ[KEY_VARIABLE] = secrets.token_hex(16)
        settings = engine.model_copy(
            update={"base_url": f"http://127.0.0.1:{port}/v1", "api_key_env": KEY_VARIABLE, "api": "completions"}
        )
        super().__init__(model, settings)
        # It stays when the job ends, however it ends; a name of its own for each server on any machine of a cluster.
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log = LOGS / f"{Path(sys.argv[0]).stem or 'python'}-{socket.gethostname()}-{os.getpid()}.log"
        command = server_command(model, engine, port)
        log.info("starting %s; its log is %s", shlex.join(command), self._log)
        try:
            with self._log.open("w") as written:
                self._server = subprocess.Popen(
                    command,
                    stdout=written,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except OSError as error:
            raise UserError(f"engine.python {command[0]} cannot be started: {error}") from error
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", GUARD, str(self._server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait(port)
        except BaseException:
            self.close()
            raise

    def _wait(self, port: int) -> None:
        """Wait until the server has loaded its model."""
        begun = time.monotonic()
        while time.monotonic() - begun < self.engine.startup_s:
            if self._server.poll() is not None:
                raise UserError(f"the vLLM server ended while it started{self._last_words()}")
            with suppress(OSError), OPENER.open(f"http://127.0.0.1:{port}/health", timeout=5):
                log.info("the vLLM server is ready after %.0f s", time.monotonic() - begun)
                return
            time.sleep(0.5)
        waited = f"{self.engine.startup_s:g} s (engine.startup_s)"
        raise UserError(f"the vLLM server did not answer within {waited}{self._last_words()}")

    def _run(self, *arguments: Any, **keywords: Any) -> Iterator[Any]:
        """Answer as any server does, and say how the server ended if that is why there are no answers."""
        try:
            yield from super()._run(*arguments, **keywords)
        except UserError as error:
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(5)
                raise UserError(f"the vLLM server ended{self._last_words()}") from error
            raise

    def _last_words(self) -> str:
        """Return the server's exit status, the line of its log that names an error or else the last, and the file."""
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [found[0] for line in lines if (found := ERROR.search(line)) and CONSEQUENCE not in line]
        words = (errors or lines or ["it said nothing"])[-1][:400]
        status = self._server.poll()
        return f"{'' if status is None else f' (exit status {status})'}: {self._hidden(words)}; its log is {self._log}"

    def close(self) -> None:
        """End the server and every process it started."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._server.pid, sign)
            except ProcessLookupError:
                break
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(END_S)
        # What the kernel was told to kill may take a moment to go, with the memory that the next job needs.
        deadline = time.monotonic() + END_S
        while _runs(self._server.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._guard.kill()
        self._guard.wait()


def server_command(model: ModelSettings, engine: EngineSettings, port: int) -> list[str]:
    """Return the command line that starts the server."""
    command = [
        engine.python or sys.executable,
        *("-m", "vllm.entrypoints.openai.api_server"),
        *("--model", model.name, "--served-model-name", model.name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", engine.dtype, "--seed", "0"),
        *("--tensor-parallel-size", str(engine.tensor_parallel or visible_gpus() or 1)),
        *("--load-format", "safetensors"),
    ]
    if not Path(model.name).is_dir():
        command += ["--revision", model.revision]
    if model.trust_remote_code:
        command.append("--trust-remote-code")
    if engine.max_model_len:
        command += ["--max-model-len", str(engine.max_model_len)]
    # On a CPU the same flag says how much of the machine's memory to reserve, which others need too.
    share = engine.gpu_memory_utilization if visible_gpus() else CPU_MEMORY_SHARE
    command += ["--gpu-memory-utilization", str(share)]
    return command + shlex.split(engine.server_args)


def visible_gpus() -> int:
    """Count the GPUs that this job may use: what the scheduler gave it, or else all that the driver lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return len([device for device in given.split(",") if device.strip() not in ("", "-1")])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _runs(group: int) -> bool:
    """Say whether a process of a process group still runs; one that ended and waits to be collected does not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in brackets, may hold anything; state, parent and group follow it.
            state, _, found = path.read_text().rpartition(")")[2].split()[:3]
            if int(found) == group and state not in "ZX":
                return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
