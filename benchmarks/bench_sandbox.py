"""What isolation costs, against the usual ways of running a sample: `python benchmarks/bench_sandbox.py [--cases N]`.

Everything runs on one core, this process included, and the ways take turns, so that a busy machine slows all of them
alike: read the ratios, or the CPU time, which root can measure where the kernel has `cpuacct`. A trivial sample is a
one-line function with one assertion; with numpy it adds an array. Where a way runs many assertions in one program, a
sample is one of them.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import history  # noqa: E402
from selfcodealign.errors import UserError  # noqa: E402
from selfcodealign.sandbox import Settings, choose_layer, run_cases  # noqa: E402
from selfcodealign.sandbox.layers import apptainer_program, sandbox_image  # noqa: E402

ROUNDS = 3
TOGETHER = 50  # assertions in one program
TOGETHER_WAY = f"assertions, {TOGETHER} a program"
NUMPY_WAY, FORK_WAY = "isolated, numpy, with stub run", "warm fork, guards, no isolation"
PLAIN = ("def f(x): return x + {n}", "assert f(1) == {n} + 1")
NUMPY = ("import numpy as np\ndef f(x): return np.arange(x) + {n}", "assert f(3).sum() == 3 + 3 * {n}")
GUARDED = ("kill", "system", "putenv", "remove", "removedirs", "rmdir", "fchdir", "setuid", "fork", "rename", "unlink")


class Meter:
    """CPU seconds of this process and all it starts, containers included, from a control group of its own.

    It needs root and the controller `cpuacct`; elsewhere `seconds` is NaN.
    """

    def __init__(self) -> None:
        folder = Path("/sys/fs/cgroup/cpuacct") / f"bench-sandbox-{os.getpid()}"
        self.usage = folder / "cpuacct.usage"
        try:
            folder.mkdir()
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            self.usage = None

    def seconds(self) -> float:
        """Return the CPU time used so far."""
        return int(self.usage.read_text()) / 1e9 if self.usage else float("nan")


METER = Meter()


def rows(kind: tuple[str, str], count: int, offset: int) -> list[dict[str, str]]:
    """Make samples that differ, so that none is answered from another's verdict."""
    code, test = kind
    return [{"id": str(n), "code": code.format(n=n), "test": test.format(n=n)} for n in range(offset, offset + count)]


def sandboxed(kind: tuple[str, str], settings: Settings) -> Callable[[int, int], tuple[float, float]]:
    """Return a measurement of (seconds, CPU seconds) a sample in the sandbox, once its worker is warm."""

    def measure(count: int, offset: int) -> tuple[float, float]:
        warm = rows(kind, 5, offset + count)
        verdicts = run_cases([*warm, *rows(kind, count, offset)], settings)
        for _ in warm:
            next(verdicts)
        start, used = time.monotonic(), METER.seconds()
        passed = 0
        for verdict in itertools.islice(verdicts, count):
            passed += verdict["passed"]
        spent = (time.monotonic() - start) / count, (METER.seconds() - used) / count
        verdicts.close()
        assert passed == count, f"{passed} of {count} passed"
        return spent

    return measure


