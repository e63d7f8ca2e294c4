"""Clusters by k-means: learnt from a sample, assigned over the stream, each with a quality."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.indexes.exact import faiss_metric
from models.indexes.faiss_library import library
from models.indexes.results import as_distances, from_faiss
from models.indexes.streams import Progress, prepared, prepared_batches, sample, silent, take
from models.types import Matrix, Metric, RowIds, Vectors

Distances = npt.NDArray[np.float32]

FEWEST: Final = 2
MOST: Final = 256
TRAINING_ROWS_PER_CLUSTER: Final = 256
ITERATIONS: Final = 25


@dataclass(frozen=True, slots=True)
class Clusters:
    """A partition of all rows. After a fit, cluster 0 is the largest, equals ordered by medoid row.

    The distance is 1 - cosine to the centroid (of length 1) where the metric is the cosine, else
    the Euclidean distance to it.

    Attributes:
        cluster_of: (rows,) int64, the cluster of each row.
        distances: (rows,) float32, of each row to the centroid of its cluster.
        silhouettes: (rows,) float32, (b - a) / max(a, b) with the distances a to the own and b to
            the nearest other centroid; 0 where there is only one cluster.
        centroids: (clusters, dim) float32.
        medoids: (clusters,) int64, the row nearest to each centroid, the first among equals.
        sizes: (clusters,) int64, all positive.
        qualities: (clusters,) float32, the mean silhouette of its rows; 0 for a single row.
    """

    cluster_of: RowIds
    distances: Distances
    silhouettes: Distances
    centroids: Matrix
    medoids: RowIds
    sizes: RowIds
    qualities: Distances

    @property
    def count(self) -> int:
        """How many clusters."""
        return int(self.sizes.size)


def choose_clusters(rows: int) -> int:
    """Return sqrt(rows / 2), a rule of thumb (Mardia et al. 1979), within [2, 256]."""
    return int(np.clip(round(sqrt(rows / 2)), FEWEST, MOST))


def find_clusters(
    vectors: Vectors,
    metric: Metric,
    clusters: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Clusters:
    """Partition all rows by k-means (spherical for the cosine, after Dhillon & Modha 2001).

    Centroids are learnt from at most 256 rows a cluster, starting from k-means++; then each row
    goes to its nearest centroid, and centroids that get no row are dropped. So there may be fewer
    clusters than asked for, never an empty one. The silhouettes are the simplified ones of
    Hruschka et al. (2004), by distances to centroids.

    Args:
        vectors: all rows.
        metric: how nearness is measured; the inner product clusters as L2 does.
        clusters: how many to ask for; None for `choose_clusters`.
        seed: of the sample and the start.
        progress: called with "train" or "assign" and the fraction done.

    Returns:
        The clusters; the same for the same vectors, seed and number of threads.

    Raises:
        InvalidVectorsError: a vector is not finite.
    """
    geometry = Metric.COSINE if metric is Metric.COSINE else Metric.L2
    if vectors.rows == 0:
        return _no_clusters(vectors.dim)
    wanted = min(clusters or choose_clusters(vectors.rows), vectors.rows)
    progress("train", 0.0)
    centroids = _train(vectors, geometry, wanted, seed)
    progress("train", 1.0)
    assigned = assign_clusters(vectors, metric, centroids, progress)
    used = np.bincount(assigned.cluster_of, minlength=centroids.shape[0]) > 0
    if not used.all():
        # Empty clusters must not count as the "nearest other" of the silhouettes either.
        centroids = centroids[used]
        assigned = assign_clusters(vectors, metric, centroids, progress)
    return _by_size(summarise_clusters(assigned, centroids))


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which cluster rows belong to; `Clusters` explains the three arrays."""

    cluster_of: RowIds
    distances: Distances
    silhouettes: Distances


