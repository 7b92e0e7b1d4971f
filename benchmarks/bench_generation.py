"""Generation against plain ways of doing it, as ratios in one run: `python benchmarks/bench_generation.py [--only …]`.

`decode` compares the in-process backend with the library's padded `generate` on the demo's model and prompts, in CPU
time of one thread. `client` compares the OpenAI backend with a bare load generator at one server: vLLM where
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
GOALS = {
    "decode": "at least 2 times the tokens/s of padded generate, same texts",
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
            texts[name], tokens, seconds = way(todo, batch)
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


def backend(todo: list[Request], batch: int) -> tuple[list[str], int, float]:
    """Decode with the in-process backend."""
    runner = TransformersBackend(ModelSettings(name=str(MODEL)), EngineSettings(batch_size=batch))
    begun = time.process_time()
    found = {answer.id: answer for answer in runner.complete(todo, GREEDY)}
    seconds = time.process_time() - begun
    return [found[request.id].text for request in todo], sum(a.tokens_out for a in found.values()), seconds


def padded_generate(todo: list[Request], batch: int) -> tuple[list[str], int, float]:
    """Decode with the library's generate, in the order of the rows, padded on the left."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    begun, texts, tokens = time.process_time(), [], 0
    for start in range(0, len(todo), batch):
        encoded = tokenizer(
            [request.prompt for request in todo[start : start + batch]], padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            out = model.generate(
                **encoded,
                do_sample=False,
                max_new_tokens=GREEDY.max_tokens,
                stop_strings=list(GREEDY.stop),
                tokenizer=tokenizer,
                pad_token_id=tokenizer.pad_token_id,
            )
        for row in out[:, encoded.input_ids.shape[1] :]:
            kept = row[row != tokenizer.pad_token_id]
            tokens += int((kept != tokenizer.eos_token_id).sum())
            text = tokenizer.decode(kept, skip_special_tokens=True)
            texts.append(text[: min((place for place in map(text.find, GREEDY.stop) if place >= 0), default=len(text))])
    return texts, tokens, time.process_time() - begun


def client(rows: int, repeats: int) -> dict[str, Any]:
    """Compare answers per second, the two taking turns at one server."""
    todo = requests(rows)
    rates: dict[str, list[float]] = {"bare": [], "backend": []}
    with server() as (name, runner):
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
    arguments = parser.parse_args()
    for name in arguments.only:
        if name == "decode":
            found = decode(arguments.rows, arguments.repeats)
        elif name == "client":
            found = client(arguments.rows, arguments.repeats)
        else:
            found = rows((1_000, 100_000))
        print(json.dumps({"question": name, "goal": GOALS[name], **found}), flush=True)


if __name__ == "__main__":
    main()
