"""All vectors in fine cells, each in one piece of memory: what links all rows of a set reads.

A search index has about as many lists as the root of its rows asks for, and is tuned for single
queries. Where every row asks, finer cells mean fewer comparisons, and they cost little: vectors are
clustered twice, all of them coarsely and then each coarse cell by itself, so that a row meets about
the root of the cells' number, not all of them. It lives in the nearest of the fine cells of its
coarse one and of those around that: at a border neighbours would be far apart otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.indexes.byte_codes import ByteCodes
from models.indexes.faiss_library import library, single_thread
from models.indexes.side_by_side import side_by_side
from models.indexes.streams import prepared_batches, sample, silent, take
from models.types import Metric

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.indexes.streams import Progress
    from models.types import Matrix, RowIds, Vectors

CELL_ROWS: Final = 300
"""Rows of a cell on average: fewer mean more centroids to look at, more mean more comparisons."""
_MOST: Final = 4
"""Times as many rows a cell may have: a longer one, of rows that are alike, is cut."""
_TRAINED: Final = 64
"""Rows of a sample for each centroid."""
_ROUNDS: Final = 6
"""Of k-means: cells need not be good ones, as rows visit those around their own."""
_BLOCK: Final = 4096
"""Rows that a thread looks at at once: they stay in its cache."""
_CELLS_AT_ONCE: Final = 512
_AROUND: Final = 8
"""Coarse cells whose fine ones a row may live in."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Vectors by cell. A place is where a vector stands here; cells follow each other.

    Attributes:
        metric: how nearness is measured.
        rows: (rows,) int64, which row stands at each place.
        bounds: (cells + 1,) int64, where each cell begins and ends; none is empty.
        centroids: (cells, dim) float32.
        codes: the vectors by place; for L2 without the mean of all, which shifts no distance.
    """

    metric: Metric
    rows: RowIds
    bounds: RowIds
    centroids: Matrix
    codes: ByteCodes

    @classmethod
    def of(
        cls,
        vectors: Vectors,
        metric: Metric,
        seed: int = 0,
        *,
        precise: bool = True,
        progress: Progress = silent,
    ) -> Cells:
        """Cluster all vectors, in one pass over what holds them; for L2 in two.

        Memory is 2 bytes a dimension, or 1, half as much again for a moment, and about 40 a row.
        The same vectors and seed give the same cells, whatever the number of threads.

        Args:
            vectors: what to cluster.
            metric: how nearness is measured.
            seed: of samples and of k-means.
            precise: whether codes have 16 bits rather than 8.
            progress: called with "cells" and the fraction done.

        Raises:
            InvalidVectorsError: a vector is not finite, or too long: see `prepared`.
        """
        count = max(1, round((vectors.rows / CELL_ROWS) ** 0.5))
        some = sample(vectors.rows, _TRAINED * count, seed)
        codes = ByteCodes.empty(vectors.rows, vectors.dim, precise=precise)
        mean = take(vectors, some).mean(axis=0) if metric is Metric.L2 else None
        for start, batch in prepared_batches(vectors, metric):
            _put(codes, start, batch if mean is None else batch - mean, metric)
            progress("cells", (start + batch.shape[0]) / vectors.rows / 3)
        centroids = _clustered(codes.vectors(some), count, metric, seed)
        rows = np.arange(vectors.rows, dtype=np.int64)
        home = _nearest(codes, centroids, metric)
        coarse = cls(metric, *_grouped(rows, codes, home, centroids))
        fine, belong = _fine_centroids(coarse, seed)
        progress("cells", 2 / 3)
        home = _fine_homes(coarse, fine, belong, progress)
        return _cut(cls(metric, *_grouped(coarse.rows, codes, home, fine)))

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int(self.centroids.shape[0])

    @property
    def lengths(self) -> RowIds:
        """How many rows each cell has: (cells,) int64."""
        return np.diff(self.bounds)

    @property
    def is_precise(self) -> bool:
        """Whether codes have 16 bits."""
        return self.codes.fine is not None

    def homes(self) -> npt.NDArray[np.int32]:
        """Return the cell of each place: (rows,) int32."""
        return np.repeat(np.arange(self.count, dtype=np.int32), self.lengths)

    def places(self, cell: int) -> slice:
        """Return where the rows of a cell stand."""
        return slice(*self.bounds[cell : cell + 2].tolist())

    def vectors(self, places: Any) -> Matrix:
        """Return vectors as precise as the codes, without the mean for L2: (places, dim)."""
        return self.codes.vectors(places)

    def roughly(self, places: Any, others: Any) -> Matrix:
        """Compare vectors by 8 bits.

        Args:
            places: a slice or numbers.
            others: the same.

        Returns:
            (places, others) float32, about the similarities that `models.indexes.results` has.
        """
        return self.codes.roughly(places, others, distances=self._distances)

    def closely(self, places: Any, others: Any) -> Matrix:
        """Compare vectors by 16 bits, as `roughly` does."""
        return self.codes.closely(places, others, distances=self._distances)

    @property
    def _distances(self) -> bool:
        return self.metric is Metric.L2

    def noise(self, cell: int) -> float:
        """Return by how much `roughly` is off in a cell: a standard error."""
        return self.codes.noise(self.places(cell)) * (2 if self.metric is Metric.L2 else 1)

    def errors(self, places: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Tell how far off `roughly` is: by an error times the other's length, from either side.

        Returns:
            (places,) float32 standard errors for another of length 1, and lengths.
        """
        return self.codes.errors(places, distances=self._distances)

    def similarities(self, first: int, others: npt.NDArray[Any]) -> Matrix:
        """Compare consecutive vectors with their own others, as precisely as the codes do.

        Args:
            first: the place of the first of them.
            others: (own, any) places; -1 for none.

        Returns:
            (own, any) float32, as `models.indexes.results` has them; -inf for none.
        """
        return self.codes.similarities(first, others, distances=self._distances)

    def affinities(self, vectors: Matrix, cells: Any = slice(None)) -> Matrix:
        """Compare vectors with centroids: (vectors, cells) float32, the larger the nearer."""
        return _affinities(vectors, self.centroids[cells], self.metric)

    def near(self, most: int) -> npt.NDArray[np.int32]:
        """Return the cells by each, by their centroids: (cells, most), ascending."""
        most = min(most, self.count)

        def nearest(start: int) -> npt.NDArray[np.int32]:
            found = self.affinities(self.centroids[start : start + _CELLS_AT_ONCE])
            chosen = np.argpartition(-found, most - 1, axis=1)[:, :most]
            return np.sort(chosen, axis=1).astype(np.int32)

        starts = range(0, self.count, _CELLS_AT_ONCE)
        return np.concatenate(list(side_by_side(nearest, starts)))


