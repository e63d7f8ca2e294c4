"""Which contents resemble which, by what, and how much: everything a decision is made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.analysis.duplicates import Pairs
    from models.types import RowIds

KINDS: Final = ("exact", "pixels", "normalised", "lexical", "perceptual", "semantic", "near")
"""How a duplicate was found, what proves most in front: equal bytes; equal decoded pixels;
texts that are equal in their normal form; common word triples; photos compared by vectors and
pixels; texts and vectors by their vectors."""

EXACT: Final = KINDS.index("exact")

Floats = npt.NDArray[np.float32]
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Edges:
    """Pairs of rows with what speaks for each; the same pair may stand once a kind.

    Attributes:
        first: (edges,) int64.
        second: (edges,) int64, greater than `first`.
        scores: (edges,) float32: what the threshold of its kind is held against.
        similarities: (edges,) float32, in the space's metric; the score where there is no other.
        kinds: (edges,) int8, places in `KINDS`.
        thresholds: the least score of a duplicate, by kind. Edges below it are stored, too: they
            are what other thresholds can be tried on.
    """

    first: RowIds
    second: RowIds
    scores: Floats
    similarities: Floats
    kinds: npt.NDArray[np.int8]
    thresholds: Mapping[str, float]

    @classmethod
    def of_kind(
        cls, kind: str, pairs: Pairs, threshold: float | None, scores: Floats | None = None
    ) -> Edges:
        """Make edges of one kind from pairs.

        Args:
            kind: one of `KINDS`.
            pairs: with their similarities.
            threshold: of the kind; with None there must be no pair.
            scores: (pairs,) float32; by default the similarities.
        """
        if threshold is None and pairs.count:
            raise ValueError(f"pairs of kind {kind} without a threshold")
        kinds = np.full(pairs.count, KINDS.index(kind), np.int8)
        thresholds = {} if threshold is None else {kind: threshold}
        judged = pairs.similarities if scores is None else scores
        return cls(pairs.first, pairs.second, judged, pairs.similarities, kinds, thresholds)

    @property
    def count(self) -> int:
        """How many edges."""
        return int(self.first.size)

    def least(self) -> Floats:
        """Return the threshold of each edge's kind, (edges,) float32."""
        by_kind = np.array([self.thresholds.get(kind, np.inf) for kind in KINDS], np.float32)
        found: Floats = by_kind[self.kinds]
        return found

    def within(self) -> Edges:
        """Return the edges that reach the threshold of their kind, float32's rounding aside."""
        least = self.least()
        return self.chosen(self.scores >= least - _ROUNDING * np.maximum(1, np.abs(least)))

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Edges:
        """Return the same edges to be judged by other thresholds; other kinds keep theirs."""
        return replace(self, thresholds={**self.thresholds, **thresholds})

    def chosen(self, which: npt.NDArray[np.bool_] | RowIds) -> Edges:
        """Return some of the edges, by a mask or by their places."""
        return Edges(
            self.first[which],
            self.second[which],
            self.scores[which],
            self.similarities[which],
            self.kinds[which],
            self.thresholds,
        )

    def strengths(self) -> npt.NDArray[np.float64]:
        """Return numbers that order the edges, (edges,) float64, greater is stronger.

        What proves more is stronger; within a kind the score decides.
        """
        order = np.lexsort((self.scores, -self.kinds))
        scores, kinds = self.scores[order], self.kinds[order]
        new = (np.diff(scores, prepend=np.inf) != 0) | (np.diff(kinds, prepend=-1) != 0)
        strengths = np.empty(self.count, np.float64)
        strengths[order] = np.cumsum(new)
        return strengths


def joined_edges(parts: Sequence[Edges]) -> Edges:
    """Return the edges of all parts, with the thresholds of all."""
    thresholds: dict[str, float] = {}
    for part in parts:
        thresholds |= part.thresholds
    return Edges(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.similarities for part in parts]),
        np.concatenate([part.kinds for part in parts]),
        thresholds,
    )
