from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.analysis.duplicates import Pairs, TooManyPairsError, greedy_cover
from models.analysis.pairs import PairLimits, find_pairs
from models.indexes.build import build_index
from models.indexes.plans import IndexKind, IndexPlan, plan_for
from models.indexes.row_view import RowView
from models.types import ArrayVectors, Matrix, Metric, RowIds

if TYPE_CHECKING:
    from random import Random


def gaussian(rows: int, dim: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def brute_force(matrix: Matrix, metric: Metric) -> npt.NDArray[np.float64]:
    x = matrix.astype(np.float64)
    if metric is Metric.COSINE:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    similarities = -np.square(x[:, None] - x[None]).sum(2) if metric is Metric.L2 else x @ x.T
    return np.asarray(similarities)


def pairs_of(
    matrix: Matrix,
    metric: Metric,
    threshold: float,
    plan: IndexPlan | None = None,
    limits: PairLimits | None = None,
) -> Pairs:
    vectors, rows = ArrayVectors(matrix), np.arange(len(matrix), dtype=np.int64)
    index = RowView(build_index(vectors, metric, plan).index, rows)
    return find_pairs(vectors, index, threshold, rows, limits=limits or PairLimits())


@pytest.mark.parametrize(
    ("metric", "threshold"),
    [(Metric.COSINE, 0.8), (Metric.L2, -0.5), (Metric.INNER_PRODUCT, 5.0)],
)
def test_pairs_are_those_of_brute_force(metric: Metric, threshold: float) -> None:
    matrix = gaussian(500, 4)
    matrix[400:450] = matrix[7]
    pairs = pairs_of(matrix, metric, threshold)
    similarities = brute_force(matrix, metric)
    expected = np.argwhere(np.triu(similarities >= threshold, 1))
    assert expected.shape[0] > 1000
    np.testing.assert_array_equal(np.column_stack((pairs.first, pairs.second)), expected)
    np.testing.assert_allclose(pairs.similarities, similarities[*expected.T], atol=1e-5)


def test_inverted_lists_find_nearly_all_near_duplicates() -> None:
    matrix = gaussian(3000, 16)
    matrix[1000:1100] = matrix[0] + 1e-2 * gaussian(100, 16, 1)
    matrix[2000:2500] = matrix[1000:1500] + 1e-2 * gaussian(500, 16, 2)
    pairs = pairs_of(matrix, Metric.COSINE, 0.99, plan_for(IndexKind.IVF_SQFP16, 3000))
    expected = np.triu(brute_force(matrix, Metric.COSINE) >= 0.99, 1)
    assert expected[pairs.first, pairs.second].mean() >= 0.999
    assert pairs.count >= 0.99 * expected.sum()


def test_no_pairs_are_an_empty_answer() -> None:
    pairs = pairs_of(np.eye(5, dtype=np.float32), Metric.COSINE, 0.5)
    assert pairs.count == 0
    assert greedy_cover(pairs, np.arange(5)).removed.size == 0


def test_a_threshold_that_tells_nothing_apart_is_an_error() -> None:
    with pytest.raises(TooManyPairsError, match=r"pairs reach the similarity -1.0 .* raise the th"):
        pairs_of(gaussian(300, 3), Metric.COSINE, -1.0, limits=PairLimits(pairs=1000))


@st.composite
def pair_sets(draw: st.DrawFn) -> tuple[Pairs, RowIds]:
    rows = draw(st.integers(2, 14))
    every = [(i, j) for i in range(rows) for j in range(i + 1, rows)]
    chosen = draw(st.lists(st.sampled_from(every), unique=True))
    # Few distinct values, so that ties are common.
    values = draw(st.lists(st.integers(0, 3), min_size=len(chosen), max_size=len(chosen)))
    first, second = np.array(chosen, dtype=np.int64).reshape(-1, 2).T
    pairs = Pairs(first, second, np.array(values, dtype=np.float32))
    return pairs, np.array(draw(st.permutations(range(rows))), dtype=np.int64)


@given(drawn=pair_sets(), shuffle=st.randoms(use_true_random=False))
def test_the_cover_is_that_of_the_rule_walked_by_hand(
    drawn: tuple[Pairs, RowIds], shuffle: Random
) -> None:
    pairs, priority = drawn
    near = {
        (a, b): s
        for i, j, s in zip(pairs.first, pairs.second, pairs.similarities, strict=True)
        for a, b in ((int(i), int(j)), (int(j), int(i)))
    }
    kept: list[int] = []
    for row in priority.tolist():
        if not any((row, other) in near for other in kept):
            kept.append(row)
    expected = {
        row: max(
            (near[row, twin], -rank, twin) for rank, twin in enumerate(kept) if (row, twin) in near
        )
        for row in range(priority.size)
        if row not in kept
    }

    order = list(range(pairs.count))
    shuffle.shuffle(order)
    shuffled = Pairs(pairs.first[order], pairs.second[order], pairs.similarities[order])
    for given_pairs in (pairs, shuffled):
        cover = greedy_cover(given_pairs, priority)
        assert cover.removed.tolist() == sorted(expected)
        assert cover.twins.tolist() == [expected[row][2] for row in sorted(expected)]
        similarities = given_pairs.similarities[cover.pairs].tolist()
        assert similarities == [expected[row][0] for row in sorted(expected)]
        assert cover.groups.tolist() == cover.twins.tolist()


@settings(max_examples=30)
@given(seed=st.integers(0, 200), threshold=st.floats(0.3, 0.95))
def test_no_two_rows_that_stay_are_near_and_each_removed_one_has_a_twin(
    seed: int, threshold: float
) -> None:
    matrix = gaussian(60, 3, seed)
    pairs = pairs_of(matrix, Metric.COSINE, threshold)
    cover = greedy_cover(pairs, np.random.default_rng(seed).permutation(60))
    kept = np.setdiff1d(np.arange(60), cover.removed)
    similarities = brute_force(matrix, Metric.COSINE)
    np.fill_diagonal(similarities, -1)
    assert (similarities[np.ix_(kept, kept)] < threshold + 1e-6).all()
    assert np.isin(cover.twins, kept).all()
    nearest = similarities[np.ix_(cover.removed, kept)].max(axis=1, initial=-1)
    np.testing.assert_allclose(pairs.similarities[cover.pairs], nearest, atol=1e-6)
    assert (pairs.similarities[cover.pairs] >= np.float32(threshold)).all()


def test_a_chain_of_frames_is_covered_in_linear_time() -> None:
    frames = np.arange(200_000, dtype=np.int64)
    pairs = Pairs(frames[:-1], frames[1:], np.ones(frames.size - 1, dtype=np.float32))
    cover = greedy_cover(pairs, frames)
    np.testing.assert_array_equal(cover.removed, frames[1::2])
    np.testing.assert_array_equal(cover.twins, frames[:-1:2])
