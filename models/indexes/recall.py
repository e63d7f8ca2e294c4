"""Measured recall: what share of the true neighbours an index finds, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.indexes.exact import exact_search, pair_similarities
from models.indexes.results import NO_ROW, Neighbours
from models.indexes.streams import prepared, take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.types import Matrix, Metric, RowIds, Vectors

_Z95: Final = 1.959963984540054
_ROUNDING: Final = 1e-6

Shares = npt.NDArray[np.float64]
"""Recall of each query, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class RecallEstimate:
    """Recall@k over sampled queries with a 95 % confidence interval.

    Attributes:
        k: how many neighbours were asked for.
        queries: how many queries were measured; 0 where there was nothing to find.
        mean: the mean share of the true k nearest that were found, in [0, 1].
        low: lower end of the interval.
        high: upper end of the interval.
    """

    k: int
    queries: int
    mean: float
    low: float
    high: float


def estimate_recall(shares: Shares, k: int) -> RecallEstimate:
    """Summarise per-query recalls.

    The interval is Wilson's score interval at the effective sample size of Korn & Graubard (1998,
    "Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data"): n* = p (1 - p) / var(p), since the k answers of one query hang together.
    Unlike a normal or bootstrap interval it does not shrink to nothing when every query scores 1.

    Args:
        shares: (queries,) float64 in [0, 1].
        k: how many neighbours were asked for.
    """
    count = shares.size
    if count == 0:
        return RecallEstimate(k=k, queries=0, mean=1.0, low=0.0, high=1.0)
    mean = float(shares.mean())
    variance = float(shares.var(ddof=1)) / count if count > 1 else 0.0
    effective = mean * (1.0 - mean) / variance if variance > 0 else float(count)
    # The answers of a query number k: no sample is worth more than that many independent ones.
    effective = min(max(effective, 1.0), float(count * k))
    square = _Z95 * _Z95
    centre = (mean + square / (2 * effective)) / (1 + square / effective)
    spread = mean * (1 - mean) / effective + square / (4 * effective * effective)
    half = _Z95 * sqrt(spread) / (1 + square / effective)
    return RecallEstimate(
        k,
        count,
        mean,
        low=max(0.0, min(mean, centre - half)),
        high=min(1.0, max(mean, centre + half)),
    )


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Sampled rows of a source with their true nearest neighbours, themselves left out.

    Attributes:
        rows: (queries,) int64, the sampled rows.
        queries: (queries, dim) float32, their vectors as stored.
        neighbours: (queries, k) by brute force.
    """

    rows: RowIds
    queries: Matrix
    neighbours: Neighbours

    @property
    def k(self) -> int:
        """How many neighbours each query has."""
        return int(self.neighbours.rows.shape[1])

    def part(self, start: int, stop: int | None = None) -> GroundTruth:
        """Return a slice of the queries."""
        chosen = slice(start, stop)
        found = Neighbours(self.neighbours.rows[chosen], self.neighbours.similarities[chosen])
        return GroundTruth(self.rows[chosen], self.queries[chosen], found)


def ground_truth(vectors: Vectors, rows: RowIds, k: int, metric: Metric) -> GroundTruth:
    """Find the true k nearest other rows of some rows, in two passes over the stream.

    k is lowered to the number of other rows.
    """
    queries = take(vectors, rows)
    found = exact_search(vectors, queries, min(k, max(0, vectors.rows - 1)) + 1, metric)
    return GroundTruth(rows, queries, found.without(rows))


def measure_recall(
    vectors: Vectors, truth: GroundTruth, answers: Sequence[Neighbours], metric: Metric
) -> list[Shares]:
    """Measure several answers to the same queries, in one more pass over the stream.

    A neighbour that is not among the true k counts all the same if it is as near as the true k-th
    (up to the rounding of float32): which of several equals is returned is nobody's mistake.

    Args:
        vectors: the source, for the exact similarity of neighbours that differ from the truth.
        truth: the queries and their true neighbours.
        answers: (queries, k) each, without the queries' own rows.
        metric: how nearness is measured.

    Returns:
        One array of (queries,) recalls an answer.
    """
    if truth.rows.size == 0 or truth.k == 0:
        return [np.empty(0, dtype=np.float64) for _ in answers]
    known = [_is_true_neighbour(answer.rows, truth.neighbours.rows) for answer in answers]
    doubtful = [
        ~hit & _may_be_tie(answer, truth.neighbours, hit)
        for hit, answer in zip(known, answers, strict=True)
    ]
    query = np.concatenate([np.nonzero(mask)[0] for mask in doubtful])
    row = np.concatenate([a.rows[mask] for a, mask in zip(answers, doubtful, strict=True)])
    ties = iter(np.split(_is_tie(vectors, truth, query, row, metric), _cuts(doubtful)))
    shares = []
    for hits, mask in zip(known, doubtful, strict=True):
        hits[mask] = next(ties)
        shares.append(hits.sum(axis=1) / truth.k)
    return shares


def _cuts(masks: Sequence[npt.NDArray[np.bool_]]) -> npt.NDArray[np.int64]:
    return np.cumsum([int(mask.sum()) for mask in masks])[:-1].astype(np.int64)


def _is_true_neighbour(found: RowIds, true: RowIds) -> npt.NDArray[np.bool_]:
    hits: npt.NDArray[np.bool_] = (found[:, :, None] == true[:, None, :]).any(axis=2)
    hits &= found != NO_ROW
    return hits


def _may_be_tie(
    answer: Neighbours, true: Neighbours, hit: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Tell which of the answered rows are about as near as the true k-th, by their codes.

    How far the codes are off is seen from the true neighbours among the answers. Only what may be a
    tie has to be read again: without this, ties took an eighth of a build.
    """
    present: npt.NDArray[np.bool_] = answer.rows != NO_ROW
    if not hit.any():
        return present
    place = (answer.rows[:, :, None] == true.rows[:, None, :]).argmax(axis=2)
    exact = np.take_along_axis(true.similarities, place, axis=1)
    error = np.abs(answer.similarities[hit] - exact[hit]).max()
    slack = 2 * error + _ROUNDING * np.abs(true.similarities[:, -1:])
    present &= answer.similarities >= true.similarities[:, -1:] - slack - _ROUNDING
    return present


def _is_tie(
    vectors: Vectors, truth: GroundTruth, query: RowIds, row: RowIds, metric: Metric
) -> npt.NDArray[np.bool_]:
    if row.size == 0:
        return np.empty(0, dtype=np.bool_)
    last = truth.neighbours.rows[query, -1]
    unique, where = np.unique(np.concatenate((row, last)), return_inverse=True)
    stored = prepared(take(vectors, unique), vectors.dim, metric)
    asked = prepared(truth.queries, vectors.dim, metric)
    lengths = np.linalg.norm(stored, axis=1).max() * np.linalg.norm(asked, axis=1)
    slack = _ROUNDING * np.maximum(lengths, np.square(asked).sum(axis=1))
    tie = np.empty(row.size, dtype=np.bool_)
    # Pairs repeat their vectors, so they are compared in slices that fit beside the sample.
    for start in range(0, row.size, 1 << 14):
        part = slice(start, min(start + (1 << 14), row.size))
        reached = pair_similarities(asked[query[part]], stored[where[: row.size][part]], metric)
        needed = pair_similarities(asked[query[part]], stored[where[row.size :][part]], metric)
        tie[part] = reached >= needed - slack[query[part]]
    return tie
