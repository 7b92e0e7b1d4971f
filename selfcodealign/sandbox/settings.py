"""What a caller may choose: limits, checks, isolation; and what makes two cases the same."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from selfcodealign.errors import UserError

Isolation = Literal["auto", "apptainer", "bubblewrap", "none"]
VERDICTS = ("pass", "fail", "error", "timeout", "memory", "vacuous", "crashed", "flaky", "internal")
LIMITS = ("timeout_s", "memory_mb", "scratch_mb", "processes", "output_kb")
NO_EFFECT = ("workers", "i_understand", "cache", "case_limit", "wall_factor", "image", "python", "read_only")
"""Settings that change no verdict; what image and interpreter hold counts in their place (`runner.environment`)."""


@dataclass(frozen=True)
class Settings:
    """Limits and checks of one call of `run_cases`; a case may override each of `LIMITS` for itself.

    `timeout_s` limits CPU time, and the time in which the program neither computed nor waited for a busy core, so that
    a loaded machine does not turn slow into wrong; past `wall_factor` × `timeout_s` on the clock it is stopped in any
    case.
    """

    timeout_s: float = 4.0  # of CPU time, and of time asleep
    wall_factor: float = 5.0  # most wall time, in timeouts, for a program that waits for a busy core
    memory_mb: int = 1024  # of the program and its children together
    scratch_mb: int = 512  # files in /tmp and /dev/shm together
    processes: int = 64  # processes and threads
    output_kb: int = 16  # kept of stdout, and of stderr

    vacuous: bool = True  # static rules, and a run against a stub of the response
    mutants: int = 0  # mutants of the code for `mutation_score`; 0: no score
    reruns: int = 0  # further runs of each passing case; a changed verdict is `flaky`
    retry_timeouts: bool = True  # run again, with most workers idle, what the clock stopped while it waited for a core
    exit_status_only: bool = False  # the reference's rule: exit status 0 is a pass

    isolation: Isolation = "auto"
    i_understand: bool = False  # needed for isolation "none"
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    image: Path | None = None  # image folder or SIF for Apptainer; by default the sandbox image
    python: str | None = None  # interpreter: inside the image, or on the host for bubblewrap
    preload: tuple[str, ...] = ("numpy", "pandas", "scipy", "pytest")  # imported once for the cases that mention them
    read_only: tuple[tuple[Path, str], ...] = ()  # (host path, path inside) shown to every case
    cache: Path | None = None  # SQLite file of finished verdicts; a case found there is not run
    case_limit: int = 20_000  # cases after which a worker is replaced

    def __post_init__(self) -> None:
        for name in (*LIMITS, "workers", "wall_factor", "case_limit"):
            if getattr(self, name) <= 0:
                raise UserError(f"sandbox setting {name} is {getattr(self, name)}; give a number above 0")
        for name in ("mutants", "reruns"):
            if getattr(self, name) < 0:
                raise UserError(f"sandbox setting {name} is {getattr(self, name)}; give 0 or more")


def request(case: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Turn a caller's case into the message that a worker gets; raises UserError naming the case's id and key."""
    name = case.get("id")
    if not isinstance(name, str):
        raise UserError(f"a sandbox case has the id {name!r}; every case needs a string")
    known = {"id", "code", "test", "program", "stdin", "files", "late", "each", "vacuous", *LIMITS}
    unknown = [key for key, value in case.items() if key not in known and value is not None]
    if "program" in case and ("code" in case or "test" in case):
        raise UserError(f"sandbox case {name}: give either program, or code and test")
    if "program" in case and case.get("each"):
        raise UserError(f"sandbox case {name}: each needs code and test, and it has a program")
    if unknown and "program" not in case and "code" not in case:
        raise UserError(f"sandbox case {name}: unknown key {unknown[0]}; give program, or code and test")
    message: dict[str, Any] = {limit: case.get(limit) or getattr(settings, limit) for limit in LIMITS}
    texts = ("program", "stdin") if "program" in case else ("code", "test", "stdin")
    for key in texts:
        value = case.get(key)
        if value is None and key in ("program", "code"):
            raise UserError(f"sandbox case {name}: {key} is missing; give program, or code and test")
        if value is not None and not isinstance(value, str):
            raise UserError(f"sandbox case {name}: {key} is {type(value).__name__}, not text")
        message[key] = value if value is not None or key == "stdin" else ""
    message["late"] = case.get("late")
    message["judges"] = message["late"] is not None
    message["files"] = dict(case.get("files") or {})
    message["wall_factor"] = settings.wall_factor
    message["exit_status_only"] = settings.exit_status_only
    message["each"] = bool(case.get("each"))
    asked = case.get("vacuous")
    message["vacuous"] = bool(settings.vacuous if asked is None else asked) and "code" in case
    message["mutants"] = settings.mutants if "code" in case else 0
    return message


def key_of(message: Mapping[str, Any], settings: Settings, image: str) -> str:
    """Return the hash under which a verdict is kept: texts, limits, checks, and the image that ran it."""
    rest = {"image": image, "reruns": settings.reruns, "preload": settings.preload}
    return hashlib.sha256(json.dumps([message, rest], sort_keys=True).encode()).hexdigest()


def described(settings: Settings) -> dict[str, Any]:
    """Return the settings that a verdict depends on as plain values, for ledgers; where things lie is none of them."""
    return {name: value for name, value in asdict(settings).items() if name not in NO_EFFECT}
