"""Lists of the nearest that rows have met so far, each a heap with the farthest of them first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.indexes.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import Matrix, RowIds

    Places = npt.NDArray[np.int32]
    Similarities = npt.NDArray[np.float32]
    Offers = tuple[Places, Places, Similarities]

_EIGHT = 8
_ROOM = 1024


@compiled
def _put(places: Places, similarities: Similarities, of: int, place: int, near: float) -> None:
    """Let one into a list in the place of the farthest."""
    size = places.shape[1]
    at = 0
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and similarities[of, below + 1] < similarities[of, below]:
            below += 1
        if similarities[of, below] >= near:
            break
        places[of, at] = places[of, below]
        similarities[of, at] = similarities[of, below]
        at = below
    places[of, at] = place
    similarities[of, at] = near


@compiled
def _put_new(places: Places, similarities: Similarities, of: int, place: int, near: float) -> None:
    """Do so unless it is there: rows that visit each other meet twice."""
    known = False
    for i in range(places.shape[1]):
        known |= places[of, i] == place
    if not known:
        _put(places, similarities, of, place, near)


@compiled
def take_others(met: Matrix, first: int, places: Places, similarities: Similarities) -> None:
    """Let rows of a cell, which do not know each other, into each other's lists.

    Args:
        met: (rows, rows) float32, their similarities.
        first: the place of the first of them.
        places: (rows, k) int32, their lists: heaps, -1 where there is nobody yet.
        similarities: (rows, k) float32, how near they are; -inf for nobody.
    """
    for i in range(met.shape[0]):
        for j in range(met.shape[1]):
            if met[i, j] > similarities[i, 0] and i != j:
                _put(places, similarities, i, first + j, met[i, j])


@compiled
def _useful(
    met: Similarities,
    least: float,
    last: Similarities,
    flags: npt.NDArray[np.uint8],
    useful: Places,
) -> int:
    """Fill in which similarities exceed what a row knows or what those whom it meets know.

    Few do: so flags are made for all, which takes few instructions, and looked at by eights.
    """
    found = 0
    for j in range(met.size):
        flags[j] = np.uint8(met[j] > least) | np.uint8(met[j] > last[j])
    eights = flags.view(np.uint64)
    for eight in range(eights.size):
        if eights[eight]:
            for j in range(_EIGHT * eight, min(met.size, _EIGHT * eight + _EIGHT)):
                useful[found] = j
                found += flags[j]
    return found


@compiled
def take_visitors(
    met: Matrix,
    visitors: Places,
    last: Similarities,
    first: int,
    places: Places,
    similarities: Similarities,
) -> Offers:
    """Let visitors into the lists of a cell's rows, and tell which rows visitors have to know.

    Args:
        met: (rows, visitors) float32, similarities.
        visitors: their places.
        last: (visitors,) what has to be exceeded to enter their lists; it stays as it is, so that
            cells may be gone through side by side.
        first: the place of the first row.
        places: (rows, k) int32, the rows' lists, as for `take_others`.
        similarities: (rows, k) float32.

    Returns:
        (offers,) visitors, places of rows that may enter their lists, and similarities.
    """
    room, count = _ROOM, 0
    to, of, near = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.float32)
    flags = np.zeros(-(-visitors.size // _EIGHT) * _EIGHT, np.uint8)
    useful = np.empty(visitors.size, np.int32)
    for i in range(met.shape[0]):
        found = _useful(met[i], similarities[i, 0], last, flags, useful)
        if count + found > room:
            more = max(room, found)
            to = np.concatenate((to, np.empty(more, np.int32)))
            of = np.concatenate((of, np.empty(more, np.int32)))
            near = np.concatenate((near, np.empty(more, np.float32)))
            room += more
        for j in useful[:found]:
            if met[i, j] > similarities[i, 0]:
                _put_new(places, similarities, i, visitors[j], met[i, j])
            if met[i, j] > last[j]:
                to[count], of[count], near[count] = visitors[j], first + i, met[i, j]
                count += 1
    return to[:count], of[:count], near[:count]


@compiled
def take_offers(
    offers: Offers,
    first: int,
    places: Places,
    similarities: Similarities,
    last: Similarities,
) -> None:
    """Let into some lists what is offered to them.

    Args:
        offers: to whom, what, and how near that is; those to others are passed over.
        first: the place of the first list.
        places: (lists, k) int32.
        similarities: (lists, k) float32.
        last: (lists,) float32, what has to be exceeded to enter: kept up to date.
    """
    to, of, near = offers
    for i in range(to.size):
        at = to[i] - first
        if 0 <= at < last.size and near[i] > last[at]:
            _put_new(places, similarities, at, of[i], near[i])
            last[at] = similarities[at, 0]


@compiled
def visits_by_cell(places: Places, cells: Places, bounds: RowIds) -> Places:
    """Sort visits by the cell that is visited; those of a cell stay in order.

    Args:
        places: (visits,) int32, who visits.
        cells: (visits,) int32, whom.
        bounds: (cells + 1,) int64, where the visits of each cell belong.

    Returns:
        (visits,) int32, the places.
    """
    found = np.empty_like(places)
    at = bounds[:-1].copy()
    for i in range(places.size):
        found[at[cells[i]]] = places[i]
        at[cells[i]] += 1
    return found
