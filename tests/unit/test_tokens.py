"""A prompt has the same bytes and the same tokens in training, chat template, generation and evaluation."""

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from selfcodealign import tokens
from selfcodealign.training import documents, template

TEXT = "Add two numbers.\nReturn their sum, even if it is <|end|>."
ANSWER = "def add(a, b):\n    return a + b"
SPECIAL = {"<|pad|>": 0, "<|end|>": 1, "<s>": 2, "</s>": 3, "<|im_start|>": 4, "<|im_end|>": 5, "<unk>": 6}


def byte_level(prefix_space: bool = False) -> Tokenizer:
    """Bytes, as GPT-2, StarCoder2, Qwen and SmolLM2 write them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(SPECIAL | {letter: number + 7 for number, letter in enumerate(letters)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    return raw


def merging() -> Tokenizer:
    """Bytes with merges over line feeds, so that a boundary decides tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = SPECIAL | {letter: number + 7 for number, letter in enumerate(letters)}
    vocabulary |= {"ĊĊ": 300, "ad": 301, "add": 302, "Ġa": 303}
    raw = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ"), ("a", "d"), ("ad", "d"), ("Ġ", "a")]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return raw


def sentence_piece(prepend: bool) -> Tokenizer:
    """Letters with spaces written as ▁, as Llama 2 and CodeLlama have them; those put one before every text."""
    letters = {f"<0x{number:02X}>": number + 7 for number in range(256)} | {"▁": 263}
    raw = Tokenizer(models.BPE(SPECIAL | letters, [], byte_fallback=True, unk_token="<unk>"))
    steps = [normalizers.Prepend("▁")] if prepend else []
    raw.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prepend else []
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    raw.decoder = decoders.Sequence(parts)
    return raw


def dressed(raw: Tokenizer, before: str = "", after: str = "") -> Tokenizer:
    """Let a tokenizer add a begin token, an end token, or both."""
    single = " ".join(filter(None, [before, "$A", after]))
    used = [(name, SPECIAL[name]) for name in {before, after} - {""}]
    raw.post_processor = processors.TemplateProcessing(single=single, special_tokens=used)
    return raw


def made(raw: Tokenizer, begin: str | None, end: str) -> PreTrainedTokenizerFast:
    """Wrap a tokenizer as transformers loads it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=begin, eos_token=end, pad_token="<|pad|>", unk_token="<unk>"
    )


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "begin token that is not added (StarCoder2, GPT-2)": lambda: made(byte_level(), "<|end|>", "<|end|>"),
    "no begin token (Qwen2.5)": lambda: made(byte_level(), None, "<|end|>"),
    "begin token added (Llama 3)": lambda: made(dressed(byte_level(), "<s>"), "<s>", "</s>"),
    "the role marker begins (SmolLM2)": lambda: made(byte_level(), "<|im_start|>", "<|im_end|>"),
    "begin and end token added": lambda: made(dressed(byte_level(), "<s>", "</s>"), "<s>", "</s>"),
    "end token added": lambda: made(dressed(byte_level(), after="</s>"), None, "</s>"),
    "one token begins and ends, added at the end": lambda: made(
        dressed(byte_level(), after="<|end|>"), "<|end|>", "<|end|>"
    ),
    "merges over line feeds (DeepSeek-Coder)": lambda: made(merging(), "<s>", "<|end|>"),
    "a space before every text (Llama 2, CodeLlama)": lambda: made(sentence_piece(prepend=True), "<s>", "</s>"),
    "the same with a begin token added": lambda: made(dressed(sentence_piece(prepend=True), "<s>"), "<s>", "</s>"),
    "SentencePiece without that space (Gemma)": lambda: made(
        dressed(sentence_piece(prepend=False), "<s>"), "<s>", "</s>"
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS, ids=list(KINDS))


@every_kind
def test_training_and_chat_template_have_the_same_bytes_and_tokens(kind: str) -> None:
    tokenizer = KINDS[kind]()
    template.install(tokenizer)
    asked = [{"role": "user", "content": "Add two numbers."}]
    document = documents.encode(tokenizer, "x", "Add two numbers.", ANSWER)
    served = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert list(served) == list(document.tokens[: document.prompt_tokens])
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": ANSWER}], return_dict=False)
    assert list(whole) == list(document.tokens)
    text = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    assert text == str(tokenizer.bos_token or "") + template.prompt("Add two numbers.")


@every_kind
def test_an_engine_makes_the_tokens_of_training_from_what_it_is_sent(kind: str) -> None:
    tokenizer = KINDS[kind]()
    text = tokens.sent(tokenizer, str(tokenizer.bos_token or "") + template.prompt("Add two numbers."))
    (made_of_it,) = tokens.continued(tokenizer, [text])
    assert made_of_it == template.encoded_prompt(tokenizer, "Add two numbers.")


@every_kind
def test_the_name_of_a_special_token_in_a_row_is_text(kind: str) -> None:
    tokenizer = KINDS[kind]()
    document = documents.encode(tokenizer, "x", TEXT, f"It ends with {tokenizer.eos_token}, it says.")
    assert document.tokens.count(tokenizer.eos_token_id) - (tokenizer.bos_token == tokenizer.eos_token) == 1
    assert document.tokens[-1] == tokenizer.eos_token_id


@every_kind
def test_a_prompt_to_be_continued_has_no_end_token(kind: str) -> None:
    tokenizer = KINDS[kind]()
    for row in tokens.continued(tokenizer, ["def f(x):", ""]):
        assert row[1:].count(tokenizer.eos_token_id) == 0
