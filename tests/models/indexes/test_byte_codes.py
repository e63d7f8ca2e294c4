"""Codes of bytes and what is told from them, against whole numbers and float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.indexes import byte_codes as module
from models.indexes.byte_codes import ByteCodes
from models.indexes.byte_products import by_float, by_torch

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import Matrix

    Doubles = npt.NDArray[np.float64]

DIMS = pytest.mark.parametrize("dim", [1, 2, 31, 384, 1100])
PRECISE = pytest.mark.parametrize("precise", [True, False], ids=["16 bits", "8 bits"])
DISTANCES = pytest.mark.parametrize("distances", [True, False], ids=["distances", "products"])
BOTH_PRODUCTS = pytest.mark.parametrize("product", [by_torch, by_float])
ROWS = 60
SMALLEST = 1e-37 * 127 * 256
"""Vectors without a larger value are zero: float32 holds hardly a digit of their steps."""


def gaussian(rows: int, dim: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def mixed(dim: int) -> Matrix:
    """Rows of all kinds: usual, heavy-tailed, sparse, flat, zero, tiny, and of sizes far apart."""
    random = np.random.default_rng(dim)
    found = gaussian(ROWS, dim, dim)
    found[10:20] = np.clip(random.standard_t(1.2, (10, dim)), -1e4, 1e4)
    found[20:25] *= random.random((5, dim)) < 0.1
    found[25:30] = np.sign(found[25:30])
    found[30:32] = 0
    found[32:36] *= np.float32(10) ** np.array([[-33], [-36], [-40], [-44]], np.float32)
    found[36:50] *= np.float32(10) ** np.linspace(-15, 15, 14, dtype=np.float32)[:, None]
    found[50:55] = found[:5]  # copies
    found[55:60] = -found[:5]
    return found


def of(vectors: Matrix, *, precise: bool = True, unit: bool = False) -> ByteCodes:
    codes = ByteCodes.empty(*vectors.shape, precise=precise)
    codes.put(np.arange(vectors.shape[0]), vectors, unit=unit)
    return codes


def whole(codes: ByteCodes) -> npt.NDArray[np.int64]:
    """Both bytes, as one whole number."""
    lower = 0 if codes.fine is None else codes.fine.astype(np.int64)
    return 256 * codes.coarse.astype(np.int64) + lower


def expected(codes: ByteCodes, numbers: npt.NDArray[np.int64], *, distances: bool) -> Doubles:
    """The similarities of whole numbers, all with all."""
    found: Doubles = (numbers @ numbers.T) * np.outer(codes.scales, codes.scales)
    return 2 * found - np.add.outer(codes.squares, codes.squares) if distances else found


def sizes(codes: ByteCodes) -> Doubles:
    """How large the numbers are that a similarity is the difference of."""
    lengths = np.sqrt(codes.squares)
    return 2 * np.outer(lengths, lengths) + np.add.outer(codes.squares, codes.squares) + 1e-300


@DIMS
@PRECISE
def test_codes_are_as_near_to_vectors_as_half_a_step(dim: int, precise: bool) -> None:
    """Upper bytes alone are rounded twice: to both, and then to one."""
    vectors = mixed(dim)
    codes, half = of(vectors, precise=precise), 0.5 if precise else 128.5
    assert (codes.fine is None) is not precise
    assert codes.coarse.min() >= -127
    largest = np.abs(vectors).max(axis=1).astype(np.float64)
    tiny = largest < SMALLEST
    assert tiny.sum() >= 4
    assert (whole(codes)[tiny] == 0).all()
    assert (codes.scales[tiny] == 1).all()
    usual = ~tiny
    np.testing.assert_allclose(codes.scales[usual] * 127 * 256, largest[usual], rtol=3e-7)
    assert (np.abs(whole(codes)[usual]).max(axis=1) == 127 * 256).all()
    off = np.abs(whole(codes) * codes.scales[:, None] - vectors)[usual]
    bound = half * codes.scales[usual] + 2e-7 * largest[usual]
    assert (off <= bound[:, None]).all()
    squares = np.square(whole(codes)).sum(axis=1) * np.square(codes.scales)
    np.testing.assert_allclose(codes.squares, squares, rtol=1e-14)
    np.testing.assert_allclose(
        codes.vectors(slice(None)), whole(codes) * codes.scales[:, None], rtol=2e-7
    )


@given(value=st.integers(-127 * 256, 127 * 256))
def test_upper_and_lower_bytes_are_one_number(value: int) -> None:
    vectors = np.array([[127 * 256, value]], np.float32)
    codes, rough = of(vectors), of(vectors, precise=False)
    assert codes.scales[0] == 1
    assert codes.fine is not None
    assert 256 * int(codes.coarse[0, 1]) + int(codes.fine[0, 1]) == value
    assert abs(256 * int(rough.coarse[0, 1]) - value) <= 128
    assert rough.squares[0] == np.square(256.0 * rough.coarse[0]).sum()


@DIMS
@PRECISE
def test_codes_of_unit_vectors_have_length_1_or_0(dim: int, precise: bool) -> None:
    vectors = mixed(dim)
    codes = of(vectors, precise=precise, unit=True)
    zero = np.abs(vectors).max(axis=1) < SMALLEST
    assert (codes.squares[zero] == 0).all()
    np.testing.assert_allclose(codes.squares[~zero], 1, rtol=1e-15)
    np.testing.assert_allclose(
        np.linalg.norm(codes.vectors(slice(None)).astype(np.float64), axis=1)[~zero], 1, rtol=1e-6
    )


@PRECISE
def test_rows_are_put_where_they_belong_and_sorted_whole(precise: bool) -> None:
    vectors = mixed(31)
    codes, expected_codes = ByteCodes.empty(ROWS, 31, precise=precise), of(vectors, precise=precise)
    order = np.random.default_rng(0).permutation(ROWS)
    for part in np.split(order, [7, 8, 31]):
        codes.put(part, vectors[part])
    moved = np.random.default_rng(1).permutation(20)
    for name in ("coarse", "fine", "scales", "squares"):
        put, meant = getattr(codes, name), getattr(expected_codes, name)
        if put is not None:
            np.testing.assert_array_equal(put, meant)
            meant[5:25] = meant[5:25][moved]
    codes.sort(slice(5, 25), moved)
    for name in ("coarse", "fine", "scales", "squares"):
        np.testing.assert_array_equal(getattr(codes, name), getattr(expected_codes, name))


@DIMS
@PRECISE
@DISTANCES
@BOTH_PRODUCTS
def test_rough_similarities_are_those_of_upper_bytes(
    dim: int, precise: bool, distances: bool, product: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: none of the operations is fused with another, on any processor."""
    monkeypatch.setattr(module, "byte_products", lambda: product)
    codes = of(mixed(dim), precise=precise)
    upper = codes.coarse.astype(np.int64)
    some = np.random.default_rng(1).integers(0, ROWS, 25)
    found = codes.roughly(slice(3, 50), some, distances=distances)
    assert found.dtype == np.float32
    pairs = np.ix_(np.arange(3, 50), some)
    true = expected(codes, 256 * upper, distances=distances)[pairs]
    assert (np.abs(found - true) <= 3e-7 * sizes(codes)[pairs] + 1e-44).all()
    scales = (256 * codes.scales).astype(np.float32)
    with np.errstate(under="ignore"):
        bits = (upper @ upper.T).astype(np.float32) * np.multiply.outer(scales, scales)
        if distances:
            squares = codes.squares.astype(np.float32)
            bits = np.float32(2) * bits - np.add.outer(squares, squares)
    np.testing.assert_array_equal(found, bits[pairs])


