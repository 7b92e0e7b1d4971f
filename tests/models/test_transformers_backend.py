"""The in-process backend gives what the library gives, whatever shares a batch, and the same bytes when resumed."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfcodealign.errors import UserError
from selfcodealign.generation.backends import Request, Sampling, open_backend
from selfcodealign.generation.backends.decoders import PlainDecoder, SharedDecoder
from selfcodealign.generation.backends.transformers import Row, TransformersBackend, _dtype, sample
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from tests.tiny_model import tiny_model

pytestmark = pytest.mark.slow

GREEDY = Sampling(0.0, 1.0, 12)
WARM = Sampling(0.9, 0.95, 12)
BEGINNINGS = [
    "## Example 1\nA longer beginning that many rows share, number one.\n\n",
    "## Example 1\nAnother beginning.\n\n",
    "Only a few rows begin so, in a group of their own.\n\n",
]


def backend(folder, **settings):
    return TransformersBackend(ModelSettings(name=str(folder)), EngineSettings(**settings))


def requests(count=24, samples=1):
    """Mix beginnings, lengths and groups; some prompts are asked several times."""
    made = []
    for number in range(count):
        which = 2 if number % 11 == 5 else number % 2
        prompt = BEGINNINGS[which] + f"Question {number} " + "and more " * (number % 7)
        made += [
            Request(f"row{number}/{each}", 100 * number + each, lambda prompt=prompt: prompt, which)
            for each in range(samples)
        ]
    return made


def answers(runner, todo, sampling, done=()):
    return {answer.id: answer for answer in runner.complete(todo, sampling, done)}


def one_by_one(folder, todo, sampling):
    """Decode greedily with the library's own generate, a row at a time, without padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    texts = {}
    for request in todo:
        ids = tokenizer(request.prompt, return_tensors="pt").input_ids
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=sampling.max_tokens,
                pad_token_id=1,
                eos_token_id=0,
            )
        texts[request.id] = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    return texts


def test_single_prompts_are_pooled_only_where_most_rows_are_such():
    runner = backend(tiny_model())

    def rests(which):
        """Count the beginnings in the batch, and the tokens of the longest prompt behind its beginning."""
        tokens = runner._encode([one.prompt for one in which])
        rows = [Row(one, prompt) for one, prompt in zip(which, tokens, strict=True)]
        (batch,) = runner._batches(rows, 12)
        return len({tuple(row.prompt[: row.shared]) for row in batch}), max(
            len(row.prompt) - row.shared for row in batch
        )

    many = [Request(f"a{n}", n, lambda n=n: f"{BEGINNINGS[0] * 9}{n}", 0) for n in range(8)]
    few = [Request(f"b{n}", n, lambda n=n: f"{BEGINNINGS[1] * 9}{n}", 1) for n in range(2)]
    single = [Request("c", 0, lambda: f"{BEGINNINGS[2] * 9}1", 2)]
    assert rests([*many, *few, *single]) == (3, rests(many)[1])
    pooled, longest = rests([*many[:1], *few[:1], *single])
    assert pooled == 1
    assert longest > 50


@pytest.mark.parametrize("kind", ["llama", "qwen2", "starcoder2", "mistral"])
def test_greedy_answers_are_those_of_generate_without_a_batch(kind):
    folder = tiny_model(kind)
    runner = backend(folder, batch_size=10)
    assert isinstance(runner.decoder, SharedDecoder)
    found = answers(runner, requests(), GREEDY)
    assert {name: answer.text for name, answer in found.items()} == one_by_one(folder, requests(), GREEDY)


@pytest.mark.parametrize("kind", ["gpt_neox", "gemma2"])
def test_other_architectures_give_the_same_answers_by_whichever_path_fits_them(kind):
    folder = tiny_model(kind)
    found = answers(backend(folder, batch_size=10), requests(8), GREEDY)
    assert {name: answer.text for name, answer in found.items()} == one_by_one(folder, requests(8), GREEDY)


def test_an_attention_with_extras_is_not_replaced():
    assert isinstance(backend(tiny_model("gemma2")).decoder, PlainDecoder)


def test_a_sliding_window_is_kept_across_the_shared_beginning():
    folder = tiny_model("mistral", sliding_window=12)
    runner = backend(folder, batch_size=10)
    found = {name: answer.text for name, answer in answers(runner, requests(8), GREEDY).items()}
    assert isinstance(runner.decoder, SharedDecoder)
    assert found == one_by_one(folder, requests(8), GREEDY)


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 5}, {"window": 6}, {"batch_tokens": 64}])
def test_a_rows_sample_does_not_depend_on_its_batch(settings):
    folder = tiny_model()
    together = answers(backend(folder), requests(samples=2), WARM)
    apart = answers(backend(folder, **settings), requests(samples=2), WARM)
    assert {name: answer.text for name, answer in apart.items()} == {
        name: answer.text for name, answer in together.items()
    }
    assert len({answer.text for answer in together.values()}) > 40


