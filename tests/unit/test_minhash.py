"""Signatures equal datasketch's and the published code's; survivors are those of exact search, cheaper."""

import hashlib
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfcodealign import clusters, minhash
from selfcodealign.clusters import RankedUnionFind, survivors
from selfcodealign.errors import UserError
from selfcodealign.minhash import MinHasher, best_bands, jaccard, shingle_hash

TEXT = "Write a Python function to convert inches to meters. The function should take one argument."
GREEK = "Η συνάρτηση ΕΠΙΣΤΡΈΦΕΙ naïve café ǅ ﬁne straße 1½ x_y  end of the text"


def variant(number: int, changed: int = 3) -> str:
    """Make a text of 60 words of which some differ from its siblings'."""
    return " ".join(f"word{k}" if k % 20 >= changed else f"own{number}_{k}" for k in range(60))


def test_reference_permutations_and_signature_are_the_published_ones():
    a, b = np.asarray(minhash._sketch("reference", 250, 42).permutations)
    assert a[:3].tolist() == [2297359619001564596, 1396682528897996047, 1973689801170867272]
    assert b[:3].tolist() == [819937424514885884, 186270275726183327, 1865642354681758880]
    signature = MinHasher(scheme="reference").signature(TEXT)
    assert signature is not None
    assert len(MinHasher(scheme="reference").shingles(TEXT)) == 13
    assert signature[:4].tolist() == [500994496, 103883333, 309681260, 260973705]
    assert hashlib.sha256(signature.astype("<u8").tobytes()).hexdigest().startswith("3e394842088f72dd")


@pytest.mark.parametrize("scheme", ["fast", "reference"])
@pytest.mark.parametrize("text", [TEXT, GREEK, "a  b\tc\n\nd (e) f, g", "a b c d e", "é " * 40])
def test_signatures_are_datasketch_s(text, scheme):
    from datasketch import MinHash

    hasher = MinHasher(scheme=scheme)
    sketch = minhash._sketch(scheme, 250, 42)
    theirs = MinHash(num_perm=250, seed=42, scheme="affine32", hashfunc=shingle_hash) if scheme == "fast" else sketch
    theirs.update_batch(minhash.shingle_set(text))
    ours = hasher.signature(text)
    assert ours is not None
    assert ours.tolist() == np.asarray(theirs.hashvalues).tolist()
    minhash._sketch.cache_clear()


@pytest.mark.parametrize("scheme", ["fast", "reference"])
def test_a_job_compares_signatures_and_candidates_with_datasketch(scheme, monkeypatch):
    monkeypatch.setattr(minhash, "COMPARED", 100)
    texts = [variant(n, changed) for changed in (1, 2, 3, 5, 8) for n in range(8)] + ["short", GREEK]
    hasher = MinHasher(bands=25, rows=10, scheme=scheme)
    hasher.compare(texts)
    keys = np.array([hasher.keys(text) for text in texts])
    pairs = [(i, j) for i, j in itertools.combinations(range(len(texts)), 2) if (keys[i] == keys[j]).any()]
    assert 0 < len(pairs) < len(texts) * (len(texts) - 1) / 2


@pytest.mark.parametrize("broken", ["_affine32", "_shingles", "_band_keys"])
def test_a_compiled_pass_that_differs_from_datasketch_stops_the_job(broken, monkeypatch):
    compute = getattr(minhash, broken)

    def wrong(*arguments):
        result = compute(*arguments)
        if broken == "_band_keys":
            arguments[-1][:] = np.uint64(7)  # Every two texts are candidates.
        else:
            arguments[-1][0] ^= np.uint32(1)
        return result

    monkeypatch.setattr(minhash, broken, wrong)
    with pytest.raises(UserError, match=r"differ from those of datasketch 2\.\d"):
        survivors([TEXT, GREEK, variant(1)], MinHasher(), threshold=0.5)


