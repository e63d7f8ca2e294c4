"""Which cells rows visit: the rule against its words, and the share of neighbours that it meets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.analysis import visiting
from models.analysis.visiting import Reach
from models.indexes import cells as module
from models.indexes.cells import Cells
from models.indexes.recall import ground_truth
from models.indexes.streams import sample
from models.types import ArrayVectors, Matrix, Metric, normalised

if TYPE_CHECKING:
    import numpy.typing as npt

METRICS = list(Metric)
ALL_METRICS = pytest.mark.parametrize("metric", METRICS)
ROWS, DIM, K = 3000, 10, 8


def gaussian(rows: int, dim: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def lumpy(seed: int = 0) -> Matrix:
    """Rows around centres, with lengths of their own."""
    centres = gaussian(40, DIM, seed)[np.random.default_rng(seed).integers(0, 40, ROWS)]
    return centres + np.float32(0.6) * gaussian(ROWS, DIM, seed + 1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cells have 20 rows on average: small sets have many."""
    monkeypatch.setattr(module, "CELL_ROWS", 20)


def reach_for(vectors: ArrayVectors, cells: Cells, share: float, seed: int = 0) -> Reach:
    """The reach that 800 rows ask for."""
    truth = ground_truth(vectors, sample(vectors.rows, 800, seed), K, cells.metric)
    return visiting.reach_for(cells, truth, share)


def similarities(matrix: Matrix, metric: Metric) -> npt.NDArray[np.float64]:
    """All of them, by brute force; -inf for a row and itself."""
    x = matrix.astype(np.float64)
    if metric is Metric.COSINE:
        x = normalised(matrix).astype(np.float64)
    found = x @ x.T
    if metric is Metric.L2:
        squares = np.square(x).sum(axis=1)
        found = 2 * found - squares[:, None] - squares
    np.fill_diagonal(found, -np.inf)
    return found


def ahead(reach: Reach) -> npt.NDArray[np.float64]:
    """How much nearer than the fourth nearest each cell is to each place, in plain words."""
    cells = reach.cells
    vectors = cells.vectors(slice(None)).astype(np.float64)
    centroids = cells.centroids.astype(np.float64)
    found = vectors @ centroids.T
    if cells.metric is Metric.L2:
        found -= np.square(centroids).sum(axis=1) / 2
    near = reach.near[cells.homes()]
    lead = np.full(found.shape, -np.inf)
    for place, beside in enumerate(near):
        some = found[place, beside]
        lead[place, beside] = some - np.sort(some)[::-1][min(3, some.size - 1)]
    return lead


@ALL_METRICS
@pytest.mark.parametrize(("margin", "near"), [(0.0, 12), (0.4, 12), (0.2, 10**6), (np.inf, 9)])
def test_rows_visit_cells_hardly_farther_than_the_fourth_nearest(
    metric: Metric, margin: float, near: int
) -> None:
    cells = Cells.of(ArrayVectors(lumpy()), metric)
    reach = Reach(cells, cells.near(near), margin)
    lead = ahead(reach)
    expected = np.isfinite(lead) & (lead >= -margin)
    homes = cells.homes()
    expected[np.arange(ROWS), homes] = False
    found = np.zeros_like(expected)
    for cell in range(cells.count):
        places, others = reach.visits(cell)
        assert (homes[places] == cell).all()
        assert not found[places, others].any()  # each cell once
        found[places, others] = True
    least = -margin if np.isfinite(margin) else -1e30
    doubtful = np.abs(lead - least) < 1e-4  # by the rounding of float32
    assert doubtful.mean() < 0.02
    assert np.array_equal(found & ~doubtful, expected & ~doubtful)


@ALL_METRICS
def test_leads_are_those_of_the_cells_that_others_live_in(metric: Metric) -> None:
    cells = Cells.of(ArrayVectors(lumpy()), metric)
    reach = Reach(cells, cells.near(12), 0.0)
    random = np.random.default_rng(1)
    places, others = random.integers(0, ROWS, 5000), random.integers(0, ROWS, 5000)
    homes = cells.homes()
    found = reach.leads(places, others, homes)
    expected = ahead(reach)[places, homes[others]]
    assert np.array_equal(np.isneginf(found), np.isneginf(expected))
    beside = np.isfinite(expected)
    assert 0.01 < beside.mean() < 0.5
    np.testing.assert_allclose(found[beside], expected[beside], atol=1e-4)