def test_samples_follow_from_seeds_and_not_from_the_order_of_rows():
    folder = tiny_model()
    forwards = answers(backend(folder), requests(), WARM)
    backwards = answers(backend(folder), requests()[::-1], WARM)
    assert forwards == backwards


def test_the_plain_path_samples_the_same_texts():
    runner = backend(tiny_model())
    shared = answers(runner, requests(samples=2), WARM)
    runner.model.set_attn_implementation("sdpa")
    runner.decoder = PlainDecoder(runner.model, runner.pad)
    assert answers(runner, requests(samples=2), WARM) == shared


def test_a_resumed_run_gives_what_an_uninterrupted_one_does():
    folder = tiny_model()
    whole = answers(backend(folder, batch_size=6), requests(), WARM)
    done = {name for number, name in enumerate(whole) if number % 3 == 0}
    rest = answers(backend(folder, batch_size=6), requests(), WARM, done)
    assert rest == {name: answer for name, answer in whole.items() if name not in done}


def test_nothing_is_rendered_where_nothing_is_left_to_do():
    def unwanted():
        raise AssertionError("a finished prompt was rendered")

    todo = [Request(f"row{number}", 0, unwanted) for number in range(8)]
    assert answers(backend(tiny_model(), window=4), todo, GREEDY, {request.id for request in todo}) == {}


def test_an_answer_ends_before_its_stop_string_wherever_tokens_are_cut():
    folder = tiny_model()
    free = answers(backend(folder), requests(), Sampling(0.9, 1.0, 40))
    texts = [answer.text for answer in free.values()]
    pieces = {text[5:7] for text in texts if len(text) > 9}
    # The most frequent: which pieces a set gives first depends on the hash seed.
    stops = tuple(sorted(pieces, key=lambda piece: (-sum(piece in text for text in texts), piece))[:3])
    stopped = answers(backend(folder), requests(), Sampling(0.9, 1.0, 40, stops))
    cut = 0
    for name, answer in free.items():
        places = [place for place in map(answer.text.find, stops) if place >= 0]
        wanted = answer.text[: min(places)] if places else answer.text
        assert stopped[name].text == wanted
        assert stopped[name].finish_reason == ("stop" if places else answer.finish_reason)
        cut += bool(places)
    assert cut > 3


def test_an_answer_that_reaches_the_limit_says_so():
    found = answers(backend(tiny_model()), requests(), Sampling(0.9, 1.0, 3))
    assert all(answer.tokens_out == 3 for answer in found.values() if answer.finish_reason == "length")
    assert any(answer.finish_reason == "length" for answer in found.values())


def test_a_prompt_longer_than_the_context_fails_with_its_reason_and_a_near_one_is_cut_short():
    long = Request("long", 0, lambda: "word " * 2000)
    near = Request("near", 0, lambda: "a b " * 20)
    runner = backend(tiny_model(), max_model_len=90)
    found = answers(runner, [long, near, *requests(4)], Sampling(0.9, 1.0, 60))
    assert found["long"].reason == "prompt_too_long"
    assert "90" in found["long"].detail
    assert found["near"].tokens_in + found["near"].tokens_out <= 90
    assert len(found) == 6


def test_scores_are_those_of_a_single_row_and_of_the_whole_text():
    folder = tiny_model()
    runner = backend(folder, batch_size=10)
    candidates = (" Yes", " No", " function values")
    found = {scores.id: scores.logprobs for scores in runner.score(requests(12), candidates)}
    alone = {}
    for request in requests(12):
        (scores,) = backend(folder, batch_size=1).score([request], candidates)
        alone[request.id] = scores.logprobs
    for name, logprobs in found.items():
        assert logprobs == pytest.approx(alone[name], abs=2e-5)
    tokenizer, model = runner.tokenizer, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    request = requests(12)[3]
    prompt = tokenizer(request.prompt).input_ids
    tail = tokenizer(candidates[2]).input_ids
    assert len(tail) > 1
    with torch.inference_mode():
        logprobs = model(torch.tensor([prompt + tail])).logits[0].log_softmax(-1)
    whole = sum(logprobs[len(prompt) - 1 + place, token].item() for place, token in enumerate(tail))
    assert found[request.id][2] == pytest.approx(whole, abs=1e-4)


def test_scoring_drops_prompts_that_are_too_long():
    runner = backend(tiny_model(), max_model_len=64)
    found = {scores.id: scores for scores in runner.score([Request("long", 0, lambda: "word " * 200)], (" Yes", " No"))}
    assert found["long"].reason == "prompt_too_long"


