"""The largest of each row: what sorting gives, whatever ties and however few values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.indexes.largest import largest

if TYPE_CHECKING:
    from models.types import Matrix


def check(values: Matrix, k: int) -> None:
    """Compare with a sort: the same values, each in the column that it was found in."""
    before = values.copy()
    columns, found = largest(values, k)
    assert np.array_equal(values, before)
    assert columns.shape == found.shape == (values.shape[0], k)
    assert columns.dtype == np.int64
    assert found.dtype == np.float32
    expected = np.full((values.shape[0], k), -np.inf, np.float32)
    some = -np.sort(-values, axis=1)[:, :k]
    expected[:, : some.shape[1]] = some
    np.testing.assert_array_equal(-np.sort(-found, axis=1), expected)
    none = np.isneginf(found)
    assert np.array_equal(columns == -1, none)
    for row, (which, what) in enumerate(zip(columns, found, strict=True)):
        there = which[which >= 0]
        assert np.unique(there).size == there.size
        np.testing.assert_array_equal(values[row, there], what[which >= 0])


@given(
    rows=st.integers(0, 12),
    width=st.integers(0, 400),
    k=st.integers(1, 40),
    levels=st.sampled_from([1, 2, 5, 1000]),
    without=st.sampled_from([0.0, 0.3, 0.97, 1.0]),
    seed=st.integers(0, 99),
)
@example(rows=3, width=160, k=10, levels=1, without=0.0, seed=0)  # as many groups as wanted
@example(rows=3, width=175, k=10, levels=1000, without=0.0, seed=0)  # and a rest of 15
def test_they_are_those_of_a_sort(
    rows: int, width: int, k: int, levels: int, without: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(-levels, levels, (rows, width)).astype(np.float32)
    values[random.random((rows, width)) < without] = -np.inf
    check(values, k)


@pytest.mark.parametrize("width", [599, 5000, 5003])
def test_wide_rows_of_any_order(width: int) -> None:
    random = np.random.default_rng(1)
    values = random.standard_normal((6, width)).astype(np.float32)
    values[1].sort()
    values[2, ::-1].sort()
    values[3] = 1.0
    values[4, -9:] = 7.0  # in what no group has
    values[5, :-2] = -np.inf
    check(values, 14)


def test_of_equals_any_are_taken_but_of_a_tie_never_too_many() -> None:
    values = np.repeat(np.array([[3, 2, 1]], np.float32), [5, 300, 5], axis=1)
    columns, found = largest(values, 8)
    assert sorted(found[0].tolist()) == [2] * 3 + [3] * 5
    assert set(range(5)) <= set(columns[0].tolist())