@DIMS
@DISTANCES
@BOTH_PRODUCTS
@pytest.mark.parametrize("unit", [True, False], ids=["unit", "any length"])
def test_whole_similarities_are_those_of_all_bits(
    dim: int, distances: bool, product: Any, unit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "byte_products", lambda: product)
    codes = of(mixed(dim), unit=unit)
    true = expected(codes, whole(codes), distances=distances).astype(np.float32)
    some = np.random.default_rng(1).integers(0, ROWS, 25)
    found = codes.closely(slice(3, 50), some, distances=distances)
    np.testing.assert_array_equal(found, true[3:50, some])
    np.testing.assert_array_equal(
        codes.closely(some, some, distances=distances), true[some][:, some]
    )


@DIMS
@PRECISE
@DISTANCES
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_each_row_is_compared_with_others_of_its_own(
    dim: int, precise: bool, distances: bool, dtype: npt.DTypeLike
) -> None:
    codes = of(mixed(dim), precise=precise)
    others: npt.NDArray[Any] = np.random.default_rng(2).integers(-5, ROWS, (40, 9)).astype(dtype)
    others[others < 0] = -1
    others[3] = -1
    true = expected(codes, whole(codes), distances=distances).astype(np.float32)[7:47]
    true = np.where(others < 0, -np.inf, np.take_along_axis(true, np.maximum(others, 0), axis=1))
    found = codes.similarities(7, others, distances=distances)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, true)
    assert codes.similarities(7, others[:, :0], distances=distances).shape == (40, 0)
    assert codes.similarities(7, others[:0], distances=distances).shape == (0, 9)