def together(settings: Settings) -> Callable[[int, int], tuple[float, float]]:
    """Return a measurement of (seconds, CPU seconds) an assertion, where many share a program."""

    def cases(count: int, offset: int) -> list[dict[str, Any]]:
        test = "\n".join(f"assert f({n}) == {n} + {{n}}" for n in range(TOGETHER))
        return [{**row, "each": True} for row in rows((PLAIN[0], test), count, offset)]

    def measure(count: int, offset: int) -> tuple[float, float]:
        count = max(5, count // 4)
        verdicts = run_cases([*cases(5, offset + count), *cases(count, offset)], settings)
        for _ in range(5):
            next(verdicts)
        start, used = time.monotonic(), METER.seconds()
        held = sum(len(verdict["each"].split()) for verdict in itertools.islice(verdicts, count))
        spent = (time.monotonic() - start) / held, (METER.seconds() - used) / held
        verdicts.close()
        assert held == TOGETHER * count, f"{held} of {TOGETHER * count} held"
        return spent

    return measure


def warm_fork(count: int, offset: int) -> tuple[float, float]:
    """Fork, switch some functions off, and run: how samples are checked where isolation is left out."""
    samples = rows(PLAIN, count, offset)
    start, used = time.monotonic(), METER.seconds()
    for row in samples:
        pid = os.fork()
        if pid == 0:
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            for name in GUARDED:
                setattr(os, name, None)
            names: dict[str, object] = {"__name__": "__main__"}
            try:
                exec(row["code"] + "\n" + row["test"], names)
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    return (time.monotonic() - start) / count, (METER.seconds() - used) / count


def fresh_interpreter(count: int, offset: int) -> tuple[float, float]:
    """Write a file, start Python on it: the reference's server, without its container."""
    count = max(5, count // 20)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.py"
        start, used = time.monotonic(), METER.seconds()
        for row in rows(PLAIN, count, offset):
            path.write_text(row["code"] + "\n" + row["test"])
            subprocess.run([sys.executable, path], check=True)
        return (time.monotonic() - start) / count, (METER.seconds() - used) / count


def apptainer_each(count: int, offset: int) -> tuple[float, float]:
    """Start a container for each sample."""
    program, image = apptainer_program(), sandbox_image(Settings())
    if program is None or image is None:
        return float("nan"), float("nan")
    count = max(3, count // 100)
    identity = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    flags = ["--silent", "exec", "--containall", "--no-home", "--net", "--network", "none", "--pwd", "/"]
    start, used = time.monotonic(), METER.seconds()
    for row in rows(PLAIN, count, offset):
        command = [program, *flags, str(image), "python3", "-c", row["code"] + "\n" + row["test"]]
        subprocess.run(command, check=True, env=environment, cwd="/", stdin=subprocess.DEVNULL, **identity)
    return (time.monotonic() - start) / count, (METER.seconds() - used) / count


def endless_share(settings: Settings) -> float:
    """Return the seconds that 100 samples take of which 3 never end, over the sum of those three's limits."""
    limit_s, endless = 1.0, ("def f(x):\n    while True: x += {n}", "assert f(1) == {n}")
    settings = replace(settings, timeout_s=limit_s)
    samples = [*rows(PLAIN, 97, 8_000_000), *rows(endless, 3, 8_000_097)]
    verdicts = run_cases([*rows(PLAIN, 1, 8_100_000), *samples], settings)
    next(verdicts)
    start = time.monotonic()
    assert sum(verdict["verdict"] == "timeout" for verdict in verdicts) == 3
    return (time.monotonic() - start) / (3 * limit_s)


def memory_growth(settings: Settings) -> tuple[int, int]:
    """Return this process's memory in KiB after 1,000 and 20,000 rows; repeated samples are answered from the cache."""
    samples = rows(PLAIN, 200, 9_000_000)
    stream = ({**samples[n % len(samples)], "id": f"row {n}"} for n in range(20_000))
    first = 0
    for number, _ in enumerate(run_cases(stream, settings), 1):
        if number == 1_000:
            first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Print rates, ratios and their goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400, help="trivial samples in a round")
    parser.add_argument("--isolation", choices=("auto", "apptainer", "bubblewrap"), default="auto")
    history.add_flag(parser)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    settings = Settings(isolation=arguments.isolation, workers=1, vacuous=False)
    try:
        layer, _ = choose_layer(settings)
    except UserError as error:
        sys.exit(f"error: {error}")
    settings = replace(settings, isolation=layer.name)
    stubbed = replace(settings, vacuous=True)
    ways = {
        "isolated": sandboxed(PLAIN, settings),
        "isolated, with stub run": sandboxed(PLAIN, stubbed),
        NUMPY_WAY: sandboxed(NUMPY, stubbed),
        TOGETHER_WAY: together(settings),
        FORK_WAY: warm_fork,
        "fresh interpreter each": fresh_interpreter,
        "apptainer exec each": apptainer_each,
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(ROUNDS):
        for name, measure in ways.items():
            spent[name].append(measure(arguments.cases, (turn + 1) * 1_000_000))
    clock, cpu = (
        {name: statistics.median(pair[part] for pair in pairs) for name, pairs in spent.items()} for part in (0, 1)
    )
    print(f"layer {layer.name}, one core, median of {ROUNDS} rounds of {arguments.cases} samples")
    print(f"{'way':32} {'samples/s':>10} {'ms each':>9} {'CPU ms':>8}   isolated is, by clock and by CPU time")
    for name in ways:
        ratios = f"{clock[name] / clock['isolated']:7.2f} x {cpu[name] / cpu['isolated']:7.2f} x"
        print(f"{name:32} {1 / clock[name]:10.1f} {1000 * clock[name]:9.2f} {1000 * cpu[name]:8.2f}   {ratios}")
    print()
    print(f"{'goal':34} {'by clock':>10} {'by CPU':>10} {'wanted':>8}")
    for name, way, wanted in (
        ("isolated samples/s and core", "isolated", 250),
        ("with numpy and stub run", NUMPY_WAY, 80),
        ("assertion verdicts/s and core", TOGETHER_WAY, 1500),
    ):
        print(f"{name:34} {1 / clock[way]:10.1f} {1 / cpu[way]:10.1f} {wanted:8}")
    for name, way, wanted in (
        ("x one apptainer exec each", "apptainer exec each", 25),
        ("x a fresh interpreter each", "fresh interpreter each", 5),
        ("x a warm fork without isolation", FORK_WAY, 0.4),
    ):
        by_clock, by_cpu = clock[way] / clock["isolated"], cpu[way] / cpu["isolated"]
        print(f"{name:34} {by_clock:10.2f} {by_cpu:10.2f} {wanted:8}")
    endless = endless_share(settings)
    print(f"{'3 % endless, x their limits':34} {endless:10.2f} {'':10} {1.2:8}")
    first, last = memory_growth(settings)
    figures = {
        name: {
            "per_s": 1 / clock[name],
            "per_cpu_s": 1 / cpu[name],
            "ratio": clock[name] / clock["isolated"],
            "cpu_ratio": cpu[name] / cpu["isolated"],
        }
        for name in ways
    }
    memory = {"mb_after_1000_rows": first / 1024, "mb_after_20000_rows": last / 1024}
    history.write(arguments.history, "sandbox", {**figures, "endless": {"ratio": endless}, "memory": memory})
    print(f"{'runner memory, MB':34} {first / 1024:10.1f} after 1,000 rows, {last / 1024:.1f} after 20,000")


if __name__ == "__main__":
    main()
