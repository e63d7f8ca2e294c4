"""Near pairs of all rows, without an index, against brute force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.analysis.cell_pairs import ROUNDS, candidates_in, near_ones
from models.analysis.duplicates import TooManyPairsError
from models.analysis.pairs import PairLimits, find_all_pairs
from models.indexes import cells as cells_module
from models.indexes.cells import Cells
from models.indexes.faiss_library import library, use_threads
from models.types import ArrayVectors, Matrix, Metric, RowIds, normalised

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.analysis.duplicates import Pairs

    Similarities = npt.NDArray[np.float64]

ROWS, DIM = 4000, 16
BOTH = pytest.mark.parametrize("metric", [Metric.COSINE, Metric.L2])


def gaussian(rows: int, dim: int = DIM, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def with_copies(rows: int = ROWS) -> Matrix:
    """Noise without clusters, and near-copies of a third of it."""
    found = gaussian(rows)
    third = rows // 3
    found[:third] = found[third : 2 * third] + np.float32(0.12) * gaussian(third, seed=1)
    return found[np.random.default_rng(2).permutation(rows)]


def exactly(matrix: Matrix, metric: Metric) -> Similarities:
    x = (normalised(matrix) if metric is Metric.COSINE else matrix).astype(np.float64)
    if metric is Metric.L2:
        squares = np.square(x).sum(axis=1)
        found: Similarities = 2 * x @ x.T - squares[:, None] - squares
        return found
    return x @ x.T


def thresholds(metric: Metric) -> float:
    return {Metric.COSINE: 0.95, Metric.L2: -1.0}[metric]


def keys_of(first: RowIds, second: RowIds, rows: int) -> RowIds:
    return np.minimum(first, second) * rows + np.maximum(first, second)


def keys(found: Pairs | None, rows: int) -> RowIds:
    assert found is not None
    return keys_of(found.first, found.second, rows)


def truth(matrix: Matrix, metric: Metric, threshold: float) -> RowIds:
    first, second = np.nonzero(np.triu(exactly(matrix, metric) >= threshold, 1))
    return keys_of(first, second, len(matrix))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cells have 40 rows on average: small sets have many."""
    monkeypatch.setattr(cells_module, "CELL_ROWS", 40)


@pytest.fixture
def own_threads() -> Iterator[None]:
    before = library().omp_get_max_threads()
    yield
    use_threads(before)


