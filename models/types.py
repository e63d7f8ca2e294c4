"""The words that encoders, indexes and analyses share: matrices, metrics, streams of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

Matrix = npt.NDArray[np.float32]
"""One float32 row a content: shape (rows, dim)."""

Image = npt.NDArray[np.uint8]
"""One decoded picture: shape (height, width, 3), RGB."""

RowIds = npt.NDArray[np.int64]
"""Positions of rows in a `Vectors`; -1 stands for "none"."""


class Modality(StrEnum):
    """What kind of thing an item is."""

    IMAGE = "image"
    TEXT = "text"
    VECTOR = "vector"


class Metric(StrEnum):
    """How nearness is measured. Similarities are always "the larger, the nearer"."""

    COSINE = "cosine"
    INNER_PRODUCT = "inner_product"
    L2 = "l2"


class Vectors(Protocol):
    """The vectors of one space in a fixed row order, streamed so that no stage needs them all."""

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        ...

    @property
    def dim(self) -> int:
        """The length of each."""
        ...

    def batches(self, rows: int) -> Iterator[Matrix]:
        """Yield all vectors in order, at most `rows` at once; each call starts anew."""
        ...

    def subset(self, rows: RowIds) -> Vectors:
        """Return only some rows, in the same order, for what reading them costs.

        Args:
            rows: (wanted,) int64, ascending, each once.
        """
        ...


@dataclass(frozen=True, slots=True)
class ArrayVectors:
    """`Vectors` over a matrix that is in memory already."""

    matrix: Matrix

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return int(self.matrix.shape[0])

    @property
    def dim(self) -> int:
        """The length of each."""
        return int(self.matrix.shape[1])

    def batches(self, rows: int) -> Iterator[Matrix]:
        """Yield the matrix in slices of at most `rows`."""
        for start in range(0, self.rows, rows):
            yield self.matrix[start : start + rows]

    def subset(self, rows: RowIds) -> ArrayVectors:
        """Return only some rows, in the same order."""
        return ArrayVectors(self.matrix[rows])


def normalised(vectors: Matrix) -> Matrix:
    """Scale each row to length 1; rows of length 0 stay 0.

    Args:
        vectors: (rows, dim) float32.

    Returns:
        A new (rows, dim) float32 matrix.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32, copy=False)
