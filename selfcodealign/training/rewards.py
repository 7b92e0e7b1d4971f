"""What an answer is worth: the share of its task's tests that hold in the sandbox, and how it is written.

All processes of a machine share one pool of sandbox workers: the first process of each machine has it, the others ask
over a socket of the file system.
"""

import json
import logging
import os
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from selfcodealign.config.training import TrainGrpo
from selfcodealign.dataset import fences, sanitizing
from selfcodealign.dataset.assertions import separate
from selfcodealign.errors import UserError
from selfcodealign.sandbox.pool import Pool, Verdict

log = logging.getLogger(__name__)

Case = dict[str, str]
Run = Callable[[list[Case]], list[Verdict]]
"""Runs cases and returns their verdicts in the same order."""

DIVISIBLE = frozenset({"fail", "error"})
"""Verdicts after which single tests may still hold. After a limit, each would run into it again."""

REFUSED = ("the ", "a ")
"""Beginnings of the sandbox's own reasons: a program that ended itself, or a response that was caught at forging. The
reasons of tests that fail begin with the name of an exception."""

LONGEST_ADDRESS = 107
"""Bytes in the name of a socket, by Linux."""

WAITING = 1024
"""Requests that may wait for the first process at once."""


@dataclass(frozen=True)
class Answer:
    """One answer of the policy.

    Args:
        text: as written, without its end token.
        tests: of the task, as code or in a fenced block.
        tokens: written, the end token included.
        finished: the answer ended by itself.
    """

    text: str
    tests: str
    tokens: int
    finished: bool


@dataclass(frozen=True)
class Worth:
    """What an answer is worth, each part from 0 to 1.

    Args:
        tests: share of the task's tests that hold, or whether all do; None if the sandbox failed on it.
        parses: the answer holds Python code that parses.
        form: it does, ended by itself, and has at most one border between response and tests.
        brevity: share of the allowed tokens that an answer which passes has left over.
    """

    tests: float | None
    parses: bool
    form: float
    brevity: float

    def total(self, settings: TrainGrpo) -> float | None:
        """Return the reward: the tests, and what the settings add for form and brevity."""
        if self.tests is None:
            return None
        return self.tests + settings.form_weight * self.form + settings.brevity_weight * self.brevity


def code_of(text: str, tests: str) -> str | None:
    """Return the Python code of an answer, or None if there is none that parses.

    Tests that the answer prints behind its response are left away: it is judged by the task's alone.
    """
    draft = sanitizing.Draft(instruction="", raw=text, given=tests, replaces=True)
    if sanitizing.not_text(draft) is not None or sanitizing.not_split(draft) is not None:
        return None
    if any(not block.closed for block in fences.blocks(draft.response)):
        return None
    return draft.response_code if draft.response_code.strip() and not isinstance(draft.response_tree, str) else None


def judge(answers: Sequence[Answer], run: Run, settings: TrainGrpo) -> list[Worth]:
    """Run the answers' code against their tasks' tests.

    Every answer runs with all tests at once. With `reward: share`, one that fails runs once more with each test by
    itself, so an answer costs one execution, or one and as many as it has tests.

    Args:
        answers: to judge.
        run: the sandbox.
        settings: what counts.
    """
    codes = [code_of(answer.text, answer.tests) for answer in answers]
    tests = [fences.unfenced(answer.tests) for answer in answers]
    shares: list[float | None] = [0.0] * len(answers)
    whole = [place for place, code in enumerate(codes) if code is not None]
    again: list[tuple[int, list[str]]] = []
    for place, verdict in zip(whole, run([_case(codes[at], tests[at]) for at in whole]), strict=True):
        if verdict["verdict"] == "internal":
            shares[place] = None
        elif verdict["passed"]:
            shares[place] = 1.0
        elif settings.reward == "share" and _divisible(verdict):
            checks = separate(tests[place])
            if len(checks) > 1:
                again.append((place, checks))
    verdicts = iter(run([_case(codes[place], check) for place, checks in again for check in checks]))
    for place, checks in again:
        held = [next(verdicts) for _ in checks]
        shares[place] = sum(verdict["passed"] for verdict in held) / len(held)
    return [_worth(*one, settings) for one in zip(answers, codes, shares, strict=True)]


def _divisible(verdict: Verdict) -> bool:
    return verdict["verdict"] in DIVISIBLE and not verdict["reason"].startswith(REFUSED)


def _case(code: str | None, test: str) -> Case:
    return {"id": "", "code": code or "", "test": test}


