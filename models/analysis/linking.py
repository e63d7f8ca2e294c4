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

from models.analysis.meeting import Meeting, Visitors
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

_TURNS: Final = 64
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
    meeting = Meeting(cells, Visitors.of(reach), k + max(_SPARE, k // _SPARE))
    order = np.random.default_rng(0).permutation(cells.count)
    turns = np.array_split(order, min(_TURNS, cells.count))
    for number, turn in enumerate(turns):
        meeting.receive(turn)
        progress("graph", (number + 1) / (len(turns) + 1))
    found = _decided(cells, meeting, k)
    progress("graph", 1.0)
    return found


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
