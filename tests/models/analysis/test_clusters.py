from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from models.analysis.clusters import choose_clusters, find_clusters
from models.types import ArrayVectors, Matrix, Metric, RowIds


def blobs(sizes: tuple[int, ...], dim: int = 8, spread: float = 0.1) -> tuple[Matrix, RowIds]:
    random = np.random.default_rng(2)
    labels = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    random.shuffle(labels)
    centres = 4 * np.eye(len(sizes), dim)
    points = centres[labels] + spread * random.standard_normal((labels.size, dim))
    return points.astype(np.float32), labels


@pytest.mark.parametrize("metric", list(Metric))
def test_separate_blobs_are_found_largest_first(metric: Metric) -> None:
    sizes = (400, 300, 200, 100)
    points, labels = blobs(sizes)
    clusters = find_clusters(ArrayVectors(points), metric, 4)
    assert clusters.sizes.tolist() == list(sizes)
    np.testing.assert_array_equal(clusters.cluster_of, labels)
    assert (clusters.qualities > 0.8).all()


@given(
    rows=st.integers(1, 60),
    wanted=st.integers(1, 9),
    metric=st.sampled_from([Metric.COSINE, Metric.L2]),
    distinct=st.integers(1, 60),
)
def test_every_figure_is_the_one_its_definition_gives(
    rows: int, wanted: int, metric: Metric, distinct: int
) -> None:
    matrix = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
    matrix = matrix[np.arange(rows) % distinct]
    found = find_clusters(ArrayVectors(matrix), metric, wanted)
    x, centroids = matrix.astype(np.float64), found.centroids.astype(np.float64)
    if metric is Metric.COSINE:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
        away = 1 - x @ centroids.T
    else:
        away = np.linalg.norm(x[:, None] - centroids[None], axis=2)
    every = np.arange(rows)
    own = away[every, found.cluster_of]
    np.testing.assert_allclose(found.distances, own, atol=2e-3)
    np.testing.assert_allclose(own, away.min(axis=1), atol=2e-3)
    np.testing.assert_array_equal(np.bincount(found.cluster_of), found.sizes)
    assert found.sizes.min() > 0
    assert found.count <= min(wanted, rows)
    keys = list(zip((-found.sizes).tolist(), found.medoids.tolist(), strict=True))
    assert keys == sorted(keys)
    for cluster, medoid in enumerate(found.medoids):
        assert found.cluster_of[medoid] == cluster
        assert found.distances[medoid] == found.distances[found.cluster_of == cluster].min()
        assert -1 <= found.qualities[cluster] <= 1


def test_the_quality_is_the_simplified_silhouette() -> None:
    points, _ = blobs((120, 80, 60), spread=1.5)
    found = find_clusters(ArrayVectors(points), Metric.L2, 3)
    away = np.linalg.norm(points[:, None] - found.centroids[None], axis=2)
    two = np.sort(away, axis=1)[:, :2]
    silhouettes = (two[:, 1] - two[:, 0]) / two.max(axis=1)
    expected = [silhouettes[found.cluster_of == c].mean() for c in range(3)]
    np.testing.assert_allclose(found.qualities, expected, atol=1e-4)
    assert (found.qualities < 0.8).all()


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize(
    ("matrix", "count"),
    [
        (np.zeros((0, 3)), 0),
        (np.ones((1, 3)), 1),
        (np.eye(3)[:2], 2),
        (np.eye(3), 3),
        (np.ones((50, 3)), 1),
        (np.zeros((50, 3)), 1),
    ],
)
def test_tiny_and_identical_inputs_work_in_silence(
    matrix: Matrix, count: int, metric: Metric, capfd: pytest.CaptureFixture[str]
) -> None:
    found = find_clusters(ArrayVectors(matrix.astype(np.float32)), metric, 3)
    assert found.count == count
    assert found.sizes.sum() == matrix.shape[0]
    assert (found.qualities == 0).all()
    np.testing.assert_allclose(found.distances, 0 if matrix.any() else found.distances, atol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_the_seed_decides() -> None:
    vectors = ArrayVectors(np.random.default_rng(0).standard_normal((3000, 6)).astype(np.float32))
    one, two, other = (find_clusters(vectors, Metric.COSINE, 8, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.cluster_of, two.cluster_of)
    np.testing.assert_array_equal(one.centroids, two.centroids)
    assert adjusted_rand_score(one.cluster_of, other.cluster_of) < 1


@pytest.mark.parametrize(
    ("rows", "count"), [(0, 2), (1, 2), (8, 2), (200, 10), (20_000, 100), (10**9, 256)]
)
def test_the_number_of_clusters_follows_the_rule(rows: int, count: int) -> None:
    assert choose_clusters(rows) == count
