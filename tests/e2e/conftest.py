"""A copy of the repository to run the whole workflow in, as a fresh clone would be."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LEFT_BEHIND = (".git", ".venv*", "results", "work", "logs", "timings", ".snakemake", "__pycache__", ".*_cache", "*.sif")


class Checkout:
    """A copy of the repository with the workflow's command line."""

    def __init__(self, folder: Path, config: str | None = "tests/e2e/small.yaml") -> None:
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND), dirs_exist_ok=True)
        self.folder = folder
        self.config = ["--configfile", config] if config else []

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).parent / "snakemake"), *words, *self.config]

    def run(self, *words: str, timeout_s: int = 1200) -> str:
        """Run the workflow and return what it printed; fail the test if it fails."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed[-6000:]
        return printed

    def kill_when(self, pattern: str, *words: str, timeout_s: int = 900) -> None:
        """Start the workflow and kill it with SIGKILL, jobs and all, once a non-empty file matches `pattern`."""
        log = (self.folder / "killed.log").open("wb")
        main = subprocess.Popen(self.command(*words), cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + timeout_s
            while not any(path.stat().st_size for path in self.folder.glob(pattern) if path.is_file()):
                assert main.poll() is None, (
                    f"the run ended before {pattern} appeared:\n{(self.folder / 'killed.log').read_text()[-4000:]}"
                )
                assert time.monotonic() < end, f"{pattern} did not appear in {timeout_s} s"
                time.sleep(0.05)
        finally:
            kill_tree(main.pid)
            main.wait()
        subprocess.run(self.command("--unlock"), cwd=self.folder, capture_output=True, check=True, timeout=120)

    def bytes_of(self, *patterns: str) -> dict[str, bytes]:
        """Read the files that match, by their path inside the checkout."""
        found = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for pattern in patterns
            for path in sorted(self.folder.glob(pattern))
            if path.is_file()
        }
        assert found, f"no file matches {patterns}"
        return found


def kill_tree(root: int) -> None:
    """Kill a process and all its descendants, however they are grouped."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    queue, found = [root], []
    while queue:
        process = queue.pop()
        found.append(process)
        queue += children.get(process, [])
    for process in found:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Checkout:
    """A checkout in which the small run went through on two cores, undisturbed.

    Processes that share the tests share the run as well; each works in a copy of it.
    """
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "finished").is_dir():
            printed = Checkout(shared / "unfinished").run("--cores", "2", "--verbose")
            (shared / "unfinished" / "printed.txt").write_text(printed)
            (shared / "unfinished").rename(shared / "finished")
    folder = tmp_path_factory.mktemp("finished") / "checkout"
    shutil.copytree(shared / "finished", folder, symlinks=True)
    return Checkout(folder)
