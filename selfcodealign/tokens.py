"""Tokens of prompts and responses: the same in training, chat template, generation and evaluation."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def text_tokens(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return the tokens of a text in which the name of a special token is a text like any other."""
    tokens: Any = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return list(tokens)


def continuation(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return the tokens of a text that follows a line feed, as the response follows its prompt.

    Tokenizers of the Llama-2 family put a space before whatever they are given, which the chat template does not; what
    they add is found by giving them the line feed too.
    """
    anchor = text_tokens(tokenizer, "\n")
    probe = text_tokens(tokenizer, "\na")
    if probe[: len(anchor)] == anchor and probe[len(anchor) :] != text_tokens(tokenizer, "a"):
        whole = text_tokens(tokenizer, "\n" + text)
        if whole[: len(anchor)] == anchor:
            return whole[len(anchor) :]
    return text_tokens(tokenizer, text)


def adds(tokenizer: "PreTrainedTokenizerBase", which: Literal["bos", "eos"]) -> bool:
    """Return whether a tokenizer puts its begin token before every text, or its end token after it, by itself."""
    token = getattr(tokenizer, f"{which}_token_id")
    place = 0 if which == "bos" else -1
    plain: Any = tokenizer.encode("a", add_special_tokens=False)
    dressed: Any = tokenizer.encode("a")
    return token is not None and dressed[place] == token and plain[place] != token


def continued(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> list[list[int]]:
    """Return the tokens of prompts that are to be continued: as the tokenizer makes them, but without an end token."""
    rows: Any = tokenizer(texts)["input_ids"]
    return [row[:-1] for row in rows] if texts and adds(tokenizer, "eos") else rows


def sent(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Return the text from which an engine makes the tokens of a prompt that begins with the begin token.

    Engines tokenise a prompt as the tokenizer does by itself. One that adds the begin token must not be given it, and
    one that does not (StarCoder2, GPT-2, SmolLM2) must, or the model would be asked what it has never seen.

    Args:
        tokenizer: of the model that is asked.
        text: a prompt with the begin token's text in front, if the model has one.
    """
    begin = str(tokenizer.bos_token or "")
    return text.removeprefix(begin) if begin and adds(tokenizer, "bos") else text
