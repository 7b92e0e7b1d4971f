import os
import socket
import threading
import traceback

import pytest

from selfcodealign.config.reading import load
from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Request, Sampling
from selfcodealign.generation.backends.openai import OpenAIBackend, completions, logprob_of
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from tests.stub_server import HOSTILITIES, answer_text, running

SAMPLING = Sampling(0.7, 0.95, 64, ("\n## Example",))


def backend(url, **settings):
    defaults = {"backend": "openai", "concurrency": 8, "backoff_s": 0.001, "timeout_s": 5, "base_url": url}
    return OpenAIBackend(ModelSettings(name="some-model"), EngineSettings(**defaults | settings))


def requests(count, samples=1):
    return [
        Request(f"row{row}/{sample}", 1000 * row + sample, lambda row=row: f"Question {row}")
        for row in range(count)
        for sample in range(samples)
    ]


def test_every_request_is_answered_once_with_its_own_seed_and_settings():
    with running() as stub:
        answers = {answer.id: answer for answer in backend(stub.url).complete(requests(40), SAMPLING)}
    assert len(answers) == len(stub.bodies) == 40
    assert answers["row3/0"].text == answer_text("Question 3", 3000)
    assert answers["row3/0"].finish_reason == "stop"
    assert (answers["row3/0"].tokens_in, answers["row3/0"].tokens_out) == (2, 5)
    body = next(body for body in stub.bodies if body["prompt"] == "Question 3")
    assert body == {
        "model": "some-model",
        "prompt": "Question 3",
        "max_tokens": 64,
        "temperature": 0.7,
        "top_p": 0.95,
        "stop": ["\n## Example"],
        "seed": 3000,
        "n": 1,
    }


def test_finished_requests_are_neither_asked_nor_rendered_again():
    def unwanted():
        raise AssertionError("a finished prompt was rendered")

    todo = requests(6)
    todo[2] = Request("row2/0", 0, unwanted)
    with running() as stub:
        answers = list(backend(stub.url).complete(todo, SAMPLING, {"row2/0", "row5/0"}))
    assert sorted(answer.id for answer in answers) == ["row0/0", "row1/0", "row3/0", "row4/0"]
    assert len(stub.bodies) == 4


@pytest.mark.parametrize("kind", HOSTILITIES)
@pytest.mark.slow
def test_no_row_is_lost_to_a_server_that_misbehaves(kind):
    with running(hostile=(kind, kind)) as stub:
        answers = {answer.id: answer for answer in backend(stub.url, timeout_s=2).complete(requests(12), SAMPLING)}
    assert {name: answer.text for name, answer in answers.items()} == {
        f"row{row}/0": answer_text(f"Question {row}", 1000 * row) for row in range(12)
    }
    assert set(stub.tries.values()) == {3}


@pytest.mark.slow
def test_a_mixture_of_all_misbehaviour_gives_the_same_answers():
    with running(hostile=HOSTILITIES) as stub:
        client = backend(stub.url, timeout_s=2, retries=len(HOSTILITIES))
        answers = {answer.id: answer.text for answer in client.complete(requests(20), SAMPLING)}
    assert answers == {f"row{row}/0": answer_text(f"Question {row}", 1000 * row) for row in range(20)}


def test_a_row_that_the_server_refuses_is_kept_with_its_reason():
    def refuse(body):
        return (400, "this prompt is not allowed") if body["prompt"] == "Question 1" else None

    with running(refuse=refuse) as stub:
        answers = {answer.id: answer for answer in backend(stub.url).complete(requests(3), SAMPLING)}
    assert answers["row1/0"].finish_reason == "failed"
    assert answers["row1/0"].reason == "refused_by_server"
    assert "this prompt is not allowed" in answers["row1/0"].detail
    assert answers["row0/0"].reason == answers["row2/0"].reason == ""


def test_a_row_that_fails_again_and_again_among_good_ones_is_kept_with_its_reason():
    def refuse(body):
        return (500, "crash") if body["prompt"] == "Question 7" else None

    with running(refuse=refuse) as stub:
        answers = {answer.id: answer for answer in backend(stub.url, retries=2).complete(requests(40), SAMPLING)}
    assert len(answers) == 40
    assert answers["row7/0"].reason == "server_error"
    assert sum(answer.finish_reason == "failed" for answer in answers.values()) == 1


