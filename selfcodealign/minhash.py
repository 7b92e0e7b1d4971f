r"""MinHash signatures of texts, and the keys by which near-duplicates find each other.

Tokens are what `re.split(r"\W", text.lower())` gives, empty strings kept; a shingle is `ngram` consecutive tokens; two
texts are alike if the Jaccard index of their shingle sets reaches a threshold. Candidates are pairs that agree on all
rows of at least one band, datasketch's semantics.

datasketch decides on permutations, bands and rows. The compiled passes compute the same signatures and candidates, and
each job that signs compares them with datasketch's on its first texts (`MinHasher.compare`). Two schemes:

* `fast`: `datasketch.MinHash(scheme="affine32", hashfunc=shingle_hash)`.
* `reference`: the published code's SHA-1 and `(a·h + b) mod (2^61 - 1)` with 64-bit wrap-around (text-dedup): the
  scheme `legacy` with the published code's own permutations.
"""

import hashlib
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np

from selfcodealign.compiled import compiled
from selfcodealign.errors import UserError

if TYPE_CHECKING:
    from datasketch import MinHash

Scheme = Literal["fast", "reference"]

MERSENNE = (1 << 61) - 1
COMPARED = 8
"""Texts at the start of a job on which the compiled passes are compared with datasketch: 0.1 s."""

_NOT_WORD = re.compile(r"\W")
# ASCII in lower case, everything but letters, digits and underscores as a space.
_ASCII = bytes(ord(chr(c).lower()) if chr(c).isalnum() or c == 95 else 32 for c in range(128)) + bytes(128)

# Constants of XXH64 and 64-bit FNV-1a: odd numbers without structure.
_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(0x9E3779B185EBCA87),
    np.uint64(0xC2B2AE3D27D4EB4F),
    np.uint64(0x165667B19E3779F9),
    np.uint64(0x85EBCA77C2B2AE63),
    np.uint64(0x27D4EB2F165667C5),
)
_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_U27, _U29, _U31, _U32, _U33 = (np.uint64(bits) for bits in (27, 29, 31, 32, 33))


def words(text: str) -> bytes:
    """Return the tokens of a text joined by single spaces, as UTF-8; a slice of it between spaces is a shingle."""
    if text.isascii():
        return text.encode().translate(_ASCII)
    # Lone surrogates have no UTF-8 form; they are no word characters to begin with, or replaced like them.
    return _NOT_WORD.sub(" ", text.lower()).encode("utf-8", "replace")


def count_tokens(joined: bytes) -> int:
    """Count the tokens in what `words` returned."""
    return joined.count(b" ") + 1


@compiled
def _rotate(value, bits):
    return (value << bits) | (value >> (np.uint64(64) - bits))


@compiled
def _lane(accumulator, value):
    return _rotate(accumulator + value * _P2, _U31) * _P1


# What `words` makes of a byte of ASCII, and of one that it has returned.
_SPOKEN, _AS_IT_IS = np.frombuffer(_ASCII, dtype=np.uint8), np.arange(256, dtype=np.uint8)


@compiled
def _shingles(text, letters, ngram, out):
    """Hash every run of `ngram` tokens in text into `out` (uint32); return how many there are.

    `letters` translates bytes, tokens end at spaces. See `shingle_hash` for the function; a run's hash follows from the
    one before it in constant time.
    """
    size = len(text)
    power = np.uint64(1)
    for _ in range(ngram):
        power *= _P1
    ring = np.zeros(ngram, dtype=np.uint64)
    total = np.uint64(0)
    place = 0
    token = 0
    count = 0
    word = _FNV_START
    for i in range(size + 1):
        if i < size and letters[text[i]] != 32:
            word = (word ^ np.uint64(letters[text[i]])) * _FNV_PRIME
            continue
        word ^= word >> _U29
        word *= _P2
        total = total * _P1 + word - ring[place] * power
        ring[place] = word
        word = _FNV_START
        place += 1
        if place == ngram:
            place = 0
        token += 1
        if token >= ngram:
            out[count] = np.uint32((total ^ (total >> _U32)) & np.uint64(0xFFFFFFFF))
            count += 1
    return count


def shingle_hash(shingle: bytes) -> int:
    """Hash one shingle to 32 bits, in plain Python: what the compiled pass gives, and a hash function for datasketch.

    Each token is hashed by 64-bit FNV-1a and mixed once; the tokens' values are the coefficients of a polynomial.
    """
    full = (1 << 64) - 1
    total = 0
    for token in shingle.split(b" "):
        word = int(_FNV_START)
        for byte in token:
            word = (word ^ byte) * int(_FNV_PRIME) & full
        word ^= word >> 29
        total = (total * int(_P1) + word * int(_P2)) & full
    return (total ^ (total >> 32)) & 0xFFFFFFFF


