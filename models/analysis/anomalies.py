"""Which rows are strange, by how much, by whose judgement, and what is normal beside them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.analysis.detectors import Detector, Mahalanobis, NeighbourDistance, Scores
from models.indexes.errors import IndexMismatchError
from models.indexes.results import NO_ROW, Neighbours

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from models.analysis.graph import NeighbourGraph
    from models.types import RowIds, Vectors

DETECTORS: Final[tuple[Detector, ...]] = (NeighbourDistance(), Mahalanobis())
STRANGE_SHARE: Final = 0.05
NORMAL_NEIGHBOURS: Final = 3


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """What one detector says.

    Attributes:
        name: the detector's.
        scores: (rows,) float64 in the detector's own unit, the larger the stranger.
        percentiles: (rows,) float64 in [0, 100]: the share of the other rows that score lower,
            equal ones counted half.
    """

    name: str
    scores: Scores
    percentiles: Scores


@dataclass(frozen=True, slots=True)
class Anomalies:
    """The judgement of all detectors.

    Attributes:
        detectors: one entry a detector, in the order they were given.
        percentiles: (rows,) float64, the mean of the detectors' percentiles.
        ranks: (rows,) int64, the consensus: 1 is the strangest; equal means by row number.
        normal_neighbours: (rows, m) int64, the nearest neighbours in the graph that are not among
            the strangest 5 % themselves, nearest first; -1 at the end where there are fewer.
    """

    detectors: tuple[DetectorScores, ...]
    percentiles: Scores
    ranks: RowIds
    normal_neighbours: RowIds


def find_anomalies(
    vectors: Vectors,
    graph: NeighbourGraph,
    detectors: tuple[Detector, ...] = DETECTORS,
    normal_neighbours: int = NORMAL_NEIGHBOURS,
) -> Anomalies:
    """Score all rows with some detectors and rank them by the mean of the percentiles.

    Args:
        vectors: all rows.
        graph: of the same rows in the same order.
        detectors: whom to ask, at least one.
        normal_neighbours: how many normal neighbours to name a row.

    Raises:
        IndexMismatchError: the graph has another number of rows.
        InvalidVectorsError: a vector is not finite.
    """
    if graph.rows.shape[0] != vectors.rows:
        raise IndexMismatchError("the graph's number of rows", graph.rows.shape[0], vectors.rows)
    scores = {detector.name: detector.scores(vectors, graph) for detector in detectors}
    whole = (np.arange(vectors.rows), Neighbours(graph.rows, graph.similarities))
    return rank_anomalies(scores, [whole], normal_neighbours)


def rank_anomalies(
    scores: Mapping[str, Scores],
    graph: Iterable[tuple[RowIds, Neighbours]],
    normal_neighbours: int = NORMAL_NEIGHBOURS,
) -> Anomalies:
    """Rank rows that have their scores by the mean of the percentiles.

    Args:
        scores: (rows,) a detector, by its name; at least one.
        graph: rows and their lists, all rows once in any number of parts.
        normal_neighbours: how many normal neighbours to name a row.
    """
    judged = tuple(DetectorScores(name, own, percentiles(own)) for name, own in scores.items())
    mean = np.mean([each.percentiles for each in judged], axis=0)
    order = np.argsort(-mean, kind="stable")
    ranks = np.empty(mean.size, dtype=np.int64)
    ranks[order] = np.arange(1, mean.size + 1)
    is_normal = ranks > ceil(STRANGE_SHARE * mean.size)
    named = np.full((mean.size, normal_neighbours), NO_ROW, dtype=np.int64)
    for rows, lists in graph:
        named[rows] = _nearest_normal(lists, is_normal, normal_neighbours)
    return Anomalies(judged, mean, ranks, named)


def percentiles(scores: Scores) -> Scores:
    """Return the share of the other scores that are lower, in percent, equal ones counted half.

    Args:
        scores: (rows,); a single row gets 50, as any row does among equals.

    Returns:
        (rows,) float64 in [0, 100].
    """
    if scores.size <= 1:
        return np.full(scores.size, 50.0)
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    lower = np.cumsum(counts) - counts
    shares: Scores = 100.0 * (lower + (counts - 1) / 2) / (scores.size - 1)
    return shares[where]


def _nearest_normal(lists: Neighbours, is_normal: npt.NDArray[np.bool_], wanted: int) -> RowIds:
    usable = (lists.rows != NO_ROW) & is_normal[lists.rows]
    named = np.full((lists.rows.shape[0], wanted), NO_ROW, dtype=np.int64)
    first = lists.rows[:, :wanted]
    named[:, : first.shape[1]] = first
    # Only few lists begin with a strange row.
    other = np.flatnonzero(~usable[:, :wanted].all(axis=1))
    order = np.argsort(~usable[other], axis=1, kind="stable")[:, :wanted]
    rows = np.take_along_axis(lists.rows[other], order, axis=1)
    chosen = np.take_along_axis(usable[other], order, axis=1)
    named[other, : rows.shape[1]] = np.where(chosen, rows, NO_ROW)
    return named
