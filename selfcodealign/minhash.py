r"""Find near-duplicate texts: MinHash, locality-sensitive hashing, exact verification.

Tokens are what `re.split(r"\W", text.lower())` gives, empty strings kept; a shingle is `ngram` consecutive tokens; two
texts are alike if the Jaccard index of their shingle sets reaches a threshold. Candidates are pairs that agree on all
rows of at least one band, datasketch's semantics.

datasketch decides on permutations, bands and rows. The compiled passes compute the same signatures and candidates, and
each job that signs compares them with datasketch's on its first texts (`MinHasher.compare`). Two schemes:

* `fast`: `datasketch.MinHash(scheme="affine32", hashfunc=shingle_hash)`.
* `reference`: the published code's SHA-1 and `(a·h + b) mod (2^61 - 1)` with 64-bit wrap-around (text-dedup): the
  scheme `legacy` with the published code's own permutations.

Two rules of which member of a cluster survives:

* `fixed`: candidates are verified by exact Jaccard; the member that comes first survives.
* `reference`: no verification; the root of a union by rank survives, usually not the first. Texts with fewer than
  `min_tokens` tokens do not survive at all.
"""

import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
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
LARGEST_BUCKET = 1_000
"""Members of a bucket that are all compared with each other; in a larger one, with one representative per cluster."""
COMPARED = 8
"""Texts at the start of a job on which the compiled passes are compared with datasketch: 0.1 s."""
TOO_SHORT = -1

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


@compiled
def overlap(one, other):
    """Return the size of the intersection of two sorted arrays without repeats."""
    i = 0
    j = 0
    common = 0
    while i < len(one) and j < len(other):
        if one[i] == other[j]:
            common += 1
            i += 1
            j += 1
        elif one[i] < other[j]:
            i += 1
        else:
            j += 1
    return common


@compiled
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def link_buckets(parent, members, bounds, slots, offsets, store, threshold, largest):
    """Join, in a union-find, every two texts of a bucket whose exact Jaccard index reaches the threshold.

    Pairs that are already joined are not compared, so the clusters are the connected components whatever the order.

    Args:
        parent: the union-find over all texts, changed in place; a root is its cluster's smallest number.
        members: texts of all buckets, one bucket after the other.
        bounds: bucket k is members[bounds[k]:bounds[k + 1]].
        slots: place of each text in the store.
        offsets: the shingles of slot s are store[offsets[s]:offsets[s + 1]].
        store: shingle hashes, sorted within a slot, without repeats.
        threshold: least Jaccard index.
        largest: members of a bucket above which each is compared with one representative per cluster only.

    Returns:
        (compared, joined): pairs compared, and how many of them reached the threshold.
    """
    compared = 0
    joined = 0
    for bucket in range(len(bounds) - 1):
        start = bounds[bucket]
        end = bounds[bucket + 1]
        crowded = end - start > largest
        heads = np.empty(end - start, dtype=np.int64)
        count = 0
        for y in range(start, end):
            i = members[y]
            mine = store[offsets[slots[i]] : offsets[slots[i] + 1]]
            matched = False
            for x in range(count):
                j = heads[x]
                if _root(parent, i) == _root(parent, j):
                    matched = True
                    continue
                if crowded and matched:
                    break
                theirs = store[offsets[slots[j]] : offsets[slots[j] + 1]]
                small = min(len(mine), len(theirs))
                large = max(len(mine), len(theirs))
                if small < threshold * large:
                    continue
                compared += 1
                common = overlap(mine, theirs)
                if common >= threshold * (small + large - common):
                    joined += 1
                    matched = True
                    a = _root(parent, i)
                    b = _root(parent, j)
                    parent[max(a, b)] = min(a, b)
            if not (crowded and matched):
                heads[count] = i
                count += 1
    return compared, joined


@compiled
def flatten(parent):
    """Point every text of a union-find straight at its root, in place."""
    for i in range(len(parent)):
        parent[i] = _root(parent, i)


