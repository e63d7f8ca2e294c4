"""The k nearest others of all rows, cell by cell: each comparison serves both rows.

A row visits the cells around its own. There it is compared with all who live in them: they may be
its neighbours, and it may be one of theirs. A pair is met if either visits the other's cell, so
each row has to visit about half as many cells for the same share of the neighbours as where it
looks only for its own.

Cells are gone through twice. First those who live there take the nearest of their cell and of all
who visit it; so each row has neighbours, if not yet the nearest. Then visitors are compared again,
and are offered who is nearer than the last that they have: a few, so no visit needs a list of its
own. Coarse codes propose a few candidates more than are wanted; whole codes decide.

What a block of cells gives is kept for a run that is killed. It does not depend on the number of
threads.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from models.analysis.meeting import NO_OFFERS, Meeting, Offers, Visitors
from models.indexes.byte_products import prepare_for
from models.indexes.largest import largest
from models.indexes.results import NO_ROW, NO_SIMILARITY, Neighbours, no_neighbours
from models.indexes.side_by_side import side_by_side
from models.indexes.streams import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from models.analysis.visiting import Reach
    from models.indexes.cells import Cells
    from models.indexes.streams import Progress
    from models.types import Matrix, RowIds

_BLOCK_ROWS: Final = 250_000
"""Rows of cells whose lists, or offers, a killed run makes again."""
_SPARE: Final = 4
"""Candidates for each four wanted, and four at least, that coarse codes propose besides."""
_TELLING: Final = 8.0
"""Standard errors of coarse codes that a list has to span: then one in 100 is lost by them."""
_TIGHT: Final = 1 / 8
"""Of the rows of a cell: where more lists span less, whole codes are compared."""
_DECIDED_ROWS: Final = 64
_MERGED_ROWS: Final = 4096


class Kept(Protocol):
    """Parts of a graph, kept for a run that is killed."""

    def load(self, name: str) -> list[Any] | None:
        """Return the arrays that were saved under a name, if they were."""
        ...

    def save(self, name: str, arrays: list[Any]) -> None:
        """Keep some arrays."""
        ...


def linked(
    reach: Reach, k: int, kept: Kept | None = None, progress: Progress = silent
) -> Neighbours:
    """Find the k nearest of all that a row meets.

    Args:
        reach: the cells, and who visits them.
        k: how many neighbours.
        kept: where parts are kept for a run that is killed; None keeps none.
        progress: called with "graph" and the fraction done.

    Returns:
        (rows, k), in the order of the rows that the cells were made of.
    """
    cells = reach.cells
    prepare_for(cells.codes.coarse.size)
    lists, tight = _at_home(cells, k + max(_SPARE, k // _SPARE))
    meeting, blocks = Meeting(cells, Visitors.of(reach), tight), _blocks(cells)
    steps = iter(np.arange(1, 2 * len(blocks) + 1) / (2 * len(blocks) + 1))

    def resumed(name: str, make: Callable[[], list[Any]]) -> list[Any]:
        found = kept.load(name) if kept else None
        if found is None:
            found = make()
            if kept:
                kept.save(name, found)
        progress("graph", float(next(steps)))
        return found

    for number, block in enumerate(blocks):
        part = slice(cells.bounds[block.start], cells.bounds[block.stop])
        settle = partial(meeting.settled, lists, block)
        lists.rows[part], lists.similarities[part] = resumed(f"lists-{number:06d}", settle)
    last = lists.similarities.min(axis=1)
    parts = [NO_OFFERS]
    for number, block in enumerate(blocks):
        offer = partial(meeting.offered, lists.rows, last, block)
        parts.append(Offers(*resumed(f"offers-{number:06d}", offer)))
    _enter(lists, Offers.joined(parts))
    found = _decided(cells, lists, k)
    progress("graph", 1.0)
    return found


def _blocks(cells: Cells) -> list[range]:
    """Return cells whose rows are settled together."""
    cuts = np.searchsorted(cells.bounds, np.arange(0, cells.rows.size, _BLOCK_ROWS))
    ends = [*cuts.tolist(), cells.count]
    return [range(start, stop) for start, stop in pairwise(ends) if stop > start]


def _at_home(cells: Cells, k: int) -> tuple[Neighbours, npt.NDArray[np.bool_]]:
    """Return the places of the nearest in the own cell, and which cells are tight.

    In a tight cell many lists span hardly more than the errors of coarse codes: its rows are nearly
    copies of each other, which whole codes tell apart.
    """
    lists = no_neighbours(cells.rows.size, k)
    tight = np.zeros(cells.count, np.bool_)

    def nearest(cell: int) -> None:
        own = cells.places(cell)
        columns, found = _nearest_at_home(cells.roughly(own, own), k)
        if cells.is_precise and own.stop - own.start > k and _is_tight(found, cells.noise(cell)):
            tight[cell] = True
            columns, found = _nearest_at_home(cells.closely(cell, own), k)
        lists.similarities[own] = found
        lists.rows[own] = np.where(columns == NO_ROW, NO_ROW, columns + own.start)

    for _ in side_by_side(nearest, range(cells.count)):
        pass
    return lists, tight


def _is_tight(similarities: Matrix, noise: float) -> bool:
    spans = similarities.max(axis=1) - similarities.min(axis=1)
    return bool((spans < _TELLING * noise).mean() > _TIGHT)


def _nearest_at_home(similarities: Matrix, k: int) -> tuple[RowIds, Matrix]:
    np.fill_diagonal(similarities, NO_SIMILARITY)  # a row with itself
    return largest(similarities, k)


def _enter(lists: Neighbours, offers: Offers) -> None:
    """Let into all lists what is nearer than their last."""
    offers = offers.sorted_by((offers.to // _MERGED_ROWS).astype(np.uint16))
    starts = range(0, lists.rows.shape[0], _MERGED_ROWS)
    ends = np.searchsorted(offers.to // _MERGED_ROWS, np.arange(len(starts) + 1))

    def enter(number: int) -> None:
        part = slice(starts[number], starts[number] + _MERGED_ROWS)
        some = offers.part(slice(ends[number], ends[number + 1]))
        found = Neighbours(lists.rows[part], lists.similarities[part])
        entered = _merged(found, some, part.start)
        lists.rows[part], lists.similarities[part] = entered.rows, entered.similarities

    for _ in side_by_side(enter, range(len(starts))):
        pass


def _merged(found: Neighbours, offers: Offers, start: int) -> Neighbours:
    """Return the nearest of the lists of consecutive places and of what is offered to them."""
    count, k = found.rows.shape
    of = np.concatenate((np.repeat(np.arange(count), k), offers.to - start))
    rows = np.concatenate((found.rows.ravel(), offers.places))
    similarities = np.concatenate((found.similarities.ravel(), offers.similarities))
    # A whole number that orders as a row and then its similarities, the largest first, do.
    bits = similarities.view(np.int32).astype(np.int64)
    bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    order = np.argsort((of << 32) - bits)
    first = np.searchsorted(of[order], np.arange(count))
    best = order[first[:, None] + np.arange(k)]
    return Neighbours(rows[best], similarities[best])


def _decided(cells: Cells, lists: Neighbours, k: int) -> Neighbours:
    """Return the nearest of some candidates by both codes: rows, and their similarities."""
    result = no_neighbours(cells.rows.size, k)

    def decide(start: int) -> None:
        own = slice(start, min(cells.rows.size, start + _DECIDED_ROWS))
        candidates = lists.rows[own]
        similarities = cells.similarities(own, candidates)
        similarities[candidates == NO_ROW] = NO_SIMILARITY
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        rows = np.where(candidates == NO_ROW, NO_ROW, cells.rows[candidates])
        to = cells.rows[own]
        result.rows[to] = np.take_along_axis(rows, order, axis=1)
        result.similarities[to] = np.take_along_axis(similarities, order, axis=1)

    for _ in side_by_side(decide, range(0, cells.rows.size, _DECIDED_ROWS)):
        pass
    return result
