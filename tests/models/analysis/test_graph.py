from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.analysis.graph import GraphOptions, build_graph
from models.indexes.build import build_index
from models.indexes.errors import IndexMismatchError
from models.indexes.plans import IndexKind, plan_for
from models.indexes.tuning import Goal
from models.types import ArrayVectors, Matrix, Metric

THROUGH_INDEX = GraphOptions(exact_flops=0, recall_queries=300)


def gaussian(rows: int, dim: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


@given(
    rows=st.integers(1, 120),
    k=st.integers(1, 15),
    metric=st.sampled_from(list(Metric)),
    copies=st.booleans(),
)
def test_a_small_graph_is_that_of_brute_force(
    rows: int, k: int, metric: Metric, copies: bool
) -> None:
    matrix = gaussian(rows, 5)
    if copies:
        matrix = matrix[np.arange(rows) // 7]
    graph = build_graph(ArrayVectors(matrix), None, metric, k)
    x = matrix.astype(np.float64)
    if metric is Metric.COSINE:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    true = -np.square(x[:, None] - x[None]).sum(2) if metric is Metric.L2 else x @ x.T
    np.fill_diagonal(true, -np.inf)
    expected = np.full((rows, k), -np.inf)
    expected[:, : min(k, rows)] = -np.sort(-true, axis=1)[:, :k]
    np.testing.assert_allclose(graph.similarities, expected, atol=1e-4)
    assert (graph.rows != np.arange(rows)[:, None]).all()
    assert ((graph.rows == -1) == np.isneginf(expected)).all()
    assert graph.recall is None


def test_through_an_index_the_stated_recall_is_the_true_one() -> None:
    vectors = ArrayVectors(gaussian(2500, 12))
    plan = plan_for(IndexKind.IVF_FLAT, vectors.rows)
    index = build_index(vectors, Metric.L2, plan, goal=Goal(0.85)).index
    graph = build_graph(vectors, index, Metric.L2, 10, THROUGH_INDEX)
    exact = build_graph(vectors, None, Metric.L2, 10)
    hits = (graph.rows[:, :, None] == exact.rows[:, None, :]).any(axis=2)
    assert graph.recall is not None
    assert graph.recall.low <= hits.mean() <= graph.recall.high
    assert hits.mean() < 0.97
    assert (np.diff(graph.similarities, axis=1) <= 0).all()
    assert (graph.rows != np.arange(vectors.rows)[:, None]).all()


def test_a_flat_index_gives_the_graph_of_brute_force() -> None:
    vectors = ArrayVectors(gaussian(400, 12))
    index = build_index(vectors, Metric.COSINE).index
    through = build_graph(vectors, index, Metric.COSINE, 7, THROUGH_INDEX)
    np.testing.assert_array_equal(through.rows, build_graph(vectors, None, Metric.COSINE, 7).rows)
    assert through.recall is not None
    assert through.recall.mean == 1.0


def test_an_index_of_other_vectors_is_refused() -> None:
    index = build_index(ArrayVectors(gaussian(30, 4)), Metric.L2).index
    for rows, dim, metric, what in (
        (31, 4, Metric.L2, "number of vectors is 31, the index expects 30"),
        (30, 5, Metric.L2, "dimension is 5"),
        (30, 4, Metric.COSINE, "metric is cosine, the index expects l2"),
    ):
        with pytest.raises(IndexMismatchError, match=what):
            build_graph(ArrayVectors(gaussian(rows, dim)), index, metric)


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    vectors = ArrayVectors(gaussian(30, 4))
    build_graph(vectors, None, Metric.L2, progress=lambda _, fraction: seen.append(fraction))
    assert seen[-1] == 1.0