def buckets(keys: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group texts by equal keys.

    Args:
        keys: one key per text, uint64; 0 stands for none.
        numbers: the texts' numbers, int64.

    Returns:
        (members, bounds) of the buckets that hold at least two texts, as `link_buckets` takes them.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.empty(len(ordered), dtype=bool)
    new[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(ordered)))
    chosen = (sizes > 1) & (ordered[starts] != 0)
    bounds = np.concatenate([[0], np.cumsum(sizes[chosen])]).astype(np.int64)
    inside = np.repeat(chosen, sizes)
    return numbers[order[inside]].astype(np.int64), bounds


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


def survivors(
    texts: Sequence[str],
    hasher: MinHasher,
    *,
    threshold: float,
    rule: Literal["fixed", "reference"] = "fixed",
) -> np.ndarray:
    """Say for each text which text of its cluster survives: itself, if it is kept.

    Args:
        texts: the texts, most worth keeping first (for the rule `fixed`, the first of a cluster survives).
        hasher: parameters of signatures and bands.
        threshold: least Jaccard index; the rule `reference` does not verify it.
        rule: see the module.

    Returns:
        int64, one number per text; `TOO_SHORT` for a text that the rule `reference` deletes.
    """
    hasher.compare(texts)
    if rule == "reference":
        return _reference_survivors(texts, hasher)
    first: dict[str, int] = {}
    parent = np.array([first.setdefault(text, i) for i, text in enumerate(texts)], dtype=np.int64)
    unique = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    signed = [hasher.keys(texts[int(i)]) for i in unique]
    keys = np.array(signed, dtype=np.uint64).reshape(len(unique), hasher.bands)
    bands = [buckets(band, unique) for band in np.ascontiguousarray(keys.T)]
    candidates = np.unique(np.concatenate([members for members, _ in bands]))
    slots = np.full(len(texts), -1, dtype=np.int64)
    slots[candidates] = np.arange(len(candidates))
    sets = [hasher.shingles(texts[int(i)]) for i in candidates]
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    store = np.concatenate([*sets, np.empty(0, dtype=np.uint32)])
    for members, bounds in bands:
        link_buckets(parent, members, bounds, slots, offsets, store, threshold, LARGEST_BUCKET)
    flatten(parent)
    return parent


class RankedUnionFind:
    """Union by rank without path compression's side effects on roots: text-dedup's structure."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.rank: dict[int, int] = defaultdict(int)

    def find(self, x: int) -> int:
        """Return the root of x."""
        root = x
        while self.parent.setdefault(root, root) != root:
            root = self.parent[root]
        while self.parent[x] != root:
            self.parent[x], x = root, self.parent[x]
        return root

    def union(self, x: int, y: int) -> None:
        """Join two sets; of equal ranks, the first one's root stays."""
        x, y = self.find(x), self.find(y)
        if x == y:
            return
        if self.rank[x] < self.rank[y]:
            x, y = y, x
        elif self.rank[x] == self.rank[y]:
            self.rank[x] += 1
        self.parent[y] = x


def _reference_survivors(texts: Sequence[str], hasher: MinHasher) -> np.ndarray:
    """Choose survivors as the published deduplication does."""
    keys = np.array([hasher.keys(text) for text in texts], dtype=np.uint64).reshape(len(texts), hasher.bands)
    return reference_roots(keys.T)


def reference_roots(keys: np.ndarray) -> np.ndarray:
    """Choose survivors from band keys (bands × texts, uint64) as the published deduplication does.

    Texts without keys are deleted before they are numbered. Buckets are visited band by band, in order of their first
    member, and each member is joined to the bucket's smallest in the iteration order of a Python set of numbers.
    """
    result = np.full(keys.shape[1], TOO_SHORT, dtype=np.int64)
    kept = np.flatnonzero(keys[0] != 0) if len(keys) else np.arange(keys.shape[1])
    forest = RankedUnionFind()
    for band in keys:
        table: dict[int, set[int]] = defaultdict(set)
        for number, key in enumerate(band[kept].tolist()):
            table[key].add(number)
        for members in table.values():
            if len(members) > 1:
                smallest = min(members)
                for member in members:
                    forest.union(member, smallest)
    for number, place in enumerate(kept):
        result[place] = kept[forest.find(number)]
    return result
