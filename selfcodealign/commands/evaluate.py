"""`python -m selfcodealign evaluate`: score published samples, or sample a model and score it, outside any workflow."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, get_args

from selfcodealign.errors import UserError
from selfcodealign.evaluation import base, data
from selfcodealign.evaluation.base import Benchmark, Problem, Sampling

log = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python -m selfcodealign evaluate --benchmark humaneval_plus --problems HumanEvalPlus.jsonl.gz \\
      --samples samples.jsonl --output results.json --workers 2
  python -m selfcodealign evaluate --benchmark mbpp_plus --problems MbppPlus.jsonl.gz \\
      --model bigcode/starcoder2-3b --style base --output results.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    flag = parser.add_argument
    flag("--benchmark", required=True, help=f"one of {', '.join(base.BENCHMARKS)}, or of an installed package")
    flag("--problems", type=Path, help="file of problems, as published; fetched by default")
    flag("--version", help="version to fetch; by default that of the paper")
    flag("--output", type=Path, required=True, help="file of the results (JSON)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--samples", type=Path, help="samples in the benchmark's public format: a file or folder")
    what.add_argument("--model", help="local folder or Hub id of a model to sample")
    what.add_argument("--canonical", action="store_true", help="score the authors' own solutions, to test the setup")
    flag("--as-is", action="store_true", help="do not remove Markdown from samples that are not Python because of it")
    flag(
        "--missing",
        choices=["exclude", "fail"],
        default="exclude",
        help="exclude tasks without samples, or count them as failures",
    )
    flag("--rules", choices=["0.2", "0.2+broadcasting", "0.3"], help="HumanEval+, MBPP+: version of EvalPlus's rules")
    flag("--workers", type=int, default=len(os.sched_getaffinity(0)), help="programs that run at once (all cores)")
    flag("--isolation", choices=["auto", "apptainer", "bubblewrap", "none"], default="auto", help="sandbox layer")
    flag("--i-understand", action="store_true", help="needed for --isolation none: the programs may then do anything")
    flag("--python", help="interpreter that runs the programs, for benchmarks that need other packages")
    flag("--work", type=Path, default=Path("work/evaluate"), help="folder of expected outputs and unfinished answers")
    flag("--seed", type=int, default=3407, help="seed of sampling and of the bootstrap")
    flag("--paper-model", default="", help="name of the model in the paper's tables, to print its number too")
    flag("--style", choices=get_args(base.Asking), default="chat", help="--model: how it is prompted")
    flag("--revision", default="main", help="--model: revision on the Hub")
    flag("--trust-remote-code", action="store_true", help="--model: run Python code of the model")
    flag(
        "--n",
        type=int,
        help="--model: samples of each task; the default of this and the next flags is the paper's value",
    )
    flag("--temperature", type=float, help="--model: 0 is greedy")
    flag("--top-p", type=float, help="--model: nucleus sampling")
    flag("--max-tokens", type=int, help="--model: maximum number of new tokens of a turn")
    flag("--engine", nargs="*", default=[], metavar="NAME=VALUE", help="--model: how it is run, as in the config")


def main(args: argparse.Namespace) -> None:
    """Score, write the results, and print the headline."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    if args.workers < 1:
        raise UserError(f"--workers is {args.workers}; give at least 1")
    benchmark = base.get(args.benchmark)
    refuse_other_file(args.output)
    if args.rules:
        if not hasattr(benchmark, "rules"):
            raise UserError(f"--rules is for HumanEval+ and MBPP+, not for {benchmark.title}; leave it out")
        benchmark.rules = args.rules  # pyright: ignore[reportAttributeAccessIssue]
    problems_file = args.problems or fetched(benchmark, args.version, args.work)
    data.refuse_other_benchmark(benchmark, problems_file)
    problems = benchmark.problems(problems_file)
    version = data.version_of(benchmark, problems_file)
    programs, settings, sampling, warnings = gathered(args, benchmark, problems, problems_file)
    if untested := benchmark.untested(problems_file):
        named = ", ".join(untested[:10]) + (f" and {len(untested) - 10} more" if len(untested) > 10 else "")
        warnings.append(f"{len(untested)} problems of {problems_file.name} have no tests and are left out: {named}")
    if version is None and benchmark.sources:
        known = ", ".join(source.version for source in benchmark.sources)
        warnings.append(
            f"{problems_file.name} (sha256 {data.sha256(problems_file)[:16]}…) is no published version ({known})"
        )
    results = judged(args, benchmark, problems, programs)
    results |= {
        "model": args.model or (args.samples.name if args.samples else "canonical solutions"),
        "problems": {
            "file": problems_file.name,
            "sha256": data.sha256(problems_file),
            "version": version.version if version else None,
            "problems": len(problems),
        },
        "settings": {**settings, "seed": args.seed, "workers": args.workers, "isolation": results.pop("isolation")},
    }
    from selfcodealign.evaluation.scoring import paper_number, settings_warnings
    from selfcodealign.rows_io import write_json

    results["warnings"] = (
        warnings + results["warnings"] + settings_warnings(benchmark, results["problems"]["version"], sampling)
    )
    results["paper"] = paper_number(benchmark, args.paper_model)
    write_json(args.output, results)
    print(table(results))