@pytest.mark.usefixtures("small")
@BOTH
def test_pairs_are_those_of_brute_force(metric: Metric) -> None:
    matrix, threshold = with_copies(), thresholds(metric)
    expected = truth(matrix, metric, threshold)
    assert expected.size > 700
    limits = PairLimits(found=0.98)
    found = find_all_pairs(ArrayVectors(matrix), metric, threshold, limits=limits)
    given_keys = keys(found, ROWS)
    assert np.unique(given_keys).size == given_keys.size
    assert np.isin(given_keys, expected).all()
    assert given_keys.size >= 0.98 * expected.size
    assert found is not None
    true = exactly(matrix, metric)[found.first, found.second]
    np.testing.assert_allclose(found.similarities, true, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("small")
@BOTH
def test_where_hardly_a_row_has_a_twin_few_are_compared(metric: Metric) -> None:
    """Rounds end as soon as they find nothing new: the last ones are not gone through."""
    matrix = with_copies()
    cells = Cells.of(ArrayVectors(matrix), metric, precise=False)
    rounds = candidates_in(cells, thresholds(metric))
    new, seen = [], np.empty(0, np.int64)
    for found in rounds:
        every = [keys_of(part.first, part.second, ROWS) for part in found]
        fresh = np.setdiff1d(np.concatenate(every), seen)
        new.append(fresh.size)
        seen = np.union1d(seen, fresh)
    assert len(new) == len(ROUNDS)
    assert new[0] > 0.8 * seen.size
    assert max(new[2:]) < 0.05 * seen.size


@pytest.mark.usefixtures("small")
@BOTH
def test_rows_meet_their_own_cell_and_then_those_nearly_as_near(metric: Metric) -> None:
    """With a threshold that all reach, candidates are all who meet."""
    matrix = gaussian(1500)
    cells = Cells.of(ArrayVectors(matrix), metric)
    gaps = cells.affinities(cells.vectors(slice(None)))
    homes = cells.homes()
    gaps = gaps[np.arange(1500), homes][:, None] - gaps
    gaps[np.arange(1500), homes] = np.inf
    place = np.empty(1500, np.int64)
    place[cells.rows] = np.arange(1500)
    met = np.zeros((1500, 1500), np.bool_)
    ranked = np.sort(gaps, axis=None)
    for visited, found in zip(ROUNDS, candidates_in(cells, -1e9), strict=True):
        for part in found:
            one, other = place[part.first], place[part.second]
            met[one, other] = met[other, one] = True
        visits = gaps <= ranked[visited * 1500]
        visits[np.arange(1500), homes] = True
        meets = visits[:, homes]
        expected = meets | meets.T
        np.fill_diagonal(expected, val=False)
        np.testing.assert_array_equal(met, expected)


@pytest.mark.usefixtures("small", "own_threads")
def test_threads_do_not_matter() -> None:
    matrix = with_copies()
    found = []
    for threads in (1, 2):
        use_threads(threads)
        pairs = find_all_pairs(ArrayVectors(matrix), Metric.COSINE, 0.95)
        assert pairs is not None
        found.append((pairs.first, pairs.second, pairs.similarities))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@BOTH
def test_crowds_at_the_border_of_coarse_cells_are_met(metric: Metric) -> None:
    """Hundreds of near-copies that two coarse cells share live together."""
    centres = 4 * gaussian(60)
    matrix = np.repeat(centres, 100, axis=0) + np.float32(0.1) * gaussian(6000, seed=1)
    threshold = {Metric.COSINE: 0.99, Metric.L2: -1.0}[metric]
    expected = truth(matrix, metric, threshold)
    found = keys(find_all_pairs(ArrayVectors(matrix), metric, threshold), 6000)
    assert np.isin(found, expected).all()
    assert found.size >= 0.995 * expected.size
    assert expected.size > 20_000


@pytest.mark.usefixtures("small")
@BOTH
def test_copies_by_the_hundred_pair_with_each_other(metric: Metric) -> None:
    matrix = np.concatenate((np.repeat(gaussian(2), 500, axis=0), gaussian(3000, seed=3)))
    threshold = {Metric.COSINE: 1.0, Metric.L2: 0.0}[metric]
    found = find_all_pairs(ArrayVectors(matrix), metric, threshold)
    assert keys(found, len(matrix)).size == 500 * 499


@pytest.mark.usefixtures("small")
def test_what_still_grows_is_left_to_others() -> None:
    """Noise has pairs above .3 everywhere; and a round of a few cells finds no 99.9 %."""
    vectors = ArrayVectors(gaussian(3000))
    assert find_all_pairs(vectors, Metric.COSINE, 0.5) is None
    assert find_all_pairs(vectors, Metric.INNER_PRODUCT, 30.0) is None
    assert find_all_pairs(vectors, Metric.COSINE, 0.99, limits=PairLimits(found=0.999)) is None


def test_too_many_pairs_are_refused() -> None:
    vectors = ArrayVectors(gaussian(3000))
    with pytest.raises(TooManyPairsError):
        find_all_pairs(vectors, Metric.COSINE, -1.0, limits=PairLimits(10_000))


def test_progress_goes_up_and_few_rows_are_no_trouble() -> None:
    seen: list[tuple[str, float]] = []
    for rows in (1, 2, 400):
        matrix = np.repeat(gaussian(1), rows, axis=0)
        found = find_all_pairs(
            ArrayVectors(matrix), Metric.L2, -0.1, progress=lambda *told: seen.append(told)
        )
        assert keys(found, rows).size == rows * (rows - 1) // 2
        told = [fraction for step, fraction in seen if step == "pairs"]
        assert told == sorted(told)
        assert all(0 <= fraction < 1 for fraction in told)
        seen.clear()


@given(data=st.data(), left=st.integers(1, 9), right=st.integers(0, 40))
def test_similarities_that_may_reach_a_threshold_are_told(
    data: st.DataObject, left: int, right: int
) -> None:
    floats = st.floats(-10, 10, width=32)
    sizes = st.floats(0, 2, width=32)
    met = data.draw(arrays(np.float32, (left, right), elements=floats))
    one = tuple(data.draw(arrays(np.float32, left, elements=sizes)) for _ in range(2))
    other = tuple(data.draw(arrays(np.float32, right, elements=sizes)) for _ in range(2))
    threshold = data.draw(floats)
    slack = one[0][:, None] * other[1] + one[1][:, None] * other[0]
    expected = np.nonzero(met + slack >= np.float32(threshold))
    found = near_ones(met, threshold, (one[0], one[1]), (other[0], other[1]))
    for given_side, side in zip(found, expected, strict=True):
        np.testing.assert_array_equal(given_side, side)
