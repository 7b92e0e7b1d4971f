"""Time HumanEval+ with 10 samples a task: this project beside EvalPlus's own package, on the same samples.

Run it with `python benchmarks/bench_evaluation.py [--problems FILE] [--samples-per-task 10] [--workers 2]`. Seven of
ten samples are the reference solution, made distinct by a comment; three have wrong numbers. Both compute the expected
outputs in the timed run.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import history  # noqa: E402
from selfcodealign.evaluation import base, data  # noqa: E402
from selfcodealign.evaluation.base import PASS  # noqa: E402
from selfcodealign.evaluation.execution import Task, execute, sandbox_settings  # noqa: E402


class OffByOne(ast.NodeTransformer):
    """Add `step` to every small integer."""

    def __init__(self, step: int) -> None:
        self.step = step

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Change one constant."""
        changes = type(node.value) is int and abs(node.value) < 100
        return ast.copy_location(ast.Constant(node.value + self.step), node) if changes else node


def programs(canonical: str, count: int) -> list[str]:
    right = [f"{canonical}\n# sample {number}\n" for number in range(count - 3 * count // 10)]
    wrong = [ast.unparse(OffByOne(step).visit(ast.parse(canonical))) for step in range(1, 1 + 3 * count // 10)]
    return right + wrong


def official(folder: Path, workers: int) -> tuple[float, dict]:
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", "humaneval", "--samples", "samples.jsonl"]
    environment = {
        **os.environ,
        "HUMANEVAL_OVERRIDE_PATH": str(folder / "problems.jsonl"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    start = time.perf_counter()
    subprocess.run([*command, "--parallel", str(workers)], cwd=folder, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    return seconds, json.loads((folder / "samples_eval_results.json").read_text())["eval"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("SELFCODEALIGN_TEST_DATA", ROOT.parent / "shared"))
    parser.add_argument("--problems", type=Path, default=shared / "bench" / "HumanEvalPlus-v0.1.10.jsonl.gz")
    parser.add_argument("--samples-per-task", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=164, help="use the first tasks only")
    history.add_flag(parser)
    args = parser.parse_args()
    if not args.problems.is_file():
        print(f"bench_evaluation: {args.problems} is not there; give --problems")
        return
    benchmark = base.get("humaneval_plus")
    benchmark.rules = "0.2+broadcasting"  # pyright: ignore[reportAttributeAccessIssue]
    problems = benchmark.problems(args.problems)[: args.tasks]
    samples = [
        (problem, program)
        for problem in problems
        for program in programs(benchmark.canonical(problem), args.samples_per_task)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = data.content(args.problems).decode().splitlines(keepends=True)[: args.tasks]
        (folder / "problems.jsonl").write_text("".join(lines))
        with (folder / "samples.jsonl").open("w") as sink:
            for problem, program in samples:
                print(json.dumps({"task_id": problem.id, "solution": program}), file=sink)
        tasks = [Task(str(place), problem, program) for place, (problem, program) in enumerate(samples)]
        start = time.perf_counter()
        found = execute(benchmark, tasks, sandbox_settings(benchmark, workers=args.workers), folder / "references")
        ours = time.perf_counter() - start
        theirs, recorded = official(folder, args.workers)
        places: dict[str, int] = {}
        agree = 0
        for task in tasks:
            at = places.get(task.problem.id, 0)
            places[task.problem.id] = at + 1
            verdict = recorded[task.problem.id][at]
            agree += all(
                (verdict[f"{group}_status"] == "pass") == (found[task.id].groups[group] == PASS)
                for group in ("base", "plus")
            )
    print(f"{len(tasks)} samples, {args.workers} workers")
    print(f"this project   {ours:8.1f} s   {len(tasks) / ours:6.1f} samples/s")
    print(f"evalplus       {theirs:8.1f} s   {len(tasks) / theirs:6.1f} samples/s")
    print(f"ratio          {theirs / ours:8.2f} x evalplus (goal >= 1.3)")
    print(f"agreement      {100 * agree / len(tasks):.2f} % of samples")
    found = {"samples": len(tasks), "s": ours, "evalplus_s": theirs, "ratio": theirs / ours}
    history.write(args.history, "evaluation", {"humaneval_plus": found | {"agreement": agree / len(tasks)}})


if __name__ == "__main__":
    main()
