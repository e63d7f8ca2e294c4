"""Which pairs of words a corpus has as one: counted a chunk at a time, scored at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.encoders.phrases import JOINT, adjacent_pairs
from models.encoders.word_lookup import WordLookup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.encoders.word2vec_training import Corpus

# Of 8,000 abstracts, pairs above .5 are terms ("data mining", "latent variable"); further down come
# pairs that only follow each other often ("by adding", "are interested").
LEAST_NPMI: Final = 0.5

# Beyond it the rarest pairs are forgotten; 16 bytes each.
PAIRS_LIMIT: Final = 20_000_000

Counts = npt.NDArray[np.int64]


def learn_phrases(corpus: Corpus, min_count: int, *, limit: int = PAIRS_LIMIT) -> list[str]:
    """Find the pairs of words that stand together more than chance would have it.

    Args:
        corpus: read once, a chunk at a time.
        min_count: rarer words and rarer pairs are no phrases.
        limit: how many different pairs to count; past it, the rarest go until half are left.

    Returns:
        The phrases, joined, in order of their words in the corpus: those with npmi > `LEAST_NPMI`.
    """
    words = [word for word, count in corpus.counts.items() if count >= min_count]
    counts = np.array([corpus.counts[word] for word in words], np.int64)
    codes, together = _count_pairs(corpus, words, limit)
    codes, together = codes[together >= min_count], together[together >= min_count]
    first, second = np.divmod(codes, max(len(words), 1))
    chosen = npmi(counts[first], counts[second], together, corpus.words) > LEAST_NPMI
    return [
        f"{words[a]}{JOINT}{words[b]}"
        for a, b in zip(first[chosen].tolist(), second[chosen].tolist(), strict=True)
    ]


def npmi(first: Counts, second: Counts, together: Counts, words: int) -> npt.NDArray[np.float64]:
    """Return the normalised pointwise mutual information of pairs of words.

    Args:
        first: (pairs,) how often the first word occurs.
        second: (pairs,) how often the second one does.
        together: (pairs,) how often the second follows the first.
        words: how many words the corpus has.
    """
    shares = together / words
    scores: npt.NDArray[np.float64] = np.log(shares / (first / words * (second / words)))
    return scores / -np.log(shares)


def _count_pairs(corpus: Corpus, words: list[str], limit: int) -> tuple[Counts, Counts]:
    """Return codes first * len(words) + second, ascending, and how often each pair occurs."""
    lookup = WordLookup({word: number for number, word in enumerate(words)})
    pairs = _Pairs(limit)
    for lines in corpus.chunks():
        numbers, offsets = lookup.numbers(lines.values), np.asarray(lines.offsets)
        pairs.add(adjacent_pairs(numbers, offsets, len(words))[1])
    return pairs.merged()


class _Pairs:
    """Counts codes; sums are merged when as many wait as are merged, so that each moves seldom."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[tuple[Counts, Counts]] = []

    def add(self, codes: Counts) -> None:
        self._parts.append(np.unique(codes, return_counts=True))
        if sum(self._waiting()) >= max(len(self._parts[0][0]), 1 << 20):
            self.merged()

    def merged(self) -> tuple[Counts, Counts]:
        codes = np.concatenate([part[0] for part in self._parts] or [np.empty(0, np.int64)])
        counts = np.concatenate([part[1] for part in self._parts] or [np.empty(0, np.int64)])
        order = np.argsort(codes, kind="stable")
        codes, counts = codes[order], counts[order]
        firsts = np.flatnonzero(np.diff(codes, prepend=-1))
        codes = codes[firsts]
        counts = np.add.reduceat(counts, firsts) if len(firsts) else counts
        rarest = 0
        while len(codes) > (self._limit // 2 if rarest else self._limit):
            rarest += 1
            codes, counts = codes[counts > rarest], counts[counts > rarest]
        self._parts = [(codes, counts)]
        return codes, counts

    def _waiting(self) -> Iterator[int]:
        return (len(codes) for codes, _ in self._parts[1:])
