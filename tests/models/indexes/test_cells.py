"""Cells: every row at one place, none too long, vectors as near to their own as 16 bits are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.indexes import cells as module
from models.indexes.cells import Cells
from models.indexes.errors import InvalidVectorsError
from models.indexes.faiss_library import library, use_threads
from models.types import ArrayVectors, Matrix, Metric, normalised

if TYPE_CHECKING:
    from collections.abc import Iterator

METRICS = list(Metric)
ALL_METRICS = pytest.mark.parametrize("metric", METRICS)
ARRAYS = ("rows", "bounds", "centroids")
CODES = ("coarse", "fine", "scales", "squares")


def gaussian(rows: int, dim: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def heavy_tailed(rows: int, dim: int) -> Matrix:
    drawn = np.random.default_rng(1).standard_t(1.5, (rows, dim))
    return np.clip(drawn, -1e4, 1e4).astype(np.float32)


SETS = {
    "gaussian": gaussian(900, 12),
    "clusters": (gaussian(9, 12)[np.arange(900) % 9] + 0.05 * gaussian(900, 12, 1)),
    "far off": gaussian(900, 12) + np.float32(3000),
    "heavy tails": heavy_tailed(900, 12),
    "lengths": gaussian(900, 12) * np.float32(10) ** np.linspace(-3, 3, 900)[:, None],
    "sparse": np.where(np.random.default_rng(2).random((900, 12)) < 0.8, 0, gaussian(900, 12)),
    "identical": np.repeat(gaussian(1, 12), 900, axis=0),
    "zero": np.zeros((900, 12), np.float32),
    "half zero": gaussian(900, 12) * (np.arange(900) % 2)[:, None],
    "tiny": gaussian(900, 12) * np.float32(1e-36),
    "one dimension": gaussian(900, 1),
}
ALL_SETS = pytest.mark.parametrize("name", list(SETS))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cells have 10 rows on average and 30 at most, so that small sets have many."""
    monkeypatch.setattr(module, "CELL_ROWS", 10)
    monkeypatch.setattr(module, "_MOST", 3)


@pytest.fixture
def own_threads() -> Iterator[None]:
    before = library().omp_get_max_threads()
    yield
    use_threads(before)


def of(matrix: Matrix, metric: Metric, seed: int = 0, *, precise: bool = True) -> Cells:
    return Cells.of(ArrayVectors(matrix.astype(np.float32)), metric, seed, precise=precise)


def check_shape(cells: Cells, rows: int, dim: int, most: int) -> None:
    """Every row stands at one place; cells follow each other, none empty or too long."""
    assert np.array_equal(np.sort(cells.rows), np.arange(rows))
    assert cells.bounds[0] == 0
    assert cells.bounds[-1] == rows
    assert cells.bounds.shape == (cells.count + 1,)
    assert cells.lengths.min() >= 1
    assert cells.lengths.max() <= most
    assert cells.centroids.shape == (cells.count, dim)
    assert cells.codes.coarse.shape == (rows, dim)
    homes = cells.homes()
    assert homes.shape == (rows,)
    for cell, (start, stop) in enumerate(zip(cells.bounds[:-1], cells.bounds[1:], strict=True)):
        assert (homes[start:stop] == cell).all()


def meant(matrix: Matrix, metric: Metric) -> Matrix:
    """What cells hold, in float64, but for the shift that L2 allows."""
    return normalised(matrix) if metric is Metric.COSINE else matrix


