"""Rows and those who visit their cells: who meets whom, and who is near enough to be told.

See `models.analysis.linking` for what comes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.analysis.nearest_so_far import (
    take_offers,
    take_others,
    take_visitors,
    visits_by_cell,
)
from models.indexes.results import NO_ROW, NO_SIMILARITY
from models.indexes.side_by_side import side_by_side, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.analysis.nearest_so_far import Offers, Places, Similarities
    from models.analysis.visiting import Reach
    from models.indexes.cells import Cells
    from models.types import Matrix, RowIds

_NO_OFFERS: Final = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
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
        visits = zip(*side_by_side(reach.visits, range(count)), strict=True)
        places, cells = (np.concatenate(side) for side in visits)
        bounds = np.concatenate(([0], np.cumsum(np.bincount(cells, minlength=count))))
        return cls(visits_by_cell(places, cells, bounds), bounds)

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
        tight: (cells,) bool, which cells compare all bits: many lists there span hardly more than
            the errors of 8. Their rows are nearly copies of each other.
    """

    def __init__(self, cells: Cells, visitors: Visitors, k: int) -> None:
        """Let nobody know anybody.

        Args:
            cells: where rows live.
            visitors: who visits them.
            k: how many each may know.
        """
        self._cells, self._visitors = cells, visitors
        self.places: Places = np.full((cells.rows.size, k), NO_ROW, np.int32)
        self.similarities: Similarities = np.full(self.places.shape, NO_SIMILARITY)
        self.tight = np.zeros(cells.count, np.bool_)
        self._last = self.similarities[:, 0].copy()

    @property
    def state(self) -> list[Any]:
        """What is to be kept for a run that is killed: who meets whom, and all that changes."""
        return [self._met, self.places, self.similarities, self.tight]

    def resume(self, state: list[Any]) -> bool:
        """Go on where another one was; tell whether it is one of the same cells and visitors.

        Another processor rounds in another way, and places are then those of other rows.
        """
        met, *others = state
        if not np.array_equal(met, self._met):
            return False
        for own, other in zip(self.state[1:], others, strict=True):
            own[:] = other
        self._last[:] = self.similarities[:, 0]
        return True

    @cached_property
    def _met(self) -> npt.NDArray[np.uint8]:
        """A digest of which rows stand where and visit whom."""
        digest = sha256()
        cells, visitors = self._cells, self._visitors
        for one in (cells.rows, cells.bounds, visitors.places, visitors.bounds):
            digest.update(one.data)
        return np.frombuffer(digest.digest(), np.uint8)

    def settle(self) -> None:
        """Let all who live in the same cell meet."""
        for _ in side_by_side(self._settle, range(self._cells.count)):
            pass
        self._last[:] = self.similarities[:, 0]

    def _settle(self, cell: int) -> None:
        cells, own = self._cells, self._cells.places(cell)
        places, similarities = self.places[own], self.similarities[own]
        take_others(cells.roughly(own, own), own.start, places, similarities)
        if not cells.is_precise or own.stop - own.start <= places.shape[1]:
            return
        spans = similarities.max(axis=1) - similarities[:, 0]
        if (spans < _TELLING * cells.noise(cell)).mean() > _TIGHT:
            self.tight[cell] = True
            places[:], similarities[:] = NO_ROW, NO_SIMILARITY
            take_others(cells.closely(own, own), own.start, places, similarities)

    def receive(self, some: RowIds) -> None:
        """Let rows of some cells meet their visitors.

        The lists of visitors change when all have met, so that threads do not matter.
        """
        offers = [_NO_OFFERS]
        for of_cell in side_by_side(self._received, some.tolist()):
            offers.extend(of_cell)
        for cell in some.tolist():
            own = self._cells.places(cell)
            self._last[own] = self.similarities[own, 0]
        to, of, near = (np.concatenate(side) for side in zip(*offers, strict=True))
        size = -(-self._last.size // workers())

        def enter(start: int) -> None:
            own = slice(start, start + size)
            lists = self.places[own], self.similarities[own], self._last[own]
            take_offers((to, of, near), start, *lists)

        for _ in side_by_side(enter, range(0, self._last.size, size)):
            pass

    def _received(self, cell: int) -> list[Offers]:
        own = self._cells.places(cell)
        lists = self.places[own], self.similarities[own]
        return [
            take_visitors(met, visitors, self._last[visitors], own.start, *lists)
            for visitors, met in self._compared(cell)
        ]

    def _compared(self, cell: int) -> Iterator[tuple[Places, Matrix]]:
        """Yield visitors of a cell, and its rows' similarities to them."""
        own = self._cells.places(cell)
        for others in self._visitors.parts(cell, own.stop - own.start):
            if self.tight[cell]:
                yield others, self._cells.closely(own, others)
            else:
                yield others, self._cells.roughly(own, others)
