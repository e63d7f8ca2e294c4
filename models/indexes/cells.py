"""All vectors in fine cells, each in one piece of memory: what links all rows of a set reads.

A search index has about as many lists as the root of its rows asks for, and is tuned for single
queries. Where every row asks, finer cells mean fewer comparisons, and they cost little: vectors are
clustered twice, all of them coarsely and then each coarse cell by itself, so that a row meets about
the root of the cells' number, not all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.indexes.byte_products import MOST, byte_products
from models.indexes.faiss_library import library, single_thread
from models.indexes.side_by_side import side_by_side
from models.indexes.streams import prepared, prepared_batches, sample, silent, take
from models.types import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.indexes.streams import Progress
    from models.types import Matrix, RowIds, Vectors

CELL_ROWS: Final = 150
"""Rows of a cell on average: fewer mean more centroids to look at, more mean more comparisons."""
_MOST_ROWS: Final = 4 * CELL_ROWS
"""Of a cell: a longer one, of rows that are alike, is cut."""
_TRAINED: Final = 64
"""Rows of a sample for each centroid."""
_ROUNDS: Final = 6
"""Of k-means: cells need not be good ones, as rows visit those around their own."""
_STEP: Final = 256
"""Of a coarse code, in steps of a fine one."""
_LEAST_SCALE: Final = 1e-37
"""Float32 does not hold the reciprocal of much less: such vectors are zero to all others."""
_BLOCK: Final = 4096
"""Rows that a thread looks at at once: they stay in its cache."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Vectors by cell. A place is where a vector stands here; cells follow each other.

    Attributes:
        metric: how nearness is measured.
        rows: (rows,) int64, which row stands at each place.
        bounds: (cells + 1,) int64, where each cell begins and ends; none is empty.
        centroids: (cells, dim) float32.
        coarse: (rows, dim) int8, the vectors in 8 bits; for L2 without the mean of all, which
            shifts no distance.
        fine: (rows, dim) int8, 8 bits more.
        scales: (rows,) float32, what 256 times the coarse code and the fine one are multiplied by.
        squares: (rows,) float32, squared lengths.
    """

    metric: Metric
    rows: RowIds
    bounds: RowIds
    centroids: Matrix
    coarse: npt.NDArray[np.int8]
    fine: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    squares: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, vectors: Vectors, metric: Metric, seed: int = 0, progress: Progress = silent
    ) -> Cells:
        """Cluster all vectors, in three passes over what holds them.

        Memory is 2 bytes a dimension and about 40 a row. The same vectors and seed give the same
        cells, whatever the number of threads.

        Args:
            vectors: what to cluster.
            metric: how nearness is measured.
            seed: of samples and of k-means.
            progress: called with "cells" and the fraction done.

        Raises:
            InvalidVectorsError: a vector is not finite.
        """
        count = max(1, round((vectors.rows / CELL_ROWS) ** 0.5))
        some = prepared(
            take(vectors, sample(vectors.rows, _TRAINED * count, seed)), vectors.dim, metric
        )
        mean = some.mean(axis=0) if metric is Metric.L2 else np.zeros(vectors.dim, np.float32)
        coarse = _clustered(some - mean, count, metric, seed)
        home = np.empty(vectors.rows, np.int32)
        for start, batch in prepared_batches(vectors, metric):
            for first, part in _assigned(batch - mean, coarse, metric):
                home[start + first : start + first + part.size] = part
            progress("cells", (start + batch.shape[0]) / vectors.rows / 3)
        rows = np.argsort(home, kind="stable").astype(np.int64)
        ends = np.cumsum(np.bincount(home, minlength=coarse.shape[0]))
        place = np.empty(vectors.rows, np.int64)
        place[rows] = np.arange(vectors.rows)
        made = cls(
            metric,
            rows,
            np.concatenate(([0], ends)),
            coarse,
            np.empty((vectors.rows, vectors.dim), np.int8),
            np.empty((vectors.rows, vectors.dim), np.int8),
            np.empty(vectors.rows, np.float32),
            np.empty(vectors.rows, np.float32),
        )
        for start, batch in prepared_batches(vectors, metric):
            made._fill(place[start : start + batch.shape[0]], batch - mean)
            progress("cells", (vectors.rows + start + batch.shape[0]) / vectors.rows / 3)
        return made._split(seed, progress)

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int(self.centroids.shape[0])

    @property
    def lengths(self) -> RowIds:
        """How many rows each cell has: (cells,) int64."""
        return np.diff(self.bounds)

    def homes(self) -> npt.NDArray[np.int32]:
        """Return the cell of each place: (rows,) int32."""
        return np.repeat(np.arange(self.count, dtype=np.int32), self.lengths)

    def vectors(self, places: Any) -> Matrix:
        """Return vectors by both codes, without the mean for L2: (places, dim) float32."""
        found = self._codes(places)
        found *= self.scales[places][:, None]
        return found

    def roughly(self, places: Any, others: Any) -> Matrix:
        """Compare vectors by their coarse codes.

        Args:
            places: a slice or numbers.
            others: the same.

        Returns:
            (places, others) float32, about the similarities that `models.indexes.results` has.
        """
        found = byte_products()(self.coarse[places], self.coarse[others])
        found *= self.scales[places][:, None] * np.float32(_STEP * _STEP)
        found *= self.scales[others]
        if self.metric is Metric.L2:
            found *= 2
            found -= self.squares[places][:, None] + self.squares[others]
        return found

    def similarities(self, own: slice, others: RowIds) -> Matrix:
        """Compare each of some vectors with its own others, by both codes.

        Args:
            own: consecutive places.
            others: (own, any) places.

        Returns:
            (own, any) float32, as `models.indexes.results` has them.
        """
        shape = (*others.shape, -1)
        if self.metric is Metric.L2:
            apart = self.vectors(others.ravel()).reshape(shape)
            apart -= self.vectors(own)[:, None]
            distances: Matrix = np.vecdot(apart, apart)
            return -distances
        found: Matrix = np.vecdot(
            self._codes(own)[:, None], self._codes(others.ravel()).reshape(shape)
        )
        found *= self.scales[own][:, None]
        found *= self.scales[others]
        if self.metric is Metric.COSINE:
            np.clip(found, -1, 1, out=found)
        return found

    def _codes(self, places: Any) -> Matrix:
        """Return both codes as one, unscaled: (places, dim) float32."""
        codes = self.coarse[places].astype(np.int16)
        codes <<= 8
        codes += self.fine[places]
        found: Matrix = codes.astype(np.float32)
        return found

    def affinities(self, vectors: Matrix, cells: Any = slice(None)) -> Matrix:
        """Compare vectors with centroids: (vectors, cells) float32, the larger the nearer."""
        return _affinities(vectors, self.centroids[cells], self.metric)

    def near(self, most: int) -> npt.NDArray[np.int32]:
        """Return the cells by each, by their centroids: (cells, most), ascending."""

        def nearest(start: int) -> npt.NDArray[np.int32]:
            found = self.affinities(self.centroids[start : start + _BLOCK // 8])
            chosen = np.argpartition(-found, most - 1, axis=1)[:, :most]
            return np.sort(chosen, axis=1).astype(np.int32)

        most = min(most, self.count)
        starts = range(0, self.count, _BLOCK // 8)
        return np.concatenate(list(side_by_side(nearest, starts)))

    def _fill(self, places: RowIds, vectors: Matrix) -> None:
        """Encode vectors and put them where they belong."""

        def encode(start: int) -> None:
            part = vectors[start : start + _BLOCK]
            scales = np.maximum(part.max(axis=1), -part.min(axis=1)) / np.float32(MOST * _STEP)
            scales[scales < _LEAST_SCALE] = 1
            codes = part * (1 / scales)[:, None]
            np.rint(codes, out=codes)
            squares = np.vecdot(codes, codes)
            # Halves go up: what remains is a byte, from -128 to 127.
            coarse = np.floor(codes * np.float32(1 / _STEP) + np.float32(0.5))
            codes -= coarse * np.float32(_STEP)
            to = places[start : start + _BLOCK]
            self.coarse[to] = coarse
            self.fine[to] = codes
            self.scales[to] = scales
            self.squares[to] = np.square(scales) * squares

        for _ in side_by_side(encode, range(0, vectors.shape[0], _BLOCK)):
            pass

    def _split(self, seed: int, progress: Progress) -> Cells:
        """Cut each cell into fine ones."""
        parts = side_by_side(partial(self._cut, seed), range(self.count))
        centroids, lengths = [], []
        for number, (centres, sizes) in enumerate(parts):
            centroids.append(centres)
            lengths.append(sizes)
            progress("cells", (2 + (number + 1) / self.count) / 3)
        ends = np.cumsum(np.concatenate(lengths))
        return Cells(
            self.metric,
            self.rows,
            np.concatenate(([0], ends)),
            np.concatenate(centroids),
            self.coarse,
            self.fine,
            self.scales,
            self.squares,
        )

    def _cut(self, seed: int, number: int) -> tuple[Matrix, RowIds]:
        """Sort the rows of a cell into fine ones, and return their centroids and lengths."""
        start, stop = self.bounds[number : number + 2].tolist()
        if start == stop:
            return self.centroids[:0], self.bounds[:0]
        count = max(1, round((stop - start) / CELL_ROWS))
        step = max(1, (stop - start) // (count * _TRAINED))
        centroids = _clustered(self.vectors(slice(start, stop, step)), count, self.metric, seed)
        parts = (
            (self.affinities_to(centroids, slice(first, min(stop, first + _BLOCK))))
            for first in range(start, stop, _BLOCK)
        )
        home = np.concatenate([part.argmax(axis=1) for part in parts])
        order = np.argsort(home, kind="stable") + start
        for one in (self.coarse, self.fine, self.rows, self.scales, self.squares):
            one[start:stop] = one[order]
        lengths = np.bincount(home, minlength=centroids.shape[0])
        pieces = -(-lengths // _MOST_ROWS)
        sizes = [
            np.diff(np.linspace(0, length, piece + 1).astype(np.int64))
            for length, piece in zip(lengths.tolist(), pieces.tolist(), strict=True)
        ]
        return np.repeat(centroids, pieces, axis=0), np.concatenate(sizes)

    def affinities_to(self, centroids: Matrix, places: slice) -> Matrix:
        """Compare vectors with centroids of somebody else's."""
        return _affinities(self.vectors(places), centroids, self.metric)


