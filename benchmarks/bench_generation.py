"""Generation against plain ways of doing it, as ratios in one run: `python benchmarks/bench_generation.py [--only …]`.

`decode` compares the in-process backend with the library's padded `generate` on the demo's model and prompts, in CPU
time of one thread; `smollm2` does so on a real language model (`snakemake results/fetch_smollm2`), with vLLM beside it
where `.venv-vllm` has it. `client` compares the OpenAI backend with a bare load generator at one server: vLLM where
`.venv-vllm` has it (see `make test-vllm`), or else a stub that takes 50 ms for an answer. `rows` runs a stage over
1,000 and 100,000 rows against a stub, and resumes the latter.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from openai import DefaultAioHttpClient  # noqa: E402

from benchmarks import history  # noqa: E402
from demo import domain  # noqa: E402
from selfcodealign.generation.backends import Request, Sampling  # noqa: E402
from selfcodealign.generation.backends.openai import OpenAIBackend  # noqa: E402
from selfcodealign.generation.backends.transformers import TransformersBackend  # noqa: E402
from selfcodealign.generation.backends.vllm import VllmBackend  # noqa: E402
from selfcodealign.generation.prompts import load_template  # noqa: E402
from selfcodealign.generation.settings import EngineSettings, ModelSettings  # noqa: E402
from selfcodealign.ids import content_id, rng_for  # noqa: E402
from selfcodealign.rows import SeedRow  # noqa: E402
from selfcodealign.rows_io import write_rows  # noqa: E402

MODEL = ROOT / "demo" / "model"
GREEDY = Sampling(0.0, 1.0, 200, ("\n## Example", "</tests>"))
CHAT = Sampling(0.0, 1.0, 160)
GOALS = {
    "decode": "at least 2 times the tokens/s of padded generate, same texts",
    "smollm2": "at least 2 times the tokens of padded generate per CPU second, chats of 160 tokens",
    "client": "at least 0.95 of a bare load generator's answers/s",
    "rows": "memory flat from 1,000 to 100,000 rows; 100,000 rows resumed in at most 5 s",
}


def requests(count: int) -> list[Request]:
    """Make the demo's response prompts: one example of five, instructions of different lengths."""
    template = load_template(ROOT / "prompts" / "selfcodealign.yaml", ROOT / "demo" / "examples" / "fewshot.txt")
    made = []
    for number in range(count):
        rng = rng_for(0, "bench", str(number))
        task, example = domain.draw_task(rng), rng.randint(1, len(template.examples))
        prompt = template.render("I->R", (example,), instruction=domain.instruction_of(task))
        made.append(Request(f"row{number}/0", number, lambda prompt=prompt: prompt, (example,)))
    return made


def decode(rows: int, repeats: int) -> dict[str, Any]:
    """Compare generated tokens per CPU second, and the texts."""
    todo = requests(rows)
    rates: dict[str, list[float]] = {}
    texts: dict[str, list[str]] = {}
    ways = {
        "generate, batch 64": (padded_generate, 64),
        "backend, batch 64": (backend, 64),
        "backend, batch 256": (backend, 256),
    }
    for _ in range(repeats):
        for name, (way, batch) in ways.items():
            texts[name], tokens, seconds = way(todo, GREEDY, MODEL, "float32", batch)
            rates.setdefault(name, []).append(tokens / seconds)
    best = {name: max(values) for name, values in rates.items()}
    plain = texts["generate, batch 64"]
    return {
        "rows": rows,
        "tokens_per_cpu_s": {name: round(value) for name, value in best.items()},
        "ratio_at_equal_batch": round(best["backend, batch 64"] / best["generate, batch 64"], 2),
        "ratio_at_default_batch": round(best["backend, batch 256"] / best["generate, batch 64"], 2),
        "same_texts": f"{min(sum(map(str.__eq__, plain, found)) for found in texts.values())} of {rows}",
    }


