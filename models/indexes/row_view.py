"""An index seen through the row numbers of a `Vectors`, whatever order it was filled in.

An index only grows: new vectors take the next numbers, and those of deleted contents stay inside as
dead rows until the index is trained anew. The vectors that count now have an order of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from models.indexes.errors import IndexMismatchError
from models.indexes.plans import MOST_FACTOR
from models.indexes.results import NO_ROW, Neighbours, RangeMatches

if TYPE_CHECKING:
    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix, Metric, RowIds


class Searchable(Protocol):
    """What analyses ask of an index."""

    def require(self, rows: int, dim: int, metric: Metric) -> None:
        """Check that it is over certain vectors."""
        ...

    def search(self, queries: Matrix, k: int) -> Neighbours:
        """Find the k nearest rows of each query."""
        ...

    def range_search(
        self, queries: Matrix, threshold: float, most: int | None = None
    ) -> RangeMatches:
        """Find all rows whose similarity reaches a threshold."""
        ...


class RowView:
    """A `VectorIndex` without its dead rows, the others renumbered."""

    def __init__(self, index: VectorIndex, row_of: RowIds) -> None:
        """Lay numbers over an index.

        Args:
            index: what to search.
            row_of: (index.rows,) int64, the number of each of its rows; -1 for a dead one.

        Raises:
            IndexMismatchError: there are more or fewer numbers than rows.
        """
        if row_of.size != index.rows:
            raise IndexMismatchError("the number of row numbers", row_of.size, index.rows)
        self.index = index
        self._row_of = row_of
        alive = np.flatnonzero(row_of != NO_ROW).astype(np.int64)
        self.rows = int(alive.size)
        self._alive = None if alive.size == index.rows else alive

    def probing(self, nprobe: int) -> RowView:
        """Return the same view with another effort; only for inverted lists.

        Where short codes propose candidates they propose as many as they ever do: how many are
        enough was tuned for other lists.
        """
        tuned = self.index.plan.search_parameters
        factor = None if tuned.k_factor is None else MOST_FACTOR
        effort = replace(tuned, nprobe=nprobe, k_factor=factor)
        return RowView(self.index.with_parameters(effort), self._row_of)

    def require(self, rows: int, dim: int, metric: Metric) -> None:
        """Check that the living rows are as many as certain vectors, of their kind.

        Raises:
            IndexMismatchError: their number, dimension or metric differs.
        """
        self.index.require(self.index.rows, dim, metric)
        if rows != self.rows:
            raise IndexMismatchError("the number of vectors", rows, self.rows)

    def search(self, queries: Matrix, k: int) -> Neighbours:
        """Find the k nearest living rows; see `VectorIndex.search`."""
        found = self.index.search(queries, k, self._alive)
        rows = np.where(found.rows == NO_ROW, NO_ROW, self._row_of[found.rows])
        return Neighbours(rows, found.similarities)

    def range_search(
        self, queries: Matrix, threshold: float, most: int | None = None
    ) -> RangeMatches:
        """Find all living rows that reach a threshold; see `VectorIndex.range_search`."""
        found = self.index.range_search(queries, threshold, most)
        rows = self._row_of[found.rows]
        alive = rows != NO_ROW
        return RangeMatches(found.queries[alive], rows[alive], found.similarities[alive])
