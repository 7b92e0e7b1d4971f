"""Rows to token sequences: what the model reads, which tokens it is trained on, and what happens to rows too long."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from selfcodealign import tokens
from selfcodealign.errors import UserError
from selfcodealign.training import template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Truncation = Literal["drop", "cut", "cut_without_end"]
"""What to do with a row over the limit.

drop: leave it out. cut: shorten the response so that the end token still fits; the model learns to stop there.
cut_without_end: shorten it and leave the end token out, as the reference's `train.py` does; the model is trained on a
response broken off, which its users measured as a loss of quality.
"""


@dataclass(frozen=True)
class Document:
    """One row as tokens.

    Attributes:
        row_id: id of the dataset row.
        tokens: [begin?] + prompt + response + [end?].
        prompt_tokens: how many of them, from the left, are not trained on.
        has_end: the sequence finishes with the end token.
    """

    row_id: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    has_end: bool = True

    @property
    def response_tokens(self) -> int:
        """How many tokens the loss is taken on, the end token included."""
        return len(self.tokens) - self.prompt_tokens


def encode(tokenizer: "PreTrainedTokenizerBase", row_id: str, instruction: str, response: str) -> Document:
    """Tokenise prompt and response apart, so that no token spans both (the reference's `train.py:50-64`)."""
    prompt = template.encoded_prompt(tokenizer, instruction)
    answer = tokens.continuation(tokenizer, response)
    end: Any = tokenizer.convert_tokens_to_ids(str(tokenizer.eos_token))
    return Document(row_id, (*prompt, *answer, end), len(prompt))


def fitted(document: Document, *, max_tokens: int, truncation: Truncation) -> tuple[Document | None, str]:
    """Make a document fit the limit; return it (None if it is left out) and its fate: kept, cut or the reason.

    A row whose prompt alone fills the limit has nothing left to train on and is left out in every mode.
    """
    if len(document.tokens) <= max_tokens:
        return document, "kept"
    if truncation == "drop":
        return None, "too_long"
    if document.prompt_tokens + 1 >= max_tokens:
        return None, "prompt_too_long"
    if truncation == "cut":
        tokens = (*document.tokens[: max_tokens - 1], document.tokens[-1])
        return Document(document.row_id, tokens, document.prompt_tokens), "cut"
    tokens = document.tokens[:max_tokens]
    return Document(document.row_id, tokens, document.prompt_tokens, has_end=False), "cut_without_end"


def check_tokenizer(tokenizer: "PreTrainedTokenizerBase", embeddings: int | None = None) -> None:
    """Make sure that sequences can begin and end and that a padding token exists.

    Args:
        tokenizer: of the base model; without a padding token it gets the end token as one.
        embeddings: rows of the model's embedding, if known.

    Raises:
        UserError: the tokenizer has no end token, so a model trained with it would never stop; or a token that every
            sequence has lies beyond the embedding.
    """
    for name in ("bos_token", "eos_token", "pad_token"):
        number = getattr(tokenizer, f"{name}_id")
        if embeddings is not None and number is not None and number >= embeddings:
            raise UserError(
                f"the tokenizer's {name} {getattr(tokenizer, name)!r} has the id {number}, but the model embeds only "
                f"{embeddings} tokens: enlarge the embedding (resize_token_embeddings) or name another token"
            )
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the base model's tokenizer has no end token (eos_token): a model trained with it would never stop; "
            "set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        # Padding is never trained on and never attended to, so the end token can serve, as in the reference.
        tokenizer.pad_token = tokenizer.eos_token


def documents(
    tokenizer: "PreTrainedTokenizerBase",
    rows: Iterable[dict[str, Any]],
    fates: Counter[str],
    *,
    max_tokens: int,
    truncation: Truncation,
) -> Iterator[Document]:
    """Yield the documents of the rows, counting every row's fate in `fates`.

    Raises:
        UserError: a row has no instruction or no response.
    """
    for row in rows:
        for column in ("instruction", "response"):
            if not (row.get(column) or "").strip():
                raise UserError(
                    f"dataset row {row.get('id')!r} has an empty {column}; build the dataset again without this row"
                )
        whole = encode(tokenizer, row["id"], row["instruction"], row["response"])
        document, fate = fitted(whole, max_tokens=max_tokens, truncation=truncation)
        fates[fate] += 1
        if document is not None:
            yield document


def common_beginning(documents: Sequence[Document]) -> int:
    """Count the tokens with which all documents begin, the sentence before every instruction for one.

    The last token of each prompt is not counted, because the first token of the response is predicted from it.
    """
    first = min((document.tokens for document in documents), default=())
    last = max((document.tokens for document in documents), default=())
    most = min((document.prompt_tokens - 1 for document in documents), default=0)
    for place in range(most):
        if first[place] != last[place]:
            return place
    return max(0, most)


def shown(tokenizer: "PreTrainedTokenizerBase", document: Document) -> dict[str, Any]:
    """Decode one document token by token beside its loss mask, so that a person sees what is trained on.

    Returns:
        row_id, text (whole), trained (the part under the loss), tokens: list of [text, trained on?].
    """
    pieces = [
        [tokenizer.decode([token]), place >= document.prompt_tokens] for place, token in enumerate(document.tokens)
    ]
    return {
        "row_id": document.row_id,
        "text": tokenizer.decode(list(document.tokens)),
        "trained": tokenizer.decode(list(document.tokens[document.prompt_tokens :])),
        "tokens": pieces,
        "loss_tokens": document.response_tokens,
        "context_tokens": document.prompt_tokens,
    }