def backend(
    todo: list[Request], sampling: Sampling, model: Path, dtype: str, batch: int
) -> tuple[list[str], int, float]:
    """Decode with the in-process backend; return the texts, the number of tokens and CPU seconds."""
    engine = EngineSettings.model_validate({"batch_size": batch, "dtype": dtype})
    runner = TransformersBackend(ModelSettings(name=str(model)), engine)
    begun = time.process_time()
    found = {answer.id: answer for answer in runner.complete(todo, sampling)}
    seconds = time.process_time() - begun
    return [found[request.id].text for request in todo], sum(a.tokens_out for a in found.values()), seconds


def padded_generate(
    todo: list[Request], sampling: Sampling, folder: Path, dtype: str, batch: int
) -> tuple[list[str], int, float]:
    """Decode with the library's generate, in the order of the rows, padded on the left."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    ends = {tokenizer.pad_token_id, tokenizer.eos_token_id}
    begun, texts, tokens = time.process_time(), [], 0
    for start in range(0, len(todo), batch):
        encoded = tokenizer(
            [request.prompt for request in todo[start : start + batch]], padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            out = model.generate(
                **encoded,
                do_sample=False,
                max_new_tokens=sampling.max_tokens,
                stop_strings=list(sampling.stop) or None,
                tokenizer=tokenizer,
                pad_token_id=tokenizer.pad_token_id,
            )
        for row in out[:, encoded.input_ids.shape[1] :]:
            kept = [token for token in row.tolist() if token not in ends]
            tokens += len(kept)
            text = tokenizer.decode(kept, skip_special_tokens=True)
            stops = (place for place in map(text.find, sampling.stop) if place >= 0)
            texts.append(text[: min(stops, default=len(text))])
    return texts, tokens, time.process_time() - begun


def smollm2(rows: int, repeats: int, model: Path) -> dict[str, Any]:
    """Compare generated tokens per CPU second on a real model: chats, and the prompts of the pipeline's responses."""
    if not model.exists():
        raise SystemExit(f"{model} does not exist: make it with `snakemake --cores 1 results/fetch_smollm2`")
    found: dict[str, Any] = {"rows": rows}
    for kind, (todo, sampling) in {"chats": (chats(rows, model), CHAT), "responses": few_shots(rows)}.items():
        rates: dict[str, list[float]] = {}
        for _ in range(repeats):
            for dtype in ("float32", "bfloat16"):
                for name, way in (("generate", padded_generate), ("backend", backend)):
                    _, tokens, seconds = way(todo, sampling, model, dtype, 96)
                    rates.setdefault(f"{name}, {dtype}", []).append(tokens / seconds)
        best = {name: max(values) for name, values in rates.items()}
        best |= vllm_rate(todo, sampling, model)
        found[kind] = {
            "tokens_per_cpu_s": {name: round(value) for name, value in best.items()},
            "ratio_in_float32": round(best["backend, float32"] / best["generate, float32"], 2),
            "ratio_in_bfloat16": round(best["backend, bfloat16"] / best["generate, bfloat16"], 2),
            "ratio_as_configured": round(best["backend, bfloat16"] / best["generate, float32"], 2),
        }
    return found


def chats(count: int, model: Path) -> list[Request]:
    """Ask for programs in the model's chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    made = []
    for number in range(count):
        asked = domain.instruction_of(domain.draw_task(rng_for(0, "bench", str(number))))
        turns = [{"role": "user", "content": f"Write a Python function with two tests.\n\n{asked}"}]
        prompt = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        made.append(Request(f"row{number}/0", number, lambda prompt=prompt: prompt, ()))
    return made


def few_shots(count: int) -> tuple[list[Request], Sampling]:
    """Ask as the pipeline asks that model for responses: six examples before each task."""
    template = load_template(ROOT / "prompts" / "smollm2.yaml", ROOT / "prompts" / "smollm2.txt")
    examples = tuple(range(1, 7))
    made = []
    for number in range(count):
        asked = domain.instruction_of(domain.draw_task(rng_for(0, "bench", str(number))))
        prompt = template.render("I->R", examples, instruction=asked)
        made.append(Request(f"row{number}/0", number, lambda prompt=prompt: prompt, examples))
    return made, Sampling(0.0, 1.0, 160, tuple(template.stop("I->R")))


def vllm_rate(todo: list[Request], sampling: Sampling, model: Path) -> dict[str, float]:
    """Measure vLLM's tokens per CPU second, its start left out; nothing where it is not installed."""
    python = ROOT / ".venv-vllm" / "bin" / "python"
    if not python.exists():
        return {}
    limits = {"max_model_len": 2_048, "concurrency": len(todo), "dtype": "bfloat16"}
    runner = VllmBackend(
        ModelSettings(name=str(model)),
        EngineSettings.model_validate({"backend": "vllm", "python": str(python), **limits}),
    )
    try:
        list(runner.complete(todo[:8], sampling))
        begun = cpu_seconds(runner.pid)
        tokens = sum(answer.tokens_out for answer in runner.complete(todo, sampling))
        return {"vLLM, bfloat16": tokens / (cpu_seconds(runner.pid) - begun)}
    finally:
        runner.close()