def test_a_server_that_dies_ends_the_job_and_loses_only_what_was_in_flight():
    dead = threading.Event()

    def refuse(body):
        if body["prompt"] == "Question 100":
            dead.set()
        return (503, "shutting down") if dead.is_set() else None

    got = []
    with running(refuse=refuse) as stub, pytest.raises(UserError, match="finished answers are kept"):
        for answer in backend(stub.url, retries=1).complete(requests(200), SAMPLING):
            got.append(answer)
    assert len(got) >= 100 - 8
    assert all(answer.reason == "" for answer in got)


def test_a_server_that_is_not_there_is_named_with_its_address_but_without_its_password():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = backend(f"http://someone:secret@127.0.0.1:{port}/v1")
    with pytest.raises(UserError) as error:
        list(client.complete(requests(3), SAMPLING))
    assert f"http://127.0.0.1:{port}/v1" in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["", "ftp://nowhere", "localhost:8000/v1", "/v1", "http://", "http://host:port/v1"])
@pytest.mark.parametrize("place", ["engine", "generation"])
def test_an_address_that_is_none_is_found_with_the_config(place, url):
    engine = {"backend": "openai", "base_url": url}
    section = {"engine": engine} if place == "engine" else {"generations": {"self": {"engine": engine}}}
    with pytest.raises(UserError, match=r"base_url.* is (empty|no address of a server)"):
        load(section)


def test_a_key_comes_from_the_environment_and_only_from_there(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sesame")
    with running(key="sesame") as stub:
        assert len(list(backend(stub.url, api_key_env="TEACHER_KEY").complete(requests(2), SAMPLING))) == 2
        monkeypatch.setenv("TEACHER_KEY", "wrong-key")
        with pytest.raises(UserError, match="check the key in TEACHER_KEY") as error:
            list(backend(stub.url, api_key_env="TEACHER_KEY").complete(requests(2), SAMPLING))
    assert "wrong-key" not in str(error.value)


KEY = "sk-sesame-0123456789"


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY} ", f"\t{KEY}\r\n"])
def test_space_around_a_key_is_no_part_of_it(monkeypatch, key):
    monkeypatch.setenv("TEACHER_KEY", key)
    with running(key=KEY) as stub:
        assert len(list(backend(stub.url, api_key_env="TEACHER_KEY").complete(requests(2), SAMPLING))) == 2


@pytest.mark.parametrize("key", [f"{KEY}é", f"{KEY} {KEY}", f"{KEY}\n{KEY}", f"{KEY}\x00", f"{KEY}\u200b", f"“{KEY}”"])
def test_a_key_that_is_none_is_an_error_that_does_not_show_it(monkeypatch, caplog, key):
    # As from a file or a shell: no environment variable can hold a NUL.
    monkeypatch.setattr(os, "environ", {**os.environ, "TEACHER_KEY": key})
    caplog.set_level("DEBUG")
    with pytest.raises(UserError, match="the key in TEACHER_KEY") as error:
        backend("http://127.0.0.1:1/v1", api_key_env="TEACHER_KEY")
    assert "sesame" not in "".join(traceback.format_exception(error.value)) + caplog.text


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429, 500])
def test_a_server_that_repeats_the_key_does_not_bring_it_into_an_error_or_the_log(monkeypatch, caplog, capfd, status):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    caplog.set_level("DEBUG")
    with (
        running(refuse=lambda body: (status, f"Incorrect API key provided: {KEY}.")) as stub,
        pytest.raises(UserError, match="Incorrect API key provided: …") as error,
    ):
        list(backend(stub.url, api_key_env="TEACHER_KEY", retries=1).complete(requests(9), SAMPLING))
    shown = "".join(traceback.format_exception(error.value)) + caplog.text + "".join(capfd.readouterr())
    assert "sesame" not in shown


def test_the_key_of_another_server_is_not_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running(key=KEY) as stub, pytest.raises(UserError, match="refuses access"):
        list(backend(stub.url).complete(requests(1), SAMPLING))


def test_a_missing_key_names_its_variable():
    assert "NO_SUCH_KEY" not in os.environ
    with pytest.raises(UserError, match="NO_SUCH_KEY"):
        backend("http://127.0.0.1:1/v1", api_key_env="NO_SUCH_KEY")


def test_an_unknown_model_is_named():
    with (
        running(refuse=lambda body: (404, "The model does not exist")) as stub,
        pytest.raises(UserError, match="'some-model'"),
    ):
        list(backend(stub.url).complete(requests(2), SAMPLING))


