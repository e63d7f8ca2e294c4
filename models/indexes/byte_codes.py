"""Vectors in 8 bits a dimension to compare them roughly, and in 8 more to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.indexes.byte_kernels import (
    decoded,
    encode,
    rough_similarities,
    similarities_of,
    whole_similarities,
)
from models.indexes.byte_products import byte_products

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import Matrix, RowIds

_STEP: Final = 256
"""Of a coarse code, in steps of a fine one."""


@dataclass(frozen=True, slots=True)
class ByteCodes:
    """Vectors, each scaled by its largest value and rounded to 16 bits, or to 8.

    Attributes:
        coarse: (rows, dim) int8, the upper 8 bits, rounded.
        fine: (rows, dim) int8, what is left; None where 8 bits have to do.
        scales: (rows,) float64: a vector is its scale times 256 coarse + fine.
        squares: (rows,) float64, squared lengths.
    """

    coarse: npt.NDArray[np.int8]
    fine: npt.NDArray[np.int8] | None
    scales: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, rows: int, dim: int, *, precise: bool) -> ByteCodes:
        """Return codes that are to be filled."""
        return cls(
            np.empty((rows, dim), np.int8),
            np.empty((rows, dim), np.int8) if precise else None,
            np.empty(rows, np.float64),
            np.empty(rows, np.float64),
        )

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.scales.size)

    def put(self, first: int, vectors: Matrix, *, unit: bool = False) -> None:
        """Encode consecutive vectors.

        Args:
            first: where the first of them belongs.
            vectors: (vectors, dim) float32, finite.
            unit: whether they have length 1, or 0: then their codes have it as well, without which
                near copies have cosines that are farther off than they are from 1.
        """
        encode(vectors, first, (self.coarse, self._lower, self.scales, self.squares))
        rows = slice(first, first + vectors.shape[0])
        if unit:
            self.scales[rows] = 1 / np.sqrt(np.maximum(self.squares[rows], 1))
        self.squares[rows] *= np.square(self.scales[rows])

    @property
    def _lower(self) -> npt.NDArray[np.int8]:
        return self.coarse[:0] if self.fine is None else self.fine

    def vectors(self, rows: Any) -> Matrix:
        """Return vectors as precise as the codes: (rows, dim) float32."""
        some = np.arange(*rows.indices(self.rows)) if isinstance(rows, slice) else rows
        return decoded(self.coarse, self._lower, self.scales, some)

    def roughly(self, rows: Any, others: Any, *, distances: bool) -> Matrix:
        """Compare vectors by 8 bits.

        Args:
            rows: a slice or numbers.
            others: the same.
            distances: whether negated squared distances are wanted, not inner products.

        Returns:
            (rows, others) float32.
        """
        found = byte_products()(self.coarse[rows], self.coarse[others])
        return rough_similarities(found, distances, self._rough(rows), self._rough(others))

    def _rough(self, rows: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        scales = (_STEP * self.scales[rows]).astype(np.float32)
        return scales, self.squares[rows].astype(np.float32)

    def closely(self, rows: Any, others: Any, *, distances: bool) -> Matrix:
        """Compare vectors by 16 bits, which they have to have, as `roughly` does."""
        product = byte_products()
        upper, lower = self.coarse[rows], self._lower[rows]
        uppers, lowers = self.coarse[others], self._lower[others]
        mixed = product(np.hstack((upper, lower)), np.hstack((lowers, uppers)))
        return whole_similarities(
            (product(upper, uppers), mixed, product(lower, lowers)),
            distances,
            (self.scales[rows], self.squares[rows]),
            (self.scales[others], self.squares[others]),
        )

    def similarities(self, first: int, others: npt.NDArray[Any], *, distances: bool) -> Matrix:
        """Compare consecutive vectors with others of their own, by all bits there are.

        Args:
            first: the first of them.
            others: (rows, any) numbers; negative ones stand for none.
            distances: as in `roughly`.

        Returns:
            (rows, any) float32; -inf for none.
        """
        codes = self.coarse, self._lower, self.scales, self.squares
        return similarities_of(codes, distances, first, others)

    def errors(
        self, rows: Any, *, distances: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return how far off `roughly` is for another vector of length 1, and lengths.

        Halves of a step are lost evenly: that is a variance of a twelfth of it, squared.
        """
        errors = (2 if distances else 1) * _STEP / np.sqrt(12) * self.scales[rows]
        return errors.astype(np.float32), np.sqrt(self.squares[rows]).astype(np.float32)

    def noise(self, rows: Any) -> float:
        """Return by how much `roughly` is off: the standard error of those among some rows."""
        variance = _STEP**2 / 12 * float(np.square(self.scales[rows]).mean())
        return float(np.sqrt(2 * variance * float(self.squares[rows].mean())))

    def sort(self, rows: slice, order: RowIds) -> None:
        """Bring some rows into another order."""
        for one in (self.coarse, self.fine, self.scales, self.squares):
            if one is not None:
                one[rows] = one[rows][order]