def _worth(answer: Answer, code: str | None, share: float | None, settings: TrainGrpo) -> Worth:
    left = 1 - answer.tokens / settings.answer_tokens
    return Worth(
        tests=share,
        parses=code is not None,
        form=float(code is not None and answer.finished),
        brevity=max(0.0, left) if share == 1 else 0.0,
    )


class Server:
    """A pool of sandbox workers that other processes of this machine may ask.

    Args:
        pool: of workers; closed with the server.

    Raises:
        UserError: the name of the folder for temporary files is too long for a socket in it.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        # In no folder of the run, whose name may be too long. Only this user may look into the folder.
        self.folder = Path(tempfile.mkdtemp(prefix="selfcodealign-"))
        self.address = str(self.folder / "rewards")
        if len(os.fsencode(self.address)) > LONGEST_ADDRESS:
            self.folder.rmdir()
            raise UserError(
                f"the folder for temporary files, {self.folder.parent}, has too long a name for a socket in it: set "
                "TMPDIR to a shorter one"
            )

        class Handler(socketserver.StreamRequestHandler):
            """Answer the requests of one process, a line each."""

            def handle(self) -> None:
                """Run the cases of each line."""
                for line in self.rfile:
                    self.wfile.write(json.dumps(_answered(pool, json.loads(line))).encode() + b"\n")

        class Listener(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = WAITING

        self.listener = Listener(self.address, Handler)
        threading.Thread(target=self.listener.serve_forever, name="rewards", daemon=True).start()

    def close(self) -> None:
        """End the workers; requests under way are told so."""
        self.listener.shutdown()
        self.pool.close()
        self.listener.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _answered(pool: Pool, cases: list[Case]) -> dict[str, Any]:
    try:
        return {"verdicts": pool.run(cases)}
    except UserError as error:
        return {"error": str(error)}


def ask(address: str, cases: list[Case]) -> list[Verdict]:
    """Have cases run by the pool of another process of this machine.

    Raises:
        UserError: that process has ended, or its sandbox has.
    """
    if not cases:
        return []
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            connection.sendall(json.dumps(cases).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as error:
        raise UserError(
            f"the process that runs the rewards has ended ({error}); see what it said before, and run again"
        ) from error
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["verdicts"]


class Judged(NamedTuple):
    """An answer and what became of it.

    Args:
        task: id of its task.
        reward: None where the sandbox failed.
        parses: whether it holds code that parses.
        passes: whether it passes all tests.
    """

    task: str
    reward: float | None
    parses: bool
    passes: bool


@dataclass(frozen=True)
class Group:
    """The answers to one task in one step.

    Args:
        task: its id.
        rewards: of the answers; None where the sandbox failed.
        parsing: answers that hold code that parses.
        passing: answers that pass all tests; rewards alone do not tell, since form and brevity add to them.
    """

    task: str
    rewards: tuple[float | None, ...]
    parsing: int
    passing: int

    @property
    def varies(self) -> bool:
        """Whether the answers differ in their reward, so that something is learned from them."""
        return len({reward for reward in self.rewards if reward is not None}) > 1


def grouped(answers: Sequence[Judged]) -> Group:
    """Sum up the answers to one task."""
    return Group(
        answers[0].task,
        tuple(answer.reward for answer in answers),
        sum(answer.parses for answer in answers),
        sum(answer.passes for answer in answers),
    )


def nothing_parses(groups: Sequence[Group], step: int) -> str | None:
    """Say that no answer of a whole step holds code, or nothing if one does."""
    if any(group.parsing for group in groups):
        return None
    count = sum(len(group.rewards) for group in groups)
    return (
        f"none of the {count} answers of step {step} holds Python code that parses, so all get the same reward and the "
        "step teaches nothing; if this goes on, start from a model that was fine-tuned on responses, or raise "
        "train_grpo.answer_tokens"
    )


def never_varied(groups: Iterable[Group]) -> str | None:
    """Say for which share of the tasks the reward never varied, or nothing if it did for most of them.

    Args:
        groups: of all steps.
    """
    varied: dict[str, bool] = {}
    full: dict[str, bool] = {}
    for group in groups:
        varied[group.task] = varied.get(group.task, False) or group.varies
        full[group.task] = full.get(group.task, True) and group.passing == len(group.rewards)
    constant = [task for task, did in varied.items() if not did]
    if 2 * len(constant) <= len(varied):
        return None
    solved = sum(full[task] for task in constant)
    return (
        f"the reward never varied for {len(constant)} of {len(varied)} tasks ({len(constant) / len(varied):.0%}), "
        f"which taught nothing: every answer passed for {solved} of them, and for {len(constant) - solved} all were "
        "equally wrong; take other tasks, more samples, a higher temperature, or reward share"
    )
