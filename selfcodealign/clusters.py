"""Join near-duplicate texts to clusters, and choose which member of each survives.

Two rules of which member of a cluster survives:

* `fixed`: candidates are verified by exact Jaccard; the member that comes first survives.
* `reference`: no verification; the root of a union by rank survives, usually not the first. Texts with fewer than
  `min_tokens` tokens do not survive at all.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from selfcodealign.compiled import compiled
from selfcodealign.config.section import Mode
from selfcodealign.minhash import MinHasher

LARGEST_BUCKET = 1_000
"""Members of a bucket that are all compared with each other; in a larger one, with one representative per cluster."""
TOO_SHORT = -1


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


def survivors(
    texts: Sequence[str],
    hasher: MinHasher,
    *,
    threshold: float,
    rule: Mode = "fixed",
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
