from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from models.analysis import detectors
from models.analysis.anomalies import find_anomalies, percentiles
from models.analysis.detectors import Mahalanobis, NeighbourDistance, Scores
from models.analysis.graph import NeighbourGraph, build_graph
from models.indexes.errors import IndexMismatchError
from models.types import ArrayVectors, Matrix, Metric, Vectors, normalised

if TYPE_CHECKING:
    from models.analysis.anomalies import Anomalies


def gaussian(rows: int, dim: int, seed: int = 0) -> Matrix:
    scales = np.linspace(1, 3, dim)
    return (np.random.default_rng(seed).standard_normal((rows, dim)) * scales + 1).astype(
        np.float32
    )


def analyse(matrix: Matrix, metric: Metric = Metric.L2, k: int = 15) -> Anomalies:
    vectors = ArrayVectors(matrix)
    return find_anomalies(vectors, build_graph(vectors, metric, k))


@pytest.mark.parametrize(
    ("metric", "theirs"), [(Metric.L2, "euclidean"), (Metric.COSINE, "cosine")]
)
def test_the_neighbour_distance_is_sklearns(metric: Metric, theirs: str) -> None:
    matrix = gaussian(300, 6)
    graph = build_graph(ArrayVectors(matrix), metric, 12)
    distances, _ = NearestNeighbors(n_neighbors=12, metric=theirs).fit(matrix).kneighbors()
    scores = NeighbourDistance().scores(ArrayVectors(matrix), graph)
    np.testing.assert_allclose(scores, distances.mean(axis=1), rtol=1e-3, atol=1e-5)


@given(rows=st.integers(2, 80), dim=st.integers(1, 30), metric=st.sampled_from(list(Metric)))
def test_the_mahalanobis_distance_is_sklearns(rows: int, dim: int, metric: Metric) -> None:
    matrix = gaussian(rows, dim, seed=rows)
    graph = build_graph(ArrayVectors(matrix), metric, 3)
    ours = Mahalanobis().scores(ArrayVectors(matrix), graph)
    x = (normalised(matrix) if metric is Metric.COSINE else matrix).astype(np.float64)
    if np.ptp(x, axis=0).max() < 1e-6:  # one dimension, scaled to length 1
        np.testing.assert_allclose(ours, 0, atol=rows)
        return
    np.testing.assert_allclose(ours, LedoitWolf().fit(x).mahalanobis(x), rtol=1e-4, atol=1e-5)


def test_a_stream_in_parts_scores_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = ArrayVectors(gaussian(500, 6))
    graph = build_graph(vectors, Metric.L2)
    whole = Mahalanobis().scores(vectors, graph)
    monkeypatch.setattr(detectors, "_STREAM_BYTES", 24 * 64)
    np.testing.assert_allclose(Mahalanobis().scores(vectors, graph), whole, rtol=1e-9)


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40))
def test_percentiles_share_ties(scores: list[int]) -> None:
    expected = 100 * (rankdata(scores) - 1) / (len(scores) - 1)
    np.testing.assert_allclose(percentiles(np.array(scores, dtype=np.float64)), expected)


def test_planted_outliers_rank_first_and_are_shown_normal_rows() -> None:
    matrix = gaussian(400, 6)
    matrix[:10] = 12 + 0.1 * gaussian(10, 6, 1)  # a small group, near to itself
    found = analyse(matrix)
    assert set(found.ranks[:10]) == set(range(1, 11))
    normal = found.normal_neighbours[:10]
    assert (normal[:, 0] >= 10).all()
    assert (found.ranks[normal[normal >= 0]] > 20).all()


def test_ranks_follow_the_mean_percentile_and_then_the_row() -> None:
    found = analyse(gaussian(200, 5)[np.arange(200) % 150])
    means = np.mean([d.percentiles for d in found.detectors], axis=0)
    np.testing.assert_allclose(found.percentiles, means)
    order = sorted(range(200), key=lambda row: (-means[row], row))
    assert [found.ranks[row] for row in order] == list(range(1, 201))
    assert [d.name for d in found.detectors] == ["neighbour_distance", "mahalanobis"]


def test_normal_neighbours_are_the_nearest_that_are_not_strange() -> None:
    matrix = gaussian(120, 3)
    graph = build_graph(ArrayVectors(matrix), Metric.L2, 8)
    found = find_anomalies(ArrayVectors(matrix), graph, normal_neighbours=4)
    for row in range(120):
        nearest = [n for n in graph.rows[row].tolist() if found.ranks[n] > 6][:4]
        assert found.normal_neighbours[row].tolist() == nearest + [-1] * (4 - len(nearest))


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 25])
def test_tiny_and_identical_inputs_have_finite_scores(rows: int, metric: Metric) -> None:
    for matrix in (np.ones((rows, 4), dtype=np.float32), gaussian(rows, 4)):
        found = analyse(matrix, metric)
        assert sorted(found.ranks.tolist()) == list(range(1, rows + 1))
        for judged in found.detectors:
            assert np.isfinite(judged.scores).all()
            assert ((judged.percentiles >= 0) & (judged.percentiles <= 100)).all()
        assert found.normal_neighbours.shape == (rows, 3)


def test_a_row_that_the_graph_lost_is_as_far_as_the_farthest() -> None:
    rows = np.array([[1], [0], [-1]])
    graph = NeighbourGraph(rows, np.array([[-4], [-4], [-np.inf]], np.float32), Metric.L2, None)
    scores = NeighbourDistance().scores(ArrayVectors(gaussian(3, 2)), graph)
    assert scores.tolist() == [2.0, 2.0, 2.0]


@dataclass(frozen=True)
class FirstColumn:
    """A detector of someone else's."""

    name: str = "first_column"

    def scores(self, vectors: Vectors, graph: NeighbourGraph) -> Scores:
        assert graph.rows.shape[0] == vectors.rows
        return np.concatenate([batch[:, 0] for batch in vectors.batches(7)]).astype(np.float64)


def test_another_detector_joins() -> None:
    vectors = ArrayVectors(gaussian(50, 3))
    graph = build_graph(vectors, Metric.L2, 5)
    found = find_anomalies(vectors, graph, (FirstColumn(),))
    np.testing.assert_array_equal(np.argsort(found.ranks), np.argsort(-vectors.matrix[:, 0]))


def test_both_detectors_tell_scattered_anomalies_apart() -> None:
    matrix = gaussian(600, 8)
    is_strange = np.arange(600) % 20 == 0
    matrix[is_strange] *= 4
    found = analyse(matrix)
    for judged in found.detectors:
        assert roc_auc_score(is_strange, judged.scores) > 0.9


def test_a_graph_of_other_rows_is_refused() -> None:
    graph = build_graph(ArrayVectors(gaussian(20, 3)), Metric.L2)
    with pytest.raises(IndexMismatchError, match="graph's number of rows is 20"):
        find_anomalies(ArrayVectors(gaussian(21, 3)), graph)
