from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.analysis import meeting
from models.analysis.graph import GraphOptions, build_graph
from models.types import ArrayVectors, Matrix, Metric

if TYPE_CHECKING:
    from models.analysis.visiting import Reach


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
    graph = build_graph(ArrayVectors(matrix), metric, k)
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


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("target", [0.6, 0.9])
def test_the_stated_recall_is_the_true_one(metric: Metric, target: float) -> None:
    vectors = ArrayVectors(gaussian(9000, 12))
    options = GraphOptions(exact_flops=0, target_recall=target)
    graph = build_graph(vectors, metric, 10, options)
    exact = build_graph(vectors, metric, 10)
    hits = (graph.rows[:, :, None] == exact.rows[:, None, :]).any(axis=2).mean()
    assert graph.recall is not None
    assert graph.recall.low - 0.01 <= hits <= graph.recall.high + 0.01
    assert target - 0.01 <= hits < target + 0.06
    assert (np.diff(graph.similarities, axis=1) <= 0).all()
    assert (graph.rows != np.arange(vectors.rows)[:, None]).all()


def test_visits_are_told_before_they_take_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    of = meeting.Visitors.of

    def counted(reach: Reach) -> meeting.Visitors:
        made.append(of(reach).places.size)
        return of(reach)

    class TooManyError(Exception):
        pass

    def refuse(visits: int) -> None:
        told.append(visits)
        if len(told) > 1:
            raise TooManyError

    told: list[int] = []
    vectors, options = ArrayVectors(gaussian(9000, 12)), GraphOptions(0, check_visits=refuse)
    monkeypatch.setattr(meeting.Visitors, "of", counted)
    build_graph(vectors, Metric.COSINE, 10, options)
    assert len(made) == 1
    assert made[0] > 9000
    assert 0.8 * made[0] < told[0] < 1.2 * made[0]
    with pytest.raises(TooManyError):
        build_graph(vectors, Metric.COSINE, 10, options)
    assert len(made) == 1


def test_eight_bits_find_about_as_much_as_sixteen() -> None:
    vectors = ArrayVectors(gaussian(6000, 24))
    found = [
        build_graph(
            vectors, Metric.COSINE, 10, GraphOptions(exact_flops=0, precise=precise)
        ).similarities
        for precise in (True, False)
    ]
    unit = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    true = np.sort(unit @ unit.T, axis=1)[:, ::-1][:, 1:11]
    off = [np.abs(one - true).mean() for one in found]
    assert off[0] < off[1] < 0.02


def test_progress_ends_at_one() -> None:
    seen: list[tuple[str, float]] = []
    vectors = ArrayVectors(gaussian(500, 4))
    for options in (GraphOptions(), GraphOptions(exact_flops=0)):
        build_graph(vectors, Metric.L2, 3, options, progress=lambda *told: seen.append(told))
        assert seen[-1] == ("graph", 1.0)
        seen.clear()
