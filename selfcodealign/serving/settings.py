"""What a server of the sandbox allows: where it listens, who may ask, and the most that a request may have."""

import ipaddress
import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from selfcodealign.config.section import Count, Section
from selfcodealign.errors import UserError
from selfcodealign.sandbox.settings import Settings

SHORTEST_TOKEN = 16
"""Characters below which a token is too easy to guess."""

DEFAULT = Settings()


class Serve(Section):
    """Settings of a server; those that `sandbox` has mean the same here."""

    host: str = Field(
        default="127.0.0.1", description="address to listen on; every address except loopback needs a token"
    )
    port: int = Field(default=8080, ge=0, le=65_535, description="port to listen on; 0 takes a free port and prints it")
    token_file: Path | None = Field(
        default=None, description="file with the token that requests must send as `Authorization: Bearer …`"
    )
    queue: Count = Field(
        default=1024, description="maximum number of running and waiting cases; more are refused (503)"
    )
    max_request_mb: Count = Field(default=16, description="maximum size of the body of a request (413)")
    stop_s: Count = Field(default=60, description="time for requests to finish after SIGTERM, in seconds")
    workers: Count = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), description="programs that run at once (all cores)"
    )
    timeout_s: float = Field(
        default=DEFAULT.timeout_s, gt=0, description="CPU time limit of a program in seconds, if a request sets none"
    )
    max_timeout_s: float = Field(default=30.0, gt=0, description="maximum that a request may set for it")
    memory_mb: Count = Field(
        default=DEFAULT.memory_mb, description="memory limit of a program and its children, if a request sets none"
    )
    max_memory_mb: Count = Field(default=DEFAULT.memory_mb, description="maximum that a request may set for it")
    output_kb: Count = Field(
        default=DEFAULT.output_kb, description="how much of stdout, and of stderr, is kept, if a request does not say"
    )
    max_output_kb: Count = Field(
        default=1024, description="maximum that a request may set for it; used for the formats of other projects"
    )
    scratch_mb: Count = Field(default=DEFAULT.scratch_mb, description="limit for files that a program writes")
    processes: Count = Field(default=DEFAULT.processes, description="limit for processes and threads of a program")
    network: bool = Field(default=False, description="programs have no network; true is refused")
    vacuous: bool = Field(default=True, description="check whether the tests of a response could have failed")
    reruns: int = Field(
        default=0, ge=0, description="additional runs of each passing case; if the verdict changes, it is flaky"
    )
    mutants: int = Field(default=0, ge=0, description="mutants of each passing case, for mutation_score")
    isolation: Literal["auto", "apptainer", "bubblewrap", "none"] = Field(
        default="auto", description="layer of the sandbox; auto takes the first that works"
    )
    i_understand: bool = Field(
        default=False, description="allow isolation none: programs may then do anything to this machine"
    )
    image: Path | None = Field(default=None, description="image folder or SIF for Apptainer")
    python: str | None = Field(default=None, description="interpreter that runs the programs")
    cache: Path | None = Field(default=None, description="SQLite file of finished verdicts, kept between servers")

    @model_validator(mode="after")
    def _defaults_are_allowed(self) -> "Serve":
        if self.network:
            raise ValueError("--network cannot be had: programs run without one, whoever asks; leave the flag out")
        for name in ("timeout_s", "memory_mb", "output_kb"):
            if getattr(self, name) > getattr(self, f"max_{name}"):
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} is more than --max-{flag} allows; raise that, or lower it")
        return self

    @property
    def most(self) -> dict[str, float]:
        """The most that a case may name, by limit."""
        return {
            "timeout_s": self.max_timeout_s,
            "memory_mb": self.max_memory_mb,
            "output_kb": self.max_output_kb,
            "scratch_mb": self.scratch_mb,
            "processes": self.processes,
        }

    def sandbox(self) -> Settings:
        """Return the settings of the workers."""
        same = (
            *("timeout_s", "memory_mb", "output_kb", "scratch_mb", "processes", "vacuous", "reruns", "mutants"),
            *("isolation", "i_understand", "workers", "image", "python", "cache"),
        )
        return Settings(**{name: getattr(self, name) for name in same})

    def token(self) -> str | None:
        """Read the token, None where the server is open to its own machine.

        Raises:
            UserError: the host needs a token and there is none, or the file holds none that is worth its name.
        """
        here = is_loopback(self.host)
        if self.token_file is None:
            if not here:
                raise UserError(
                    f"--host {self.host} lets other machines in, and there is no token; write a long random text into "
                    "a file and name it with --token-file, or listen on 127.0.0.1"
                )
            return None
        if self.isolation == "none" and not here:
            raise UserError("--isolation none lets every request do anything to this machine; listen on 127.0.0.1")
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token-file {self.token_file} cannot be read ({error}); correct the path") from None
        if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
            raise UserError(
                f"--token-file {self.token_file} holds no token: one word of at least {SHORTEST_TOKEN} plain "
                "characters is needed, as `openssl rand -hex 32` prints"
            )
        return token


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address or a name; a name that nobody knows counts as not."""
    try:
        found = [ipaddress.ip_address(host.partition("%")[0])]
    except ValueError:
        try:
            told = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            return False
        found = [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in told]
    return all(address.is_loopback for address in found)
