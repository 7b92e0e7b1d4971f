"""The request forms that the server understands: which cases a request asks for, and how verdicts answer it.

Each form is a function from a request's JSON to `Asked`. All texts stay texts: what a request brings is run in the
sandbox or compared, and never loaded, unpickled or evaluated here.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from pydantic import BaseModel, Field, InstanceOf, ValidationError

from selfcodealign.errors import UserError
from selfcodealign.sandbox.settings import LIMITS, request
from selfcodealign.serving.settings import Serve

Verdict = dict[str, Any]
Form = TypeVar("Form", bound=BaseModel)

KILLED = -9
"""Status of a program that the kernel or the sandbox ended for its memory, as `subprocess` would say it."""
NOT_RUN = -1.0
"""Runtime of a test that did not pass, in open-instruct's form."""


class Refused(Exception):
    """A request that is not served.

    Args:
        status: of HTTP.
        sentence: what is wrong with it and what to do.
        headers: more of them for the answer.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers


@dataclass(frozen=True)
class Asked:
    """Cases to run, and what to answer with once each has its verdict, in the same order."""

    cases: list[dict[str, Any]]
    answer: Callable[[list[Verdict]], Any]


def own_rows(body: Any, settings: Serve) -> Asked:
    """Read `POST /run`: a case of `run_cases`, answered by its verdict, or a list of them, answered by a list.

    Raises:
        Refused: a case is malformed, or asks for more than the server allows.
    """
    several = isinstance(body, list)
    cases = [_case(row, settings) for row in (body if several else [body])]
    return Asked(cases, list if several else lambda verdicts: verdicts[0])


class RunCode(BaseModel):
    """A request of SandboxFusion's `POST /run_code`; further keys are ignored, as there."""

    code: InstanceOf[str]
    language: str
    run_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    compile_timeout: float = 10  # Python has no step that it would limit.
    memory_limit_MB: int = -1
    stdin: InstanceOf[str] | None = None
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []


RUN_TIMEOUT_S = 10.0
"""SandboxFusion's own default, as far as the server allows it."""


def run_code(body: Any, settings: Serve) -> Asked:
    """Read SandboxFusion's `POST /run_code`; only Python is served.

    A script passes in its form only if it passes in the sandbox: one that leaves early with status 0 has `return_code`
    1 and a `message` that says why.

    Raises:
        Refused: the request is malformed, or asks for more than the server allows.
    """
    _no_network(body)
    asked = _read(RunCode, body)
    if asked.language != "python":
        return _not_run(f"language {asked.language} is not served here; only python is")
    if asked.fetch_files:
        return _not_run("fetch_files is not served here: a program's files end with it; print what you need")
    files = {}
    for name, content in asked.files.items():
        try:
            if content is not None:
                files[name] = base64.b64decode(content, validate=True).decode()
        except (binascii.Error, ValueError):
            return _not_run(f"file {name} is no text in UTF-8, encoded in base64; only text is served here")
    case = {
        "id": "0",
        "program": asked.code,
        "stdin": asked.stdin or "",
        "files": files,
        "timeout_s": asked.run_timeout or min(RUN_TIMEOUT_S, settings.max_timeout_s),
        "memory_mb": asked.memory_limit_MB if asked.memory_limit_MB > 0 else settings.memory_mb,
        "output_kb": settings.max_output_kb,
    }
    return Asked([_case(case, settings)], lambda verdicts: _ran(verdicts[0]))


def _not_run(why: str) -> Asked:
    """Say in SandboxFusion's form that something is not served."""
    return Asked([], lambda _: _fusion("SandboxError", why, None))


def _ran(verdict: Verdict) -> dict[str, Any]:
    """Say in SandboxFusion's form how a script ended."""
    result: dict[str, Any] = {
        "status": "Finished",
        "execution_time": verdict["wall_s"],
        "return_code": verdict["exit_status"],
        "stdout": verdict["stdout"],
        "stderr": verdict["stderr"],
    }
    if verdict["verdict"] == "pass":
        return _fusion("Success", "", result)
    if verdict["verdict"] == "internal":
        return _fusion("SandboxError", verdict["reason"], result | {"status": "Error", "return_code": None})
    if verdict["verdict"] == "timeout":
        result |= {"status": "TimeLimitExceeded", "return_code": None}
    else:
        result["return_code"] = verdict["exit_status"] or (KILLED if verdict["verdict"] == "memory" else 1)
    return _fusion("Failed", verdict["reason"], result)


def _fusion(status: str, message: str, result: dict[str, Any] | None) -> dict[str, Any]:
    head = {"status": status, "message": message, "compile_result": None, "run_result": result}
    return {**head, "executor_pod_name": None, "files": {}}


class Tests(BaseModel):
    """A request of open-instruct's `POST /test_program` and `POST /test_program_stdio`."""

    program: InstanceOf[str]
    tests: Any
    max_execution_time: float = Field(default=1.0, gt=0, allow_inf_nan=False)


