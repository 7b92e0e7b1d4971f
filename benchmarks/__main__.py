"""Run all benchmarks, or some, each in a process of its own: `make bench`, `python -m benchmarks --only seeds sandbox`.

A benchmark adds its line to `benchmarks/history/` as soon as it is done, so a stop loses only the one that runs. At the
end the table in docs/measurements.md is written anew. All together may take 45 minutes; what is not done by then is
stopped and named.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from benchmarks import history

MOST_MINUTES = 45
FILES = {path.stem.removeprefix("bench_"): path for path in sorted(Path(__file__).parent.glob("bench_*.py"))}


def run(names: list[str], folder: Path, minutes: float) -> list[str]:
    """Run benchmarks one after the other; return what failed or was not done in time."""
    end, wrong = time.monotonic() + 60 * minutes, []
    for name in names:
        print(f"== {time.strftime('%T')} {name}", flush=True)
        command = [sys.executable, str(FILES[name]), "--history", str(folder)]
        # A group of its own: what a stopped benchmark had started, a server say, ends with it.
        running = subprocess.Popen(command, cwd=history.ROOT, start_new_session=True)
        try:
            if status := running.wait(timeout=max(1.0, end - time.monotonic())):
                wrong.append(f"{name} ended with {status}")
        except subprocess.TimeoutExpired:
            wrong.append(f"{name} was not done in time")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    return wrong


def main() -> None:
    """Run what is asked for and render the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(FILES), default=list(FILES), help="benchmarks to run")
    parser.add_argument("--minutes", type=float, default=MOST_MINUTES, help="limit for all (default: %(default)s)")
    parser.add_argument("--render", action="store_true", help="run nothing, write the table of the history")
    arguments = parser.parse_args()
    wrong = [] if arguments.render else run(arguments.only, history.FOLDER, arguments.minutes)
    history.PAGE.write_text(history.in_page(history.PAGE.read_text(), history.rendered()))
    if wrong:
        sys.exit(f"error: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
