"""Brute force over a stream: the truth that every approximate answer is measured against."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from models.indexes.faiss_library import library
from models.indexes.results import Neighbours, from_faiss, no_neighbours
from models.indexes.streams import prepared, prepared_batches
from models.types import Matrix, Metric, RowIds, Vectors

_MATRIX_NUMBERS: Final = 128_000
"""Queries times dimension above which FAISS 1.15 multiplies matrices. Below it compares by pairs:
300 queries against 43,690 x 384 take .68 processor seconds, 334 of them .07."""
_MOST_FILLED: Final = 6
"""Up to so many times their number, queries are filled up with zeros. Not for L2, which loses
digits by matrices."""


def faiss_metric(metric: Metric) -> int:
    """Return FAISS's number for a metric; the cosine is the inner product of unit vectors."""
    faiss = library()
    return int(faiss.METRIC_L2 if metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT)


def exact_search(vectors: Vectors, queries: Matrix, k: int, metric: Metric) -> Neighbours:
    """Find the k nearest of all vectors, exactly, in one pass over the stream.

    Similarities are float32 and carry the rounding of BLAS: for L2 about 1e-6 of the squared
    lengths, because the distance is computed as |q|^2 + |x|^2 - 2qx.

    Args:
        vectors: what to search, streamed.
        queries: (queries, dim) float32.
        k: how many neighbours each; with fewer vectors the rest is -1 and -inf.
        metric: how nearness is measured.

    Returns:
        (queries, k) rows and similarities; the order among equals is left open.

    Raises:
        IndexMismatchError: the queries have another dimension.
        InvalidVectorsError: a vector is not finite.
    """
    ready = prepared(queries, vectors.dim, metric)
    best = no_neighbours(ready.shape[0], k)
    if ready.shape[0] == 0:
        return best
    for start, batch in prepared_batches(vectors, metric):
        best = best.merged(nearest_in(batch, ready, min(k, batch.shape[0]), start, metric))
    return best


def nearest_in(batch: Matrix, queries: Matrix, k: int, start: int, metric: Metric) -> Neighbours:
    """Find the k nearest vectors of a batch, exactly.

    Args:
        batch: (vectors, dim) float32, prepared.
        queries: (queries, dim) float32, prepared.
        k: how many, at most as many as there are vectors.
        start: the number of the first vector.
        metric: how nearness is measured.
    """
    count, dim = queries.shape
    least = _MATRIX_NUMBERS // dim + 1
    if least > count and by_matrices(count, dim, metric):
        queries = np.concatenate((queries, np.zeros((least - count, dim), np.float32)))
    distances, rows = library().knn(queries, batch, k, faiss_metric(metric))
    distances, rows = distances[:count], rows[:count]
    return Neighbours(rows + start, from_faiss(distances, rows, metric))


def by_matrices(queries: int, dim: int, metric: Metric) -> bool:
    """Tell whether `nearest_in` multiplies so many queries, filled up if need be, as matrices."""
    least = _MATRIX_NUMBERS // dim + 1
    return queries >= least or (metric is not Metric.L2 and _MOST_FILLED * queries >= least)


def pair_similarities(left: Matrix, right: Matrix, metric: Metric) -> npt.NDArray[np.float64]:
    """Return the similarity of each row of `left` with the same row of `right`, in float64.

    Args:
        left: (pairs, dim), prepared for the metric.
        right: (pairs, dim), prepared for the metric.
        metric: how nearness is measured.
    """
    a, b = left.astype(np.float64), right.astype(np.float64)
    similarities: npt.NDArray[np.float64] = (
        -np.square(a - b).sum(axis=1) if metric is Metric.L2 else (a * b).sum(axis=1)
    )
    return similarities


def own_rows(start: int, count: int) -> RowIds:
    """Return the numbers of `count` consecutive rows."""
    return np.arange(start, start + count, dtype=np.int64)
