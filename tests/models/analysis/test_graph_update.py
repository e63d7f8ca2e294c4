"""A graph and pairs that grew batch by batch are those of one build."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.analysis.graph import GraphOptions, build_graph
from models.analysis.graph_update import OFFER_WIDTH, OldGraph, remeasured, update_graph
from models.analysis.pairs import find_pairs, joined
from models.indexes.build import build_index
from models.indexes.plans import IndexKind, plan_for
from models.indexes.results import NO_ROW, Neighbours, no_neighbours
from models.indexes.row_view import RowView
from models.types import ArrayVectors, Matrix, Metric, RowIds

K = 4
METRICS = st.sampled_from(list(Metric))


def clumped(rows: int, dim: int, seed: int) -> Matrix:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((12, dim))
    points = centres[random.integers(0, 12, rows)] + 0.2 * random.standard_normal((rows, dim))
    return points.astype(np.float32)


def viewed(matrix: Matrix, metric: Metric, kind: IndexKind = IndexKind.FLAT) -> RowView:
    built = build_index(ArrayVectors(matrix), metric, plan_for(kind, matrix.shape[0]))
    return RowView(built.index, np.arange(matrix.shape[0], dtype=np.int64))


def carried(old: Neighbours, before: RowIds, after: RowIds, metric: Metric) -> OldGraph:
    """Bring lists over ids `before` into the row numbers of ids `after`."""
    row_of = np.full(int(max(before.max(), after.max())) + 1, NO_ROW)
    row_of[after] = np.arange(after.size)
    lists = no_neighbours(after.size, old.rows.shape[1])
    stays = np.flatnonzero(np.isin(before, after))
    known = old.rows[stays]
    lists.rows[row_of[before[stays]]] = np.where(known == NO_ROW, NO_ROW, row_of[before[known]])
    lists.similarities[row_of[before[stays]]] = old.similarities[stays]
    torn = ((known != NO_ROW) & (row_of[before[known]] == NO_ROW)).any(axis=1)
    fresh = np.flatnonzero(~np.isin(after, before)).astype(np.int64)
    return OldGraph(lists, metric, fresh, np.sort(row_of[before[stays[torn]]]).astype(np.int64))


@settings(max_examples=40, deadline=None)
@given(metric=METRICS, seed=st.integers(0, 1000), steps=st.lists(st.integers(2, 60), max_size=4))
def test_after_any_batches_the_graph_is_the_one_of_brute_force(
    metric: Metric, seed: int, steps: list[int]
) -> None:
    random = np.random.default_rng(seed)
    everything = clumped(60, 5, seed)
    ids = np.sort(random.choice(60, 30, replace=False)).astype(np.int64)
    graph = build_graph(ArrayVectors(everything[ids]), metric, K)
    for size in steps:
        after = np.sort(random.choice(60, size, replace=False)).astype(np.int64)
        vectors = ArrayVectors(everything[after])
        lists = Neighbours(graph.rows, graph.similarities)
        old = carried(lists, ids, after, metric)
        known_rows = old.lists.rows.copy()
        update = update_graph(vectors, None, old)
        same = np.setdiff1d(np.arange(size), update.changed)
        np.testing.assert_array_equal(update.graph.rows[same], known_rows[same])
        graph, ids = update.graph, after
        expected = build_graph(vectors, metric, K)
        np.testing.assert_allclose(graph.similarities, expected.similarities, rtol=1e-4, atol=1e-4)
        known = graph.rows != NO_ROW
        assert (known == (expected.rows != NO_ROW)).all()
        assert all(len(set(row[row != NO_ROW])) == (row != NO_ROW).sum() for row in graph.rows)
        assert (graph.rows != np.arange(size)[:, None]).all()


def test_through_an_index_the_update_keeps_the_recall() -> None:
    matrix = clumped(3000, 16, 0)
    view = viewed(matrix, Metric.COSINE, IndexKind.IVF_SQFP16)
    options = GraphOptions(exact_flops=0)
    before = np.arange(2900, dtype=np.int64)
    first = build_graph(ArrayVectors(matrix[:2900]), Metric.COSINE, K)
    lists = Neighbours(first.rows, first.similarities)
    old = carried(lists, before, np.arange(3000, dtype=np.int64), Metric.COSINE)
    updated = update_graph(ArrayVectors(matrix), view, old, options).graph
    expected = build_graph(ArrayVectors(matrix), Metric.COSINE, K)
    hits = (updated.rows[:, :, None] == expected.rows[:, None, :]).any(axis=2).mean()
    recall = remeasured(ArrayVectors(matrix), updated, options)
    assert hits >= 0.95
    assert recall.low - 0.02 <= hits <= recall.high + 0.02


def test_old_lists_take_the_new_rows_that_have_them_nearby() -> None:
    matrix, old_rows, rows = clumped(400, 6, 3), 340, 400
    similarities = oracle_cosines(matrix)
    first = build_graph(ArrayVectors(matrix[:old_rows]), Metric.COSINE, K)
    before = np.arange(old_rows, dtype=np.int64)
    old = carried(
        Neighbours(first.rows, first.similarities), before, np.arange(rows), Metric.COSINE
    )
    view = viewed(matrix, Metric.COSINE)
    updated = update_graph(ArrayVectors(matrix), view, old, GraphOptions(exact_flops=0))
    nearby = np.argsort(-similarities[old_rows:], axis=1)[:, : OFFER_WIDTH * K]
    entered = 0
    for row in range(old_rows):
        offered = old_rows + np.flatnonzero((nearby == row).any(axis=1))
        known = np.concatenate((first.rows[row], offered))
        expected = known[np.argsort(-similarities[row, known])][:K]
        assert updated.graph.rows[row].tolist() == expected.tolist()
        assert (row in updated.changed) == bool((expected >= old_rows).any())
        entered += int((expected >= old_rows).sum())
    assert entered > rows - old_rows


def oracle_cosines(matrix: Matrix) -> Matrix:
    """Return all similarities, -inf between a row and itself."""
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    similarities: Matrix = unit @ unit.T
    np.fill_diagonal(similarities, -np.inf)
    return similarities


@settings(max_examples=15, deadline=None)
@given(metric=METRICS, seed=st.integers(0, 1000), cut=st.integers(0, 80))
def test_pairs_do_not_depend_on_the_batches(metric: Metric, seed: int, cut: int) -> None:
    matrix = clumped(80, 4, seed)
    matrix[1] = matrix[0]
    view, vectors = viewed(matrix, metric), ArrayVectors(matrix)
    whole = build_graph(vectors, metric, 3).similarities
    threshold = float(np.median(whole))
    once = find_pairs(vectors, view, threshold, np.arange(80, dtype=np.int64))
    early = find_pairs(
        ArrayVectors(matrix[:cut]),
        viewed(matrix[:cut], metric),
        threshold,
        np.arange(cut, dtype=np.int64),
    )
    late = find_pairs(vectors, view, threshold, np.arange(cut, 80, dtype=np.int64))
    both = joined(early, late)
    np.testing.assert_array_equal(both.first, once.first)
    np.testing.assert_array_equal(both.second, once.second)
    np.testing.assert_array_equal(both.similarities, once.similarities)


def test_codes_neither_hide_pairs_nor_change_their_similarity() -> None:
    matrix = clumped(2000, 16, 3)
    vectors, rows = ArrayVectors(matrix), np.arange(2000, dtype=np.int64)
    exact = find_pairs(vectors, viewed(matrix, Metric.COSINE), 0.99, rows)
    coded = viewed(matrix, Metric.COSINE, IndexKind.IVF_SQ8)
    found = find_pairs(vectors, coded, 0.99, rows)
    keys = exact.first * 2000 + exact.second
    known = np.isin(found.first * 2000 + found.second, keys)
    assert known.all()
    assert found.count >= 0.9 * exact.count > 100
    where = np.searchsorted(keys, found.first * 2000 + found.second)
    np.testing.assert_array_equal(found.similarities, exact.similarities[where])


def test_a_view_leaves_dead_rows_out() -> None:
    matrix = clumped(50, 6, 1)
    index = viewed(matrix, Metric.L2).index
    row_of = np.full(50, NO_ROW, np.int64)
    alive = np.array([40, 3, 17, 9], np.int64)
    row_of[alive] = np.arange(4)
    view = RowView(index, row_of)
    found = view.search(matrix[alive], 4)
    expected = build_graph(ArrayVectors(matrix[alive]), Metric.L2, 3)
    own = np.arange(4, dtype=np.int64)
    np.testing.assert_array_equal(found.without(own).rows, expected.rows)
    near = view.range_search(matrix[alive], -1e9)
    assert sorted(near.rows.tolist()) == sorted([0, 1, 2, 3] * 4)
