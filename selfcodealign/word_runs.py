"""Hash runs of words and look them up: what makes a search for many passages cheap.

A text is first reduced to its words (`minhash.words`), in scripts without spaces to its characters; runs are hashed in
one compiled pass and sought in open-addressing tables of 64-bit hashes.
"""

import re

import numpy as np

from selfcodealign import minhash
from selfcodealign.compiled import compiled

_BASE = np.uint64(0x9E3779B97F4A7C15)
_START, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX, _U29, _U32 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(29), np.uint64(32)


# Scripts that put no spaces between words: Thai, Lao, Myanmar, Khmer, kana, Chinese characters.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af"
)
_BETWEEN = re.compile(rf"(?<=[{_UNSPACED}])(?=\w)|(?<=\w)(?=[{_UNSPACED}])")


def apart(text: str) -> str:
    """Put a space between the characters of scripts that have none: each then counts as a word."""
    return text if text.isascii() else _BETWEEN.sub(" ", text)


@compiled
def _mixed(word):
    """Spread a word's FNV-1a hash over all bits."""
    return (word ^ (word >> _U29)) * _MIX


@compiled
def _power(words):
    """Return the weight of a word that a run of that many words leaves behind."""
    power = np.uint64(1)
    for _ in range(words):
        power *= _BASE
    return power


@compiled
def _ring_size(words):
    """Return a power of two that is at least `words`: a place in a ring is then found without a division."""
    size = 1
    while size < words:
        size *= 2
    return size


@compiled
def hash_runs(text, ngram, hashes, ends):
    """Hash every run of `ngram` words of space-joined text; return the number of runs.

    `hashes` gets a run's hash (uint64), 0 for a run of mostly numbers, which every list from 1 to 20 shares; `ends`
    gets the byte after its last word.
    """
    power = _power(ngram)
    size = _ring_size(ngram)
    ring = np.zeros(size, dtype=np.uint64)
    lettered = np.zeros(size, dtype=np.int64)
    letters = 0
    total = np.uint64(0)
    word = np.uint64(0)
    inside = False
    letter = 0
    tokens = 0
    count = 0
    for i in range(len(text) + 1):
        if i < len(text) and text[i] != 32:
            if not inside:
                word = _START
                inside = True
                letter = 0 if 48 <= text[i] <= 57 else 1
            word = (word ^ np.uint64(text[i])) * _PRIME
        elif inside:
            inside = False
            word = _mixed(word)
            # Before the ring is full, its zeros stand for words that are not there.
            old = (tokens - ngram) & (size - 1)
            total = total * _BASE + word - ring[old] * power
            letters += letter - lettered[old]
            ring[tokens & (size - 1)] = word
            lettered[tokens & (size - 1)] = letter
            tokens += 1
            if tokens >= ngram:
                hashes[count] = np.uint64(0) if 2 * letters < ngram else total ^ (total >> _U32)
                ends[count] = i
                count += 1
    return count


@compiled
def look_up(table, numbers, hashes, found):
    """Write the numbers of the hashes that are in an open-addressing table, -1 for the others; return how many are."""
    mask = np.uint64(len(table) - 1)
    hits = 0
    for k in range(len(hashes)):
        at = hashes[k] & mask
        found[k] = -1
        while table[at] != np.uint64(0):
            if table[at] == hashes[k]:
                found[k] = numbers[at]
                hits += 1
                break
            at = (at + np.uint64(1)) & mask
    return hits


@compiled
def _put(table, numbers, hashes):
    """Put hashes and their places into an open-addressing table whose length is a power of two."""
    mask = np.uint64(len(table) - 1)
    for k in range(len(hashes)):
        at = hashes[k] & mask
        while table[at] != np.uint64(0):
            at = (at + np.uint64(1)) & mask
        table[at] = hashes[k]
        numbers[at] = k


def table_of(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an open-addressing table (uint64) of distinct hashes other than 0, and the place of each (int64)."""
    size = 1 << max(4, (2 * len(hashes)).bit_length())
    table, numbers = np.zeros(size, dtype=np.uint64), np.zeros(size, dtype=np.int64)
    _put(table, numbers, hashes)
    return table, numbers


def word_runs(text: str, ngram: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return a text's words joined by spaces, the hashes of its runs of `ngram` words, and where each run ends."""
    joined = minhash.words(apart(text))
    room = len(joined) // 2 + 1
    hashes, ends = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    count = hash_runs(np.frombuffer(joined, dtype=np.uint8), ngram, hashes, ends)
    return joined, hashes[:count], ends[:count]


@compiled
def _holds(table, value):
    """Say whether a hash is in an open-addressing table."""
    mask = np.uint64(len(table) - 1)
    at = value & mask
    while table[at] != np.uint64(0):
        if table[at] == value:
            return True
        at = (at + np.uint64(1)) & mask
    return False


@compiled
def count_known(text, long, long_table, short, short_table):
    """Count the runs of `long` and of `short` words of space-joined text that are in the table of each.

    Runs of mostly numbers have the hash 0, which no table holds, only among the long ones. Equal to `hash_runs` and
    `look_up` for either length, in one pass and without arrays.
    """
    long_power, short_power = _power(long), _power(short)
    size = _ring_size(max(long, short))
    ring = np.zeros(size, dtype=np.uint64)
    lettered = np.zeros(size, dtype=np.int64)
    letters = 0
    long_total = np.uint64(0)
    short_total = np.uint64(0)
    word = np.uint64(0)
    inside = False
    letter = 0
    tokens = 0
    long_count = 0
    short_count = 0
    for i in range(len(text) + 1):
        if i < len(text) and text[i] != 32:
            if not inside:
                word = _START
                inside = True
                letter = 0 if 48 <= text[i] <= 57 else 1
            word = (word ^ np.uint64(text[i])) * _PRIME
        elif inside:
            inside = False
            word = _mixed(word)
            # Before the ring is full, its zeros stand for words that are not there.
            long_old = (tokens - long) & (size - 1)
            short_old = (tokens - short) & (size - 1)
            letters += letter - lettered[long_old]
            long_total = long_total * _BASE + word - ring[long_old] * long_power
            short_total = short_total * _BASE + word - ring[short_old] * short_power
            ring[tokens & (size - 1)] = word
            lettered[tokens & (size - 1)] = letter
            tokens += 1
            if tokens >= long and 2 * letters >= long and _holds(long_table, long_total ^ (long_total >> _U32)):
                long_count += 1
            if tokens >= short and _holds(short_table, short_total ^ (short_total >> _U32)):
                short_count += 1
    return long_count, short_count


@compiled
def _whole(text):
    """Hash space-joined text as one run."""
    total = np.uint64(0)
    word = _START
    inside = False
    for i in range(len(text) + 1):
        if i < len(text) and text[i] != 32:
            word = (word ^ np.uint64(text[i])) * _PRIME
            inside = True
        elif inside:
            total = total * _BASE + _mixed(word)
            word = _START
            inside = False
    return total ^ (total >> _U32)


def run_hash(run: bytes) -> int:
    """Hash one run of words, whatever they are: what `count_known` compares short runs by."""
    return int(_whole(np.frombuffer(run, dtype=np.uint8)))
