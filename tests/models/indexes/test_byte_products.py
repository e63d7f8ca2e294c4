"""Products of bytes: whole numbers by either way, and never by a way that cuts them off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources.limits import MAX_DIM
from models.indexes import byte_products as module
from models.indexes.byte_products import by_float, by_torch, byte_products, prepare_for

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.indexes.byte_products import Bytes, Product
    from models.types import Matrix

CHECKOUT = Path(__file__).resolve().parents[3]
BOTH = pytest.mark.parametrize("product", [by_torch, by_float])


def whole(left: Bytes, right: Bytes) -> npt.NDArray[np.int64]:
    """The products in whole numbers."""
    return left.astype(np.int64) @ right.astype(np.int64).T


def drawn(rows: int, dim: int, seed: int) -> Bytes:
    return np.random.default_rng(seed).integers(-128, 127, (rows, dim), np.int8, endpoint=True)


@given(left=st.integers(0, 40), right=st.integers(0, 40), dim=st.integers(1, 130))
def test_both_ways_give_whole_numbers_of_any_shape(left: int, right: int, dim: int) -> None:
    one, other = drawn(left, dim, 1), drawn(right, dim, 2)
    for product in (by_torch, by_float, byte_products()):
        found = product(one, other)
        assert found.dtype in (np.int32, np.float32)
        np.testing.assert_array_equal(found, whole(one, other))


@BOTH
@pytest.mark.parametrize("rows", [1, 1023, 1024, 1025, 2500])
def test_no_row_of_a_long_right_side_is_lost(product: Product, rows: int) -> None:
    one, other = drawn(5, 24, 3), drawn(rows, 24, 4)
    np.testing.assert_array_equal(product(one, other), whole(one, other))


@BOTH
@pytest.mark.parametrize("dim", [1, 2, 63, 768, 1024, 1025, 1040, 1041, 1536, 4096, 65_536])
def test_the_largest_bytes_are_multiplied_exactly(product: Product, dim: int) -> None:
    """What float32 does not hold is odd, and beyond 2^24: the last number makes sums odd."""
    flat = np.repeat(np.array([[127], [-127], [-128]], np.int8), dim, axis=1)
    odd = flat.copy()
    odd[:, -1] = 1
    rows = np.concatenate((flat, odd))
    others = np.concatenate((rows, drawn(3, dim, 5)))
    np.testing.assert_array_equal(product(rows, others), whole(rows, others))


@BOTH
def test_sums_of_both_bytes_of_the_longest_vectors_fit_in_32_bits(product: Product) -> None:
    """Upper bytes reach 127, lower ones -128; codes of two vectors are put together crosswise."""
    longest = 2 * 66_052
    rows, others = np.full((1, longest), 127, np.int8), np.full((1, longest), -128, np.int8)
    assert product(rows, others).item() == -127 * 128 * longest
    assert 127 * 128 * (longest + 2) >= 2**31
    assert longest >= 2 * MAX_DIM


@BOTH
def test_some_rows_of_a_larger_matrix_are_multiplied(product: Product) -> None:
    large = drawn(60, 33, 6)
    one, other = large[7:19], large[np.array([5, 5, 59, 0])]
    np.testing.assert_array_equal(product(one, other), whole(one, other))


_WITHOUT_VNNI = """
import numpy as np
from models.indexes.byte_products import by_float, by_torch, byte_products, prepare_for
prepare_for(10**9)
left = np.full((3, 64), 127, np.int8)
print(np.array_equal(by_torch(left, -left), by_float(left, -left)), byte_products() is by_float)
"""


def test_torch_is_not_asked_where_it_cuts_sums_off() -> None:
    """oneDNN told to do without VNNI stands for the processor that has none."""
    answer = subprocess.run(
        [sys.executable, "-c", _WITHOUT_VNNI],
        cwd=CHECKOUT,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )
    torch_is_right, float_is_taken = answer.stdout.split()
    if torch_is_right == "True":
        pytest.skip("this build of torch multiplies bytes exactly without VNNI too")
    assert float_is_taken == "True"


def test_a_way_that_is_wrong_is_not_taken_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(left: Bytes, right: Bytes) -> Matrix:
        return np.zeros((left.shape[0], right.shape[0]), np.float32)

    prepare_for(10**9)
    monkeypatch.setattr(module, "by_torch", wrong)
    module._faster.cache_clear()
    assert byte_products() is by_float
    module._faster.cache_clear()
