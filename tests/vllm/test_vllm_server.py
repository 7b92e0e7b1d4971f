"""The vLLM backend against a real vLLM on a CPU; run with `make test-vllm`."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo import domain
from scripts import extract_concepts
from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Request, Sampling
from selfcodealign.generation.backends.openai import OpenAIBackend
from selfcodealign.generation.backends.transformers import TransformersBackend
from selfcodealign.generation.backends.vllm import VllmBackend
from selfcodealign.generation.prompts import load_template
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from selfcodealign.ids import rng_for
from selfcodealign.training import documents
from tests.conftest import ROOT, missing
from tests.generation_rows import PROMPTS, call, outputs, rows_of, write_seeds

MODEL = str(ROOT / "demo" / "model")
PYTHON = Path(os.environ.get("SELFCODEALIGN_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python"))
GREEDY = Sampling(0.0, 1.0, 200, ("\n## Example", "</tests>"))
SHORT = Sampling(0.0, 1.0, 32)
WARM = Sampling(0.7, 1.0, 200, ("\n## Example", "</tests>"))
SETTINGS = {
    "backend": "vllm",
    "python": str(PYTHON),
    "max_model_len": 512,
    "dtype": "float32",
    "concurrency": 16,
    # Without compilation the server is ready in a fraction of the time.
    "server_args": "--enforce-eager",
}


def instruction(number):
    return domain.instruction_of(domain.draw_task(rng_for(1, "vllm", str(number))))


def requests(count, samples=1):
    template = load_template(PROMPTS, ROOT / "demo" / "examples" / "fewshot.txt")
    made = []
    for number in range(count):
        prompt = template.render("I->R", (1 + number % 2,), instruction=instruction(number))
        made += [
            Request(f"row{number}/{sample}", 100 * number + sample, lambda prompt=prompt: prompt, number % 2)
            for sample in range(samples)
        ]
    return made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Fine-tune the demo's model for two steps, as the workflow does."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    rows = [
        {"id": f"row-{number}", "instruction": instruction(number), "response": f"```python\nanswer = {number}\n```"}
        for number in range(16)
    ]
    (folder / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "train.parquet")
    outputs = {name: folder / name for name in ("model", "metrics", "example", "funnel", "work")}
    settings = {"epochs": 1, "batch_rows": 8, "learning_rate": 1e-5, "precision": "fp32", "tracker": "none"}
    flags = {
        "dataset": folder / "data",
        "base": MODEL,
        "mode": "fixed",
        "run_seed": 1,
        "max_tokens": 512,
        **outputs,
        **settings,
    }
    command = [sys.executable, "scripts/train_sft.py"]
    command += [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(outputs["model"])


# Starting a server takes longer than all tests on it, so one serves them all.
@pytest.fixture(scope="module")
def server(checkpoint):
    if not PYTHON.exists():
        missing(f"no vLLM at {PYTHON}: run `make test-vllm`, which installs it")
    with pytest.MonkeyPatch.context() as patch:
        # The server would compile its log-probabilities at their first use, which takes a minute.
        patch.setenv("TORCHDYNAMO_DISABLE", "1")
        runner = VllmBackend(ModelSettings(name=checkpoint), EngineSettings(**SETTINGS))
    yield runner
    runner.close()
    assert not alive(runner.pid)


@pytest.fixture(scope="module")
def local(checkpoint):
    return TransformersBackend(ModelSettings(name=checkpoint), EngineSettings())


def alive(group):
    """Say whether any process of a process group still runs; one that ended and waits to be collected does not."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    states = [line.split() for line in listed.splitlines()]
    return any(int(found) == group and not state.startswith("Z") for found, state in states)


def test_greedy_answers_and_token_counts_are_those_of_the_in_process_backend(server, local):
    served = {answer.id: answer for answer in server.complete(requests(24), GREEDY)}
    own = {answer.id: answer for answer in local.complete(requests(24), GREEDY)}
    assert served.keys() == own.keys()
    assert all(served[name].tokens_in == own[name].tokens_in for name in own)
    # Two engines round differently, which may turn a near tie.
    assert sum(served[name].text == own[name].text for name in own) >= 22
    assert all(answer.finish_reason == "stop" for answer in served.values())