def met(reach: Reach, matrix: Matrix, k: int) -> float:
    """What share of the true neighbours of all rows is met, from either side."""
    cells = reach.cells
    true = similarities(matrix, cells.metric)
    own = np.repeat(np.arange(ROWS), k)
    other = np.argpartition(-true, k, axis=1)[:, :k].ravel()
    place = np.argsort(cells.rows)
    own, other = place[own], place[other]
    visited = np.zeros((ROWS, cells.count), dtype=np.bool_)
    for cell in range(cells.count):
        visited[reach.visits(cell)] = True
    homes = cells.homes()
    return float(
        (
            (homes[own] == homes[other]) | visited[own, homes[other]] | visited[other, homes[own]]
        ).mean()
    )


@ALL_METRICS
@pytest.mark.parametrize("share", [0.7, 0.95])
def test_a_sample_tells_how_far_all_rows_have_to_reach(metric: Metric, share: float) -> None:
    matrix = lumpy(3)
    vectors = ArrayVectors(matrix)
    cells = Cells.of(vectors, metric)
    shares = [met(reach_for(vectors, cells, share, seed), matrix, K) for seed in range(4)]
    assert min(shares) >= share - 0.01
    assert sum(found >= share for found in shares) >= 3
    # Two standard errors are more than enough, but not much: about 6,400 neighbours are looked at.
    assert max(shares) <= share + 0.05


@ALL_METRICS
def test_with_more_cells_beside_each_than_needed_the_margin_alone_decides(metric: Metric) -> None:
    """Half of the share costs far fewer visits, all of it meets all neighbours of the sample."""
    matrix = lumpy(5)
    vectors = ArrayVectors(matrix)
    cells = Cells.of(vectors, metric)
    reaches = [reach_for(vectors, cells, share, 0) for share in (0.5, 0.8, 0.95, 1.0)]
    margins = [reach.margin for reach in reaches]
    assert margins == sorted(margins)
    assert margins[0] < margins[-1]
    visits = [sum(reach.visits(c)[0].size for c in range(cells.count)) for reach in reaches]
    assert visits[0] < visits[2] / 2
    assert visits[2] < 0.8 * visits[3]
    assert met(reaches[-1], matrix, K) > 0.999
    assert met(replace(reaches[-1], margin=np.inf), matrix, K) >= met(reaches[-1], matrix, K)


@ALL_METRICS
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_rows_live_in_one_cell_and_visit_nothing(metric: Metric, rows: int) -> None:
    vectors = ArrayVectors(gaussian(rows, DIM))
    cells = Cells.of(vectors, metric)
    reach = reach_for(vectors, cells, 0.9, 0)
    assert cells.count == 1
    assert reach.visits(0)[0].size == 0


@ALL_METRICS
def test_neighbours_in_many_cells_are_met_though_all_centroids_are_alike(metric: Metric) -> None:
    """Hundreds of copies fill cells that are cut: whoever has them near has all of them near."""
    matrix = np.concatenate((np.repeat(gaussian(3, DIM), 400, axis=0), gaussian(ROWS - 1200, DIM)))
    vectors = ArrayVectors(matrix)
    cells = Cells.of(vectors, metric)
    reach = reach_for(vectors, cells, 0.9, 0)
    assert not np.isnan(reach.margin)
    true = -np.sort(-similarities(matrix, metric), axis=1)[:, K - 1]
    visited = np.zeros((ROWS, cells.count), dtype=np.bool_)
    homes = cells.homes()
    visited[np.arange(ROWS), homes] = True
    for cell in range(cells.count):
        visited[reach.visits(cell)] = True
    compared = visited[:, homes] | visited[:, homes].T
    exact = similarities(matrix[cells.rows], metric)
    found = -np.sort(-np.where(compared, exact, -np.inf), axis=1)[:, :K]
    least = true[cells.rows][:, None]
    assert (found >= least - 1e-4 * np.abs(least)).mean() >= 0.89