def assign_clusters(
    vectors: Vectors, metric: Metric, centroids: Matrix, progress: Progress = silent
) -> Assignment:
    """Put each row into the cluster of its nearest centroid, in one pass.

    Args:
        vectors: the rows, all of a space or only new ones.
        metric: how nearness is measured.
        centroids: (clusters, dim) float32, of a `find_clusters`.
        progress: called with "assign" and the fraction done.

    Raises:
        InvalidVectorsError: a vector is not finite.
    """
    geometry = Metric.COSINE if metric is Metric.COSINE else Metric.L2
    assigned = Assignment(
        np.empty(vectors.rows, dtype=np.int64),
        np.empty(vectors.rows, dtype=np.float32),
        np.empty(vectors.rows, dtype=np.float32),
    )
    for start, batch in prepared_batches(vectors, geometry):
        part = _nearest(batch, centroids, geometry)
        stop = start + batch.shape[0]
        assigned.cluster_of[start:stop] = part.cluster_of
        assigned.distances[start:stop] = part.distances
        assigned.silhouettes[start:stop] = part.silhouettes
        progress("assign", stop / vectors.rows)
    return assigned


def summarise_clusters(assigned: Assignment, centroids: Matrix) -> Clusters:
    """Describe the clusters of an assignment of all rows, each of which must have one."""
    count = centroids.shape[0]
    sizes = np.bincount(assigned.cluster_of, minlength=count)
    nearest_first = np.lexsort((assigned.distances, assigned.cluster_of))
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    medoids = nearest_first[starts]
    weights = assigned.silhouettes.astype(np.float64)
    qualities = np.bincount(assigned.cluster_of, weights=weights, minlength=count) / sizes
    qualities[sizes == 1] = 0.0
    return Clusters(
        cluster_of=assigned.cluster_of,
        distances=assigned.distances,
        silhouettes=assigned.silhouettes,
        centroids=centroids,
        medoids=medoids.astype(np.int64),
        sizes=sizes.astype(np.int64),
        qualities=qualities.astype(np.float32),
    )


def _train(vectors: Vectors, geometry: Metric, clusters: int, seed: int) -> Matrix:
    faiss = library()
    rows = np.sort(sample(vectors.rows, TRAINING_ROWS_PER_CLUSTER * clusters, seed))
    training = prepared(take(vectors, rows), vectors.dim, geometry)
    kmeans: Any = faiss.Kmeans(
        vectors.dim,
        clusters,
        niter=ITERATIONS,
        seed=seed,
        spherical=geometry is Metric.COSINE,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        # Both bounds are kept above; at FAISS's own it would warn on stderr or sample once more.
        min_points_per_centroid=1,
        max_points_per_centroid=TRAINING_ROWS_PER_CLUSTER,
    )
    kmeans.train(training)
    centroids: Matrix = kmeans.centroids
    return prepared(centroids, vectors.dim, geometry)


def _nearest(batch: Matrix, centroids: Matrix, geometry: Metric) -> Assignment:
    distances, found = library().knn(
        batch, centroids, min(2, centroids.shape[0]), faiss_metric(geometry)
    )
    away = as_distances(from_faiss(distances, found, geometry), geometry)
    nearest = found[:, 0]
    if geometry is Metric.L2:
        # FAISS's |x|^2 + |c|^2 - 2xc is too coarse near 0, where the medoid is chosen.
        own = np.linalg.norm(batch - centroids[nearest], axis=1).astype(np.float32)
    else:
        own = away[:, 0]
    other = np.maximum(own, away[:, -1])
    defined = (other > 0) & (centroids.shape[0] > 1)
    silhouettes = np.divide(other - own, other, out=np.zeros_like(own), where=defined)
    return Assignment(nearest, own, silhouettes)


def _by_size(found: Clusters) -> Clusters:
    order = np.lexsort((found.medoids, -found.sizes))
    renumbered = np.empty(found.count, dtype=np.int64)
    renumbered[order] = np.arange(found.count)
    return Clusters(
        cluster_of=renumbered[found.cluster_of],
        distances=found.distances,
        silhouettes=found.silhouettes,
        centroids=found.centroids[order],
        medoids=found.medoids[order],
        sizes=found.sizes[order],
        qualities=found.qualities[order],
    )


def _no_clusters(dim: int) -> Clusters:
    none, nothing = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    centroids = np.empty((0, dim), dtype=np.float32)
    return Clusters(none, nothing, nothing, centroids, none, none, nothing)
