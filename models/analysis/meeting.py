"""Rows and those who visit their cells: who meets whom, and who is near enough to be told.

See `models.analysis.linking` for what comes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.indexes.largest import largest
from models.indexes.results import NO_ROW, Neighbours, marked_cells
from models.indexes.side_by_side import side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.analysis.visiting import Reach
    from models.indexes.cells import Cells
    from models.types import Matrix, RowIds

_COMPARED: Final = 1 << 18
"""Similarities at once: they stay in a core's cache."""


@dataclass(frozen=True, slots=True)
class Offers:
    """Who may enter whose list.

    Attributes:
        to: (offers,) int32, the places whose lists are meant.
        places: (offers,) int32, who may enter.
        similarities: (offers,) float32.
    """

    to: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]
    similarities: npt.NDArray[np.float32]

    @classmethod
    def joined(cls, parts: list[Offers]) -> Offers:
        """Return the offers of several sets of them."""
        return cls(
            np.concatenate([part.to for part in parts]),
            np.concatenate([part.places for part in parts]),
            np.concatenate([part.similarities for part in parts]),
        )

    def sorted_by(self, keys: npt.NDArray[np.uint16]) -> Offers:
        """Return the offers in the order of some keys."""
        return self.part(np.argsort(keys, kind="stable"))

    def part(self, some: slice | RowIds) -> Offers:
        """Return some of the offers."""
        return Offers(self.to[some], self.places[some], self.similarities[some])


NO_OFFERS: Final = Offers(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class Visitors:
    """The rows that visit cells which they do not live in.

    Attributes:
        places: (visits,) int32, by the cell that they visit.
        bounds: (cells + 1,) int64, where those of a cell begin and end.
    """

    places: npt.NDArray[np.int32]
    bounds: RowIds

    @classmethod
    def of(cls, reach: Reach) -> Visitors:
        """Find out who visits what."""
        count = reach.cells.count
        parts = list(side_by_side(reach.visits, range(count)))
        places, cells = (np.concatenate(side) for side in zip(*parts, strict=True))
        order = np.argsort(cells, kind="stable")
        return cls(places[order], np.searchsorted(cells[order], np.arange(count + 1)))

    def parts(self, cell: int, own: int) -> Iterator[npt.NDArray[np.int32]]:
        """Yield the visitors of a cell, as many as are compared with its own rows at once."""
        start, stop = self.bounds[cell : cell + 2].tolist()
        size = _COMPARED // own
        for first in range(start, stop, size):
            yield self.places[first : min(stop, first + size)]


@dataclass(frozen=True, slots=True)
class Meeting:
    """Rows and their visitors, cell by cell.

    Attributes:
        cells: where rows live.
        visitors: who visits them.
        tight: (cells,) which are compared by whole codes.
    """

    cells: Cells
    visitors: Visitors
    tight: npt.NDArray[np.bool_]

    def settled(self, lists: Neighbours, block: range) -> list[Any]:
        """Let visitors of some cells into the lists of those who live there, and return these."""

        def settle(cell: int) -> tuple[RowIds, Matrix]:
            own = self.cells.places(cell)
            rows, similarities = lists.rows[own], lists.similarities[own]
            for others, met in self._compared(cell):
                columns, found = largest(met, rows.shape[1])
                entering = np.where(columns == NO_ROW, NO_ROW, others[columns])
                rows, similarities = _best_of(rows, entering, similarities, found)
            return rows, similarities

        parts = side_by_side(settle, block)
        return [np.concatenate(side) for side in zip(*parts, strict=True)]

    def offered(
        self, known: RowIds, last: npt.NDArray[np.float32], block: range
    ) -> list[npt.NDArray[Any]]:
        """Return whom visitors of some cells meet that is nearer than the last they have."""

        def offers(cell: int) -> Offers:
            start = self.cells.places(cell).start
            parts = [NO_OFFERS]
            for others, similarities in self._compared(cell):
                one, other = marked_cells(similarities > last[others])
                to, met = others[other], (start + one).astype(np.int32)
                new = ~(known[to] == met[:, None]).any(axis=1)
                parts.append(Offers(to[new], met[new], similarities[one[new], other[new]]))
            return Offers.joined(parts)

        found = Offers.joined([NO_OFFERS, *side_by_side(offers, block)])
        return [found.to, found.places, found.similarities]

    def _compared(self, cell: int) -> Iterator[tuple[npt.NDArray[np.int32], Matrix]]:
        """Yield visitors of a cell, and its rows' similarities to them."""
        own = self.cells.places(cell)
        for others in self.visitors.parts(cell, own.stop - own.start):
            if self.tight[cell]:
                yield others, self.cells.closely(cell, others)
            else:
                yield others, self.cells.roughly(own, others)


def _best_of(
    rows: RowIds, others: RowIds, similarities: Matrix, found: Matrix
) -> tuple[RowIds, Matrix]:
    """Return the most similar of two lists for each row, as many as are in the first."""
    k = rows.shape[1]
    joined = np.concatenate((similarities, found), axis=1)
    best = np.argpartition(joined, joined.shape[1] - k, axis=1)[:, -k:]
    every = np.concatenate((rows, others), axis=1)
    return np.take_along_axis(every, best, axis=1), np.take_along_axis(joined, best, axis=1)
