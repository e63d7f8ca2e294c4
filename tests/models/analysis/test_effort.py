"""How hard a search for all rows tries, held against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from models.analysis.effort import PAIRS_FOUND, for_pairs, found_for
from models.analysis.pairs import PairLimits, find_pairs
from models.indexes.errors import TooManyMatchesError
from models.indexes.plans import IndexPlan, SearchParameters
from models.indexes.row_view import RowView
from models.indexes.vector_index import VectorIndex
from models.types import ArrayVectors, Matrix, Metric, RowIds

ROWS, DIM, PROBES = 12_000, 16, 64
NEAR = 0.95
ALL = np.arange(ROWS, dtype=np.int64)


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    """Noise without clusters, so that neighbours lie in many lists, and near-copies in it."""
    random = np.random.default_rng(2)
    found = random.normal(size=(ROWS, DIM)).astype(np.float32)
    copies = random.choice(ROWS, 2 * 1500, replace=False)
    noise = 0.15 * random.normal(size=(1500, DIM))
    found[copies[:1500]] = (found[copies[1500:]] + noise).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


@pytest.fixture(scope="module")
def view(matrix: Matrix) -> RowView:
    plan = IndexPlan("IVF128,Flat", SearchParameters(nprobe=PROBES), 6000, ())
    index = VectorIndex.empty(DIM, Metric.COSINE, plan)
    index.train(matrix[:6000], 0)
    index.add(matrix)
    return RowView(index, ALL)


def probes(view: RowView) -> int:
    return view.index.plan.search_parameters.nprobe or 0


def test_pairs_of_near_copies_need_few_lists(matrix: Matrix, view: RowView) -> None:
    vectors = ArrayVectors(matrix)
    chosen = for_pairs(vectors, view, ALL, NEAR, 10**7)
    assert 1 <= probes(chosen) < PROBES // 4
    first, second = np.nonzero(np.triu(matrix @ matrix.T >= NEAR, 1))
    found = find_pairs(vectors, view, NEAR, ALL)
    truth = set(zip(first.tolist(), second.tolist(), strict=True))
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(truth) > 1000
    assert pairs <= truth
    assert len(pairs) >= 0.98 * len(truth)


def pairs_from(view: RowView, matrix: Matrix, rows: RowIds, nprobe: int) -> set[tuple[int, int]]:
    """Return the pairs that some rows find, by FAISS's own search of each of them."""
    found = view.probing(nprobe).range_search(matrix[rows], NEAR)
    pairs = zip(rows[found.queries].tolist(), found.rows.tolist(), strict=True)
    return {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}


@pytest.mark.parametrize("rows", [ALL, ALL[:8500]], ids=["all", "some"])
def test_pairs_get_the_effort_that_their_better_side_needs(
    matrix: Matrix, view: RowView, rows: RowIds
) -> None:
    chosen = probes(for_pairs(ArrayVectors(matrix), view, rows, NEAR, 10**7))
    every = len(pairs_from(view, matrix, rows, PROBES))
    assert every > 1000
    assert len(pairs_from(view, matrix, rows, chosen)) >= 0.985 * every
    assert len(pairs_from(view, matrix, rows, max(1, chosen // 2))) < 0.995 * every


def test_the_less_may_be_missed_the_harder_pairs_are_searched_for(
    matrix: Matrix, view: RowView
) -> None:
    truth = int(np.triu(matrix @ matrix.T >= NEAR, 1).sum())
    shares = [found_for(missed) for missed in (0.5, 0.02, 0.002, 0.0)]
    assert shares == [PAIRS_FOUND, PAIRS_FOUND, 0.999, 1.0]
    vectors = ArrayVectors(matrix)
    tried = [probes(for_pairs(vectors, view, ALL, NEAR, 10**7, share)) for share in shares]
    assert tried[0] == tried[1] < tried[2] <= tried[3]
    found = [
        find_pairs(vectors, view, NEAR, ALL, limits=PairLimits(found=share)).count
        for share in shares
    ]
    assert found == sorted(found)
    assert found[-1] >= 0.999 * truth


def test_pairs_far_apart_need_as_many_lists_as_single_queries(
    matrix: Matrix, view: RowView
) -> None:
    chosen = for_pairs(ArrayVectors(matrix), view, ALL, 0.6, 10**7)
    assert probes(chosen) >= PROBES // 2


def test_few_rows_and_few_pairs_are_searched_for_with_all_effort(
    matrix: Matrix, view: RowView
) -> None:
    vectors = ArrayVectors(matrix)
    assert for_pairs(vectors, view, ALL[:4000], NEAR, 10**7) is view
    assert for_pairs(vectors, view, ALL, 1.5, 10**7) is view


def test_a_threshold_that_tells_nothing_apart_shows_in_the_sample(
    matrix: Matrix, view: RowView
) -> None:
    with pytest.raises(TooManyMatchesError):
        for_pairs(ArrayVectors(matrix), view, ALL, -1.0, 10**5)


def test_an_exact_index_has_no_effort(matrix: Matrix) -> None:
    index = VectorIndex.empty(DIM, Metric.COSINE, IndexPlan("Flat", SearchParameters(), 0, ()))
    index.add(matrix)
    flat = RowView(index, ALL)
    assert for_pairs(ArrayVectors(matrix), flat, ALL, NEAR, 10**7) is flat
