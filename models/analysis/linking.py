"""The k nearest others of all rows, cell by cell: each comparison serves both rows.

A row visits the cells around its own. There it is compared with all who live in them: they may be
its neighbours, and it may be one of theirs. A pair is met if either visits the other's cell, so
each row has to visit about half as many cells for the same share of the neighbours as where it
looks only for its own.

Cells are gone through twice. First those who live in a cell take the nearest of all who are there,
so each row has k neighbours, if not yet the nearest. Then visitors are compared again, and take
who is nearer than the k-th that they have: a few, so no visit needs a list of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.byte_products import byte_products
from models.indexes.largest import largest
from models.indexes.results import NO_ROW, NO_SIMILARITY, Neighbours, marked_cells, no_neighbours
from models.indexes.side_by_side import side_by_side
from models.indexes.streams import silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.analysis.visiting import Reach
    from models.indexes.cells import Cells
    from models.indexes.streams import Progress
    from models.types import RowIds

_VISITORS: Final = 4096
"""That are compared at once with those who live in a cell."""
_SPARE: Final = 4
"""Candidates for each four wanted, and four at least, that coarse codes propose besides."""
_DECIDED_ROWS: Final = 64
_MERGED_ROWS: Final = 4096


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

    def sorted(self) -> Offers:
        """Return the offers by the place that they are made to."""
        order = np.argsort(self.to)
        return Offers(self.to[order], self.places[order], self.similarities[order])

    def part(self, start: int, stop: int) -> Offers:
        """Return some of the offers."""
        some = slice(start, stop)
        return Offers(self.to[some], self.places[some], self.similarities[some])


@dataclass(frozen=True, slots=True)
class _Visitors:
    """The rows that visit cells which they do not live in.

    Attributes:
        places: (visits,) int32, by the cell that they visit.
        bounds: (cells + 1,) int64, where those of a cell begin and end.
    """

    places: npt.NDArray[np.int32]
    bounds: RowIds

    @classmethod
    def of(cls, reach: Reach) -> _Visitors:
        """Find out who visits what."""
        count = reach.cells.count
        parts = list(side_by_side(reach.visits, range(count)))
        places, cells = (np.concatenate(side) for side in zip(*parts, strict=True))
        order = np.argsort(cells, kind="stable")
        return cls(places[order], np.searchsorted(cells[order], np.arange(count + 1)))

    def parts(self, cell: int) -> Iterator[npt.NDArray[np.int32]]:
        """Yield the visitors of a cell, as many as are compared at once."""
        start, stop = self.bounds[cell : cell + 2].tolist()
        for first in range(start, stop, _VISITORS):
            yield self.places[first : min(stop, first + _VISITORS)]


def linked(reach: Reach, k: int, progress: Progress = silent) -> Neighbours:
    """Find the k nearest of all that a row meets.

    Returns:
        (rows, k), in the order of the rows that the cells were made of.
    """
    byte_products()
    cells, visitors = reach.cells, _Visitors.of(reach)
    found = no_neighbours(cells.rows.size, k + max(_SPARE, k // _SPARE))
    nearest = partial(_nearest, cells, visitors, found.rows.shape[1])
    for number, lists in enumerate(side_by_side(nearest, range(cells.count))):
        own = slice(*cells.bounds[number : number + 2].tolist())
        found.rows[own], found.similarities[own] = lists.rows, lists.similarities
    last = found.similarities.min(axis=1)
    entering = partial(_entering, cells, visitors, found.rows, last)
    offers = Offers.joined(list(side_by_side(entering, range(cells.count)))).sorted()
    starts = range(0, cells.rows.size, _MERGED_ROWS)
    ends = np.searchsorted(offers.to, [*starts, cells.rows.size])
    result = no_neighbours(cells.rows.size, k)

    def decide(number: int) -> None:
        start = starts[number]
        entered = _entered(found, start, offers.part(ends[number], ends[number + 1]))
        lists = _decided(cells, start, entered, k)
        rows = cells.rows[start : start + _MERGED_ROWS]
        result.rows[rows], result.similarities[rows] = lists.rows, lists.similarities

    for _ in side_by_side(decide, range(len(starts))):
        pass
    return result


def _nearest(cells: Cells, visitors: _Visitors, k: int, cell: int) -> Neighbours:
    """Return the places of the nearest of all who are in a cell, for those who live there."""
    own = slice(*cells.bounds[cell : cell + 2].tolist())
    best = None
    for others in (np.arange(own.start, own.stop, dtype=np.int32), *visitors.parts(cell)):
        similarities = cells.roughly(own, others)
        if best is None:
            np.fill_diagonal(similarities, NO_SIMILARITY)  # a row with itself
        columns, found = largest(similarities, k)
        some = Neighbours(np.where(columns == NO_ROW, NO_ROW, others[columns]), found)
        best = some if best is None else best.merged(some)
    assert best is not None
    return best


def _entering(
    cells: Cells, visitors: _Visitors, known: RowIds, last: npt.NDArray[np.float32], cell: int
) -> Offers:
    """Return whom the visitors of a cell find there that is nearer than the last they have."""
    own = slice(*cells.bounds[cell : cell + 2].tolist())
    parts = [_NO_OFFERS]
    for places in visitors.parts(cell):
        similarities = cells.roughly(places, own)
        who, whom = marked_cells(similarities > last[places][:, None])
        to, met = places[who], (own.start + whom).astype(np.int32)
        new = ~(known[to] == met[:, None]).any(axis=1)
        parts.append(Offers(to[new], met[new], similarities[who[new], whom[new]]))
    return Offers.joined(parts)


def _entered(found: Neighbours, start: int, offers: Offers) -> Neighbours:
    """Return the nearest of the lists of consecutive places and of what is offered to them."""
    part = slice(start, start + _MERGED_ROWS)
    count, k = found.rows[part].shape
    of = np.concatenate((np.repeat(np.arange(count), k), offers.to - start))
    rows = np.concatenate((found.rows[part].ravel(), offers.places))
    similarities = np.concatenate((found.similarities[part].ravel(), offers.similarities))
    # A whole number that orders as a row and then its similarities, the largest first, do.
    bits = similarities.view(np.int32).astype(np.int64)
    bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    order = np.argsort((of << 32) - bits)
    first = np.searchsorted(of[order], np.arange(count))
    best = order[first[:, None] + np.arange(k)]
    return Neighbours(rows[best], similarities[best])


def _decided(cells: Cells, start: int, lists: Neighbours, k: int) -> Neighbours:
    """Return the nearest of some candidates by both codes: rows, and their similarities."""
    count = lists.rows.shape[0]
    similarities = np.full(lists.rows.shape, NO_SIMILARITY)
    for first in range(0, count, _DECIDED_ROWS):
        part = slice(first, min(count, first + _DECIDED_ROWS))
        own = slice(start + part.start, start + part.stop)
        similarities[part] = cells.similarities(own, lists.rows[part])
    similarities[lists.rows == NO_ROW] = NO_SIMILARITY
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    rows = np.where(lists.rows == NO_ROW, NO_ROW, cells.rows[lists.rows])
    return Neighbours(
        np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarities, order, axis=1)
    )


_NO_OFFERS: Final = Offers(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
