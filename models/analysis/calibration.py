"""A threshold for a precision: what share of pairs above a score are true, without knowing which.

The scores of the pairs that are in the data are a mixture of duplicates and others. What duplicates
score is learned from pairs that are known to be some (contents against altered copies of
themselves). Of the others, the nearest number as the m-th power of the distance, where m is the
data's intrinsic dimension (Levina & Bickel 2004): on the axis -log(1 - cosine), or -log of the
squared distance, their tail falls exponentially in the end, with the rate m / 2, and more slowly
before (see `models.analysis.tails`). How many duplicates there are, and that tail, are estimated
together by EM (Dempster et al. 1977), as in record linkage
(Fellegi & Sunter 1969; Winkler 1988) and in PeptideProphet (Keller et al. 2002). So the base rate
is that of the data, not that of a made-up test set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.analysis.tails import Tail

if TYPE_CHECKING:
    from models.types import RowIds

Floats = npt.NDArray[np.float64]

BINS: Final = 200
_ROUNDS: Final = 100
_SETTLED: Final = 1e-6
_EQUAL: Final = 1e-6
"""Vectors that are nearer are equal, as far as float32 can tell."""
_RESAMPLED: Final = 100
_SMOOTH: Final = 2.0
"""Standard deviation, in bins, of the kernel over the scores of altered copies."""
_ANYWHERE: Final = 0.02
"""Share of duplicates that are spread evenly: no sample of alterations has them all."""
_GROUPS: Final = 400
"""Clusters are dealt into so many groups, which are resampled whole."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Scores with what they hang together by.

    Attributes:
        scores: (any,) float64.
        clusters: (any,) int64, the content that each belongs to.
    """

    scores: Floats
    clusters: RowIds


@dataclass(frozen=True, slots=True)
class Chosen:
    """A threshold and how sure it is.

    Attributes:
        threshold: the least score from which on pairs are duplicates with the wanted precision.
        low: 2.5 % of resamplings chose a threshold below.
        high: 2.5 % chose one above.
        precision: expected of pairs that reach the threshold.
        recall: share of altered copies that reach it.
        duplicate_share: of the observed pairs above `start`, those that are duplicates.
        start: the score from which on the tail was fitted.
    """

    threshold: float
    low: float
    high: float
    precision: float
    recall: float
    duplicate_share: float
    start: float


@dataclass(frozen=True, slots=True)
class Axis:
    """What scores are laid out on, so that those of other pairs fall exponentially.

    Attributes:
        end: the score of equal vectors; None where there is none, and scores stand as they are.
    """

    end: float | None = None

    def of(self, scores: Floats) -> Floats:
        """Return where scores lie."""
        if self.end is None:
            return scores
        found: Floats = -np.log(np.maximum(self.end - scores, _EQUAL))
        return found

    def back(self, place: float) -> float:
        """Return the score of a place."""
        return place if self.end is None else self.end - float(np.exp(-place))


def choose_threshold(
    copies: Sampled, observed: Sampled, target: float, seed: int, axis: Axis = Axis()
) -> Chosen:
    """Choose the least score whose pairs are duplicates with a precision.

    Args:
        copies: scores of contents with altered copies of themselves.
        observed: scores of pairs in the data, all those above some level; few or none above it are
            no hindrance.
        target: the precision, in (0, 1).
        seed: of the resampling.
        axis: what the scores are laid out on.
    """
    copies = Sampled(axis.of(copies.scores), copies.clusters)
    observed = Sampled(axis.of(observed.scores), observed.clusters)
    grid = _Grid.over(copies.scores, observed.scores)
    first = grid.counted(copies), grid.counted(observed)
    place, precision, share = grid.chosen(first[0].sum(axis=0), first[1].sum(axis=0), target)
    generator = np.random.default_rng(seed)
    places = []
    for _ in range(_RESAMPLED):
        drawn_copies, drawn = (
            generator.multinomial(len(part), np.full(len(part), 1 / len(part))) @ part
            for part in first
        )
        places.append(grid.chosen(drawn_copies, drawn, target)[0])
    ends = np.percentile(places, [2.5, 97.5]).astype(int).tolist()
    low, high, threshold = (axis.back(float(grid.edges[p])) for p in (*ends, place))
    return Chosen(
        threshold,
        min(low, threshold),
        max(high, threshold),
        precision,
        float((copies.scores >= grid.edges[place]).mean()),
        share,
        axis.back(float(grid.edges[0])),
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """Bins over the tail."""

    edges: Floats

    @classmethod
    def over(cls, copies: Floats, observed: Floats) -> _Grid:
        """Lay bins from where the observed scores are most frequent: from there on they fall."""
        middle = float(np.median(copies))
        below = observed[observed < middle]
        start = min(float(np.quantile(copies, 0.01)), middle)
        if below.size:
            counts, edges = np.histogram(below, bins=min(50, max(5, below.size // 20)))
            start = float(edges[int(counts.argmax())])
        # One step beyond the top, so that a threshold above all scores can be chosen.
        top = max(float(copies.max()), float(observed.max(initial=start)), start + _SETTLED)
        return cls(np.linspace(start, top + (top - start) / BINS, BINS + 2))

    def counted(self, sampled: Sampled) -> Floats:
        """Count scores by group of clusters and bin: (groups, bins) float64."""
        bins = np.searchsorted(self.edges, sampled.scores, side="right") - 1
        inside = bins >= 0
        bins = np.minimum(bins, self.edges.size - 2)
        _, clusters = np.unique(sampled.clusters, return_inverse=True)
        groups = clusters % _GROUPS
        counts = np.zeros((int(groups.max(initial=0)) + 1, self.edges.size - 1))
        np.add.at(counts, (groups[inside], bins[inside]), 1)
        return counts

    def chosen(self, copies: Floats, observed: Floats, target: float) -> tuple[int, float, float]:
        """Return the edge to choose, the precision there, and the share of duplicates.

        The precision has to hold for all higher thresholds, too: a higher one is to be safer.
        """
        true = _smoothed(copies)
        share, other = _mixture(true, observed, self._offsets())
        above_true = np.cumsum((share * true)[::-1])[::-1]
        above_other = np.cumsum(((1 - share) * other)[::-1])[::-1]
        precision = above_true / np.maximum(above_true + above_other, 1e-300)
        fails = np.flatnonzero(precision < target)
        place = int(fails[-1]) + 1 if fails.size else 0
        place = min(place, precision.size - 1)
        return place, float(precision[place]), share

    def _offsets(self) -> Floats:
        offsets: Floats = (self.edges[:-1] + self.edges[1:]) / 2 - self.edges[0]
        return offsets


def _smoothed(counts: Floats) -> Floats:
    """Return the distribution of duplicates over bins: a kernel over what altered copies score."""
    reach = np.arange(-8, 9)
    kernel = np.exp(-0.5 * np.square(reach / _SMOOTH))
    # Mirrored at the ends: many copies score as much as there is.
    padded = np.pad(counts, 8, mode="symmetric")
    spread = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    total = spread.sum()
    even = np.full(counts.size, 1 / counts.size)
    found: Floats = (1 - _ANYWHERE) * spread / total + _ANYWHERE * even if total else even
    return found


def _mixture(true: Floats, observed: Floats, offsets: Floats) -> tuple[float, Floats]:
    """Fit share and tail by EM; return the share, and the tail over bins."""
    total, places = observed.sum(), offsets / offsets[-1]
    share, tail = 0.5, Tail(10.0)
    other = tail.over(places, total)
    for _ in range(_ROUNDS):
        mixed = share * true + (1 - share) * other
        posterior = share * true / np.maximum(mixed, 1e-300)
        # Half a pair on either side: with few of them nothing is certain.
        fresh = (float((observed * posterior).sum()) + 0.5) / (total + 1)
        weights = observed * (1 - posterior)
        tail = tail.fitted(weights, places)
        other, done = tail.over(places, weights.sum()), abs(fresh - share) < _SETTLED
        share = fresh
        if done:
            break
    return share, other