def cpu_seconds(group: int) -> float:
    """Add up the CPU seconds of a process group, from /proc."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:13])) if int(fields[2]) == group else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def client(rows: int, repeats: int) -> dict[str, Any]:
    """Compare answers per second, the two taking turns at one server."""
    rates: dict[str, list[float]] = {"bare": [], "backend": []}
    with server() as (name, runner):
        # So many that requests, which begin in step, lose it: until then all answers of the stub come in bursts.
        todo = requests(rows := 10 * rows if name == "stub" else rows)
        load(runner, todo[:32])
        for _ in range(repeats):
            for way, ask in (("bare", load), ("backend", ask_backend), ("backend", ask_backend), ("bare", load)):
                begun = time.perf_counter()
                assert ask(runner, todo) == rows
                rates[way].append(rows / (time.perf_counter() - begun))
    mean = {way: sum(values) / len(values) for way, values in rates.items()}
    return {
        "server": name,
        "rows": rows,
        "answers_per_s": {way: round(value, 1) for way, value in mean.items()},
        "ratio": round(mean["backend"] / mean["bare"], 3),
    }


@contextmanager
def server() -> Iterator[tuple[str, OpenAIBackend]]:
    """Start the best server at hand and yield its name and a client of it."""
    python = ROOT / ".venv-vllm" / "bin" / "python"
    if python.exists():
        # Without compilation the server is ready sooner; both ways ask the same server.
        limits = {"max_model_len": 512, "concurrency": 32, "server_args": "--enforce-eager"}
        settings = EngineSettings.model_validate({"backend": "vllm", "python": str(python), **limits})
        runner = VllmBackend(ModelSettings(name=str(MODEL)), settings)
        try:
            yield "vLLM on a CPU", runner
        finally:
            runner.close()
        return
    with stub(0.05) as url:
        yield "stub", OpenAIBackend(ModelSettings(name="stub"), EngineSettings(base_url=url, concurrency=32))


@contextmanager
def stub(wait_s: float) -> Iterator[str]:
    """Start the stub server in a process of its own."""
    command = [sys.executable, str(ROOT / "tests" / "stub_server.py"), "0", str(wait_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()


def ask_backend(runner: OpenAIBackend, todo: list[Request]) -> int:
    """Ask through the backend; return the number of answers."""
    return sum(not answer.reason for answer in runner.complete(todo, GREEDY))


def load(runner: OpenAIBackend, todo: list[Request]) -> int:
    """Send the same bodies with nothing around them; return the number of answers."""
    bodies = [
        {
            "model": runner.model,
            "prompt": request.prompt,
            "max_tokens": GREEDY.max_tokens,
            "temperature": 0.0,
            "top_p": 1.0,
            "stop": list(GREEDY.stop),
            "seed": request.seed,
            "n": 1,
        }
        for request in todo
    ]

    async def work() -> int:
        left, answered = iter(bodies), 0

        async def worker(http: DefaultAioHttpClient, headers: dict[str, str]) -> int:
            count = 0
            for body in left:
                response = await http.post(f"{runner.url}/completions", json=body, headers=headers)
                count += response.status_code == 200
            return count

        async with (
            runner.connect() as client,
            DefaultAioHttpClient(timeout=None, trust_env=False, verify=False) as http,
        ):
            workers = (worker(http, client.auth_headers) for _ in range(runner.engine.concurrency))
            answered = sum(await asyncio.gather(*workers))
        return answered

    return asyncio.run(work())


def rows(counts: tuple[int, int]) -> dict[str, Any]:
    """Run a stage over few and many rows, then resume the many with the last hundred answers missing."""
    found: dict[str, Any] = {"rows": list(counts)}
    with tempfile.TemporaryDirectory() as name, stub(0.0) as url:
        folder = Path(name)
        peaks = []
        for count in counts:
            seeds = folder / f"seeds-{count}.parquet"
            write_rows(seeds, SeedRow, (seed(number) for number in range(count)))
            peak, _ = run_stage(folder, count, url)
            peaks.append(peak)
        ledger = folder / f"work-{counts[1]}" / "ledger.jsonl"
        lines = ledger.read_bytes().splitlines(keepends=True)
        ledger.write_bytes(b"".join(lines[:-100]))
        before = (folder / f"{counts[1]}.parquet").read_bytes()
        found["peak_memory_mib"] = [round(peak) for peak in peaks]
        found["resume_s"] = round(run_stage(folder, counts[1], url)[1], 1)
        found["same_bytes_after_resuming"] = (folder / f"{counts[1]}.parquet").read_bytes() == before
    return found


def seed(number: int) -> dict[str, Any]:
    """Make a seed of about 300 characters."""
    rng = random.Random(number)
    content = f'def number_{number}(x):\n    """Return x."""\n    return x  # {rng.getrandbits(900):x}'
    about = {"imports": [], "repo": "", "path": "", "line": 1, "licence": "MIT", "judge_score": None}
    return {"id": content_id("seed", number), "function_id": "fn-0", "content": content, **about}


def run_stage(folder: Path, count: int, url: str) -> tuple[float, float]:
    """Run `extract_concepts` in a process of its own; return its peak memory (MiB) and its CPU seconds."""
    command = [sys.executable, str(ROOT / "scripts" / "extract_concepts.py"), "--seeds", f"seeds-{count}.parquet"]
    command += ["--prompts", str(ROOT / "prompts" / "selfcodealign.yaml"), "--model", "stub", "--work", f"work-{count}"]
    command += ["--rows", f"{count}.parquet", "--dropped", f"{count}.dropped.parquet", "--funnel", f"{count}.json"]
    command += ["--engine", "backend=openai", f"base_url={url}", "concurrency=32"]
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    peak = 0.0
    # The usage reported at the end also counts this process's memory, from which the other was forked.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.split("VmHWM:")[1].split()[0]) / 1024)
        time.sleep(0.05)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"extract_concepts ended with {status}"
    return peak, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print one JSON line per question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(GOALS), default=list(GOALS), help="questions to answer")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rows", type=int, default=192, help="rows to decode (default: 192)")
    parser.add_argument("--smollm2", type=Path, default=ROOT / "results" / "fetch_smollm2", help="folder of SmolLM2")
    history.add_flag(parser)
    arguments = parser.parse_args()
    for name in arguments.only:
        if name == "decode":
            found = decode(arguments.rows, arguments.repeats)
        elif name == "smollm2":
            # Asked for by name, a model that is absent is an error; among all questions it is left out.
            if arguments.only == list(GOALS) and not arguments.smollm2.exists():
                print(json.dumps({"question": name, "skipped": f"no model at {arguments.smollm2}"}), flush=True)
                continue
            found = smollm2(arguments.rows // 2, arguments.repeats, arguments.smollm2)
        elif name == "client":
            found = client(arguments.rows, arguments.repeats)
        else:
            found = rows((1_000, 100_000))
        print(json.dumps({"question": name, "goal": GOALS[name], **found}), flush=True)
        history.write(arguments.history, "generation", {name: found})


if __name__ == "__main__":
    main()
