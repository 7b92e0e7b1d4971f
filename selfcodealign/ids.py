"""Content-hash ids and the seeds of randomness derived from them.

An id is a function of what a row says and of where it came from, never of its position, so that filtering, sharding or
reordering changes no id and no random draw.
"""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = {
    "fn": "function",
    "snip": "snippet",
    "seed": "seed",
    "con": "concepts",
    "ins": "instruction",
    "res": "response",
    "row": "dataset row",
}
"""What an id may name, in the order in which one is made from another."""

_encoder = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"), check_circular=False)


def _prepared() -> Callable[[object], str]:
    """Return `_encoder.encode`, which is called several times for each row, without what it prepares at each call."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    pieces = make(None, _encoder.default, json.encoder.encode_basestring_ascii, None, ":", ",", True, False, True)
    return lambda value: "".join(pieces(value, 0))


_canonical = _prepared()


def digest(*parts: object) -> str:
    """Hash a list of JSON-able parts to 64 hex digits; boundaries count: ("ab", "c") differs from ("a", "bc")."""
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return a file's SHA-256 in hex, without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_id(kind: str, *parts: object) -> str:
    """Name a row `<kind>-<20 hex digits>` after its content; `kind` is a key of `KINDS`.

    80 bits keep the chance of a collision among 10^8 rows under 10^-8.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of row {kind!r}; known kinds: {', '.join(KINDS)}")
    return f"{kind}-{digest(kind, *parts)[:20]}"


def seed_for(run_seed: int, stage: str, row_id: str) -> int:
    """Derive a 63-bit seed for one row in one stage, independent of every other row."""
    return int(digest(run_seed, stage, row_id)[:16], 16) >> 1


def rng_for(run_seed: int, stage: str, row_id: str) -> random.Random:
    """Return the random stream of one row in one stage."""
    return random.Random(seed_for(run_seed, stage, row_id))