@pytest.mark.parametrize("ignore_n", [False, True], ids=["obeys n", "ignores n"])
def test_samples_of_a_prompt_can_be_asked_for_together(ignore_n):
    with running(ignore_n=ignore_n) as stub:
        client = backend(stub.url, samples_per_request=4)
        answers = {answer.id: answer for answer in client.complete(requests(3, samples=4), SAMPLING)}
    assert len(answers) == 12
    assert len(stub.bodies) == (12 if ignore_n else 3)
    assert len({answer.text for answer in answers.values()}) == 12
    assert sum(answer.tokens_out for answer in answers.values()) == 60


def test_a_group_of_samples_is_asked_for_whole_even_if_one_is_finished():
    with running() as stub:
        client = backend(stub.url, samples_per_request=4)
        full = {answer.id: answer.text for answer in client.complete(requests(1, samples=4), SAMPLING)}
        rest = {answer.id: answer.text for answer in client.complete(requests(1, samples=4), SAMPLING, {"row0/0"})}
    assert rest == {name: text for name, text in full.items() if name != "row0/0"}


def test_the_chat_endpoint_is_asked_and_read_in_its_own_form():
    with running() as stub:
        answers = list(backend(stub.url, api="chat").complete(requests(2), SAMPLING))
    assert {answer.text for answer in answers} == {answer_text("Question 0", 0), answer_text("Question 1", 1000)}
    assert all(len(body["messages"]) == 1 for body in stub.bodies)


def test_no_more_requests_are_in_flight_than_allowed():
    with running(wait_s=0.02) as stub:
        assert len(list(backend(stub.url, concurrency=5).complete(requests(40), SAMPLING))) == 40
    assert stub.most_in_flight == 5


def test_the_rate_limit_spreads_requests(monkeypatch):
    import time

    with running() as stub:
        begun = time.monotonic()
        assert len(list(backend(stub.url, requests_per_minute=1200).complete(requests(11), SAMPLING))) == 11
    assert time.monotonic() - begun >= 10 * 60 / 1200


def test_a_reader_that_stops_early_ends_the_client():
    with running(wait_s=0.01) as stub:
        answers = backend(stub.url).complete(requests(500), SAMPLING)
        next(answers)
        answers.close()
    assert len(stub.bodies) < 100
    assert not any(thread.name == "openai-client" for thread in threading.enumerate())


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 100 tokens. However, you requested 124 tokens (60 in the prompt)",
        "'max_tokens' is too large: 64. This model's maximum context length is 100 tokens and your request has "
        "60 input tokens (64 > 100 - 60).",
        "This model's maximum context length is 100 tokens. However, you requested 64 output tokens and your prompt "
        "contains at least 60 input tokens.",
    ],
)
def test_an_answer_too_long_for_the_context_is_asked_for_shorter(message):
    with running(refuse=lambda body: (400, message) if body["max_tokens"] > 40 else None) as stub:
        (answer,) = backend(stub.url).complete(requests(1), SAMPLING)
    assert answer.reason == ""
    assert [body["max_tokens"] for body in stub.bodies] == [64, 40]


def test_a_prompt_too_long_for_the_context_is_dropped_with_its_reason():
    message = "This model's maximum context length is 100 tokens, your request has 120 input tokens."
    with running(refuse=lambda body: (400, message)) as stub:
        (answer,) = backend(stub.url).complete(requests(1), SAMPLING)
    assert answer.reason == "prompt_too_long"


def test_scores_are_the_log_probabilities_of_the_candidates():
    good, bad = '### Function\ndef f():\n    """Say."""', "### Function\ndef f():"
    with running() as stub:
        todo = [Request("good", 0, lambda: good), Request("bad", 0, lambda: bad)]
        scores = {item.id: item.logprobs for item in backend(stub.url).score(todo, (" Yes", " No"))}
    assert scores["good"] == (-0.25, -1.5)
    assert scores["bad"] == (-0.5, -0.5)


def test_a_candidate_outside_the_top_gets_the_lowest_score_given():
    assert logprob_of(" Yes", {" Yes": -1.0, "Yes": -0.5}) == -1.0
    assert logprob_of(" Yes", {"Yes": -0.5, "no": -2.0}) == -0.5
    assert logprob_of(" Yes", {"a": -0.1, "b": -3.0}) == -3.0


def test_a_stop_string_that_a_server_left_in_is_cut():
    (answer,) = completions(requests(1), [("abc\n## Example 3", "length", "")], ("\n## Example",), 3, 9)
    assert (answer.text, answer.finish_reason) == ("abc", "stop")
