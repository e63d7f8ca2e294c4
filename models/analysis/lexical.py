"""Texts that share their wording: MinHash and LSH propose pairs, the exact Jaccard index decides.

Broder, "On the resemblance and containment of documents" (1997); bands after Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. Signatures are made by the library rensa.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rensa import RMinHash

from latentlake.errors import ConfigError
from models.encoders.token_arrays import split_words
from models.encoders.tokens import TOKENISER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.types import RowIds

Hashes = npt.NDArray[np.uint64]
BandKeys = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

SHINGLE_WORDS: Final = 3
BANDS: Final = 64
_BAND_ROWS: Final = 4
"""A pair of Jaccard .5 agrees in a band with probability 1 - (1 - .5^4)^64 = .984, of .6 with
.9999; of .1 with .006, and such pairs are many."""
_SEED: Final = 42
_COMPARED_AT_ONCE: Final = 1 << 12
_ODD: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)

WORDING: Final = f"{TOKENISER}, {SHINGLE_WORDS}-shingles 1, {BANDS}x{_BAND_ROWS} rensa 1"
"""Names everything that decides shingles and band keys; a change of either changes the name."""


class TooManyAlikeError(ConfigError):
    """So many contents follow one pattern that their pairs do not fit into memory."""

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs
        super().__init__(
            f"{pairs:,} pairs of texts may share their wording, or of pictures their pixels, more "
            "than there is memory for: raise limits.memory. duplicates.lexical = false compares "
            "texts by vectors only."
        )


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


def band_keys(of: Shingles) -> BandKeys:
    """Return MinHash signatures, cut into bands: (texts, `BANDS`) uint32.

    Keys of a text without shingles are those of the empty set, and resemble nothing but that.
    """
    permutations = BANDS * _BAND_ROWS
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        of.hashes, of.offsets.astype(np.uint64), permutations, _SEED
    )
    values = np.array(matrix.to_rows(), np.uint32).reshape(-1, BANDS, _BAND_ROWS)
    keys = np.zeros(values.shape[:2], np.uint64)
    for place in range(_BAND_ROWS):
        keys = _mixed(keys + values[:, :, place].astype(np.uint64) * np.uint64(_ODD[0]))
    return (keys >> np.uint64(32)).astype(np.uint32)


def _may_equal(keys: npt.NDArray[Any], some: npt.NDArray[Any]) -> Mask:
    """Mark the keys that are among some, and few others: by 16 bits, in one pass."""
    wanted = np.zeros(1 << 16, np.bool_)
    wanted[some & some.dtype.type(0xFFFF)] = True
    found: Mask = wanted[keys & keys.dtype.type(0xFFFF)]
    return found


def equal_pairs(keys: npt.NDArray[Any], fresh: Mask, most: int) -> tuple[RowIds, RowIds]:
    """Return all pairs of rows with equal keys of which one is fresh, in no order.

    Args:
        keys: (rows,), e.g. one band of all texts.
        fresh: (rows,) bool.
        most: how many pairs there may be.

    Returns:
        (pairs,) int64 twice, the smaller row and the greater one; each pair once.

    Raises:
        TooManyAlikeError: there are more; none has been made.
    """
    rows = np.arange(len(keys))
    if not fresh.all():
        rows = rows[_may_equal(keys, keys[fresh])]
    # Of equal keys the fresh ones go last: each makes a pair with all in front of it.
    order = rows[np.lexsort((fresh[rows], keys[rows]))]
    new = np.ones(len(order), np.bool_)
    new[1:] = keys[order[1:]] != keys[order[:-1]]
    begins = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    places = np.flatnonzero(fresh[order])
    counts = places - begins[places]
    if counts.sum() > most:
        raise TooManyAlikeError(int(counts.sum()))
    ends = np.cumsum(counts)
    within = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
    one, other = order[np.repeat(begins[places], counts) + within], np.repeat(order[places], counts)
    return np.minimum(one, other).astype(np.int64), np.maximum(one, other).astype(np.int64)


def jaccard(of: Shingles, first: RowIds, second: RowIds) -> npt.NDArray[np.float64]:
    """Return |A and B| / |A or B| of pairs of texts, (pairs,) float64; 0 where both are empty."""
    found = np.zeros(len(first), np.float64)
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
