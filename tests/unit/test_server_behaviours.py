"""What becomes of twelve rows under each way in which a server may behave: one table."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from scripts import extract_concepts
from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Request, Sampling
from selfcodealign.generation.backends.openai import OpenAIBackend
from selfcodealign.generation.settings import EngineSettings, ModelSettings, read_settings
from tests.generation_rows import asking, call, outputs, rows_of, write_seeds
from tests.stub_server import answer_text, running

pytestmark = pytest.mark.slow

ROWS = 12
ASKED = 1536
CONTEXT = 4096
SAMPLING = Sampling(0.7, 0.95, ASKED, ("\n## Example",))


@dataclass
class Case:
    """How a server behaves, and what should come of it."""

    reply: Callable[[dict[str, Any], int], Any]
    """From a request and how many came before it; None is a good answer."""
    becomes: str | dict[str, str]
    """Of every row, or of the rows named here: `stop`, `length` (finish reasons), a reason; or `ends: ` and the words
    with which the job ends."""
    requests: int = 1
    """Most requests for a row."""
    engine: dict[str, Any] | None = None


def prompt_of(body):
    return body["messages"][0]["content"] if "messages" in body else body["prompt"]


def always(status, said, *headers):
    return lambda body, number: (status, said, *headers)


def row(which, status, said):
    """Misbehave for some rows only."""
    names = {f"Question {number}" for number in which}
    return lambda body, number: (status, said) if prompt_of(body) in names else None


def after(count, status, said):
    return lambda body, number: None if number < count else (status, said)


def first(count, status, said, *headers):
    return lambda body, number: (status, said, *headers) if number < count else None


def choice(reason, text=None, **message):
    return {"choices": [{"finish_reason": reason, "message": {"content": text, **message}}], "usage": {}}


def unless(wanted, status, said):
    """Refuse requests that do not fulfil a condition."""
    return lambda body, number: None if wanted(body) else (status, said)


def window(words, prompt=3000, cut=False, **fields):
    """Refuse what exceeds the context in a server's words; `cut`: it counts no more of the prompt than it must."""

    def reply(body, number):
        asked = body.get("max_tokens", body.get("max_completion_tokens"))
        # A neutral question is short.
        length = prompt if prompt_of(body).startswith("Question") else 4
        if length + asked <= CONTEXT:
            return None
        seen = min(length, CONTEXT - asked + 1) if cut else length
        said = words.format(c=CONTEXT, p=seen, a=asked, t=seen + asked, i=CONTEXT - asked)
        return 400, {"error": {"message": said, "code": 400, **fields}}

    return reply


OLD = (
    "This model's maximum context length is {c} tokens. However, you requested {t} tokens ({p} in the messages, {a} in "
    "the completion)."
)
TOO_LARGE = (
    "'max_tokens' or 'max_completion_tokens' is too large: {a}. This model's maximum context length is {c} tokens and "
    "your request has {p} input tokens ({a} > {c} - {p})."
)
AT_LEAST = (
    "This model's maximum context length is {c} tokens. However, you requested {a} output tokens and your prompt "
    "contains at least {p} input tokens, for a total of at least {t} tokens."
)
PASSED = (
    "You passed {p} input tokens and requested {a} output tokens. However, the model's context length is only {c} "
    "tokens, resulting in a maximum input length of {i} tokens. Please reduce the length of the input prompt."
)
SGLANG = (
    "Requested token count exceeds the model's maximum context length of {c} tokens. You requested a total of {t} "
    "tokens: {p} tokens from the input messages and {a} tokens for the completion."
)
TGI = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= {c}. Given: {p} `inputs` tokens and {a} "
    "`max_new_tokens`"
)
LEGACY = (
    "This model's maximum context length is {c} tokens, however you requested {t} tokens ({p} in your prompt; {a} for "
    "the completion). Please reduce your prompt; or completion length."
)
LLAMA = "the request exceeds the available context size, try increasing it"

