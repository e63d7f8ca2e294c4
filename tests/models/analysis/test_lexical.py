"""Lexical near-duplicates against Python's sets and brute force over all pairs."""

from __future__ import annotations

import gzip
import json
from itertools import combinations, islice
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.analysis.lexical import jaccard, proposed_pairs, shingles, signatures
from models.encoders.tokens import tokenise

if TYPE_CHECKING:
    from pathlib import Path

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


def test_what_bands_propose_holds_nearly_all_pairs_of_brute_force(abstracts: list[str]) -> None:
    held = shingles(abstracts)
    every = np.arange(len(abstracts))
    first, second = proposed_pairs(signatures(held), every)
    near = jaccard(held, first, second) >= 0.5
    found = set(zip(first[near].tolist(), second[near].tolist(), strict=True))
    sets = [triples(text) for text in abstracts]
    wanted = {
        (one, other)
        for one, other in combinations(range(len(sets)), 2)
        if sets[one] and len(sets[one] & sets[other]) >= 0.5 * len(sets[one] | sets[other])
    }
    assert found <= wanted
    assert len(found) >= 0.9 * len(wanted) >= 50


def test_rows_that_are_new_bring_the_pairs_that_all_rows_had(abstracts: list[str]) -> None:
    held = signatures(shingles(abstracts))
    whole = set(zip(*map(np.ndarray.tolist, proposed_pairs(held, np.arange(500))), strict=True))
    old = set(zip(*map(np.ndarray.tolist, proposed_pairs(held[:450], np.arange(450))), strict=True))
    new = set(zip(*map(np.ndarray.tolist, proposed_pairs(held, np.arange(450, 500))), strict=True))
    assert old | new == whole
    assert not old & new


def test_texts_without_words_resemble_nothing() -> None:
    held = shingles(["", "...", "one two three"])
    assert held.counts.tolist() == [0, 0, 1]
    assert jaccard(held, np.array([0]), np.array([1])).tolist() == [0]
