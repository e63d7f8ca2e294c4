"""Lexical near-duplicates against Python's sets and brute force over all pairs."""

from __future__ import annotations

import gzip
import json
from hashlib import blake2b
from itertools import combinations, islice
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.analysis.lexical import (
    TooManyAlikeError,
    band_keys,
    equal_pairs,
    jaccard,
    shingles,
)
from models.encoders.tokens import tokenise

if TYPE_CHECKING:
    from pathlib import Path

    from models.analysis.lexical import Mask, Shingles

WORDS = st.sampled_from(["a", "b", "c", "Naïve", "日本", "don't", "x-y", "", "7"])
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), min_size=2, max_size=6)


def triples(text: str) -> set[tuple[str, ...]]:
    words = tokenise(text)
    if not words:
        return set()
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


@given(TEXTS)
def test_the_index_is_that_of_the_sets(texts: list[str]) -> None:
    sets = [triples(text) for text in texts]
    found = shingles(texts)
    assert found.counts.tolist() == [len(one) for one in sets]
    pairs = np.array(list(combinations(range(len(texts)), 2)))
    given_pairs = jaccard(found, pairs[:, 0], pairs[:, 1])
    for (one, other), value in zip(pairs.tolist(), given_pairs, strict=True):
        union = sets[one] | sets[other]
        wanted = len(sets[one] & sets[other]) / len(union) if union else 0
        assert value == pytest.approx(wanted)


@pytest.fixture(scope="module")
def abstracts(samples: Path) -> list[str]:
    """400 abstracts, and 100 of them with every twelfth word left out."""
    path = samples / "abstracts.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["abstract"] for line in islice(file, 400)]
    edited = []
    for text in texts[:100]:
        words = text.split()
        edited.append(" ".join(word for at, word in enumerate(words) if at % 12 != 5))
    return texts + edited


def proposed(held: Shingles, fresh: Mask) -> set[tuple[int, int]]:
    keys = band_keys(held)
    return {
        pair
        for band in range(keys.shape[1])
        for pair in zip(
            *map(np.ndarray.tolist, equal_pairs(keys[:, band], fresh, 10**6)), strict=True
        )
    }


def test_what_bands_propose_holds_nearly_all_pairs_of_brute_force(abstracts: list[str]) -> None:
    held = shingles(abstracts)
    every = np.ones(len(abstracts), np.bool_)
    found = proposed(held, every)
    sets = [triples(text) for text in abstracts]
    wanted = {
        (one, other)
        for one, other in combinations(range(len(sets)), 2)
        if len(sets[one] & sets[other]) >= 0.5 * len(sets[one] | sets[other])
    }
    assert len(wanted) >= 50
    assert len(found & wanted) >= 0.95 * len(wanted)
    assert len(found) < 0.01 * len(sets) ** 2 / 2


def test_rows_that_are_new_bring_the_pairs_that_all_rows_had(abstracts: list[str]) -> None:
    held = shingles(abstracts)
    whole = proposed(held, np.ones(500, np.bool_))
    first = shingles(abstracts[:450])
    old = proposed(first, np.ones(450, np.bool_))
    new = proposed(held, np.arange(500) >= 450)
    assert old | new == whole
    assert not old & new


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=20),
)
def test_equal_keys_make_pairs_of_which_one_is_fresh(rows: list[tuple[int, bool]]) -> None:
    keys = np.array([key for key, _ in rows], np.uint32)
    fresh = np.array([is_fresh for _, is_fresh in rows], np.bool_)
    wanted = [
        (one, other)
        for one, other in combinations(range(len(rows)), 2)
        if keys[one] == keys[other] and (fresh[one] or fresh[other])
    ]
    first, second = equal_pairs(keys, fresh, len(wanted))
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == wanted
    if wanted:
        with pytest.raises(TooManyAlikeError, match=f"{len(wanted)} pairs"):
            equal_pairs(keys, fresh, len(wanted) - 1)


def test_band_keys_are_those_of_every_machine_and_version(abstracts: list[str]) -> None:
    """Keys are stored: other ones need another name in `WORDING`."""
    found = blake2b(band_keys(shingles(abstracts)).tobytes(), digest_size=8).hexdigest()
    assert found == "81d1e0dbad4b9e93"
    held = blake2b(shingles(abstracts).hashes.tobytes(), digest_size=8).hexdigest()
    assert held == "0ec27d6527efee4c"


def test_texts_without_words_resemble_nothing() -> None:
    held = shingles(["", "...", "one two three"])
    assert held.counts.tolist() == [0, 0, 1]
    assert jaccard(held, np.array([0]), np.array([1])).tolist() == [0]