CASES = {
    # What may pass.
    "429 with Retry-After": Case(first(5, 429, "slow down", "Retry-After: 0.01\r\n"), "stop", 6),
    "429 until a date": Case(first(2, 429, "wait", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"), "stop", 6),
    "500 at first": Case(first(4, 500, "starting"), "stop", 6),
    "503 while it loads": Case(first(4, 503, "loading model"), "stop", 6),
    "a proxy's page": Case(first(3, 502, b"<html>Bad Gateway</html>"), "stop", 6),
    "half a body": Case(first(3, "half_body", ""), "stop", 6),
    "a dropped connection": Case(first(3, "nothing", ""), "stop", 6),
    "no JSON": Case(first(3, "not_json", ""), "stop", 6),
    "JSON of another kind": Case(first(3, 200, [1, 2]), "stop", 6),
    "no choices": Case(first(3, 200, {"choices": []}), "stop", 6),
    "silence at first": Case(first(2, "silence", ""), "stop", 6, {"timeout_s": 1}),
    # What the whole job must know.
    "401": Case(always(401, "invalid key"), "ends: refuses access .*invalid key"),
    "402 in the middle": Case(after(5, 402, "Insufficient credits"), "ends: does not pay .*Insufficient credits"),
    "429 without quota": Case(
        always(429, {"error": {"message": "You exceeded it", "code": "insufficient_quota"}}), "ends: does not pay"
    ),
    "403 without credit": Case(after(3, 403, "Your credit balance is too low"), "ends: does not pay"),
    "404": Case(always(404, "no model m"), "ends: knows no model 'm'"),
    "400 for every row": Case(always(400, "Unsupported parameter: 'max_tokens'"), "ends: Unsupported parameter"),
    "422 for every row": Case(
        unless(lambda body: "seed" not in body, 422, {"detail": [{"loc": ["body", "seed"], "msg": "not permitted"}]}),
        "ends: not permitted",
    ),
    "403 for every row": Case(always(403, "not in your country"), "ends: not in your country"),
    "403 in the middle": Case(after(6, 403, "suspended"), "ends: suspended"),
    "400 unknown model": Case(always(400, "The model `m` does not exist"), "ends: does not exist"),
    "500 for every row": Case(always(500, "out of memory"), "ends: out of memory", 3),
    "500 from some time on": Case(after(6, 500, "crashed"), "ends: crashed", 3),
    "every answer filtered": Case(always(200, choice("content_filter")), "ends: content filter"),
    "no tokens counted": Case(always(400, "temperature must be <= 1"), "ends: temperature"),
    # What is one row's own.
    "403 for a row": Case(row([0], 403, "flagged by moderation"), {"row0": "refused_by_server"}),
    "400 for some rows": Case(
        row([1, 5, 6], 400, "unsafe"), dict.fromkeys(["row1", "row5", "row6"], "refused_by_server")
    ),
    "400 for the last row": Case(row([11], 400, "unsafe"), {"row11": "refused_by_server"}),
    "500 for a row": Case(row([0], 500, "cannot"), {"row0": "server_error"}, 6),
    "a dropped connection for a row": Case(row([2], "nothing", ""), {"row2": "server_error"}, 6),
    "half a body for a row": Case(row([2], "half_body", ""), {"row2": "server_error"}, 6),
    "silence for a row": Case(row([2], "silence", ""), {"row2": "server_timeout"}, 6, {"timeout_s": 1}),
    "filtered": Case(row([0], 200, choice("content_filter")), {"row0": "refused_by_server"}),
    "filtered to an empty text": Case(row([0], 200, choice("content_filter", "")), {"row0": "refused_by_server"}),
    "refused by the model": Case(
        row([0], 200, choice("stop", refusal="I cannot help with that.")), {"row0": "refused_by_model"}
    ),
    "every answer refused by the model": Case(
        always(200, choice("stop", "", refusal="No.")), {f"row{number}": "refused_by_model" for number in range(ROWS)}
    ),
    "half of a surrogate pair": Case(
        row([3], 200, b'{"choices":[{"text":"a \\ud83d b","finish_reason":"stop"}]}'), {"row3": "not_text"}
    ),
    "half of a surrogate pair in words": Case(
        row([3], 400, b'{"error":{"message":"bad \\ud83d text"}}'), {"row3": "refused_by_server"}
    ),
    # Models that think.
    "thoughts beside the answer": Case(
        row([0], 200, choice("stop", "4", reasoning_content="2 + 2")), {"row0": "stop 4"}, engine={"api": "chat"}
    ),
    "thoughts before the answer": Case(
        row([0], 200, choice("stop", "<think>\n2 + 2\n</think>\n\n4")), {"row0": "stop 4"}, engine={"api": "chat"}
    ),
    "thoughts cut off": Case(
        row([0], 200, choice("length", reasoning_content="2 +")), {"row0": "length "}, engine={"api": "chat"}
    ),
    "thoughts cut off in the text": Case(row([0], 200, choice("length", "<think> 2 +")), {"row0": "length "}),
    "nothing but thoughts": Case(row([0], 200, choice("stop", reasoning="2 + 2")), {"row0": "stop "}),
    "no max_tokens, please": Case(
        unless(lambda body: "max_tokens" not in body, 400, "use max_completion_tokens"),
        "stop",
        engine={"max_completion_tokens": 9000, "api": "chat"},
    ),
    "no temperature, please": Case(
        unless(lambda body: "temperature" not in body, 400, "'temperature' does not support 0.7"),
        "stop",
        engine={"extra_body": {"temperature": None}},
    ),
    "knows top_k": Case(
        unless(lambda body: (body.get("top_k"), body.get("min_p")) == (20, 0.1), 400, "top_k?"),
        "stop",
        engine={"top_k": 20, "min_p": 0.1},
    ),
    "knows no top_k": Case(
        unless(lambda body: "top_k" not in body, 400, "Extra inputs: top_k"), "ends: top_k", engine={"top_k": 20}
    ),
    "thinks only if asked": Case(
        unless(lambda body: body.get("chat_template_kwargs") == {"enable_thinking": False}, 400, "think!"),
        "stop",
        engine={"api": "chat", "chat_template_kwargs": {"enable_thinking": False}},
    ),
    # Contexts that are too short for prompt and answer, or for the prompt alone.
    "vLLM": Case(window(TOO_LARGE), "stop", 2),
    "vLLM, old": Case(window(OLD), "stop", 2),
    "vLLM, at least": Case(window(AT_LEAST, cut=True), "stop", 4),
    "vLLM, new": Case(window(PASSED, cut=True), "stop", 4),
    "vLLM, a long answer": Case(
        unless(
            lambda body: body["max_tokens"] <= 1024,
            400,
            f"max_tokens={ASKED} cannot be greater than max_model_len=1024. Please request fewer output tokens.",
        ),
        "stop",
        2,
    ),
    "SGLang": Case(window(SGLANG), "stop", 2),
    "TGI": Case(window(TGI), "stop", 2),
    "OpenAI, completions": Case(window(LEGACY), "stop", 2),
    "OpenAI, a long answer": Case(
        unless(
            lambda body: body["max_tokens"] <= 512,
            400,
            f"max_tokens is too large: {ASKED}. This model supports at most 512 completion tokens.",
        ),
        "stop",
        2,
    ),
    "vLLM, a long prompt": Case(window(TOO_LARGE, 5000), "prompt_too_long"),
    "vLLM, at least, a long prompt": Case(window(AT_LEAST, 5000, cut=True), "prompt_too_long", 5),
    "vLLM, new, a long prompt": Case(window(PASSED, 5000, cut=True), "prompt_too_long", 5),
    "SGLang, a long prompt": Case(
        window("The input ({p} tokens) is longer than the model's context length ({c} tokens).", 5000),
        "prompt_too_long",
    ),
    "llama.cpp, a long prompt": Case(
        window(LLAMA, 5000, type="exceed_context_size_error", n_prompt_tokens=5000, n_ctx=4096), "prompt_too_long"
    ),
    "llama.cpp in words": Case(
        window("request ({p} tokens) exceeds the available context size ({c} tokens)", 5000), "prompt_too_long"
    ),
    "TGI, a long prompt": Case(
        window("Input validation error: `inputs` must have less than {c} tokens. Given: {p}", 5000), "prompt_too_long"
    ),
    "OpenAI, a long prompt": Case(
        window(
            "This model's maximum context length is 4,096 tokens. However, your messages resulted in 5,000 tokens.",
            5000,
        ),
        "prompt_too_long",
    ),
    "Mistral, a long prompt": Case(
        window("Prompt contains {p} tokens, too large for model with {c} maximum context length", 5000),
        "prompt_too_long",
    ),
    "Anthropic, a long prompt": Case(window("prompt is too long: {p} tokens > {c} maximum", 5000), "prompt_too_long"),
}


def ask(url, engine, rows=ROWS, concurrency=4):
    settings = {"backend": "openai", "base_url": url, "retries": 2, "backoff_s": 0.001, "timeout_s": 30}
    client = OpenAIBackend(
        ModelSettings(name="m"), EngineSettings.model_validate({**settings, "concurrency": concurrency, **engine})
    )
    todo = [Request(f"row{number}", number, lambda number=number: f"Question {number}") for number in range(rows)]
    return client.complete(todo, SAMPLING)


def test_there_are_more_than_enough_behaviours():
    assert len(CASES) >= 60


@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize("name", CASES)
def test_rows_under_a_servers_behaviour(name, concurrency):
    case = CASES[name]
    count = iter(range(10_000))
    got = {}
    with running(refuse=lambda body: case.reply(body, next(count))) as stub:
        asked = ask(stub.url, case.engine or {}, concurrency=concurrency)
        if isinstance(case.becomes, str) and case.becomes.startswith("ends: "):
            with pytest.raises(UserError, match=case.becomes.removeprefix("ends: ")) as error:
                got.update((answer.id, answer) for answer in asked)
            assert "\n" not in str(error.value)
            # Nothing is recorded of what was refused, so that the next run asks for it again.
            assert all(not answer.reason for answer in got.values())
            assert len(got) < ROWS
        else:
            got.update((answer.id, answer) for answer in asked)
            assert len(got) == ROWS
            for number in range(ROWS):
                answer = got[f"row{number}"]
                expected = case.becomes
                if isinstance(expected, dict):
                    expected = expected.get(answer.id, "stop")
                if " " in expected:
                    assert f"{answer.finish_reason} {answer.text}" == expected
                elif expected == "stop":
                    assert answer.text == answer_text(f"Question {number}", number)
                else:
                    assert (answer.reason, answer.text) == (expected, "")
                answer.detail.encode()  # can be stored
    requests = Counter(prompt_of(body) for body in stub.bodies if prompt_of(body).startswith("Question"))
    assert max(requests.values()) <= case.requests


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_a_run_that_resumes_with_poisoned_rows_alone_is_not_blocked(rows):
    refuse = row(range(ROWS), 403, "flagged")
    with running(refuse=lambda body: refuse(body, 0)) as stub:
        answers = list(ask(stub.url, {}, rows))
    assert [answer.reason for answer in answers] == ["refused_by_server"] * rows


def test_rows_in_flight_while_a_server_starts_anew_are_asked_again_and_not_lost():
    count = iter(range(10_000))

    def refuse(body):
        return (503, "starting") if 20 <= next(count) < 20 + 3 * 6 else None

    with running(refuse=refuse) as stub:
        answers = list(ask(stub.url, {}, 60, concurrency=6))
    assert len(answers) == 60
    assert not any(answer.reason for answer in answers)


@pytest.mark.parametrize("status", [400, 402, 403, 422])
def test_a_stage_that_was_refused_asks_again_when_the_server_is_mended(tmp_path, status):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", ROWS), outputs(tmp_path)
    count = iter(range(10_000))
    with running(refuse=lambda body: (status, "mend me") if next(count) >= 3 else None) as stub:
        flags = asking(stub.url, concurrency=1)
        with pytest.raises(UserError, match="mend me"):
            call(extract_concepts.main, seeds, **out, **flags)
        assert not out["rows"].exists()
        asked = len(stub.bodies)
        stub.refuse = lambda body: None
        call(extract_concepts.main, seeds, **out, **flags)
    assert len(rows_of(out["rows"])) == ROWS
    # The three that were answered are not asked again.
    assert len(stub.bodies) - asked == ROWS - 3


@pytest.mark.parametrize("value", ['{"top_n": 3, "seed": null}', "{top_n: 3, seed: null}", {"top_n": 3, "seed": None}])
def test_further_keys_are_read_from_a_command_line_and_set_the_ledger_aside(tmp_path, value):
    engine = read_settings(EngineSettings, "--engine", {"backend": "vllm", "extra_body": value})
    assert engine.extra_body == {"top_n": 3, "seed": None}
    assert engine.decides() == {"extra_body": {"top_n": 3, "seed": None}}
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 2), outputs(tmp_path)
    with running() as stub:
        call(extract_concepts.main, seeds, **out, **asking(stub.url))
        call(extract_concepts.main, seeds, **out, **asking(stub.url, timeout_s=9))
        assert len(stub.bodies) == 2
        call(extract_concepts.main, seeds, **out, **asking(stub.url, top_k=5))
    assert len(stub.bodies) == 4


@pytest.mark.parametrize("key", ["min_p", "max_completion_tokens", "extra_body"])
def test_the_in_process_backend_says_that_it_has_no_such_key(key):
    value = {"a": 1} if key == "extra_body" else 0.5 if key == "min_p" else 5
    with pytest.raises(UserError, match=rf"{key}: .*only servers take it"):
        read_settings(EngineSettings, "--engine", {key: value})
    assert read_settings(EngineSettings, "--engine", {"top_k": 5}).decides()["top_k"] == 5, "a ledger knows it"
