"""What a server that does not answer means, in the words of the servers people use."""

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

ACCOUNT = re.compile(r"insufficient[_ ](?:credit|quota|balance|fund)|billing|credit balance|payment required", re.I)
"""The account's fault under any status; servers that count money also answer 400, 403 and 429."""

LENGTH = re.compile(
    r"context|max_model_len|max_(?:new_|completion_)?tokens\D+\d|(?:prompt|input|message)\w*`?\D{0,30} too long"
    r"|input (?:length|tokens)|`inputs`|model length|length of the (?:prompt|messages)",
    re.I,
)
NAMED = re.compile(r"context_(?:length|size)|exceeds? the (?:available |model's )?context", re.I)
LIMIT = re.compile(
    r"(?:context (?:length|size|window)|maximum (?:allowed |input |model )?length|max_model_len|less than|at most"
    r"|must be <=|configured limit|tokens? limit|tokens >)[^\d\n]{0,40}(\d+)|(\d+) maximum",
    re.I,
)
PROMPT = re.compile(
    r"(\d+) (?:input tokens|in (?:the|your) (?:messages|prompt)|prompt tokens|tokens from the input|`?inputs`? tokens"
    r"|tokens in (?:the|your) (?:prompt|messages)|tokens >)"
    r"|(?:contains (?:at least )?|resulted in |Given: |too long: |has "
    r"|(?:input|prompt|request)(?: length)? \((?:length )?)(\d+)",
    re.I,
)


class Failed(Exception):
    """A request that got no answer.

    Args:
        reason: a drop reason.
        detail: the server's words.
        may_pass: another try may succeed.
        own: the row's own fault beyond doubt, by the server's own count of tokens.
        wait_s: how long the server asks to be left alone.
    """

    def __init__(
        self, reason: str, detail: str, *, may_pass: bool = False, own: bool = False, wait_s: float = 0.0
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.may_pass = may_pass
        self.own = own
        self.wait_s = wait_s


class TooLong(Exception):
    """Prompt and answer together exceed the context.

    Args:
        room: tokens of an answer that may fit; 0 if none does.
        words: the server's explanation.
        counted: the server named a number, so that it means the row's length beyond doubt.
    """

    def __init__(self, room: int, words: str, *, counted: bool) -> None:
        super().__init__(words)
        self.room = room
        self.words = words
        self.counted = counted


def words_of(body: Any, text: str) -> str:
    """Return a server's own explanation, shortened, from a decoded body or else the text itself."""
    if isinstance(body, dict):
        body = body.get("error", body)
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    # A lone surrogate could be neither printed nor stored.
    return " ".join(str(body or text).split())[:300].encode(errors="replace").decode()


def too_long(words: str, body: Any, asked: int) -> TooLong | None:
    """Read from a refusal how many tokens of answer fit; None if it is not about length.

    Servers that cut the prompt before they count it say too little: limit − asked + 1, whatever the prompt's length.
    Their count would lower the answer one by one, so the answer is halved instead.

    Args:
        words: the server's explanation.
        body: its decoded error; llama.cpp gives its counts as fields.
        asked: tokens of answer that were asked for.
    """
    fields = body if isinstance(body, dict) else {}
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", words)
    named = f"{fields.get('code')} {fields.get('type')} {plain}"
    if not (LENGTH.search(plain) and re.search(r"\d", plain)) and not NAMED.search(named):
        return None
    limit = _count(fields.get("n_ctx"), LIMIT.search(plain))
    prompt = _count(fields.get("n_prompt_tokens"), PROMPT.search(plain))
    if prompt == asked:  # more likely what was asked for ("max_new_tokens must be <= 512. Given: 1536")
        prompt = None
    room = asked if limit is None else limit - (prompt or 0)
    return TooLong(max(room, 0) if room < asked - 1 else asked // 2, words, counted=limit is not None)


def _count(field: Any, found: re.Match[str] | None) -> int | None:
    if isinstance(field, int):
        return field
    return int(next(group for group in found.groups() if group)) if found else None


def retry_after(value: str) -> float:
    """Return the seconds that a `Retry-After` header asks for, as a number or a date; 0 if it says neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, (date - datetime.now(date.tzinfo)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