def test_a_fine_tuned_checkpoint_is_asked_in_the_layout_that_it_was_trained_on(server, checkpoint):
    settings = server.engine.model_copy(update={"api": "chat"})
    asked = [Request(str(number), 0, lambda number=number: instruction(number)) for number in range(8)]
    served = {
        answer.id: answer for answer in OpenAIBackend(ModelSettings(name=checkpoint), settings).complete(asked, SHORT)
    }
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    equal = 0
    for request in asked:
        document = documents.encode(tokenizer, request.id, request.prompt, "")
        prompt = torch.tensor([document.tokens[: document.prompt_tokens]])
        own = model.generate(prompt, do_sample=False, max_new_tokens=SHORT.max_tokens)[0, prompt.shape[1] :]
        assert served[request.id].tokens_in == prompt.shape[1]
        equal += served[request.id].text == tokenizer.decode(own, skip_special_tokens=True)
    # Two engines round differently, which may turn a near tie.
    assert equal >= 7


def test_a_seed_gives_the_same_sample_again_and_another_seed_another(server):
    first = {answer.id: answer.text for answer in server.complete(requests(8, samples=3), WARM)}
    second = {answer.id: answer.text for answer in server.complete(requests(8, samples=3), WARM)}
    assert sum(first[name] == second[name] for name in first) >= 22
    assert len(set(first.values())) > 12


def test_samples_asked_for_together_are_different(server):
    engine = server.engine
    server.engine = engine.model_copy(update={"samples_per_request": 4})
    try:
        answers = list(server.complete(requests(4, samples=4), WARM))
    finally:
        server.engine = engine
    assert len(answers) == 16
    assert len({answer.text for answer in answers}) > 8


def test_scores_are_those_of_the_in_process_backend(server, local):
    prompts = ["Is water wet?\nAnswer:", "### Verdict\nAnswer: Yes\n\n### Verdict\nAnswer:"]
    todo = [Request(str(number), 0, lambda prompt=prompt: prompt) for number, prompt in enumerate(prompts)]
    served = {scores.id: scores.logprobs for scores in server.score(todo, (" Yes", " No"))}
    own = {scores.id: scores.logprobs for scores in local.score(todo, (" Yes", " No"))}
    for name, logprobs in served.items():
        for mine, theirs in zip(own[name], logprobs, strict=True):
            # A candidate outside the 20 likeliest has an upper bound only.
            assert theirs == pytest.approx(mine, abs=0.02) or theirs > mine


def test_a_prompt_beyond_the_context_is_dropped_and_a_long_answer_is_asked_for_shorter(server):
    long = Request("long", 0, lambda: "word " * 900)
    near = Request("near", 0, lambda: "word " * 50)
    answers = {answer.id: answer for answer in server.complete([long, near], Sampling(0.0, 1.0, 500))}
    assert answers["long"].reason == "prompt_too_long"
    assert answers["near"].reason == ""
    assert answers["near"].tokens_in + answers["near"].tokens_out <= 512


def test_a_stage_runs_on_the_server(server, tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 12), outputs(tmp_path)
    engine = {
        "backend": "openai",
        "base_url": server.engine.base_url,
        "api_key_env": server.engine.api_key_env,
        "backoff_s": "0.1",
    }
    flags = {"few_shots": 1, "max_tokens": 48, "examples": ROOT / "demo" / "examples" / "fewshot.txt"}
    call(extract_concepts.main, seeds, **out, model=server.model, engine=engine, **flags)
    assert len(rows_of(out["rows"])) + len(rows_of(out["dropped"])) == 12


def test_strangers_on_the_machine_cannot_use_the_server(server, monkeypatch):
    stranger = OpenAIBackend(ModelSettings(name=server.model), EngineSettings(base_url=server.engine.base_url))
    with pytest.raises(UserError, match="refuses access"):
        list(stranger.complete(requests(1), GREEDY))


def test_the_server_ends_with_a_job_that_is_killed(server):
    code = """
        import sys
        from selfcodealign.generation.backends import vllm
        from selfcodealign.generation.settings import EngineSettings, ModelSettings
        class Told(vllm.VllmBackend):
            def _wait(self, *words):
                print(self.pid, flush=True)
                super()._wait(*words)
        settings = EngineSettings(backend="vllm", python=sys.argv[2], max_model_len=512)
        Told(ModelSettings(name=sys.argv[1]), settings)
    """
    job = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), MODEL, str(PYTHON)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert job.stdout is not None
    group = int(job.stdout.readline())
    time.sleep(5)
    assert alive(group)
    job.send_signal(signal.SIGKILL)
    job.wait()
    deadline = time.monotonic() + 60
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not alive(group)


def test_a_model_that_cannot_be_served_is_an_error_of_one_sentence(server, tmp_path):
    with pytest.raises(UserError, match=r"the vLLM server ended while it started .*its log is logs/vllm/") as error:
        VllmBackend(ModelSettings(name=str(tmp_path)), EngineSettings(**SETTINGS))
    assert "\n" not in str(error.value)
