"""What a server that answers says: texts, reasons, token counts, log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfcodealign.generation.backends import Completion, Request
from selfcodealign.generation.backends.refusals import Failed

FINISHED = {"stop", "eos_token", "eos", "end_turn"}
"""What servers call an answer that ended by itself (the reference accepts the first two)."""

THINKING, THOUGHT = "<think>", "</think>"


@dataclass(frozen=True)
class Choices:
    """What a server answered: (text, finish reason, reasoning) of each choice, and token counts of all."""

    texts: list[tuple[str, str, str]]
    tokens_in: int
    tokens_out: int


def read_choices(data: Any) -> Choices:
    """Check an answer and take out what is needed.

    Raises:
        Failed: the answer has another form, the model refused, or the content filter took what it said.
    """
    try:
        texts = []
        for choice in data["choices"]:
            message = choice if "text" in choice else choice["message"]
            text, reason = message["text" if "text" in choice else "content"], choice["finish_reason"]
            if not isinstance(reason, str):
                raise TypeError("the finish reason is missing")
            if not text:
                # A model that thinks may end, or be cut off, before it says anything; what it thought stands beside.
                if reason == "content_filter":
                    raise Failed("refused_by_server", "the server's content filter took the answer away")
                if refusal := message.get("refusal"):
                    raise Failed("refused_by_model", f"the model refused: {str(refusal)[:200]}", own=True)
                text = "" if text is None else text
            if not isinstance(text, str):
                raise TypeError("the text is missing")
            thoughts, text = divided(text)
            beside = message.get("reasoning_content") or message.get("reasoning")
            texts.append((text, reason, thoughts or (beside if isinstance(beside, str) else "")))
        if not texts:
            raise ValueError("no choices")
        usage = data.get("usage") or {}
        return Choices(texts, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed("malformed_answer", f"the server's answer has another form ({error})", may_pass=True) from error


def divided(text: str) -> tuple[str, str]:
    """Divide an answer into the thoughts before it, which some servers leave in the text, and what was said."""
    if not text.lstrip().startswith(THINKING):
        return "", text
    thoughts, _, said = text.lstrip().removeprefix(THINKING).partition(THOUGHT)
    return thoughts.strip(), said.lstrip("\n")


def read_logprobs(data: Any) -> tuple[int, dict[str, float]]:
    """Return prompt tokens and the log-probabilities of the likeliest next tokens.

    Raises:
        Failed: the answer has another form.
    """
    try:
        logprobs = data["choices"][0]["logprobs"]
        if "top_logprobs" in logprobs:
            top = {str(token): float(value) for token, value in logprobs["top_logprobs"][0].items()}
        else:
            top = {str(item["token"]): float(item["logprob"]) for item in logprobs["content"][0]["top_logprobs"]}
        if not top:
            raise ValueError("no tokens")
        return int((data.get("usage") or {}).get("prompt_tokens") or 0), top
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Failed(
            "malformed_answer", f"the server's answer has no log-probabilities ({error})", may_pass=True
        ) from error


def logprob_of(candidate: str, top: dict[str, float]) -> float:
    """Return a candidate's log-probability, or the lowest given one if it is not among them."""
    exact = [value for token, value in top.items() if token == candidate]
    same = [value for token, value in top.items() if token.strip() == candidate.strip()]
    return max(exact or same or [min(top.values())])


def completions(
    requests: list[Request], texts: list[tuple[str, str, str]], stops: Sequence[str], tokens_in: int, tokens_out: int
) -> list[Completion]:
    """Give each request its choice.

    A server counts the tokens of all choices together; they are shared out by length of text.
    """
    total = sum(len(text) for text, *_ in texts) or 1
    out, given, seen = [], 0, 0
    for request, (text, reason, thoughts) in zip(requests, texts, strict=True):
        seen += len(text)
        until = tokens_out * seen // total if len(texts) > 1 else tokens_out
        finish = "stop" if reason in FINISHED else reason
        cut = min((place for place in map(text.find, stops) if place >= 0), default=-1)
        if cut >= 0:
            text, finish = text[:cut], "stop"
        if text.isascii() or text == text.encode(errors="replace").decode():
            thoughts = thoughts.encode(errors="replace").decode()
            out.append(Completion(request.id, text, finish, tokens_in, until - given, reasoning=thoughts))
        else:
            detail = "the answer holds half of a surrogate pair"
            out.append(Completion(request.id, "", "failed", tokens_in, until - given, "not_text", detail))
        given = until
    return out
