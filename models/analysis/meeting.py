"""Rows and those who visit their cells: who meets whom, and who is near enough to be told.

See `models.analysis.linking` for what comes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from models.analysis.nearest_so_far import take_offers, take_others, take_visitors
from models.indexes.results import NO_ROW, NO_SIMILARITY
from models.indexes.side_by_side import side_by_side, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.analysis.nearest_so_far import Offers, Places, Similarities
    from models.analysis.visiting import Reach
    from models.indexes.cells import Cells
    from models.types import Matrix, RowIds

_COMPARED: Final = 1 << 17
"""Similarities at once: they stay in a core's cache."""
_TELLING: Final = 8.0
"""Standard errors of coarse codes that a list has to span: then one in 100 is lost by them."""
_TIGHT: Final = 1 / 8
"""Of the rows of a cell: where more lists span less, whole codes are compared."""


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


class Meeting:
    """The nearest that all rows have met so far, cell by cell.

    Attributes:
        places: (rows, k) int32, in no order; -1 where there are fewer.
        similarities: (rows, k) float32, by 8 bits a dimension, or by all of them in tight cells.
    """

    def __init__(self, cells: Cells, visitors: Visitors, k: int) -> None:
        """Begin with those who live in the same cell.

        Args:
            cells: where rows live.
            visitors: who visits them.
            k: how many each may know.
        """
        self._cells, self._visitors = cells, visitors
        self.places: Places = np.full((cells.rows.size, k), NO_ROW, np.int32)
        self.similarities: Similarities = np.full(self.places.shape, NO_SIMILARITY)
        self._tight = np.fromiter(side_by_side(self._settle, range(cells.count)), np.bool_)

    def _settle(self, cell: int) -> bool:
        """Let rows of a cell meet, and tell whether whole codes were needed.

        In a tight cell many lists span hardly more than the errors of coarse codes: its rows are
        nearly copies of each other, which whole codes tell apart.
        """
        cells, own = self._cells, self._cells.places(cell)
        lists = self.places[own], self.similarities[own]
        take_others(cells.roughly(own, own), own.start, *lists)
        if not cells.is_precise or own.stop - own.start <= lists[0].shape[1]:
            return False
        spans = lists[1].max(axis=1) - lists[1][:, 0]
        if (spans < _TELLING * cells.noise(cell)).mean() <= _TIGHT:
            return False
        lists[0][:], lists[1][:] = NO_ROW, NO_SIMILARITY
        take_others(cells.closely(own, own), own.start, *lists)
        return True

    def receive(self, some: RowIds) -> None:
        """Let rows of some cells meet who visits them.

        Lists of visitors change when all have met: so it is all the same which cell comes first.
        """
        last = self.similarities[:, 0].copy()
        offers = list(side_by_side(lambda cell: self._offers(int(cell), last), some))
        parts = [part for cell in offers for part in cell]
        if not parts:  # nobody visits these
            return
        joined = [np.concatenate(side) for side in zip(*parts, strict=True)]
        rows = last.size
        size = -(-rows // workers())

        def enter(start: int) -> None:
            part = slice(start, start + size)
            take_offers(*joined, start, self.places[part], self.similarities[part])

        for _ in side_by_side(enter, range(0, rows, size)):
            pass

    def _offers(self, cell: int, last: Similarities) -> list[Offers]:
        own = self._cells.places(cell)
        lists = self.places[own], self.similarities[own]
        return [
            take_visitors(met, visitors, last[visitors], own.start, *lists)
            for visitors, met in self._compared(cell)
        ]

    def _compared(self, cell: int) -> Iterator[tuple[Places, Matrix]]:
        """Yield visitors of a cell, and its rows' similarities to them."""
        own = self._cells.places(cell)
        for others in self._visitors.parts(cell, own.stop - own.start):
            if self._tight[cell]:
                yield others, self._cells.closely(own, others)
            else:
                yield others, self._cells.roughly(own, others)
