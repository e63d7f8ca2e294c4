"""The vectors that cells hold, as `Vectors`: read from memory as often as is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.indexes.cells import Cells
    from models.types import Matrix, RowIds


@dataclass(frozen=True, slots=True)
class HeldVectors:
    """Vectors in the order of rows, as precise as the codes; for L2 without their mean.

    Attributes:
        cells: what holds them.
        places: (rows,) int64, where each row stands there.
    """

    cells: Cells
    places: RowIds

    @classmethod
    def of(cls, cells: Cells) -> HeldVectors:
        """Return all vectors of cells."""
        places = np.empty(cells.rows.size, np.int64)
        places[cells.rows] = np.arange(places.size)
        return cls(cells, places)

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return int(self.places.size)

    @property
    def dim(self) -> int:
        """The length of each."""
        return int(self.cells.codes.coarse.shape[1])

    def batches(self, rows: int) -> Iterator[Matrix]:
        """Yield all vectors in order, at most `rows` at once."""
        for start in range(0, self.rows, rows):
            yield self.cells.vectors(self.places[start : start + rows])

    def subset(self, rows: RowIds) -> HeldVectors:
        """Return only some rows, in the same order."""
        return HeldVectors(self.cells, self.places[rows])
