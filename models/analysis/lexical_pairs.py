"""Pairs of texts that share their wording: proposed ones as numbers, decided ones with a kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.analysis.duplicates import Pairs, order_of_pairs
from models.analysis.lexical import TooManyAlikeError, equal_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.types import RowIds

LEXICAL_KINDS: Final = ("normalised", "lexical")
"""What a pair of texts may be: equal in their normal form, or alike in their word triples."""

NORMALISED, LEXICAL = range(2)
_JOINED_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LexicalPairs:
    """Pairs of texts, each once.

    Attributes:
        pairs: with the Jaccard index of their word triples, 1 where their normal forms are equal.
        kinds: (pairs,) int8, places in `LEXICAL_KINDS`.
    """

    pairs: Pairs
    kinds: npt.NDArray[np.int8]

    def of_kind(self, kind: str) -> Pairs:
        """Return the pairs of one kind."""
        chosen = self.kinds == LEXICAL_KINDS.index(kind)
        pairs = self.pairs
        return Pairs(pairs.first[chosen], pairs.second[chosen], pairs.similarities[chosen])


def joined_lexical(parts: Sequence[LexicalPairs]) -> LexicalPairs:
    """Return all pairs, sorted by first, then second."""
    none = np.empty(0, np.int64)
    first = np.concatenate([none, *(part.pairs.first for part in parts)])
    second = np.concatenate([none, *(part.pairs.second for part in parts)])
    values = [np.empty(0, np.float32), *(part.pairs.similarities for part in parts)]
    kinds = np.concatenate([np.empty(0, np.int8), *(part.kinds for part in parts)])
    order = order_of_pairs(first, second)
    pairs = Pairs(first[order], second[order], np.concatenate(values)[order])
    return LexicalPairs(pairs, kinds[order])


class Candidates:
    """Pairs of rows as numbers, each once, in bounded memory."""

    def __init__(self, rows: int, most: int) -> None:
        self._rows, self._most = rows, most
        self._waiting: list[RowIds] = [np.empty(0, np.int64)]
        self._held = 0

    def add(self, rows: RowIds, keys: npt.NDArray[np.unsignedinteger], fresh: np.ndarray) -> None:
        """Take the pairs of some rows with equal keys.

        Raises:
            TooManyAlikeError: there are more than may be held.
        """
        first, second = equal_pairs(keys, fresh[rows], self._most)
        self._waiting.append(rows[first] * self._rows + rows[second])
        self._held += first.size
        # Alike texts agree in many bands, so pairs are joined now and then.
        if self._held > max(_JOINED_AT_ONCE, self._waiting[0].size):
            self.keys()

    def keys(self) -> RowIds:
        """Return first * rows + second of all pairs, sorted, each once."""
        joined = np.unique(np.concatenate(self._waiting))
        self._waiting, self._held = [joined], 0
        if joined.size > self._most:
            raise TooManyAlikeError(joined.size)
        return joined