def _grouped(
    rows: RowIds, codes: ByteCodes, home: npt.NDArray[np.int32], centroids: Matrix
) -> tuple[RowIds, RowIds, Matrix, ByteCodes]:
    """Sort vectors by the cells that they live in; return what `Cells` have besides the metric."""
    order = np.argsort(home, kind="stable")
    codes.sort(slice(None), order)
    lengths = np.bincount(home, minlength=centroids.shape[0])
    full = lengths > 0
    return rows[order], _bounds(lengths[full]), centroids[full], codes


def _cut(cells: Cells) -> Cells:
    """Cut cells that are too long: their rows are alike."""
    pieces = -(-cells.lengths // (_MOST * CELL_ROWS))
    sizes = [
        np.diff(np.linspace(0, length, piece + 1).astype(np.int64))
        for length, piece in zip(cells.lengths.tolist(), pieces.tolist(), strict=True)
    ]
    centroids = np.repeat(cells.centroids, pieces, axis=0)
    return replace(cells, bounds=_bounds(np.concatenate(sizes)), centroids=centroids)


def _fine_centroids(coarse: Cells, seed: int) -> tuple[Matrix, RowIds]:
    """Cluster the rows of each cell: (fine, dim), and the cell of each."""

    def cluster(number: int) -> Matrix:
        own = coarse.places(number)
        rows = own.stop - own.start
        count = max(1, round(rows / CELL_ROWS))
        step = max(1, rows // (count * _TRAINED))
        some = coarse.vectors(slice(own.start, own.stop, step))
        return _clustered(some, count, coarse.metric, seed)

    parts = list(side_by_side(cluster, range(coarse.count)))
    return np.concatenate(parts), np.repeat(np.arange(coarse.count), [len(one) for one in parts])


def _fine_homes(
    coarse: Cells, fine: Matrix, belong: RowIds, progress: Progress
) -> npt.NDArray[np.int32]:
    """Return the nearest fine centroid of each, from its own coarse cell or those around it."""
    near = coarse.near(_AROUND)
    home = np.empty(coarse.rows.size, np.int32)

    def settle(number: int) -> int:
        own = coarse.places(number)
        choice = np.flatnonzero(np.isin(belong, near[number]))
        for start in range(own.start, own.stop, _BLOCK):
            part = slice(start, min(own.stop, start + _BLOCK))
            found = _affinities(coarse.vectors(part), fine[choice], coarse.metric)
            home[part] = choice[found.argmax(axis=1)]
        return number

    for number in side_by_side(settle, range(coarse.count)):
        progress("cells", (2 + (number + 1) / coarse.count) / 3)
    return home


def _bounds(lengths: RowIds) -> RowIds:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def _put(codes: ByteCodes, first: int, vectors: Matrix, metric: Metric) -> None:
    """Encode consecutive vectors, side by side."""

    def encode(start: int) -> None:
        some = vectors[start : start + _BLOCK]
        codes.put(first + start, some, unit=metric is Metric.COSINE)

    for _ in side_by_side(encode, range(0, vectors.shape[0], _BLOCK)):
        pass


def _nearest(codes: ByteCodes, centroids: Matrix, metric: Metric) -> npt.NDArray[np.int32]:
    """Return the nearest centroids of all vectors: (rows,) int32."""

    def nearest(start: int) -> npt.NDArray[np.int32]:
        vectors = codes.vectors(slice(start, start + _BLOCK))
        found: npt.NDArray[np.int32] = _affinities(vectors, centroids, metric).argmax(axis=1)
        return found.astype(np.int32)

    return np.concatenate(list(side_by_side(nearest, range(0, codes.rows, _BLOCK))))


def _affinities(vectors: Matrix, centroids: Matrix, metric: Metric) -> Matrix:
    found: Matrix = vectors @ centroids.T
    if metric is Metric.L2:
        found -= np.vecdot(centroids, centroids) / 2
    return found


def _clustered(vectors: Matrix, count: int, metric: Metric, seed: int) -> Matrix:
    """Return centroids by k-means: (count, dim), fewer where there are fewer vectors."""
    if vectors.shape[0] <= count:
        return vectors
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