@pytest.mark.usefixtures("small")
@ALL_SETS
@ALL_METRICS
@pytest.mark.parametrize("precise", [True, False])
def test_cells_hold_every_row_once_and_as_it_is(name: str, metric: Metric, precise: bool) -> None:
    matrix = SETS[name].astype(np.float32)
    cells = of(matrix, metric, precise=precise)
    check_shape(cells, matrix.shape[0], matrix.shape[1], most=30)
    held = cells.vectors(slice(None))
    own = meant(matrix, metric)[cells.rows]
    step = 1 if precise else 256
    shift = np.zeros(matrix.shape[1], np.float32)
    if metric is Metric.L2:  # the mean of a sample, which the row with the finest code tells best
        finest = cells.codes.scales.argmin()
        shift = own[finest] - held[finest]
        near = (
            0.2 * own.std(axis=0)
            + 0.51 * step * cells.codes.scales.min()
            + 1e-5 * np.abs(own).max()
            + 1e-30
        )
        assert (np.abs(shift - own.mean(axis=0)) <= near).all()
    # Half a step of the finer code, and what float32 loses of the value and of the mean.
    bound = 0.51 * step * cells.codes.scales[:, None] + 4e-7 * np.abs(own).max(
        axis=1, keepdims=True
    )
    if metric is Metric.COSINE:  # codes have length 1: off by what their rounding adds along them
        bound += 0.51 * step * cells.codes.scales[:, None] * np.abs(own).sum(axis=1, keepdims=True)
    bound = np.where(cells.codes.scales[:, None] == 1, np.abs(own) + 1e-30, bound)
    bound += (
        4e-7 * np.abs(shift).max() + 0.51 * step * (metric is Metric.L2) * cells.codes.scales.min()
    )
    assert (np.abs(own - shift - held) <= bound).all()
    largest = np.abs(own - shift).max(axis=1)
    usual = cells.codes.scales != 1
    fuzz = 0.51 * step * cells.codes.scales.min() * (metric is Metric.L2)
    np.testing.assert_allclose(
        cells.codes.scales[usual] * 127 * 256,
        largest[usual],
        rtol=1e-3 if precise else 1e-2,
        atol=fuzz,
    )
    squares = np.square(held.astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(cells.codes.squares, squares, rtol=1e-5)


@pytest.mark.usefixtures("small")
@settings(max_examples=40)
@given(
    rows=st.integers(1, 160),
    dim=st.integers(1, 9),
    copies=st.integers(1, 60),
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 9),
)
def test_sets_of_any_size_have_cells(
    rows: int, dim: int, copies: int, metric: Metric, seed: int
) -> None:
    matrix = gaussian(rows, dim, seed)[np.arange(rows) // copies]
    cells = of(matrix, metric, seed)
    check_shape(cells, rows, dim, most=30)
    if metric is not Metric.L2:
        np.testing.assert_allclose(
            cells.vectors(slice(None)), meant(matrix, metric)[cells.rows], atol=1e-4
        )


@ALL_METRICS
def test_thousands_of_copies_among_others_make_cells_no_longer_than_the_most(
    metric: Metric,
) -> None:
    matrix = np.concatenate((np.repeat(gaussian(2, 8), 2500, axis=0), gaussian(1500, 8, 3)))
    cells = of(matrix, metric)
    check_shape(cells, 6500, 8, most=1200)
    assert cells.count >= 6500 / 600
    copies = cells.lengths[np.unique(cells.homes()[np.isin(cells.rows, np.arange(5000))])]
    assert copies.sum() >= 5000
    assert np.sort(copies)[-8:].min() > 150  # in few cells, not in crumbs


@pytest.mark.usefixtures("small")
@ALL_METRICS
def test_rows_live_with_their_own(metric: Metric) -> None:
    """Of clusters that lie apart none shares a cell, and centroids are near their rows."""
    matrix = 10 * np.eye(12, dtype=np.float32)[np.arange(600) % 12] + 0.1 * gaussian(600, 12)
    cells = of(matrix, metric)
    for start, stop in zip(cells.bounds[:-1], cells.bounds[1:], strict=True):
        assert np.unique(cells.rows[start:stop] % 12).size == 1
    held = cells.vectors(slice(None))
    affinities = cells.affinities(held)
    best = affinities.argmax(axis=1)
    clusters = cells.rows[cells.bounds[:-1]] % 12
    assert np.array_equal(clusters[best], clusters[cells.homes()])
    expected = held.astype(np.float64) @ cells.centroids.T.astype(np.float64)
    if metric is Metric.L2:
        expected -= np.square(cells.centroids.astype(np.float64)).sum(axis=1) / 2
    np.testing.assert_allclose(affinities, expected, atol=1e-3)
    some = np.array([3, 0, 5])
    np.testing.assert_allclose(cells.affinities(held, some), affinities[:, some], atol=1e-4)


@pytest.mark.usefixtures("small", "own_threads")
@ALL_METRICS
def test_threads_do_not_matter_and_a_seed_does(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 64)
    matrix = heavy_tailed(2000, 9)
    made = []
    for threads in (1, 2):
        use_threads(threads)
        made.append(of(matrix, metric))
    for name in ARRAYS:
        assert np.array_equal(getattr(made[0], name), getattr(made[1], name))
    for name in CODES:
        assert np.array_equal(getattr(made[0].codes, name), getattr(made[1].codes, name))
    for one, other in zip(made[0].near(7), made[1].near(7), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(made[0].rows, of(matrix, metric, 1).rows)


@pytest.mark.usefixtures("small")
@ALL_METRICS
def test_the_cells_beside_each_are_those_of_the_nearest_centroids(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = of(gaussian(1500, 6), metric)
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", 7)
    near = cells.near(9)
    assert near.shape == (cells.count, 9)
    assert (np.diff(near, axis=1) > 0).all()
    affinities = cells.affinities(cells.centroids)
    ninth = -np.sort(-affinities, axis=1)[:, 8]
    assert (np.take_along_axis(affinities, near, axis=1) >= ninth[:, None] - 1e-5).all()
    everyone = np.broadcast_to(np.arange(cells.count), (cells.count, cells.count))
    assert np.array_equal(cells.near(10**6), everyone)


@pytest.mark.usefixtures("small")
@ALL_METRICS
@pytest.mark.parametrize("name", ["gaussian", "far off", "heavy tails", "half zero", "lengths"])
def test_similarities_are_those_of_the_vectors(name: str, metric: Metric) -> None:
    matrix = SETS[name].astype(np.float32)
    cells = of(matrix, metric)
    own = meant(matrix.astype(np.float64), metric)[cells.rows]
    true = own @ own.T
    if metric is Metric.L2:
        true = -np.square(own[:, None] - own).sum(axis=2)
        own -= own.mean(axis=0)
    lengths = np.linalg.norm(own, axis=1)
    size = np.maximum(lengths[:, None] * lengths, 1e-30)
    if metric is Metric.L2:
        size = np.maximum(size, (np.square(lengths)[:, None] + np.square(lengths)) / 2)
    part, others = slice(100, 180), np.random.default_rng(3).integers(0, 900, (80, 30))
    exact = np.take_along_axis(true[part], others, axis=1)
    found = cells.similarities(part.start, others)
    scale = np.take_along_axis(size[part], others, axis=1)
    far = 6e-7 * 3000**2 if name == "far off" else 0  # what float32 keeps of such vectors
    assert (np.abs(found - exact) <= 2e-4 * scale + far).all()
    assert (np.abs(cells.closely(part, slice(None)) - true[part]) <= 2e-4 * size[part] + far).all()
    roughly = cells.roughly(part, np.arange(900))
    # Both codes are off by half a step of 1 / 127 of the largest value at most, in each dimension.
    off = 2 * np.sqrt(12) / 2 / 127 * size[part] * (2 if metric is Metric.L2 else 1)
    assert (np.abs(roughly - true[part]) <= off + far).all()
    assert np.array_equal(roughly[:, 7:90], cells.roughly(part, slice(7, 90)))


@ALL_METRICS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(metric: Metric, bad: float) -> None:
    matrix = gaussian(300, 5)
    matrix[217, 3] = bad
    with pytest.raises(InvalidVectorsError, match="NaN or infinite"):
        of(matrix, metric)


@ALL_METRICS
@pytest.mark.parametrize("all_rows", [True, False], ids=["all", "one"])
def test_vectors_as_long_as_can_be_make_cells_and_longer_ones_are_refused(
    metric: Metric, all_rows: bool
) -> None:
    """FAISS ends the process in k-means where squared lengths are infinite."""
    matrix = gaussian(3000, 6) / 20
    matrix[slice(None) if all_rows else slice(7, 8)] *= np.float32(2.0**62.5)
    check_shape(of(matrix, metric), 3000, 6, most=1200)
    matrix *= 100
    if metric is Metric.COSINE:
        check_shape(of(matrix, metric), 3000, 6, most=1200)
    else:
        with pytest.raises(InvalidVectorsError, match="longer than"):
            of(matrix, metric)


def test_progress_goes_up_to_one() -> None:
    seen: list[float] = []

    def progress(step: str, fraction: float) -> None:
        assert step == "cells"
        seen.append(fraction)

    Cells.of(ArrayVectors(gaussian(700, 4)), Metric.L2, progress=progress)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
