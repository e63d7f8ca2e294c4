"""The k nearest others of all rows, cell by cell: each comparison serves both rows.

A row visits the cells around its own. There it is compared with all who live in them: they may be
its neighbours, and it may be one of theirs. A pair is met if either visits the other's cell, so
each row has to visit about half as many cells for the same share of the neighbours as where it
looks only for its own.

Lists begin with the nearest of the own cell. Then cells are gone through, in random order: whoever
meets there and is nearer than the last of the other's list is offered to it, and some times on the
way lists take the nearest that were offered. What is offered is little, since lists are good early,
and nothing is held but lists and offers. Coarse codes propose a few candidates more than are
wanted; whole codes decide.

The order is that of a seed and lists are renewed between turns only, so the same vectors give the
same lists whatever the number of threads, and a killed run may go on after its last turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from models.indexes.byte_products import prepare_for
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
    from models.types import Matrix, RowIds

_COMPARED: Final = 1 << 18
"""Similarities at once: they stay in a core's cache."""
_TURNS: Final = (1 / 64, 1 / 16, 1 / 4, 1 / 2)
"""Shares of the rows, gone through, after which lists are renewed: then fewer are offered."""
_TURN_ROWS: Final = 250_000
"""And after so many rows: what is offered is held, and a killed run begins its turn again."""
_SPARE: Final = 4
"""Candidates for each four wanted, and four at least, that coarse codes propose besides."""
_TELLING: Final = 8.0
"""Standard errors of coarse codes that a list has to span: then one in 100 is lost by them."""
_TIGHT: Final = 1 / 8
"""Of the rows of a cell: where more lists span less, whole codes are compared."""
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

    def sorted_by(self, keys: npt.NDArray[np.uint16]) -> Offers:
        """Return the offers in the order of some keys."""
        return self.part(np.argsort(keys, kind="stable"))

    def part(self, some: slice | RowIds) -> Offers:
        """Return some of the offers."""
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

    def parts(self, cell: int, own: int) -> Iterator[npt.NDArray[np.int32]]:
        """Yield the visitors of a cell, as many as are compared with its own rows at once."""
        start, stop = self.bounds[cell : cell + 2].tolist()
        size = _COMPARED // own
        for first in range(start, stop, size):
            yield self.places[first : min(stop, first + size)]


class Kept(Protocol):
    """Lists after a turn, kept for a run that is killed."""

    def load(self) -> tuple[int, Neighbours] | None:
        """Return how many turns were done, and the lists after them."""
        ...

    def save(self, turns: int, lists: Neighbours) -> None:
        """Keep the lists after a turn."""
        ...


def linked(
    reach: Reach, k: int, seed: int = 0, kept: Kept | None = None, progress: Progress = silent
) -> Neighbours:
    """Find the k nearest of all that a row meets.

    Memory is about 50 bytes for each neighbour of a row, and 4 for each visit.

    Args:
        reach: the cells, and who visits them.
        k: how many neighbours.
        seed: of the order that cells are gone through in.
        kept: where lists are kept for a run that is killed; None keeps none.
        progress: called with "graph" and the fraction done.

    Returns:
        (rows, k), in the order of the rows that the cells were made of.
    """
    cells = reach.cells
    prepare_for(cells.codes.coarse.size)
    turns = _turns(cells, seed)
    done, lists = (kept and kept.load()) or (0, None)
    home, tight = _at_home(cells, k + max(_SPARE, k // _SPARE))
    lists = lists or home
    visitors = _Visitors.of(reach)
    for number, turn in enumerate(turns[done:], done + 1):
        last = lists.similarities.min(axis=1)
        meet = partial(_offers, cells, visitors, lists.rows, last, tight)
        offers = Offers.joined([_NO_OFFERS, *side_by_side(meet, turn.tolist())])
        offers = offers.sorted_by((offers.to // _MERGED_ROWS).astype(np.uint16))
        _enter(lists, offers)
        progress("graph", number / (len(turns) + 1))
        if kept and number < len(turns):
            kept.save(number, lists)
    found = _decided(cells, lists, k)
    progress("graph", 1.0)
    return found


def _turns(cells: Cells, seed: int) -> list[RowIds]:
    """Return which cells are gone through before lists are renewed."""
    order = np.random.default_rng(seed).permutation(cells.count)
    done = np.cumsum(cells.lengths[order]) / cells.rows.size
    cuts = np.union1d(_TURNS, np.arange(_TURNS[-1], 1, _TURN_ROWS / cells.rows.size))
    return [turn for turn in np.split(order, np.searchsorted(done, cuts)) if turn.size]


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


def _offers(
    cells: Cells,
    visitors: _Visitors,
    known: RowIds,
    last: npt.NDArray[np.float32],
    tight: npt.NDArray[np.bool_],
    cell: int,
) -> Offers:
    """Return who meets in a cell and is nearer than the last that either of both has."""
    own = cells.places(cell)
    parts = [_NO_OFFERS]
    for others in visitors.parts(cell, own.stop - own.start):
        similarities = cells.closely(cell, others) if tight[cell] else cells.roughly(own, others)
        for_own = similarities > last[own][:, None]
        for_others = similarities > last[others]
        for marked, swapped in ((for_own, False), (for_others, True)):
            one, other = marked_cells(marked)
            to, met = (own.start + one).astype(np.int32), others[other]
            if swapped:
                to, met = met, to
            new = ~(known[to] == met[:, None]).any(axis=1)
            parts.append(Offers(to[new], met[new], similarities[one[new], other[new]]))
    return Offers.joined(parts)


def _enter(lists: Neighbours, offers: Offers) -> None:
    """Let into all lists what is nearer than their last; offers come in blocks of lists."""
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
    pair = ((offers.to - start).astype(np.int64) << 32) + offers.places
    order = np.argsort(pair)
    once = order[np.flatnonzero(np.diff(pair[order], prepend=-1))]  # both may have visited
    of = np.concatenate((np.repeat(np.arange(count), k), pair[once] >> 32))
    rows = np.concatenate((found.rows.ravel(), offers.places[once]))
    similarities = np.concatenate((found.similarities.ravel(), offers.similarities[once]))
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


_NO_OFFERS: Final = Offers(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