def refuse_other_file(output: Path) -> None:
    """Refuse to write results over a file that holds something else.

    Raises:
        UserError: the output is a folder, or a file that is no result of this command; it is left as it is.
    """
    if not output.exists():
        return
    try:
        found = json.loads(output.read_bytes()) if output.is_file() else None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"benchmark", "metrics", "tasks"} <= found.keys():
        raise UserError(f"{output} holds something else than results of this command; name another file under --output")


def fetched(benchmark: Benchmark, version: str | None, work: Path) -> Path:
    """Return the published problems, fetched once.

    Raises:
        UserError: there is no such version, or the network is not there.
    """
    source = benchmark.source(version, given_by="--problems")
    target = work / "problems" / f"{benchmark.name}-{source.version}"
    if not target.exists():
        data.fetch(source, target)
    return target


def gathered(
    args: argparse.Namespace, benchmark: Benchmark, problems: list[Problem], problems_file: Path
) -> tuple[list[dict[str, Any]], dict[str, Any], Sampling | None, list[str]]:
    """Return the programs to judge, how they came about, and what is to be said of them."""
    if args.canonical:
        programs = [
            {
                "id": f"{problem.id}#0",
                "task_id": problem.id,
                "sample": 0,
                "program": benchmark.canonical(problem),
                "note": "",
            }
            for problem in problems
        ]
        return programs, {}, None, []
    if args.samples:
        from selfcodealign.evaluation import published_samples

        published = published_samples.read(
            benchmark, problems, args.samples, as_is=args.as_is, untested=benchmark.untested(problems_file)
        )
        programs = [
            {"id": one.id, "task_id": one.task_id, "sample": one.sample, "program": one.program, "note": one.note}
            for one in published
        ]
        return programs, {"samples": str(args.samples)}, None, published_samples.warnings(published, problems)
    return sampled(args, benchmark, problems)


def sampled(
    args: argparse.Namespace, benchmark: Benchmark, problems: list[Problem]
) -> tuple[list[dict[str, Any]], dict[str, Any], Sampling, list[str]]:
    """Sample a model and read the programs out of its answers."""
    from selfcodealign.evaluation.sampling import Asked, answers
    from selfcodealign.generation.engine import model_revision
    from selfcodealign.generation.settings import EngineSettings, ModelSettings, read_settings
    from selfcodealign.ids import digest

    pairs = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in args.engine)
    paper = benchmark.sampling
    sampling = Sampling(
        n=args.n or paper.n,
        temperature=paper.temperature if args.temperature is None else args.temperature,
        top_p=paper.top_p if args.top_p is None else args.top_p,
        max_tokens=args.max_tokens or paper.max_tokens,
    )
    model = ModelSettings(name=args.model, revision=args.revision, trust_remote_code=args.trust_remote_code)
    engine = read_settings(EngineSettings, "--engine", pairs)
    asked = Asked(benchmark, args.style, sampling, model, model_revision(model, engine), args.seed)
    work = args.work / "samples" / digest(asked.settings())[:16]
    style = "base" if args.style == "base" else "instruct"
    by_id = {problem.id: problem for problem in problems}
    programs, cut_off = [], 0
    for row in answers(asked, problems, engine, work):
        program = benchmark.program(by_id[row["task_id"]], row["texts"], style)
        cut_off += "length" in row["finish_reasons"]
        programs.append(
            {"id": row["id"], "task_id": row["task_id"], "sample": row["sample"], "program": program, "note": ""}
        )
    warnings = [f"{cut_off} of {len(programs)} answers were cut off at max_tokens"] if cut_off else []
    settings = asked.settings() | {"answers": str(work)}
    return programs, settings, sampling, warnings


def judged(
    args: argparse.Namespace, benchmark: Benchmark, problems: list[Problem], programs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Judge programs and score them."""
    from selfcodealign.evaluation.execution import sandbox_settings
    from selfcodealign.evaluation.rescoring import results_of

    settings = sandbox_settings(
        benchmark,
        workers=args.workers,
        isolation=args.isolation,
        i_understand=args.i_understand,
        python=args.python,
    )
    return results_of(benchmark, problems, programs, settings, args.work, missing=args.missing, seed=args.seed)


def table(results: dict[str, Any]) -> str:
    """Return the numbers and warnings for a person to read."""
    lines = [f"{results['title']}: {results['model']}, {len(results['tasks'])} tasks"]
    for name, number in results["metrics"].items():
        lines.append(
            f"  {name:24} {number['value']:6.1f}   {number['low']:.1f}–{number['high']:.1f} ({number['interval']})"
        )
    paper = results["paper"]
    if paper:
        lines.append(f"  paper: {paper['ours']['model']} {paper['ours']['value']}")
        if "same_model" in paper:
            lines.append(f"  paper: {paper['same_model']['model']} {paper['same_model']['value']}")
    lines += [f"  warning: {text}" for text in results["warnings"]]
    return "\n".join(lines)