def test_sampling_follows_the_distribution_and_the_nucleus():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4, 1)
    draws = torch.tensor([0.0, 0.49, 0.51, 0.999])
    assert sample(logits, Sampling(1.0, 1.0, 1), draws).tolist() == [0, 0, 1, 3]
    assert sample(logits, Sampling(1.0, 0.8, 1), draws).tolist() == [0, 0, 0, 1]
    assert sample(logits, Sampling(1.0, 0.1, 1), draws).tolist() == [0, 0, 0, 0]
    assert sample(logits, Sampling(0.0, 1.0, 1), None).tolist() == [0, 0, 0, 0]
    assert sample(logits, Sampling(1.0, 1.0, 1), draws, top_k=2).tolist() == [0, 0, 0, 1]
    assert sample(logits, Sampling(1.0, 0.6, 1), draws, top_k=2).tolist() == [0, 0, 0, 0], "the nucleus of the two"
    assert sample(logits, Sampling(1.0, 1.0, 1), draws, top_k=9).tolist() == [0, 0, 1, 3], "there are only four"


def test_sampled_tokens_have_the_frequencies_of_their_probabilities():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.tensor([0.6, 0.25, 0.1, 0.05])
    draws = torch.rand(20_000, generator=generator)
    tokens = sample(torch.log(wanted).repeat(20_000, 1), Sampling(1.0, 1.0, 1), draws)
    assert torch.allclose(tokens.bincount(minlength=4) / 20_000, wanted, atol=0.01)


def test_a_tokenizer_without_a_pad_token_is_no_obstacle(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model(), folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("pad_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    runner = backend(folder)
    assert runner.tokenizer.pad_token is None
    assert answers(runner, requests(6), GREEDY) == answers(backend(tiny_model()), requests(6), GREEDY)


def test_remote_code_needs_a_named_commit():
    with pytest.raises(UserError, match="needs the commit whose code you have read"):
        open_backend(ModelSettings(name="org/model", trust_remote_code=True), EngineSettings())


def test_a_batch_too_large_for_the_gpu_is_an_error_of_one_sentence(monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    runner = backend(tiny_model())
    monkeypatch.setattr(runner.decoder, "start", exhausted)
    with pytest.raises(UserError, match=r"lower engine\.batch_size"):
        list(runner.complete(requests(2), GREEDY))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "nowhere"])
def test_an_unknown_model_is_named(name):
    with pytest.raises(UserError, match=f"model {name} is no folder here and no Hub id"):
        backend(name)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(UserError, match=f"model {tmp_path} .* cannot be loaded"):
        backend(tmp_path)


def test_weights_that_are_not_safetensors_are_refused(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model(), folder)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        backend(folder)


def test_weights_stored_in_bfloat16_are_computed_in_float32_on_a_cpu_unless_asked(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("llama"), folder)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    assert backend(folder, device="cpu").dtype == torch.float32
    assert backend(folder, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("wanted", "device", "can", "found", "slow"),
    [
        ("auto", "cuda", {}, torch.bfloat16, False),
        ("auto", "cpu", {"avx512_bf16": True}, torch.float32, False),
        ("bfloat16", "cpu", {"avx512_bf16": True}, torch.bfloat16, False),
        ("bfloat16", "cpu", {"amx_bf16": True}, torch.bfloat16, False),
        ("bfloat16", "cpu", {"avx2": True}, torch.bfloat16, True),
        ("bfloat16", "cuda", {}, torch.bfloat16, False),
        ("float32", "cuda", {}, torch.float32, False),
    ],
    ids=["GPU", "CPU", "AVX512", "AMX", "no instructions", "asked for on a GPU", "float32 on a GPU"],
)
def test_a_cpu_computes_float32_unless_asked_and_says_where_bfloat16_is_slow(
    monkeypatch, caplog, wanted, device, can, found, slow
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    assert _dtype(wanted, torch.device(device)) == found
    assert ("engine.dtype float32 is faster here" in caplog.text) == slow


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_an_error_of_one_sentence():
    with pytest.raises(UserError, match="no CUDA GPU"):
        backend(tiny_model(), device="cuda")


def test_a_model_in_training_is_asked_with_its_present_weights_and_keeps_its_attention():
    folder = tiny_model("llama")
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    runner = TransformersBackend((AutoTokenizer.from_pretrained(folder), model), EngineSettings())
    assert model.config._attn_implementation == "sdpa"
    shared = [(7 * place) % 300 + 2 for place in range(30)]
    prompts = [[*shared, number + 5] for number in (0, 1, 1, 2)]
    sampling = Sampling(1.0, 1.0, 12)
    first = runner.answer(prompts, [1, 2, 3, 4], sampling)
    assert model.config._attn_implementation == "sdpa"
    assert [len(answer) == 12 or answer[-1] == 0 for answer in first] == [True] * 4
    assert first == runner.answer(prompts, [1, 2, 3, 4], sampling)
    assert first[1] != first[2], "equal prompts have seeds of their own"
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)
    changed = runner.answer(prompts, [1, 2, 3, 4], sampling)
    fresh = TransformersBackend((runner.tokenizer, model), EngineSettings())
    assert changed == fresh.answer(prompts, [1, 2, 3, 4], sampling) != first
