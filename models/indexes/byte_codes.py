"""Vectors in 8 bits a dimension to compare them roughly, and in 8 more to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.indexes.byte_products import MOST, byte_products

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import Matrix, RowIds

_STEP: Final = 256
"""Of a coarse code, in steps of a fine one."""
_LEAST_SCALE: Final = 1e-37
"""Float32 holds hardly a digit of much less: such vectors are zero beside all others."""


@dataclass(frozen=True, slots=True)
class ByteCodes:
    """Vectors, each scaled by its largest value and rounded to 16 bits, or to 8.

    Attributes:
        coarse: (rows, dim) int8, the upper 8 bits, rounded.
        fine: (rows, dim) int8, what is left; None where 8 bits have to do.
        scales: (rows,) float32: a vector is its scale times 256 coarse + fine.
        squares: (rows,) float32, squared lengths.
    """

    coarse: npt.NDArray[np.int8]
    fine: npt.NDArray[np.int8] | None
    scales: npt.NDArray[np.float32]
    squares: npt.NDArray[np.float32]

    @classmethod
    def empty(cls, rows: int, dim: int, *, precise: bool) -> ByteCodes:
        """Return codes that are to be filled."""
        return cls(
            np.empty((rows, dim), np.int8),
            np.empty((rows, dim), np.int8) if precise else None,
            np.empty(rows, np.float32),
            np.empty(rows, np.float32),
        )

    def put(self, rows: RowIds, vectors: Matrix, *, unit: bool = False) -> None:
        """Encode some vectors.

        Args:
            rows: (vectors,) where they belong.
            vectors: (vectors, dim) float32, finite.
            unit: whether they have length 1, or 0: then their codes have it as well, without which
                near copies have cosines that are farther off than they are from 1.
        """
        scales = np.maximum(vectors.max(axis=1), -vectors.min(axis=1)) / np.float32(MOST * _STEP)
        scales[scales < _LEAST_SCALE] = 1
        codes = vectors / scales[:, None]
        np.rint(codes, out=codes)
        # Halves go up: what is left is a byte, from -128 to 127.
        coarse = np.floor(codes * np.float32(1 / _STEP) + np.float32(0.5))
        self.coarse[rows] = coarse
        coarse *= _STEP
        if self.fine is not None:
            codes -= coarse
            self.fine[rows] = codes
            coarse += codes
        squares = np.vecdot(coarse, coarse)
        if unit:
            scales = 1 / np.sqrt(np.where(squares > 0, squares, 1))
        self.scales[rows] = scales
        self.squares[rows] = np.square(scales) * squares

    def unscaled(self, rows: Any) -> Matrix:
        """Return whole codes: (rows, dim) float32."""
        codes = self.coarse[rows].astype(np.int16)
        codes <<= 8
        if self.fine is not None:
            codes += self.fine[rows]
        found: Matrix = codes.astype(np.float32)
        return found

    def vectors(self, rows: Any) -> Matrix:
        """Return vectors as precise as the codes: (rows, dim) float32."""
        found = self.unscaled(rows)
        found *= self.scales[rows][:, None]
        return found

    def products(self, rows: Any, others: Any) -> Matrix:
        """Return the inner products of vectors in 8 bits.

        Args:
            rows: a slice or numbers.
            others: the same.

        Returns:
            (rows, others) float32.
        """
        found = byte_products()(self.coarse[rows], self.coarse[others])
        found *= self.scales[rows][:, None] * np.float32(_STEP * _STEP)
        found *= self.scales[others]
        return found

    def noise(self, rows: Any) -> float:
        """Return by how much `products` are off: the standard error of those among some rows."""
        variance = _STEP**2 / 12 * float(np.square(self.scales[rows], dtype=np.float64).mean())
        return float(np.sqrt(2 * variance * float(self.squares[rows].mean(dtype=np.float64))))

    def sort(self, rows: slice, order: RowIds) -> None:
        """Bring some rows into another order."""
        for one in (self.coarse, self.fine, self.scales, self.squares):
            if one is not None:
                one[rows] = one[rows][order]