@compiled
def _fmix32(h):
    h ^= h >> np.uint32(16)
    h = np.uint32(h * np.uint32(0x85EBCA6B))
    h ^= h >> np.uint32(13)
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    return h ^ (h >> np.uint32(16))


@compiled
def _affine(a, h, b):
    return np.uint32(np.uint32(a * h) + b)


@compiled
def _affine32(hashes, a, b, signature):
    """Lower `signature` (uint32) to the minimum of a·fmix32(h) + b over the hashes, modulo 2^32.

    Four hashes share one pass over the signature, which takes half the time.
    """
    fours = len(hashes) - len(hashes) % 4
    for i in range(0, fours, 4):
        h0, h1 = _fmix32(hashes[i]), _fmix32(hashes[i + 1])
        h2, h3 = _fmix32(hashes[i + 2]), _fmix32(hashes[i + 3])
        for k in range(len(a)):
            one = min(_affine(a[k], h0, b[k]), _affine(a[k], h1, b[k]))
            other = min(_affine(a[k], h2, b[k]), _affine(a[k], h3, b[k]))
            signature[k] = min(signature[k], min(one, other))
    for i in range(fours, len(hashes)):
        h = _fmix32(hashes[i])
        for k in range(len(a)):
            signature[k] = min(signature[k], _affine(a[k], h, b[k]))


@compiled
def _mersenne61(hashes, a, b, signature):
    """Lower `signature` (uint32) to the minimum of ((a·h + b) mod 2^64 mod (2^61 - 1)) mod 2^32 over the hashes."""
    prime = np.uint64(0x1FFFFFFFFFFFFFFF)
    for h in hashes:
        for k in range(len(a)):
            value = a[k] * np.uint64(h) + b[k]
            value = (value & prime) + (value >> np.uint64(61))
            if value >= prime:
                value -= prime
            signature[k] = min(signature[k], np.uint32(value & np.uint64(0xFFFFFFFF)))


@compiled
def _band_keys(signature, bands, rows, keys):
    """Hash each band of a signature to 64 bits; a key is never 0, which means "no key"."""
    for band in range(bands):
        h = _P5 + np.uint64(band)
        for row in range(rows):
            h = _rotate(h ^ _lane(np.uint64(0), np.uint64(signature[band * rows + row])), _U27) * _P1 + _P4
        h = (h ^ (h >> _U33)) * _P2
        h = (h ^ (h >> _U29)) * _P3
        h ^= h >> _U32
        keys[band] = h if h != np.uint64(0) else np.uint64(1)


@cache
def best_bands(threshold: float, permutations: int) -> tuple[int, int]:
    """Return the (bands, rows) that datasketch's index takes for a threshold: least error areas of both kinds.

    Raises:
        UserError: there are none.
    """
    from datasketch import MinHashLSH

    try:
        index = MinHashLSH(threshold=threshold, num_perm=permutations)
    except ValueError as error:
        raise UserError(f"no bands for a threshold of {threshold} and {permutations} permutations: {error}") from error
    return index.b, index.r


@cache
def _sketch(scheme: Scheme, permutations: int, seed: int) -> "MinHash":
    """Return datasketch's empty sketch, with the coefficients that decide every signature.

    The published code draws all of a before all of b, as no scheme of datasketch does, and computes as `legacy` does.
    """
    from datasketch import MinHash

    if scheme == "fast":
        return MinHash(num_perm=permutations, seed=seed, scheme="affine32", hashfunc=shingle_hash)
    random = np.random.RandomState(seed)
    a = random.randint(1, MERSENNE, permutations, dtype=np.uint64)
    b = random.randint(0, MERSENNE, permutations, dtype=np.uint64)
    return MinHash(num_perm=permutations, permutations=(a, b), scheme="legacy")


