"""What a search returns, and how similarities relate to FAISS's distances and to a user's.

A similarity is always "the larger, the nearer": the cosine in [-1, 1], the inner product as it is,
and for L2 the *negative squared* Euclidean distance, which orders like the distance and costs
nothing to compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from models.types import Matrix, Metric, RowIds

NO_ROW = -1
NO_SIMILARITY = np.float32(-np.inf)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest rows of some queries, nearest first.

    Attributes:
        rows: (queries, k) int64; -1 where fewer than k were found, always at the end.
        similarities: (queries, k) float32, decreasing; -inf where the row is -1, so that the order
            holds without a special case.
    """

    rows: RowIds
    similarities: Matrix

    def merged(self, other: Neighbours) -> Neighbours:
        """Return the k nearest of both; rows of `self` come first among equals."""
        k = self.rows.shape[1]
        similarities = np.concatenate((self.similarities, other.similarities), axis=1)
        rows = np.concatenate((self.rows, other.rows), axis=1)
        best = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return Neighbours(
            np.take_along_axis(rows, best, axis=1), np.take_along_axis(similarities, best, axis=1)
        )

    def without(self, own_rows: RowIds) -> Neighbours:
        """Return k - 1 neighbours a query: its own row is left out, else the farthest one.

        A row is told by its number, not by similarity 1: its exact copies stay.

        Args:
            own_rows: (queries,) int64, the row that each query is.
        """
        is_own = self.rows == own_rows[:, None]
        order = np.argsort(is_own, axis=1, kind="stable")[:, :-1]
        return Neighbours(
            np.take_along_axis(self.rows, order, axis=1),
            np.take_along_axis(self.similarities, order, axis=1),
        )

    def among(self, usable: npt.NDArray[np.bool_], k: int) -> Neighbours:
        """Return the k first neighbours of each query that are usable.

        Args:
            usable: (queries, any) one flag a neighbour.
            k: how many; -1 and -inf where there are fewer.
        """
        order = np.argsort(~usable, axis=1, kind="stable")[:, :k]
        kept = np.take_along_axis(usable, order, axis=1)
        similarities = np.take_along_axis(self.similarities, order, axis=1)
        return Neighbours(
            np.where(kept, np.take_along_axis(self.rows, order, axis=1), NO_ROW),
            np.where(kept, similarities, NO_SIMILARITY),
        )


def no_neighbours(queries: int, k: int) -> Neighbours:
    """Return the result of a search that found nothing."""
    return Neighbours(
        np.full((queries, k), NO_ROW, dtype=np.int64),
        np.full((queries, k), NO_SIMILARITY, dtype=np.float32),
    )


@dataclass(frozen=True, slots=True)
class RangeMatches:
    """All rows at least as near as a threshold, grouped by query; unordered within a query.

    Attributes:
        queries: (matches,) int64, non-decreasing positions among the queries.
        rows: (matches,) int64.
        similarities: (matches,) float32.
    """

    queries: RowIds
    rows: RowIds
    similarities: npt.NDArray[np.float32]


def from_faiss(distances: Matrix, rows: RowIds, metric: Metric) -> Matrix:
    """Turn FAISS's distances into similarities of the same shape (see the module's head)."""
    match metric:
        case Metric.COSINE:
            similarities = np.clip(distances, -1.0, 1.0)
        case Metric.INNER_PRODUCT:
            similarities = distances
        case Metric.L2:
            similarities = -distances
        case _:
            assert_never(metric)
    return np.where(rows == NO_ROW, NO_SIMILARITY, similarities).astype(np.float32, copy=False)


def faiss_radius(threshold: float, metric: Metric) -> float:
    """Return the radius of a threshold: FAISS wants nearer than it, and a threshold is reached."""
    bound = np.float32(-threshold if metric is Metric.L2 else threshold)
    towards = np.float32(np.inf if metric is Metric.L2 else -np.inf)
    return float(np.nextafter(bound, towards))


def as_distances(similarities: Matrix, metric: Metric) -> Matrix:
    """Return distances that people know: 1 - cosine, Euclidean, or the negated inner product."""
    match metric:
        case Metric.COSINE:
            distances = 1.0 - similarities
        case Metric.INNER_PRODUCT:
            distances = -similarities
        case Metric.L2:
            distances = np.sqrt(np.maximum(-similarities, 0.0))
        case _:
            assert_never(metric)
    return distances.astype(np.float32, copy=False)


def marked_cells(marks: npt.NDArray[np.bool_]) -> tuple[RowIds, RowIds]:
    """Return the rows and columns of a matrix's true cells, row by row.

    `numpy.nonzero` does the same, and takes 14 times as long where few are true.
    """
    row, column = np.divmod(np.flatnonzero(marks), max(1, marks.shape[1]))
    return row, column
