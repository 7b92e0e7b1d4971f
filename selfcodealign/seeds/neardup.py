"""Near-deduplication of functions across shards, out of core.

1. Each shard's functions are signed: their band keys go to disk, one row of numbers per band.
2. Each band is merged on its own over all shards: functions with equal keys form a bucket (first barrier).
3. Functions that share a bucket are read again, compared exactly, and joined in one union-find (second barrier).
4. Each shard keeps its survivors: in every cluster the function with the smallest id, which no sharding changes.

Only numbers are ever held for the whole corpus: see docs/scale.md for memory and disk at 5 and 100 million functions.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from selfcodealign import clusters, minhash
from selfcodealign.compiled import compiled
from selfcodealign.errors import UserError
from selfcodealign.rows_io import count_rows, read_rows

ID, CONTENT, FIRST_BAND = 0, 1, 2
"""Rows of a shard's key file: 64 bits of each function's id, a hash of its text, and then one row per band."""

KEYS_AT_ONCE = 16_000_000
"""Keys of a band sorted at a time: 0.5 GB with the sort's index, however large the corpus."""

MEMBERS_AT_ONCE = 4_000_000
"""Bucket members held at a time while clusters are joined."""

DROPPED, SURVIVOR, SURVIVOR_ID = 0, 1, 2
"""Rows of the cluster file: number of a function that goes, of the one that stays, and 64 bits of the latter's id."""


def id_key(row_id: str) -> int:
    """Return the first 64 of an id's 80 bits."""
    return int(row_id.rpartition("-")[2][:16], 16)


def write_keys(functions: Path, keys: Path, hasher: minhash.MinHasher) -> int:
    """Sign a shard's functions into a matrix on disk, (2 + bands) × functions, uint64; return how many there are."""
    import xxhash

    hasher.compare(row["content"] for row in read_rows(functions, ["content"]))
    count = count_rows(functions)
    matrix = np.empty((FIRST_BAND + hasher.bands, count), dtype=np.uint64)
    for n, row in enumerate(read_rows(functions, ["id", "content"])):
        matrix[ID, n] = id_key(row["id"])
        matrix[CONTENT, n] = xxhash.xxh3_64_intdigest(row["content"].encode("utf-8", "surrogatepass")) or 1
        matrix[FIRST_BAND:, n] = hasher.keys(row["content"])
    save(keys, matrix)
    return count


