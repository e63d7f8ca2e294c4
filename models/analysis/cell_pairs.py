"""Near pairs among all rows: each cell against itself and its guests.

Two rows that are near-copies lie in one cell mostly, or one of them is about as near to the other's
cell as to its own. Such a row is a guest there. How near "about" has to be comes out on the way:
guests are met in rounds, those first whose own centroid is hardly nearer, until a round finds next
to nothing new. A pair is met from either side.

Products of bytes propose, with as much slack as their rounding asks for; whoever asked decides by
the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.analysis.nearest_so_far import visits_by_cell
from models.indexes.compiled import compiled
from models.indexes.results import marked_cells
from models.indexes.side_by_side import side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.indexes.cells import Cells
    from models.types import Matrix, RowIds

    Places = npt.NDArray[np.int32]
    Scaled = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]

ROUNDS: Final = (1, 2, 3, 4)
"""How many cells besides its own a row has visited after each round, on average."""
_NEAR: Final = 128
"""Cells by a row's own among which the others that it visits are looked for."""
_ROWS_TO_TELL: Final = 20_000
_COMPARED: Final = 1 << 17
"""Similarities at once: they stay in a core's cache."""
_ERRORS: Final = 5.0
"""Standard errors of the products of two rows that are allowed for."""
_EIGHT = 8
_ROOM = 256


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of rows that may be near.

    Attributes:
        first: (pairs,) int64.
        second: (pairs,) int64; never the first, but pairs may come twice, and either way round.
        done: which share of all rounds was over before, in [0, 1).
    """

    first: RowIds
    second: RowIds
    done: float


def candidates_in(cells: Cells, threshold: float) -> Iterator[Iterator[Candidates]]:
    """Yield rounds of pairs whose similarity may reach a threshold.

    Memory is 24 bytes a guest, and a block of products a thread. The candidates of a round do not
    depend on the number of threads.

    Args:
        cells: all rows, in 8 bits at least.
        threshold: the least similarity.

    Yields:
        For each of `ROUNDS` its candidates; the first round has those within cells too.
    """
    guests = _Guests.of(cells)
    within = side_by_side(partial(_within, cells, threshold), range(cells.count))
    for turn in range(len(ROUNDS)):
        met = partial(_met, cells, guests, threshold, turn)
        visited = side_by_side(met, range(cells.count))
        yield _both(within, visited) if turn == 0 else visited


def _both(one: Iterator[Candidates], other: Iterator[Candidates]) -> Iterator[Candidates]:
    yield from one
    yield from other


@dataclass(frozen=True, slots=True)
class _Guests:
    """The rows that visit cells which they do not live in.

    Attributes:
        places: (guests,) int32, by round, then by the cell they visit.
        bounds: (rounds x cells + 1,) int64, where those of a cell begin and end.
        cells: how many cells there are.
    """

    places: Places
    bounds: RowIds
    cells: int

    @classmethod
    def of(cls, cells: Cells) -> _Guests:
        """Find the cells that each row visits besides its own, and in which round."""
        near = cells.near(_NEAR + 1)
        bounds = _gap_bounds(cells, near)

        def visits(cell: int) -> tuple[Places, npt.NDArray[np.int32]]:
            others, gaps = _gaps(cells, near, cell)
            row, other = marked_cells(gaps <= bounds[-1])
            turns = np.searchsorted(bounds, gaps[row, other])
            places = cells.places(cell).start + row
            return places.astype(np.int32), (turns * cells.count + others[other]).astype(np.int32)

        parts = zip(*side_by_side(visits, range(cells.count)), strict=True)
        places, visited = (np.concatenate(side) for side in parts)
        counts = np.bincount(visited, minlength=len(ROUNDS) * cells.count)
        begins = np.concatenate(([0], np.cumsum(counts)))
        return cls(visits_by_cell(places, visited, begins), begins, cells.count)

    def parts(self, turn: int, cell: int, own: int) -> Iterator[Places]:
        """Yield the guests of a cell in a round, as many as are compared with it at once."""
        at = turn * self.cells + cell
        start, stop = self.bounds[at : at + 2].tolist()
        size = max(1, _COMPARED // own)
        for first in range(start, stop, size):
            yield self.places[first : min(stop, first + size)]


def _gaps(cells: Cells, near: npt.NDArray[np.int32], cell: int) -> tuple[Places, Matrix]:
    """Return how much farther than their own centroid others are from the rows of a cell.

    Returns:
        The others, and (rows, others) float32.
    """
    vectors, others = cells.vectors(cells.places(cell)), near[cell][near[cell] != cell]
    own = cells.affinities(vectors, [cell])
    return others, own - cells.affinities(vectors, others)


def _gap_bounds(cells: Cells, near: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return the gaps that as many guests as `ROUNDS` says have, as some cells tell."""
    step = max(1, cells.rows.size // _ROWS_TO_TELL)
    some = [_gaps(cells, near, cell)[1] for cell in range(0, cells.count, step)]
    gaps = np.sort(np.concatenate([part.ravel() for part in some]))
    rows = sum(map(len, some))
    ends = np.array([turn * rows for turn in ROUNDS])
    found = np.full(len(ROUNDS), np.inf, np.float32)
    found[ends < gaps.size] = gaps[ends[ends < gaps.size]]
    return found


def _within(cells: Cells, threshold: float, cell: int) -> Candidates:
    own = cells.places(cell)
    scaled = _scaled(cells, own)
    near = near_ones(cells.roughly(own, own), threshold, scaled, scaled)
    one, other = near[0] + own.start, near[1] + own.start
    once = one < other
    return _candidates(cells, one[once], other[once], cell / cells.count / 2)


def _met(cells: Cells, guests: _Guests, threshold: float, turn: int, cell: int) -> Candidates:
    own = cells.places(cell)
    scaled = _scaled(cells, own)
    parts = [(np.empty(0, np.int32), np.empty(0, np.int32))]
    for others in guests.parts(turn, cell, own.stop - own.start):
        met = cells.roughly(own, others)
        row, other = near_ones(met, threshold, scaled, _scaled(cells, others))
        parts.append((row + np.int32(own.start), others[other]))
    one, other = (np.concatenate(side) for side in zip(*parts, strict=True))
    part = cell / cells.count
    return _candidates(cells, one, other, turn + part if turn else (1 + part) / 2)


def _candidates(cells: Cells, one: Places, other: Places, over: float) -> Candidates:
    """Name rows; `over` is how many rounds were."""
    return Candidates(cells.rows[one], cells.rows[other], over / len(ROUNDS))


def _scaled(cells: Cells, places: Any) -> Scaled:
    """Return how far off products with vectors of length 1 may be, and lengths."""
    errors, lengths = cells.errors(places)
    return _ERRORS * errors, lengths


@compiled
def near_ones(met: Matrix, threshold: float, left: Scaled, right: Scaled) -> tuple[Places, Places]:
    """Return which similarities may reach a threshold.

    Args:
        met: (left, right) float32, by bytes.
        threshold: that is to be reached.
        left: how far off products with vectors of length 1 may be, and lengths, each (left,).
        right: the same, each (right,).

    Returns:
        The rows and the columns, each (found,) int32.
    """
    room, count, width = _ROOM, 0, met.shape[1]
    rows, columns = np.empty(room, np.int32), np.empty(room, np.int32)
    flags = np.zeros(-(-width // _EIGHT) * _EIGHT, np.uint8)
    eights = flags.view(np.uint64)
    least = np.float32(threshold)
    for i in range(met.shape[0]):
        for j in range(width):
            slack = left[0][i] * right[1][j] + left[1][i] * right[0][j]
            flags[j] = met[i, j] + slack >= least
        if count + width > room:
            room = 2 * room + width
            rows = np.concatenate((rows[:count], np.empty(room - count, np.int32)))
            columns = np.concatenate((columns[:count], np.empty(room - count, np.int32)))
        for eight in range(eights.size):
            if eights[eight]:  # few are
                for j in range(_EIGHT * eight, min(width, _EIGHT * eight + _EIGHT)):
                    rows[count], columns[count] = i, j
                    count += flags[j]
    return rows[:count], columns[:count]