@DIMS
@DISTANCES
def test_similarities_are_those_of_the_vectors(dim: int, distances: bool) -> None:
    """Of float64, but for half a step in each dimension of both, and float32's rounding."""
    vectors = mixed(dim)
    codes, exact = of(vectors), vectors.astype(np.float64)
    true = exact @ exact.T
    if distances:
        true = -np.square(exact[:, None] - exact).sum(axis=2)
    off = 0.503 * codes.scales * (np.abs(exact).max(axis=1) >= SMALLEST)
    sums = np.abs(exact).sum(axis=1)
    lost = off[:, None] * sums + off * sums[:, None] + dim * np.outer(off, off)
    if distances:
        own = 2 * off * sums + dim * np.square(off)
        lost = 2 * lost + np.add.outer(own, own)
    lost += 2e-7 * np.abs(true) + 1e-44 + SMALLEST * (sums[:, None] + sums) * 2
    assert (
        np.abs(codes.closely(slice(None), slice(None), distances=distances) - true) <= lost
    ).all()


@settings(max_examples=60)
@given(
    dim=st.sampled_from([1, 2, 31, 384, 1100]),
    seed=st.integers(0, 10_000),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e15]),
    spread=st.sampled_from([0.0, 1e-7, 1e-5, 1e-3]),
    flat=st.booleans(),
)
def test_copies_are_as_near_as_can_be_and_nobody_is_nearer(
    dim: int, seed: int, size: float, spread: float, flat: bool
) -> None:
    """1 and 0 to the last bit, which is how reports tell copies; rounding never exceeds them."""
    base = np.sign(gaussian(4, dim, seed)) if flat else gaussian(4, dim, seed)
    near = base[np.arange(20) % 4] * (1 + np.float32(spread) * gaussian(20, dim, seed + 1))
    vectors = (near * np.float32(size)).astype(np.float32)
    vectors[10:] = vectors[:10]
    own = np.arange(20)
    for precise in (True, False):
        unit = of(vectors, precise=precise, unit=True)
        any_length = of(vectors, precise=precise)
        others = np.stack((own, np.roll(own, 10), (own + 4) % 20), axis=1)
        cosines = unit.similarities(0, others, distances=False)
        apart = any_length.similarities(0, others, distances=True)
        assert (cosines[:, :2] == 1).all()
        assert (apart[:, :2] == 0).all()
        assert cosines.max() == 1
        assert apart.max() == 0
        if precise:
            for product in (by_torch, by_float):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(module, "byte_products", lambda product=product: product)
                    cosines = unit.closely(own, own, distances=False)
                    apart = any_length.closely(own, own, distances=True)
                assert cosines.max() == 1
                assert apart.max() == 0
                for shift in (0, 10):
                    assert (cosines[own, (own + shift) % 20] == 1).all()
                    assert (apart[own, (own + shift) % 20] == 0).all()


def test_zero_vectors_are_like_nothing_and_as_far_as_others_are_long() -> None:
    vectors = np.concatenate((np.zeros((2, 8), np.float32), gaussian(2, 8)))
    codes = of(vectors)
    others = np.broadcast_to(np.arange(4), (4, 4))
    lengths = codes.squares.astype(np.float32)
    for found in (
        codes.similarities(0, others, distances=False),
        codes.closely(slice(None), slice(None), distances=False),
        codes.roughly(slice(None), slice(None), distances=False),
    ):
        assert (found[:2] == 0).all()
        assert (found[:, :2] == 0).all()
    for found in (
        codes.similarities(0, others, distances=True),
        codes.closely(slice(None), slice(None), distances=True),
        codes.roughly(slice(None), slice(None), distances=True),
    ):
        np.testing.assert_array_equal(found[:2], [-lengths, -lengths])


@pytest.mark.parametrize("dim", [65_536, 66_052])
def test_sums_of_the_longest_vectors_fit(dim: int) -> None:
    """Sources refuse more than 65,536 numbers; 66,053 of the largest bytes would be too many.

    Their lower bytes are -128, and sums of both crosswise are as far from 0 as can be.
    """
    codes = ByteCodes.empty(2, dim, precise=True)
    assert codes.fine is not None
    codes.coarse[:] = 127
    codes.fine[:] = -128
    total = dim * (127 * 256 - 128) ** 2
    codes.scales[:] = 1 / np.sqrt(total)
    codes.squares[:] = total * np.square(codes.scales)
    for product in (by_torch, by_float):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "byte_products", lambda product=product: product)
            assert (codes.closely(slice(None), slice(None), distances=False) == 1).all()
    assert (codes.similarities(0, np.array([[0, 1], [1, 0]]), distances=True) == 0).all()


@PRECISE
@pytest.mark.parametrize("dim", [31, 384])
def test_noise_is_the_standard_error_of_rough_products(dim: int, precise: bool) -> None:
    vectors = gaussian(400, dim) * np.float32(7)
    codes = of(vectors, precise=precise)
    exact = vectors.astype(np.float64)
    off = codes.roughly(slice(None), slice(None), distances=False) - exact @ exact.T
    np.fill_diagonal(off, 0)
    measured = np.sqrt(np.square(off).mean())
    assert codes.noise(slice(None)) == pytest.approx(measured, rel=0.03)
