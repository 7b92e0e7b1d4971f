"""Run scripts as processes that need not load torch, transformers and DeepSpeed, which takes four seconds each time.

One process loads them and is forked for each script. As a program this module is that process: it reads lines of JSON,
the words of a command line each, and answers with the exit status; what a script prints goes to files.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

from selfcodealign.training import processes

ROOT = Path(__file__).parents[2]
LOADED = ("torch", "deepspeed", "datasets", "transformers.trainer", "transformers.models.llama.modeling_llama")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "TOKENIZERS_PARALLELISM": "false"}
"""What the workflow sets for every job."""


class Warm:
    """The process that is forked, and what the last script printed."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        words = [sys.executable, __file__, self.folder.name]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=os.environ | ENVIRONMENT, stdin=pipe, stdout=pipe, text=True, bufsize=1
        )

    def run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a script with its flags, to its end."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(words), file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        out, err = (Path(self.folder.name, name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(words, status, out, err)


@functools.cache
def warm() -> Warm:
    """Return the one of this process; it ends when its input does."""
    return Warm()


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a script with its flags as a process of its own, to its end."""
    return warm().run(words)


def become(words: list[str], folder: Path) -> NoReturn:
    """Be the process of a script from here on."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv[:] = words
    status = 1
    try:
        runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status)


def main() -> None:
    """Load what scripts need, and be forked for each of them."""
    before = dict(os.environ)
    folder = Path(sys.argv[1])
    processes.prepare(folder / "extensions")
    for name in LOADED:
        importlib.import_module(name)
    os.environ.clear()
    os.environ.update(before)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line), folder)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
