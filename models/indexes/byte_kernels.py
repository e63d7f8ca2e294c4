"""Vectors of bytes, encoded, and products of bytes turned into similarities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.indexes.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import Matrix, RowIds

    Bytes = npt.NDArray[np.int8]
    Products = npt.NDArray[Any]
    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]
    Codes = tuple[Bytes, Bytes, Doubles, Doubles]
    """Upper bytes, lower ones or none, scales and squared lengths of all rows."""


@compiled
def encode(vectors: Matrix, first: int, codes: Codes) -> None:
    """Fill rows of codes: see `models.indexes.byte_codes.ByteCodes`.

    Args:
        vectors: (vectors, dim) float32, finite.
        first: where the first of them belongs.
        codes: to be filled; squares with those of whole codes.
    """
    coarse, fine, scales, squares = codes
    dim = vectors.shape[1]
    for i in range(vectors.shape[0]):
        row = first + i
        most = np.float32(0)
        for j in range(dim):
            most = max(most, abs(vectors[i, j]))
        scale = np.float32(most / np.float32(127 * 256))
        if scale < np.float32(1e-37):  # of which float32 holds hardly a digit: zero
            scale = np.float32(1)
        total = np.int64(0)
        for j in range(dim):
            code = np.int32(np.rint(vectors[i, j] / scale))
            upper = (code + 128) >> 8  # halves go up: what is left is a byte
            coarse[row, j] = upper
            if fine.shape[0]:
                fine[row, j] = code - (upper << 8)
            else:
                code = upper << 8
            total += code * code
        scales[row] = scale
        squares[row] = total


@compiled
def decoded(coarse: Bytes, fine: Bytes, scales: Doubles, rows: RowIds) -> Matrix:
    """Return vectors as precise as their codes: (rows, dim) float32."""
    dim = coarse.shape[1]
    found = np.empty((rows.size, dim), np.float32)
    for i in range(rows.size):
        row = rows[i]
        scale = np.float32(scales[row])
        for j in range(dim):
            code = np.int32(coarse[row, j]) << 8
            if fine.shape[0]:
                code += fine[row, j]
            found[i, j] = np.float32(code) * scale
    return found


@compiled
def rough_similarities(
    products: Products,
    distances: bool,  # noqa: FBT001
    left: tuple[Floats, Floats],
    right: tuple[Floats, Floats],
) -> Matrix:
    """Scale products of upper bytes.

    Args:
        products: (left, right) whole numbers.
        distances: whether negated squared distances are wanted, not products.
        left: scales and squared lengths, each (left,).
        right: the same, each (right,).

    Returns:
        (left, right) float32.
    """
    found = np.empty(products.shape, np.float32)
    for i in range(products.shape[0]):
        for j in range(products.shape[1]):
            near = np.float32(products[i, j]) * (left[0][i] * right[0][j])
            if distances:
                near = np.float32(2) * near - (left[1][i] + right[1][j])
            found[i, j] = near
    return found


@compiled
def whole_similarities(
    products: tuple[Products, Products, Products],
    distances: bool,  # noqa: FBT001
    left: tuple[Doubles, Doubles],
    right: tuple[Doubles, Doubles],
) -> Matrix:
    """Put products of upper bytes, of both, and of lower ones together, and scale them.

    Args:
        products: three times (left, right) whole numbers.
        distances: as for `rough_similarities`.
        left: the same.
        right: the same.

    Returns:
        (left, right) float32, rounded once.
    """
    upper, mixed, lower = products
    found = np.empty(upper.shape, np.float32)
    for i in range(upper.shape[0]):
        for j in range(upper.shape[1]):
            whole = 65536.0 * upper[i, j] + 256.0 * mixed[i, j] + lower[i, j]
            near = whole * (left[0][i] * right[0][j])
            if distances:
                near = 2 * near - (left[1][i] + right[1][j])
            found[i, j] = near
    return found


@compiled
def _product(left: Bytes, right: Bytes) -> np.int32:
    # Numba adds numbers of 32 bits in 64, at half the speed, unless it is told not to. They hold
    # 131,071 products of -128 and -128; sources refuse vectors of more than 65,536 numbers.
    total = np.int32(0)
    for i in range(left.size):
        total = np.int32(total + np.int32(np.int32(left[i]) * np.int32(right[i])))
    return total


@compiled
def similarities_of(
    codes: Codes,
    distances: bool,  # noqa: FBT001
    first: int,
    others: npt.NDArray[Any],
) -> Matrix:
    """Compare consecutive rows with others of their own.

    Args:
        codes: of all rows.
        distances: as for `rough_similarities`.
        first: the first row.
        others: (rows, any) whole numbers; negative ones stand for none.

    Returns:
        (rows, any) float32, rounded once; -inf for none.
    """
    upper, lower, scales, squares = codes
    found = np.full(others.shape, -np.inf, np.float32)
    for i in range(others.shape[0]):
        own = first + i
        for j in range(others.shape[1]):
            other = others[i, j]
            if other < 0:
                continue
            whole = 65536.0 * _product(upper[own], upper[other])
            if lower.shape[0]:
                mixed = _product(upper[own], lower[other]) + _product(lower[own], upper[other])
                whole += 256.0 * mixed + _product(lower[own], lower[other])
            near = whole * (scales[own] * scales[other])
            if distances:
                near = 2 * near - (squares[own] + squares[other])
            found[i, j] = near
    return found
