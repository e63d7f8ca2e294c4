"""Anomaly detectors: each gives every row one number, the larger the stranger.

A detector joins by having a `name` and `scores`; most need nothing but the neighbour graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from models.indexes.results import NO_ROW, Neighbours, as_distances
from models.indexes.streams import prepared_batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models.analysis.graph import NeighbourGraph
    from models.types import Matrix, Metric, RowIds, Vectors

Scores = npt.NDArray[np.float64]
"""One number a row: shape (rows,)."""

_STREAM_BYTES = 32 * 2**20


class Detector(Protocol):
    """Scores all rows of a space."""

    @property
    def name(self) -> str:
        """What the scores are called in tables."""
        ...

    def scores(self, vectors: Vectors, graph: NeighbourGraph) -> Scores:
        """Return (rows,) float64, finite, the larger the stranger.

        Args:
            vectors: all rows.
            graph: of the same rows.
        """
        ...


@dataclass(frozen=True, slots=True)
class NeighbourDistance:
    """Mean distance to the k nearest others (Angiulli & Pizzuti 2002), read from the graph.

    The distance is 1 - cosine, Euclidean, or the negated inner product. A row of which the graph
    knows no neighbour scores as the farthest of the others, 0 where there is no other.
    """

    name: str = "neighbour_distance"

    def scores(self, vectors: Vectors, graph: NeighbourGraph) -> Scores:  # noqa: ARG002
        """Return the mean distances: (rows,) float64."""
        whole = (np.arange(graph.rows.shape[0]), Neighbours(graph.rows, graph.similarities))
        return mean_distances([whole], graph.rows.shape[0], graph.metric)


def mean_distances(graph: Iterable[tuple[RowIds, Neighbours]], rows: int, metric: Metric) -> Scores:
    """Return each row's mean distance to its neighbours: (rows,) float64; see `NeighbourDistance`.

    Args:
        graph: rows and their lists, all rows once in any number of parts.
        rows: how many there are.
        metric: how nearness was measured.
    """
    means, alone = np.zeros(rows), np.ones(rows, np.bool_)
    for part, lists in graph:
        known = lists.rows != NO_ROW
        if known.all():  # as in most parts: nothing has to be left out
            distances = as_distances(lists.similarities, metric).astype(np.float64)
            means[part], alone[part] = distances.mean(axis=1), not known.size
            continue
        similarities = np.where(known, lists.similarities, np.float32(0))
        distances = as_distances(similarities, metric).astype(np.float64)
        counts = known.sum(axis=1)
        means[part] = np.where(known, distances, 0.0).sum(axis=1) / np.maximum(counts, 1)
        alone[part] = counts == 0
    if not alone.all():
        means[alone] = means[~alone].max()
    return means


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """Squared Mahalanobis distance to the mean, with the shrunk covariance of Ledoit & Wolf (2004).

    Two passes over the stream (moments, scores) in float64, so the result is that of
    `sklearn.covariance.LedoitWolf` on all rows, in the memory of two (dim, dim) matrices. The
    shrinkage keeps it defined where there are fewer rows than dimensions; directions without any
    variance are left out, as by a pseudo-inverse. Vectors of cosine spaces are scaled to length 1.
    """

    name: str = "mahalanobis"

    def scores(self, vectors: Vectors, graph: NeighbourGraph) -> Scores:
        """Return the squared distances: (rows,) float64."""
        return MahalanobisFit.of(vectors, graph.metric).scores(vectors)


@dataclass(frozen=True, slots=True)
class MahalanobisFit:
    """What `Mahalanobis` has learnt from some rows, to score others by.

    Attributes:
        metric: of the space.
        mean: (dim,) float64.
        whitening: (dim, rank) float64, W with W W^T the inverse of the shrunk covariance.
    """

    metric: Metric
    mean: Scores
    whitening: npt.NDArray[np.float64]

    @classmethod
    def of(cls, vectors: Vectors, metric: Metric) -> MahalanobisFit:
        """Learn from rows; where there is none, everything will score 0.

        Raises:
            InvalidVectorsError: a vector is not finite.
        """
        if vectors.rows == 0:
            return cls(metric, np.zeros(vectors.dim), np.zeros((vectors.dim, 0)))
        return _fit(vectors, metric)

    def scores(self, vectors: Vectors) -> Scores:
        """Return the squared distances of rows to the mean: (rows,) float64.

        Raises:
            InvalidVectorsError: a vector is not finite.
        """
        scores = np.zeros(vectors.rows, dtype=np.float64)
        for start, batch in _batches(vectors, self.metric):
            white = (batch.astype(np.float64) - self.mean) @ self.whitening
            scores[start : start + batch.shape[0]] = np.einsum("ij,ij->i", white, white)
        return scores


def _batches(vectors: Vectors, metric: Metric) -> Iterator[tuple[int, Matrix]]:
    return prepared_batches(vectors, metric, max(1, _STREAM_BYTES // (4 * max(1, vectors.dim))))


def _fit(vectors: Vectors, metric: Metric) -> MahalanobisFit:
    """Gather all moments in one pass, around a point near the mean, then move them to the mean."""
    rows, dim = vectors.rows, vectors.dim
    origin, total, products = np.zeros(dim), np.zeros(dim), np.zeros((dim, dim))
    squares, square_total, weighted = 0.0, 0.0, np.zeros(dim)
    for start, batch in _batches(vectors, metric):
        if start == 0:
            # Far from it, the differences below would cancel.
            origin = batch.mean(axis=0, dtype=np.float64)
        moved = batch.astype(np.float64) - origin
        lengths = np.einsum("ij,ij->i", moved, moved)
        total += moved.sum(axis=0)
        products += moved.T @ moved
        squares += float(np.square(lengths).sum())
        square_total += float(lengths.sum())
        weighted += lengths @ moved
    shift = total / rows
    # |y - s|^4 = (u - 2 ys + ss)^2 with u = |y|^2, summed over rows.
    length = float(shift @ shift)
    fourth = (
        squares
        + 4 * float(shift @ products @ shift)
        + rows * length * length
        - 4 * float(weighted @ shift)
        + 2 * square_total * length
        - 4 * length * float(total @ shift)
    )
    covariance = products / rows - np.outer(shift, shift)
    whitening = _inverse_root(_shrunk(covariance, fourth, rows))
    return MahalanobisFit(metric, origin + shift, whitening)


def _shrunk(
    covariance: npt.NDArray[np.float64], fourth: float, rows: int
) -> npt.NDArray[np.float64]:
    """Shrink towards the mean variance, with the intensity of Ledoit & Wolf's lemma 3.2.

    With S the covariance, m = tr(S) / p the mean variance, and norms divided by p:
    d^2 = |S - m I|^2, b^2 = min(d^2, (sum_i |x_i|^4 / n - |S|^2) / n), intensity = b^2 / d^2.

    Args:
        covariance: (dim, dim), divided by `rows`.
        fourth: the sum over rows of the fourth power of the centred length.
        rows: how many rows.
    """
    dim = covariance.shape[0]
    variance = float(np.trace(covariance)) / dim
    square = float(np.square(covariance).sum())
    spread = (square - dim * variance * variance) / dim
    noise = min(max(0.0, (fourth / rows - square) / (rows * dim)), max(0.0, spread))
    intensity = noise / spread if noise > 0 else 0.0
    target: npt.NDArray[np.float64] = variance * np.eye(dim)
    return (1.0 - intensity) * covariance + intensity * target


def _inverse_root(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    variances, directions = np.linalg.eigh(covariance)
    floor = np.finfo(np.float64).eps * covariance.shape[0] * float(np.abs(variances).max())
    kept = variances > floor
    root: npt.NDArray[np.float64] = directions[:, kept] / np.sqrt(variances[kept])
    return root