@dataclass(frozen=True)
class MinHasher:
    """Turn texts into signatures and band keys.

    Attributes:
        permutations: values in a signature; at least bands × rows.
        bands, rows: a pair is a candidate if it agrees on all rows of a band.
        ngram: tokens in a shingle.
        min_tokens: a text with fewer tokens has no signature.
        seed: of the permutations.
        scheme: `fast` or `reference`.
    """

    permutations: int = 250
    bands: int = 25
    rows: int = 10
    ngram: int = 5
    min_tokens: int = 5
    seed: int = 42
    scheme: Scheme = "fast"

    def __post_init__(self) -> None:
        """Reject parameters that cannot be met."""
        if self.bands < 2:
            raise ValueError("datasketch needs at least two bands")
        if self.bands * self.rows > self.permutations:
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows need {self.bands * self.rows} permutations, "
                f"there are {self.permutations}"
            )

    def hashes(self, text: str) -> np.ndarray:
        """Return the hashes of a text's shingles, uint32, in order and with repeats; none for too short a text."""
        if self.scheme == "reference":
            joined = words(text)
            if count_tokens(joined) < max(self.min_tokens, self.ngram):
                return np.empty(0, dtype=np.uint32)
            return _sha1_hashes(joined, self.ngram)
        # Letters of ASCII are translated in the same pass.
        data, letters = (text.encode(), _SPOKEN) if text.isascii() else (words(text), _AS_IT_IS)
        out = np.empty(len(data) + 1, dtype=np.uint32)
        count = _shingles(np.frombuffer(data, dtype=np.uint8), letters, self.ngram, out)
        return out[: count if count + self.ngram > self.min_tokens else 0]

    def shingles(self, text: str) -> np.ndarray:
        """Return the hashes of a text's shingles, uint32, sorted and each once."""
        hashes = np.sort(self.hashes(text))
        new = np.ones(len(hashes), dtype=bool)
        np.not_equal(hashes[1:], hashes[:-1], out=new[1:])
        return hashes[new]

    def signature(self, text: str) -> np.ndarray | None:
        """Return the signature of a text (uint32, `permutations` values), or None for too short a text."""
        hashes = self.hashes(text)
        if not len(hashes):
            return None
        signature = np.full(self.permutations, 0xFFFFFFFF, dtype=np.uint32)
        a, b = np.asarray(_sketch(self.scheme, self.permutations, self.seed).permutations)
        (_mersenne61 if self.scheme == "reference" else _affine32)(hashes, a, b, signature)
        return signature

    def keys(self, text: str) -> np.ndarray:
        """Return the key of each band (uint64); all 0 for too short a text."""
        keys = np.zeros(self.bands, dtype=np.uint64)
        signature = self.signature(text)
        if signature is not None:
            _band_keys(signature, self.bands, self.rows, keys)
        return keys

    def compare(self, texts: Iterable[str]) -> None:
        """Compare the compiled passes with datasketch on a few texts: datasketch decides, they only hurry.

        Raises:
            UserError: a signature or a pair of candidates differs.
        """
        from datasketch import MinHashLSH

        index = MinHashLSH(num_perm=self.permutations, params=(self.bands, self.rows))
        seen: list[np.ndarray] = []
        for text in itertools.islice(texts, COMPARED):
            signature = self.signature(text)
            if signature is None:
                continue
            sketch = _sketch(self.scheme, self.permutations, self.seed).copy()
            sketch.update_batch(shingle_set(text, self.ngram))
            keys = self.keys(text)
            mine = {number for number, other in enumerate(seen) if (keys == other).any()}
            if not np.array_equal(sketch.hashvalues, signature) or mine != set(index.query(sketch)):
                raise UserError(
                    f"MinHash signatures differ from those of datasketch {version('datasketch')}: install the release "
                    "that envs/data.txt names, and delete numba's cache (__pycache__/*.nbi)"
                )
            index.insert(len(seen), sketch)
            seen.append(keys)


def _sha1_hashes(joined: bytes, ngram: int) -> np.ndarray:
    """Return the first four bytes of each shingle's SHA-1, little-endian, each shingle once."""
    tokens = joined.split(b" ")
    shingles = {b" ".join(tokens[k : k + ngram]) for k in range(len(tokens) - ngram + 1)}
    digests = b"".join(hashlib.sha1(shingle).digest()[:4] for shingle in shingles)
    return np.sort(np.frombuffer(digests, dtype="<u4").astype(np.uint32))


def jaccard(one: str, other: str, ngram: int = 5) -> float:
    """Return the exact Jaccard index of two texts' shingle sets; 0 if either has no shingle."""
    a, b = (shingle_set(text, ngram) for text in (one, other))
    return len(a & b) / len(a | b) if a and b else 0.0


def shingle_set(text: str, ngram: int = 5) -> set[bytes]:
    """Return a text's shingles."""
    tokens = words(text).split(b" ")
    return {b" ".join(tokens[k : k + ngram]) for k in range(len(tokens) - ngram + 1)}
