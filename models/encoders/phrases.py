"""Two words that are one: found in a corpus, and joined in texts by "_".

The idea is that of Mikolov et al., "Distributed Representations of Words and Phrases and their
Compositionality" (NeurIPS 2013); the score is the normalised pointwise mutual information of Bouma,
"Normalized (Pointwise) Mutual Information in Collocation Extraction" (GSCL 2009),

    npmi(a, b) = ln(p(a b) / (p(a) p(b))) / -ln p(a b),

from -1 over 0 (independent) to 1 (always together). No token has a "_", so the joined words of a
vocabulary are all that has to be kept of what was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

JOINT: Final = "_"

Numbers = npt.NDArray[np.int32]
"""A number for each word, -1 for words that are not known."""


class PhraseTable:
    """The phrases of a vocabulary, and how words become them.

    Args:
        rows: each word's row; those with one "_" between two words are phrases.

    Attributes:
        parts: a number for each word that stands in phrases only, beyond all rows.
    """

    def __init__(self, rows: Mapping[str, int]) -> None:
        pairs = {
            (first, second): row
            for word, row in rows.items()
            for first, joint, second in [word.partition(JOINT)]
            if joint and first and second and JOINT not in second
        }
        single = dict.fromkeys(word for pair in pairs for word in pair if word not in rows)
        self._rows = max(rows.values(), default=-1) + 1
        self.parts = {word: self._rows + at for at, word in enumerate(single)}
        self._span = self._rows + len(single)
        numbers = {**rows, **self.parts}
        codes = np.array([numbers[a] * self._span + numbers[b] for a, b in pairs], np.int64)
        order = np.argsort(codes)
        self._codes = codes[order]
        self._row_of = np.fromiter(pairs.values(), np.int32, len(pairs))[order]

    def join(self, numbers: Numbers, offsets: npt.NDArray[np.int32]) -> Numbers:
        """Put the row of a phrase in the place of its first word, and -1 in that of its second.

        A word belongs to the first phrase that it can be part of, from the left; phrases do not
        reach over the end of a text.

        Args:
            numbers: (words,) of all texts, those of `parts` included.
            offsets: (texts + 1,) where each text begins.

        Returns:
            (words,) int32 rows, -1 for what is no word of the vocabulary.
        """
        at, codes = adjacent_pairs(numbers, offsets, self._span)
        places = np.searchsorted(self._codes, codes)
        places = np.minimum(places, max(len(self._codes) - 1, 0))
        is_phrase = self._codes[places] == codes if len(self._codes) else np.zeros(len(at), bool)
        starts = at[is_phrase]
        chosen = every_other(starts)
        joined = np.where(numbers < self._rows, numbers, np.int32(-1))
        joined[starts[chosen]] = self._row_of[places[is_phrase][chosen]]
        joined[starts[chosen] + 1] = -1
        return joined


def adjacent_pairs(
    numbers: Numbers, offsets: npt.NDArray[np.int32], span: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where two known words of one text stand side by side, and first * span + second."""
    if len(numbers) < 2:  # noqa: PLR2004
        return np.empty(0, np.int64), np.empty(0, np.int64)
    beside = (numbers[:-1] >= 0) & (numbers[1:] >= 0)
    ends = offsets[1:-1]
    beside[ends[(ends > 0) & (ends < len(numbers))] - 1] = False
    at = np.flatnonzero(beside)
    return at, numbers[at].astype(np.int64) * span + numbers[at + 1]


def every_other(starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Choose pairs from the left so that none overlap.

    Args:
        starts: (pairs,) ascending places of their first words.

    Returns:
        (pairs,) which are chosen: in a run of overlapping ones the first, the third and so on.
    """
    if not len(starts):
        return np.zeros(0, np.bool_)
    begins = np.concatenate([[True], np.diff(starts) != 1])
    order = np.arange(len(starts))
    since = order - np.maximum.accumulate(np.where(begins, order, 0))
    return np.equal(since % 2, 0)