def _affinities(vectors: Matrix, centroids: Matrix, metric: Metric) -> Matrix:
    found: Matrix = vectors @ centroids.T
    if metric is Metric.L2:
        found -= np.vecdot(centroids, centroids) / 2
    return found


def _assigned(
    vectors: Matrix, centroids: Matrix, metric: Metric
) -> Iterator[tuple[int, npt.NDArray[np.int32]]]:
    """Yield the nearest centroids, block by block."""

    def nearest(start: int) -> tuple[int, npt.NDArray[np.int32]]:
        found = _affinities(vectors[start : start + _BLOCK], centroids, metric)
        return start, found.argmax(axis=1).astype(np.int32)

    yield from side_by_side(nearest, range(0, vectors.shape[0], _BLOCK))


def _clustered(vectors: Matrix, count: int, metric: Metric, seed: int) -> Matrix:
    """Return centroids by k-means: (count, dim), fewer where there are fewer vectors."""
    if vectors.shape[0] <= count:
        return vectors
    if count == 1:
        mean: Matrix = vectors.mean(axis=0, keepdims=True)
        return mean
    with single_thread():
        means = library().Kmeans(
            vectors.shape[1],
            count,
            niter=_ROUNDS,
            seed=seed + 1,
            spherical=metric is Metric.COSINE,
            min_points_per_centroid=1,
            max_points_per_centroid=_TRAINED,
        )
        means.train(np.ascontiguousarray(vectors))
    centroids: Matrix = means.centroids.reshape(count, -1)
    return centroids
