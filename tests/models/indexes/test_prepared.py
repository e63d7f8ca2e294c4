"""Queries and vectors on their way to FAISS: checked, and scaled as float64 would scale them."""

from __future__ import annotations

import numpy as np
import pytest

from models.indexes.errors import InvalidVectorsError
from models.indexes.streams import prepared
from models.types import Matrix, Metric, normalised

DIM = 96


def rows(count: int) -> Matrix:
    return np.random.default_rng(3).standard_normal((count, DIM)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e25], ids=["tiny", "usual", "squares overflow"])
def test_rows_get_the_length_that_float64_says(scale: float) -> None:
    given = rows(20) * np.float32(scale)
    exact = given.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert np.allclose(prepared(given, DIM, Metric.COSINE), exact, atol=2e-7)


def test_a_rows_result_does_not_depend_on_its_neighbours() -> None:
    units = normalised(rows(30))
    mixed = units.copy()
    mixed[::3] *= 7
    ready = prepared(mixed, DIM, Metric.COSINE)
    alone = [prepared(mixed[one : one + 1], DIM, Metric.COSINE) for one in range(30)]
    assert (np.concatenate(alone) == ready).all()
    assert (ready[1] == units[1]).all()


def test_unit_vectors_are_not_copied_and_zeros_stay() -> None:
    units = normalised(rows(5))
    assert prepared(units, DIM, Metric.COSINE) is units
    nothing = np.zeros((2, DIM), np.float32)
    assert (prepared(nothing, DIM, Metric.COSINE) == 0).all()


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", list(Metric))
def test_what_is_not_finite_is_named(count: int, value: float, metric: Metric) -> None:
    given = normalised(rows(count))
    given[-1, 7] = value
    with pytest.raises(InvalidVectorsError, match=rf"1 with NaN .* first at {count - 1}"):
        prepared(given, DIM, metric)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("metric", [Metric.L2, Metric.INNER_PRODUCT])
@pytest.mark.parametrize("length", [2.0**62.5 * 1.001, 1e25, 3e38])
def test_what_is_too_long_for_float32_is_named(count: int, metric: Metric, length: float) -> None:
    """k-means of FAISS ends the process where a squared length is infinite."""
    given = rows(count)
    given[-1] = 0
    given[-1, 7] = length
    with pytest.raises(InvalidVectorsError, match=rf"1 longer than .* first at {count - 1}: .*cos"):
        prepared(given, DIM, metric)
    given[-1, 7] = 2.0**62.5 * 0.999
    assert prepared(given, DIM, metric) is given
    assert np.isfinite(np.square(given[-1] - -given[-1]).sum())