def save(path: Path, array: np.ndarray) -> None:
    """Write an array atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.save(file, array)
    os.replace(part, path)


def load(path: Path) -> np.ndarray:
    """Map an array on disk into memory; only the rows that are touched are read."""
    try:
        return np.load(path, mmap_mode="r")
    except ValueError as error:
        # An empty array cannot be mapped.
        try:
            return np.load(path)
        except (ValueError, EOFError):
            raise UserError(f"{path} cannot be read as an array; delete it and run its rule again") from error


def match_band(keys: Sequence[Path], row: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (members, bounds) of the buckets of one row of keys over all shards, members in order.

    The key range is cut into parts, so that memory does not grow with the corpus.
    """
    matrices = [load(path) for path in keys]
    starts = shard_starts(matrices)
    total = starts[-1]
    parts = max(1, -(-total // KEYS_AT_ONCE))
    edges = [(1 << 64) * part // parts for part in range(parts + 1)]
    members, bounds = [np.empty(0, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
    found = 0
    for low, high in itertools.pairwise(edges):
        chosen, numbers = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
        for matrix, start in zip(matrices, starts, strict=False):
            band = matrix[row]
            inside = (band >= np.uint64(low)) & (band <= np.uint64(high - 1))
            chosen.append(band[inside])
            numbers.append(np.flatnonzero(inside) + start)
        part_members, part_bounds = clusters.buckets(np.concatenate(chosen), np.concatenate(numbers))
        bounds.append(part_bounds[1:] + found)
        members.append(part_members)
        found += len(part_members)
    return np.concatenate(members), np.concatenate(bounds)


def shard_starts(matrices: Sequence[np.ndarray]) -> list[int]:
    """Return the number of each shard's first function, and at the end the number of functions."""
    starts = [0]
    for matrix in matrices:
        starts.append(starts[-1] + matrix.shape[1])
    return starts


def write_buckets(path: Path, keys: Sequence[Path], rows: Sequence[int]) -> int:
    """Merge some rows of keys over all shards and write their buckets; return how many members they hold.

    The file is one array of function numbers; a bucket's first member is stored as its bitwise complement, below 0.
    """
    pieces: list[np.ndarray] = [np.empty(0, dtype=np.int32)]
    for row in rows:
        members, bounds = match_band(keys, row)
        packed = members.astype(np.int32 if not len(members) or members.max() < 1 << 31 else np.int64)
        packed[bounds[:-1]] = ~packed[bounds[:-1]]
        pieces.append(packed)
    everything = np.concatenate(pieces)
    save(path, everything)
    return len(everything)


def read_buckets(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what `write_buckets` wrote as (members, bounds), some million members at a time."""
    packed = load(path)
    at = 0
    while at < len(packed):
        piece = np.asarray(packed[at : at + MEMBERS_AT_ONCE])
        heads = np.flatnonzero(piece < 0)
        if at + len(piece) < len(packed):
            if len(heads) < 2:
                # One bucket larger than a piece: take it whole.
                rest = np.flatnonzero(packed[at + 1 :] < 0)
                end = int(rest[0]) + 1 if len(rest) else len(packed) - at
                piece, heads = np.asarray(packed[at : at + end]), heads[:1]
            else:
                piece, heads = piece[: heads[-1]], heads[:-1]
        at += len(piece)
        members = piece.astype(np.int64)
        members[heads] = ~members[heads]
        yield members, np.append(heads, len(members)).astype(np.int64)


def cluster(
    functions: Sequence[Path],
    keys: Sequence[Path],
    copies: Sequence[Path],
    matches: Sequence[Path],
    *,
    hasher: minhash.MinHasher,
    threshold: float,
    work: Path | None = None,
) -> tuple[np.ndarray, dict[str, int]]:
    """Join copies and near-duplicates, and choose each cluster's survivor.

    Args:
        functions: the shards' functions.
        keys: the shards' key files, in the same order.
        copies: bucket files of functions with equal text.
        matches: bucket files of candidates, one per group of bands.
        hasher: how the functions were signed; shingles are made the same way.
        threshold: least Jaccard index of a pair.
        work: folder for the temporary store of shingles (1-2 kB per candidate); the system's if None.

    Returns:
        (dropped, counts): dropped is 3 × n, uint64, the numbers of the functions that go, in order, with the number
        and the id bits of the function each loses against; counts are for the log.
    """
    matrices = [load(path) for path in keys]
    total = shard_starts(matrices)[-1]
    parent = np.arange(total, dtype=np.int64 if total >= 1 << 31 else np.int32)
    for path in copies:
        for members, bounds in read_buckets(path):
            _link_copies(parent, members, bounds)
    clusters.flatten(parent)

    # Of equal texts one stands for all; only those that share a bucket with another text are read again.
    wanted = np.zeros(total, dtype=bool)
    for path in matches:
        for members, bounds in read_buckets(path):
            _mark_company(parent, members, bounds, wanted)
    candidates = np.flatnonzero(wanted).astype(parent.dtype)
    del wanted
    forest = np.arange(len(candidates), dtype=parent.dtype)
    slots = forest.copy()
    compared = joined = 0
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=work) as file:
        offsets, store = _store_shingles(file, functions, candidates, hasher)
        for path in matches:
            for members, bounds in read_buckets(path):
                members, bounds = _in_slots(parent, members, bounds, candidates)
                pair = clusters.link_buckets(
                    forest, members, bounds, slots, offsets, store, threshold, clusters.LARGEST_BUCKET
                )
                compared, joined = compared + pair[0], joined + pair[1]
        del store
    clusters.flatten(forest)
    parent[candidates] = candidates[forest]
    found = len(candidates)
    del candidates, forest, slots, offsets
    clusters.flatten(parent)
    linked = np.concatenate([_linked(parent, start) for start in range(0, total, KEYS_AT_ONCE)] or [parent])
    roots_of = parent[linked]
    del parent
    dropped = _losers(linked, roots_of, matrices)
    counts = {
        "functions": total,
        "candidates": found,
        "pairs_compared": compared,
        "pairs_alike": joined,
        "dropped": dropped.shape[1],
    }
    return dropped, counts


@compiled
def _link_copies(parent, members, bounds):
    """Join all members of each bucket."""
    for bucket in range(len(bounds) - 1):
        head = parent[members[bounds[bucket]]]
        for k in range(bounds[bucket] + 1, bounds[bucket + 1]):
            parent[members[k]] = min(head, parent[members[k]])


@compiled
def _mark_company(parent, members, bounds, wanted):
    """Mark the representatives in buckets that hold at least two of them."""
    for bucket in range(len(bounds) - 1):
        head = parent[members[bounds[bucket]]]
        for k in range(bounds[bucket] + 1, bounds[bucket + 1]):
            other = parent[members[k]]
            if other != head:
                wanted[head] = True
                wanted[other] = True


@compiled
def _in_slots(parent, members, bounds, candidates):
    """Replace buckets' members by the slots of their representatives, each once, in order; single ones are left out."""
    out = np.empty(len(members), dtype=np.int64)
    edges = np.zeros(len(bounds), dtype=np.int64)
    count = 0
    buckets = 0
    for bucket in range(len(bounds) - 1):
        heads = np.empty(bounds[bucket + 1] - bounds[bucket], dtype=np.int64)
        for k in range(len(heads)):
            heads[k] = parent[members[bounds[bucket] + k]]
        heads.sort()
        if heads[0] == heads[-1]:
            continue
        for k in range(len(heads)):
            if k == 0 or heads[k] != heads[k - 1]:
                out[count] = np.searchsorted(candidates, heads[k])
                count += 1
        buckets += 1
        edges[buckets] = count
    return out[:count], edges[: buckets + 1]


def _store_shingles(
    file: IO[bytes], functions: Sequence[Path], candidates: np.ndarray, hasher: minhash.MinHasher
) -> tuple[np.ndarray, np.ndarray]:
    """Write the sorted shingle hashes of the candidate functions to a file and map it; return (offsets, store)."""
    offsets = np.zeros(len(candidates) + 1, dtype=np.int64)
    slot = number = 0
    for path in functions:
        for row in read_rows(path, ["content"]):
            if slot < len(candidates) and candidates[slot] == number:
                hashes = hasher.shingles(row["content"])
                file.write(hashes.tobytes())
                offsets[slot + 1] = offsets[slot] + len(hashes)
                slot += 1
            number += 1
    file.flush()
    if not offsets[-1]:
        return offsets, np.empty(0, dtype=np.uint32)
    return offsets, np.memmap(file, dtype=np.uint32, mode="r")


def _linked(parent: np.ndarray, start: int) -> np.ndarray:
    """Return the numbers of the functions in a stretch of the union-find that are not roots."""
    stretch = parent[start : start + KEYS_AT_ONCE]
    own = np.arange(start, start + len(stretch), dtype=parent.dtype)
    return own[stretch != own]


def _losers(linked: np.ndarray, roots_of: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Return (3 × n) the functions that do not have their cluster's smallest id, and the one that has.

    Args:
        linked: numbers of the functions that are not the root of their cluster, in order.
        roots_of: the root of each of them.
        matrices: key files of the shards.
    """
    starts = shard_starts(matrices)
    roots = np.unique(roots_of)
    winners, smallest = roots.copy(), _ids_at(roots, matrices, starts)
    places = np.searchsorted(roots, roots_of).astype(linked.dtype)
    _choose(linked, _ids_at(linked, matrices, starts), places, winners, smallest)
    # A root loses too, where one of its cluster has a smaller id.
    members, where = np.concatenate([roots, linked]), np.concatenate([np.arange(len(roots)), places])
    lost = np.flatnonzero(members != winners[where])
    lost = lost[np.argsort(members[lost], kind="stable")]
    dropped = np.empty((3, len(lost)), dtype=np.uint64)
    dropped[DROPPED] = members[lost]
    dropped[SURVIVOR] = winners[where[lost]]
    dropped[SURVIVOR_ID] = smallest[where[lost]]
    return dropped


@compiled
def _choose(linked, ids, places, winners, smallest):
    """Lower each cluster's winner to its member with the smallest id; of equal ids the first stays."""
    for k in range(len(linked)):
        place = places[k]
        if ids[k] < smallest[place]:
            smallest[place] = ids[k]
            winners[place] = linked[k]


def _ids_at(numbers: np.ndarray, matrices: Sequence[np.ndarray], starts: Sequence[int]) -> np.ndarray:
    """Look up the id bits of functions by their numbers, which are in order."""
    edges = np.searchsorted(numbers, starts)
    pieces = [
        np.asarray(matrix[ID][numbers[low:high] - start])
        for matrix, start, low, high in zip(matrices, starts, edges, edges[1:], strict=False)
    ]
    return np.concatenate([np.empty(0, dtype=np.uint64), *pieces])


def reference_dropped(keys: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Choose survivors as the published deduplication does, in memory.

    Returns:
        (dropped, short): dropped as `cluster` returns it, copies included; short are the numbers of the functions that
        are deleted for having too few tokens.
    """
    matrices = [np.asarray(load(path)) for path in keys]
    everything = np.concatenate(matrices, axis=1) if matrices else np.zeros((FIRST_BAND, 0), dtype=np.uint64)
    total = everything.shape[1]
    _, first, place = np.unique(everything[CONTENT], return_index=True, return_inverse=True)
    representative = first[place]
    unique = np.flatnonzero(representative == np.arange(total))
    chosen = clusters.reference_roots(everything[FIRST_BAND:, unique])
    survivor = np.full(total, clusters.TOO_SHORT, dtype=np.int64)
    survivor[unique] = np.where(chosen >= 0, unique[chosen], clusters.TOO_SHORT)
    survivor = survivor[representative]
    short = np.flatnonzero((survivor == clusters.TOO_SHORT) & (representative == np.arange(total)))
    survivor[survivor == clusters.TOO_SHORT] = representative[survivor == clusters.TOO_SHORT]
    lost = np.flatnonzero(survivor != np.arange(total))
    return np.array([lost, survivor[lost], everything[ID][survivor[lost]]], dtype=np.uint64).reshape(3, -1), short


def lost_in_shard(shard: int, keys: Sequence[Path], clusters: Path) -> tuple[int, dict[int, tuple[bool, str]]]:
    """Return a shard's first function number and, for each of its functions that goes, against whom it lost.

    The value is (texts are equal, the survivor's id bits as 16 hex digits).
    """
    matrices = [load(path) for path in keys]
    starts = shard_starts(matrices)
    dropped = load(clusters)
    low, high = np.searchsorted(dropped[DROPPED], np.array([starts[shard], starts[shard + 1]], dtype=np.uint64))
    lost = {}
    for number, survivor, bits in dropped[:, low:high].T.tolist():
        owner = int(np.searchsorted(starts, survivor, side="right")) - 1
        mine = matrices[shard][CONTENT, number - starts[shard]]
        equal = mine == matrices[owner][CONTENT, survivor - starts[owner]]
        lost[number] = (bool(equal), f"{bits:016x}")
    return starts[shard], lost


def hasher_of(
    mode: str,
    bands: int | None,
    rows: int | None,
    ngram: int,
    min_tokens: int,
    permutations: int | None,
    permutation_seed: int,
) -> minhash.MinHasher:
    """Return the hasher that config keys describe.

    `reference` mode signs as the published code does, with 250 permutations unless told otherwise, and datasketch's
    bands for a threshold of 0.5 (41 of 6 rows). `fixed` mode takes 60 bands of 5 rows: they miss fewer pairs just above
    the threshold (docs/measurements.md) and suggest more below it, which cost a comparison each.
    """
    permutations = permutations or (250 if mode == "reference" else 300)
    default = minhash.best_bands(0.5, permutations) if mode == "reference" else (60, 5)
    try:
        return minhash.MinHasher(
            permutations=permutations,
            bands=bands or default[0],
            rows=rows or default[1],
            ngram=ngram,
            min_tokens=min_tokens,
            seed=permutation_seed,
            scheme="reference" if mode == "reference" else "fast",
        )
    except ValueError as error:
        raise UserError(f"config section sign_functions: {error}") from error
