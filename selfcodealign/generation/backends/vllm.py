"""Start a vLLM server for the job, or take the one of a former job; wait until it answers, use it, and let it end."""

import fcntl
import json
import logging
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfcodealign import models
from selfcodealign.errors import UserError
from selfcodealign.generation.backends import keeper
from selfcodealign.generation.backends.openai import OpenAIBackend
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from selfcodealign.ids import digest

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
WAIT_S = 60.0
"""Longest wait for a server that ends, and for a keeper that starts."""


class VllmBackend(OpenAIBackend):
    """An OpenAI-compatible client together with a server of its own on this machine.

    Raises:
        UserError: vLLM is not installed for the interpreter, or the server ends or stays silent while it starts.
    """

    def __init__(self, model: ModelSettings, engine: EngineSettings) -> None:
        command = server_command(model, engine)
        if shutil.which(command[0]) is None:
            raise UserError(f"engine.python {command[0]} cannot be started: there is no such program")
        if engine.keep_server_s:
            # A job that asks for the same takes the same; another job of a cluster has memory of its own.
            told = [*command, models.fingerprint(model.name, model.revision)]
            told += [os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID")]
            name = digest(*told)[:20]
        else:
            name = secrets.token_hex(10)
        self._place = _own_folder() / name
        self._linger_s = engine.keep_server_s
        with self._file(".lock").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)  # of two jobs one starts the server, the other waits for it
            self._users = self._file(".users").open("a")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            taken = bool(self._state()) and not self._ended()
            if not taken:
                self._start(command)
            state = self._state()
            os.environ[KEY_VARIABLE] = state["key"]
            settings = engine.model_copy(
                update={
                    "base_url": f"http://127.0.0.1:{state['port']}/v1",
                    "api_key_env": KEY_VARIABLE,
                    "api": "completions",
                }
            )
            super().__init__(model, settings)
            self.pid = int(state["pid"])
            """Process group of the server."""
            self._log = Path(state["log"])
            try:
                self._wait(state["port"], taken)
            except BaseException:
                self.close()
                raise

    def _file(self, suffix: str) -> Path:
        return self._place.with_name(self._place.name + suffix)

    def _state(self) -> dict[str, Any]:
        """Read what the keeper says of the server; empty if it says nothing."""
        try:
            return json.loads(self._file(".json").read_text())
        except FileNotFoundError:
            return {}

    def _ended(self) -> bool:
        """Say whether the server has ended, or its keeper was killed."""
        state = self._state()
        return bool(state.get("ended")) or not keeper.runs(int(state["pid"]))

    def _start(self, command: list[str]) -> None:
        """Start the server and its keeper."""
        self._file(".json").unlink(missing_ok=True)
        port = _free_port()
        # It stays when the job ends, however it ends; a name of its own for each server on any machine of a cluster.
        LOGS.mkdir(parents=True, exist_ok=True)
        written = LOGS / f"{Path(sys.argv[0]).stem or 'python'}-{socket.gethostname()}-{os.getpid()}.log"
        command = [*command, "--port", str(port)]
        log.info("starting %s; its log is %s", shlex.join(command), written)
        places = [str(self._file(".json")), str(self._file(".users")), str(self._linger_s), str(written.resolve())]
        subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, *places, str(port), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, KEY_VARIABLE: secrets.token_hex(16)},
        )
        begun = time.monotonic()
        while not self._state():
            if time.monotonic() - begun > WAIT_S:
                raise UserError(f"the vLLM server was not started within {WAIT_S:g} s; is {written} writable?")
            time.sleep(0.05)

    def _wait(self, port: int, taken: bool) -> None:
        """Wait until the server has loaded its model."""
        begun = time.monotonic()
        while time.monotonic() - begun < self.engine.startup_s:
            if self._ended():
                raise UserError(f"the vLLM server ended while it started{self._last_words()}")
            with suppress(OSError), OPENER.open(f"http://127.0.0.1:{port}/health", timeout=5):
                waited = "a former job's vLLM server" if taken else "the vLLM server"
                log.info("%s is ready after %.0f s", waited, time.monotonic() - begun)
                return
            time.sleep(0.5)
        waited = f"{self.engine.startup_s:g} s (engine.startup_s)"
        raise UserError(f"the vLLM server did not answer within {waited}{self._last_words()}")

    def _run(self, *arguments: Any, **keywords: Any) -> Iterator[Any]:
        """Answer as any server does, and say how the server ended if that is why there are no answers."""
        try:
            yield from super()._run(*arguments, **keywords)
        except UserError as error:
            deadline = time.monotonic() + 5
            while not self._ended() and time.monotonic() < deadline:
                time.sleep(0.1)
            if self._ended():
                raise UserError(f"the vLLM server ended{self._last_words()}") from error
            raise

    def _last_words(self) -> str:
        """Return the server's exit status, the line of its log that names an error or else the last, and the file."""
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [found[0] for line in lines if (found := ERROR.search(line)) and CONSEQUENCE not in line]
        words = (errors or lines or ["it said nothing"])[-1][:400]
        begun = time.monotonic()
        while self._ended() and "status" not in self._state() and time.monotonic() - begun < 1:
            time.sleep(0.05)  # the keeper sees it a moment later
        status = self._state().get("status")
        shown = os.path.relpath(self._log)
        return f"{'' if status is None else f' (exit status {status})'}: {self._hidden(words)}; its log is {shown}"

    def close(self) -> None:
        """Leave the server to its keeper; wait for its end if no other job may take it."""
        self._users.close()
        if self._linger_s:
            return
        # The next job needs the memory.
        deadline = time.monotonic() + WAIT_S
        while "ended" not in self._state() and keeper.runs(self.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        for suffix in (".json", ".users", ".lock"):
            self._file(suffix).unlink(missing_ok=True)


def _own_folder() -> Path:
    """Folder for the states of servers on this machine, which only its owner may enter.

    Raises:
        UserError: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"selfcodealign-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise UserError(
            f"{folder} is open to other users of this machine; remove it, or set TMPDIR to a folder of yours"
        )
    return folder


def server_command(model: ModelSettings, engine: EngineSettings) -> list[str]:
    """Return the command line that starts the server, but for its port."""
    command = [
        engine.python or sys.executable,
        *("-m", "vllm.entrypoints.openai.api_server"),
        *("--model", model.name, "--served-model-name", model.name),
        *("--host", "127.0.0.1"),
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
