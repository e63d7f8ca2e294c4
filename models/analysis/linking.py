"""The k nearest others of all rows, cell by cell: each comparison serves both rows.

A row visits the cells around its own. There it is compared with all who live in them: they may be
its neighbours, and it may be one of theirs. A pair is met if either visits the other's cell, so
each row has to visit about half as many cells for the same share of the neighbours as where it
looks only for its own.

Each cell is gone through once. Whoever lives there may take all who visit; visitors are offered who
is nearer than the last that they know, and let them in at the end of a turn of cells. Coarse codes
propose a few candidates more than are wanted; whole codes decide.

What has been met so far is kept now and then for a run that is killed. Nothing depends on the
number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from models.analysis.meeting import Meeting, Visitors
from models.indexes.byte_products import prepare_for
from models.indexes.results import NO_ROW, Neighbours, no_neighbours
from models.indexes.side_by_side import side_by_side
from models.indexes.streams import silent

if TYPE_CHECKING:
    from models.analysis.visiting import Reach
    from models.indexes.cells import Cells
    from models.indexes.streams import Progress
    from models.types import RowIds

_TURNS: Final = 64
_OFFERED: Final = 1 << 22
"""About how many offers are held: of a cell's rows as many may be nearer to a visitor than the last
that it knows as it knows."""
_KEPT_PARTS: Final = 4
"""A killed run makes a quarter of the work again, at most."""
_SPARE: Final = 4
"""Candidates for each four wanted, and four at least, that coarse codes propose besides."""
_DECIDED_ROWS: Final = 1024


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
    visitors, known = Visitors.of(reach), k + max(_SPARE, k // _SPARE)
    meeting = Meeting(cells, visitors, known)
    turns = _turns(cells.count, visitors.places.size * known // _OFFERED)
    marks = {len(turns) * part // _KEPT_PARTS for part in range(_KEPT_PARTS)}
    begun = _resumed(meeting, sorted(marks, reverse=True), kept)
    if begun is None:
        meeting.settle()
    for number in range(begun or 0, len(turns)):
        if kept and number in marks and number != begun:
            kept.save(_named(number), meeting.state)
        meeting.receive(turns[number])
        progress("graph", (number + 1) / (len(turns) + 1))
    found = _decided(cells, meeting, k)
    progress("graph", 1.0)
    return found


def _turns(cells: int, least: int) -> list[RowIds]:
    """Cut all cells into turns, at random: then few visitors of a turn are the same."""
    order = np.random.default_rng(0).permutation(cells)
    return np.array_split(order, min(cells, max(_TURNS, least)))


def _resumed(meeting: Meeting, marks: list[int], kept: Kept | None) -> int | None:
    """Go on after the last turn that was kept, and return which is next; None without any."""
    for number in marks:
        state = kept.load(_named(number)) if kept else None
        if state is not None and meeting.resume(state):
            return number
    return None


def _named(number: int) -> str:
    return f"before-turn-{number:06d}"


def _decided(cells: Cells, meeting: Meeting, k: int) -> Neighbours:
    """Return the nearest of some candidates by both codes: rows, and their similarities."""
    result = no_neighbours(cells.rows.size, k)

    def decide(start: int) -> None:
        own = slice(start, min(cells.rows.size, start + _DECIDED_ROWS))
        candidates = meeting.places[own]
        similarities = cells.similarities(start, candidates)
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        rows = np.where(candidates == NO_ROW, NO_ROW, cells.rows[candidates])
        to = cells.rows[own]
        result.rows[to] = np.take_along_axis(rows, order, axis=1)
        result.similarities[to] = np.take_along_axis(similarities, order, axis=1)

    for _ in side_by_side(decide, range(0, cells.rows.size, _DECIDED_ROWS)):
        pass
    return result