@given(st.text(max_size=60))
def test_words_are_those_of_the_published_split(text):
    text = text.encode("utf-8", "replace").decode()
    tokens = re.split(r"\W", text.lower())
    joined = minhash.words(text)
    assert joined.decode().split(" ") == tokens
    assert minhash.count_tokens(joined) == len(tokens)


@given(st.lists(st.sampled_from(["a", "bb", "", "ccc_d", "é", "9"]), min_size=5, max_size=30))
def test_compiled_shingles_are_the_hashes_of_the_shingle_strings(tokens):
    text = " ".join(tokens)
    expected = {shingle_hash(shingle) for shingle in minhash.shingle_set(text)}
    assert set(MinHasher().hashes(text).tolist()) == expected


@pytest.mark.parametrize(("threshold", "bands"), [(0.5, (41, 6)), (0.7, (25, 10))])
def test_bands_are_the_published_ones(threshold, bands):
    assert best_bands(threshold, 250) == bands


@pytest.mark.parametrize(("threshold", "permutations"), [(1.2, 250), (0.5, 1), (1.0, 2)])
def test_bands_that_datasketch_cannot_choose_are_a_sentence(threshold, permutations):
    with pytest.raises(UserError, match="no bands for a threshold of"):
        best_bands(threshold, permutations)


def test_more_bands_than_permutations_are_refused():
    with pytest.raises(ValueError, match="need 500 permutations"):
        MinHasher(bands=50, rows=10)


def test_survivors_are_the_first_of_each_connected_component():
    texts = [variant(n, changed) for changed in (1, 2, 4, 8) for n in range(10)] + [variant(3, 1), "", "", "one two"]
    ours = survivors(texts, MinHasher(bands=60, rows=4), threshold=0.5)
    parent = list(range(len(texts)))
    for i, j in itertools.combinations(range(len(texts)), 2):
        if texts[i] == texts[j] or jaccard(texts[i], texts[j]) >= 0.5:
            a, b = sorted((parent[i], parent[j]))
            parent = [a if p == b else p for p in parent]
    assert ours.tolist() == parent
    assert len(set(parent)) < len(texts) - 12


@pytest.mark.parametrize("largest", [1, 2, 3])
def test_a_crowded_bucket_still_joins_copies_of_one_text(largest, monkeypatch):
    monkeypatch.setattr(clusters, "LARGEST_BUCKET", largest)
    texts = [variant(0, 1) + f" tail {n}" for n in range(12)]
    assert survivors(texts, MinHasher(bands=60, rows=4), threshold=0.5).tolist() == [0] * 12


def test_candidates_below_the_threshold_are_not_joined():
    texts = [variant(n, 8) for n in range(10)]
    hasher = MinHasher(bands=125, rows=2)
    keys = np.array([hasher.keys(text) for text in texts])
    assert (keys[0] == keys[1]).any(), "the pair must be a candidate for the test to mean anything"
    assert jaccard(texts[0], texts[1]) < 0.5
    assert survivors(texts, hasher, threshold=0.5).tolist() == list(range(10))


def test_the_published_survivor_is_the_root_of_a_union_by_rank():
    forest = RankedUnionFind()
    for member in {3, 10, 25}:
        forest.union(member, 3)
    assert {forest.find(member) for member in (3, 10, 25)} == {25}
    keys = np.arange(1, 41, dtype=np.uint64)[None, :].repeat(2, axis=0)
    keys[0, [3, 10, 25]] = 100
    roots = clusters.reference_roots(keys)
    assert roots[[3, 10, 25]].tolist() == [25, 25, 25]
    assert np.delete(roots, [3, 10, 25]).tolist() == [n for n in range(40) if n not in (3, 10, 25)]


def test_the_published_rule_deletes_short_texts_and_numbers_the_rest_without_them():
    texts = ["too short", TEXT, TEXT, "a b c d", variant(1)]
    chosen = survivors(texts, MinHasher(scheme="reference"), threshold=0.7, rule="reference")
    assert chosen.tolist() == [clusters.TOO_SHORT, 2, 2, clusters.TOO_SHORT, 4]