def test_program(body: Any, settings: Serve) -> Asked:
    """Read open-instruct's `POST /test_program`: assertions, each run alone after the program.

    Whether a test could have failed is not asked: the tests are the caller's, and one result answers each.

    Raises:
        Refused: the request is malformed, or asks for more than the server allows.
    """
    _no_network(body)
    asked = _read(Tests, body)
    tests = _tests(asked.tests)
    for number, test in enumerate(tests):
        if not isinstance(test, str):
            raise Refused(422, f"tests: number {number} is {type(test).__name__}, not the text of an assertion")
    same = {"code": asked.program, "timeout_s": asked.max_execution_time, "vacuous": False}
    cases = [_case({"id": str(number), "test": test, **same}, settings) for number, test in enumerate(tests)]
    return Asked(cases, lambda verdicts: _results(verdicts, [verdict["passed"] for verdict in verdicts]))


def test_program_stdio(body: Any, settings: Serve) -> Asked:
    """Read open-instruct's `POST /test_program_stdio`: inputs, and the outputs that the program must print for them.

    Raises:
        Refused: the request is malformed, or asks for more than the server allows.
    """
    _no_network(body)
    asked = _read(Tests, body)
    cases, outputs = [], []
    for number, test in enumerate(_tests(asked.tests)):
        if not isinstance(test, dict) or not all(isinstance(test.get(key), str) for key in ("input", "output")):
            raise Refused(422, f"tests: number {number} is no object with the texts input and output")
        case = {
            "id": str(number),
            "program": asked.program,
            "stdin": test["input"],
            "output_kb": settings.max_output_kb,
        }
        cases.append(_case(case | {"timeout_s": asked.max_execution_time}, settings))
        outputs.append(test["output"])

    def answer(verdicts: list[Verdict]) -> Any:
        right = zip(verdicts, outputs, strict=True)
        return _results(
            verdicts, [one["passed"] and not one["truncated"] and same_output(one["stdout"], out) for one, out in right]
        )

    return Asked(cases, answer)


def _results(verdicts: list[Verdict], passed: list[bool]) -> dict[str, Any]:
    """Answer in open-instruct's form.

    Raises:
        Refused: the sandbox failed, which says nothing about the program.
    """
    if broken := next((one for one in verdicts if one["verdict"] == "internal"), None):
        raise Refused(500, f"the sandbox failed on test {broken['id']}: {broken['reason']}")
    runtimes = [one["wall_s"] if right else NOT_RUN for one, right in zip(verdicts, passed, strict=True)]
    return {"results": [int(right) for right in passed], "runtimes": runtimes}


def same_output(printed: str, expected: str) -> bool:
    """Compare as open-instruct does: line by line without blanks at the ends; numbers in a line by value."""
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in (printed, expected))
    return len(ours) == len(theirs) and all(_same_line(*pair) for pair in zip(ours, theirs, strict=True))


def _same_line(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    try:
        return [Decimal(word) for word in ours.split()] == [Decimal(word) for word in theirs.split()]
    except InvalidOperation:
        return False


def _tests(tests: Any) -> list[Any]:
    """Read a list of tests, or the JSON of one; open-instruct's third form is a pickle, and none is ever loaded."""
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except (ValueError, RecursionError):
            raise Refused(422, "tests: this text is no JSON; send a list (pickles are never loaded)") from None
    if not isinstance(tests, list):
        raise Refused(422, f"tests: {type(tests).__name__} is no list")
    return tests


def _read(form: type[Form], body: Any) -> Form:
    try:
        return form.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(422, f"{where or 'the request'}: {first['msg']}; see docs/serve.md") from None


def _no_network(body: Any) -> None:
    if isinstance(body, dict) and body.get("network"):
        raise Refused(422, "network: programs have no network here, and none can be asked for; leave the key out")


def _case(row: Any, settings: Serve) -> dict[str, Any]:
    """Check a case as far as the server answers for it, and by the sandbox's own rules.

    Raises:
        Refused: it is malformed, or asks for more than the server allows.
    """
    if not isinstance(row, dict):
        raise Refused(422, f"a case is {type(row).__name__}, not an object with id, code and test, or id and program")
    _no_network(row)
    name = f"case {row.get('id')!r:.60}"
    for limit in LIMITS:
        value, most = row.get(limit), settings.most[limit]
        if value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or (isinstance(value, float) and math.isnan(value)) or value <= 0:
            raise Refused(422, f"{name}: {limit} is {value!r:.60}; give a number above 0")
        if value > most:
            flag = f"--{limit if limit in ('scratch_mb', 'processes') else 'max_' + limit}".replace("_", "-")
            raise Refused(
                422, f"{name}: {limit} is {value!r:.60}, and this server allows {most:g} ({flag}); ask for less"
            )
    files = row.get("files") or {}
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise Refused(422, f"{name}: files is no object of texts by name")
    if not isinstance(row.get("late"), str | None):
        raise Refused(422, f"{name}: late is no text")
    if not isinstance(row.get("vacuous"), bool | None):
        raise Refused(422, f"{name}: vacuous is neither true nor false")
    try:
        request(row, settings.sandbox())
    except UserError as error:
        raise Refused(422, str(error)) from None
    return row
