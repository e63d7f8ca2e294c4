"""Agreement of two spaces, held against the formulas written out and against SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from models.analysis.agreement import (
    compare_geometry,
    exact_graph,
    near_pairs,
    neighbour_overlap,
    prepare_spaces,
    strange_ranks,
)
from models.types import Matrix, Metric, normalised

if TYPE_CHECKING:
    from models.indexes.recall import RecallEstimate

COSINE = (Metric.COSINE, Metric.COSINE)


def gaussian(rows: int, dim: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def rotation(dim: int, seed: int = 7) -> Matrix:
    found, _ = np.linalg.qr(gaussian(dim, dim, seed).astype(np.float64))
    return found.astype(np.float32)


def overlap(one: Matrix, other: Matrix, metrics: tuple[Metric, Metric] = COSINE) -> RecallEstimate:
    spaces = prepare_spaces(one, other, metrics)
    graphs = [exact_graph(*space, min(10, len(one) - 1)) for space in spaces]
    return neighbour_overlap(graphs[0], graphs[1], spaces)


def centred(matrix: Matrix) -> npt.NDArray[np.float64]:
    wide = matrix.astype(np.float64)
    wide -= wide.mean(axis=0)
    return wide


def gram_cka(one: Matrix, other: Matrix) -> float:
    """Kornblith et al. 2019, equations 3 and 4, with the Gram matrices written out."""
    n = len(one)
    centring = np.eye(n) - 1 / n
    k, m = (centring @ (x := a.astype(np.float64)) @ x.T @ centring for a in (one, other))
    return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def song_hsic(k: npt.NDArray[np.float64], m: npt.NDArray[np.float64]) -> float:
    """Song et al. 2012, equation 5, as it stands."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    ones = np.ones(n)
    first = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float((first - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3)))


@pytest.mark.parametrize("dims", [(5, 5), (8, 3), (3, 40)])
def test_the_geometry_is_that_of_the_formulas(dims: tuple[int, int]) -> None:
    one, other = gaussian(30, dims[0]), gaussian(30, dims[1], seed=1)
    other[:, 0] += 2 * one[:, 1]
    found = compare_geometry(one, other)
    assert found.cka == pytest.approx(gram_cka(one, other), rel=1e-6)
    k, m = (centred(x) @ centred(x).T for x in (one, other))
    unbiased = song_hsic(k, m) / np.sqrt(song_hsic(k, k) * song_hsic(m, m))
    assert found.cka_unbiased == pytest.approx(unbiased, rel=1e-5)
    width = max(dims)
    x, y = (np.pad(centred(m), ((0, 0), (0, width - m.shape[1]))) for m in (one, other))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    best, _ = orthogonal_procrustes(x, y)
    assert found.procrustes == pytest.approx(np.square(x @ best - y).sum(), rel=1e-6)


@given(st.integers(4, 40), st.integers(1, 12), st.floats(0.01, 100), st.integers(0, 2**31))
def test_rotation_scale_and_shift_change_nothing(
    rows: int, dim: int, scale: float, seed: int
) -> None:
    one = gaussian(rows, dim, seed)
    turned = scale * one @ rotation(dim, seed + 1) + 3 * scale
    other = turned.astype(np.float32)
    found = compare_geometry(one, other)
    assert found.cka == pytest.approx(1, abs=1e-4)
    assert found.procrustes == pytest.approx(0, abs=1e-3)
    # And against a third space both are the same.
    third = gaussian(rows, dim + 1, seed + 2)
    before, after = compare_geometry(one, third), compare_geometry(other, third)
    assert after.cka == pytest.approx(before.cka, abs=1e-3)
    assert after.procrustes == pytest.approx(before.procrustes, abs=1e-3)


def test_a_rotated_copy_is_the_same_space() -> None:
    one = gaussian(300, 24)
    one[100:120] = one[:20]  # copies are equally near, and the order among equals is open
    other = one @ rotation(24)
    found = overlap(one, 5 * other)
    assert found.mean == 1
    assert found.low > 0.98
    geometry = compare_geometry(one, other)
    assert geometry.cka == pytest.approx(1, abs=1e-5)
    assert geometry.cka_unbiased == pytest.approx(1, abs=1e-5)
    assert geometry.procrustes == pytest.approx(0, abs=1e-5)


def test_spaces_without_relation_agree_by_chance_only() -> None:
    one, other = gaussian(1200, 40), gaussian(1200, 60, seed=5)
    found = overlap(one, other)
    assert found.low <= 10 / 1199 <= found.high  # ten of the others, drawn at random
    geometry = compare_geometry(one, other)
    assert abs(geometry.cka_unbiased) < 0.02
    assert geometry.cka > 0.02  # biased upwards
    assert geometry.procrustes > 1


def test_the_overlap_is_the_share_of_common_neighbours() -> None:
    one, other = gaussian(80, 6), gaussian(80, 6)
    other[:, :2] += gaussian(80, 2, seed=3)
    expected = []
    near = []
    for matrix in (one, other):
        unit = normalised(matrix)
        similarities = unit @ unit.T
        np.fill_diagonal(similarities, -np.inf)
        near.append(np.argsort(-similarities, axis=1)[:, :10])
    for left, right in zip(*near, strict=True):
        expected.append(len(set(left) & set(right)) / 10)
    found = overlap(one, other)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.low < found.mean < found.high
    assert (found.k, found.queries) == (10, 80)


@pytest.mark.parametrize("metric", list(Metric))
def test_pairs_are_those_of_all_pairs(metric: Metric) -> None:
    matrix = gaussian(90, 4) * 20
    (space, _) = prepare_spaces(matrix, matrix, (metric, metric))
    wide = space[0].astype(np.float64)
    similarities = wide @ wide.T
    if metric is Metric.L2:
        similarities = -np.square(wide[:, None] - wide[None]).sum(axis=2)
    upper = np.triu_indices(90, 1)
    threshold = float(np.quantile(similarities[upper], 0.9))
    found = near_pairs(*space, threshold)
    expected = {(a, b) for a, b in zip(*upper, strict=True) if similarities[a, b] >= threshold}
    assert {(a, b) for a, b in zip(found.first, found.second, strict=True)} == expected
    np.testing.assert_allclose(found.similarities, similarities[found.first, found.second], 1e-5)


def test_strange_rows_are_the_first_twentieth() -> None:
    matrix = gaussian(100, 8) + 10
    matrix[17] *= -1
    ranks, last = strange_ranks(matrix, exact_graph(matrix, Metric.COSINE, 10))
    assert ranks[17] == 1
    assert last == 5
    assert sorted(ranks) == list(range(1, 101))


def test_too_few_or_constant_rows_have_no_geometry() -> None:
    assert np.isnan(compare_geometry(gaussian(3, 2), gaussian(3, 2)).cka)
    assert np.isnan(compare_geometry(np.ones((9, 2), np.float32), gaussian(9, 2)).procrustes)
