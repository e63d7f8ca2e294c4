"""Texts that share their wording: MinHash and LSH propose pairs, the exact Jaccard index decides.

Broder, "On the resemblance and containment of documents" (1997); bands after Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. Signatures are made by the library rensa.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from rensa import RMinHash

from models.encoders.token_arrays import split_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.types import RowIds

Hashes = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]

SHINGLE_WORDS: Final = 3
PERMUTATIONS: Final = 128
BANDS: Final = 32
"""Of 4 permutations each: a pair of Jaccard .5 is proposed with probability .87, of .6 with .99."""
_SEED: Final = 42
_COMPARED_AT_ONCE: Final = 1 << 12
_ODD: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)


@dataclass(frozen=True, slots=True)
class Shingles:
    """The sets of word triples of texts, by their hashes.

    Attributes:
        hashes: (any,) uint64, of each text ascending and different.
        offsets: (texts + 1,) int64: text i has the hashes from place i to place i + 1.
    """

    hashes: Hashes
    offsets: npt.NDArray[np.int64]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(texts,) int64, how many each text has."""
        counts: npt.NDArray[np.int64] = np.diff(self.offsets)
        return counts


def shingles(texts: Sequence[str]) -> Shingles:
    """Return the sets of `SHINGLE_WORDS` consecutive words; words are those of the encoders.

    A shorter text has one shingle of all its words, a text without words has none.
    """
    words = split_words(texts)
    offsets = np.asarray(words.offsets).astype(np.int64)
    encoded = words.values.dictionary_encode()
    of_word = np.array([_word_hash(word) for word in encoded.dictionary.to_pylist()], np.uint64)
    hashes = of_word[encoded.indices.to_numpy()] if len(encoded) else np.empty(0, np.uint64)
    counts = np.diff(offsets)
    sets = np.where(counts > 0, np.maximum(counts - SHINGLE_WORDS + 1, 1), 0)
    text = np.repeat(np.arange(len(counts)), sets)
    begins = np.concatenate([[0], np.cumsum(sets)])[:-1]
    first = offsets[:-1][text] + np.arange(len(text)) - begins[text]
    joined = np.zeros(len(text), np.uint64)
    for step, odd in enumerate(_ODD):
        at = first + step
        inside = at < offsets[1:][text]
        joined[inside] += hashes[at[inside]] * np.uint64(odd)
    return _sets(text, _mixed(joined), len(counts))


def signatures(of: Shingles) -> Signatures:
    """Return MinHash signatures, (texts, `PERMUTATIONS`) uint32."""
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        of.hashes, of.offsets.astype(np.uint64), PERMUTATIONS, _SEED
    )
    return np.array(matrix.to_rows(), np.uint32).reshape(-1, PERMUTATIONS)


def proposed_pairs(held: Signatures, rows: RowIds) -> tuple[RowIds, RowIds]:
    """Return pairs whose signatures agree in a band, and of which one is among some rows.

    Args:
        held: all texts' signatures.
        rows: (wanted,) int64: the rows whose pairs are wanted.

    Returns:
        (pairs,) int64 twice: the smaller row and the greater one, ascending, each pair once.
    """
    wanted = np.zeros(len(held), np.bool_)
    wanted[rows] = True
    keys = [np.empty(0, np.int64)]
    keys += [first * len(held) + second for first, second in _agreeing(held, wanted)]
    unique = np.unique(np.concatenate(keys))
    return unique // max(1, len(held)), unique % max(1, len(held))


def jaccard(of: Shingles, first: RowIds, second: RowIds) -> npt.NDArray[np.float32]:
    """Return |A and B| / |A or B| of pairs of texts, (pairs,) float32; 0 where both are empty."""
    found = np.zeros(len(first), np.float32)
    for start in range(0, len(first), _COMPARED_AT_ONCE):
        part = slice(start, start + _COMPARED_AT_ONCE)
        one, other = first[part], second[part]
        pairs, hashes = _gathered(of, one, other)
        order = np.lexsort((hashes, pairs))
        pairs, hashes = pairs[order], hashes[order]
        equal = (pairs[1:] == pairs[:-1]) & (hashes[1:] == hashes[:-1])
        shared = np.bincount(pairs[1:][equal], minlength=len(one))
        together = of.counts[one] + of.counts[other] - shared
        found[part] = np.divide(shared, together, out=np.zeros(len(one)), where=together > 0)
    return found


def _agreeing(held: Signatures, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[RowIds, RowIds]]:
    """Yield the pairs of each band."""
    width = PERMUTATIONS // BANDS
    for band in range(0, PERMUTATIONS, width):
        key = np.zeros(len(held), np.uint64)
        for column in range(band, band + width):
            key = _mixed(key + held[:, column].astype(np.uint64) * np.uint64(_ODD[0]))
        order = np.argsort(key, kind="stable")
        bounds = np.flatnonzero(np.diff(key[order])) + 1
        for group in np.split(order, bounds):
            if len(group) > 1 and wanted[group].any():
                one, other = np.triu_indices(len(group), 1)
                one, other = group[one], group[other]
                some = wanted[one] | wanted[other]
                yield one[some].astype(np.int64), other[some].astype(np.int64)


def _gathered(of: Shingles, one: RowIds, other: RowIds) -> tuple[npt.NDArray[np.int64], Hashes]:
    """Return the shingles of both texts of each pair, and the pair of each."""
    pair = np.concatenate([np.arange(len(one)), np.arange(len(one))])
    rows = np.concatenate([one, other])
    counts = of.counts[rows]
    begins = np.concatenate([[0], np.cumsum(counts)])[:-1]
    at = np.repeat(of.offsets[:-1][rows] - begins, counts) + np.arange(counts.sum())
    return np.repeat(pair, counts), of.hashes[at]


def _sets(text: npt.NDArray[np.int64], hashes: Hashes, texts: int) -> Shingles:
    order = np.lexsort((hashes, text))
    text, hashes = text[order], hashes[order]
    new = np.ones(len(text), np.bool_)
    new[1:] = (text[1:] != text[:-1]) | (hashes[1:] != hashes[:-1])
    counts = np.bincount(text[new], minlength=texts)
    return Shingles(hashes[new], np.concatenate([[0], np.cumsum(counts)]))


def _word_hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def _mixed(values: Hashes) -> Hashes:
    """Spread each value over all 64 bits: the finaliser of MurmurHash3."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))
