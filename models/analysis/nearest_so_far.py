"""Lists of the nearest that rows have met so far, each a heap with the farthest of them first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.indexes.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import Matrix

    Places = npt.NDArray[np.int32]
    Similarities = npt.NDArray[np.float32]
    Offers = tuple[Places, Places, Similarities]

_EIGHT = 8
"""Flags that are looked at as one number."""
_ROOM = 1024


@compiled
def _put(places: Places, similarities: Similarities, of: int, place: int, near: float) -> None:
    """Let one into a list for the farthest."""
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
    """Let rows of a cell into each other's lists.

    Args:
        met: (rows, rows) float32, their similarities.
        first: the place of the first of them.
        places: (rows, k) int32, whose lists are filled.
        similarities: (rows, k) float32.
    """
    for i in range(met.shape[0]):
        for j in range(met.shape[1]):
            if met[i, j] > similarities[i, 0] and i != j:
                _put(places, similarities, i, first + j, met[i, j])


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
        last: (visitors,) what has to be exceeded to enter their lists.
        first: the place of the first row.
        places: (rows, k) int32, the rows' lists.
        similarities: (rows, k) float32.

    Returns:
        (offers,) visitors, places of rows that may enter their lists, and similarities.
    """
    room, count = _ROOM, 0
    to, of, near = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.float32)
    size = visitors.size
    flags = np.zeros(-(-size // _EIGHT) * _EIGHT, np.uint8)
    eights = flags.view(np.uint64)
    useful = np.empty(size, np.int32)
    for i in range(met.shape[0]):
        least, found = similarities[i, 0], 0
        for j in range(size):
            flags[j] = np.uint8(met[i, j] > least) | np.uint8(met[i, j] > last[j])
        for eight in range(eights.size):
            if eights[eight]:  # few are: most similarities are of no use to anybody
                for j in range(_EIGHT * eight, min(size, _EIGHT * eight + _EIGHT)):
                    useful[found] = j
                    found += flags[j]
        for j in useful[:found]:
            if met[i, j] > similarities[i, 0]:
                _put_new(places, similarities, i, visitors[j], met[i, j])
            if met[i, j] > last[j]:
                if count == room:
                    to = np.concatenate((to, np.empty(room, np.int32)))
                    of = np.concatenate((of, np.empty(room, np.int32)))
                    near = np.concatenate((near, np.empty(room, np.float32)))
                    room *= 2
                to[count], of[count], near[count] = visitors[j], first + i, met[i, j]
                count += 1
    return to[:count], of[:count], near[:count]


@compiled
def take_offers(
    to: Places,
    of: Places,
    near: Similarities,
    first: int,
    places: Places,
    similarities: Similarities,
) -> None:
    """Let into some lists what is offered to them.

    Args:
        to: (offers,) int32, whom.
        of: (offers,) int32, what.
        near: (offers,) float32, how near that is.
        first: the place of the first list.
        places: (lists, k) int32; offers to others are passed over.
        similarities: (lists, k) float32.
    """
    for i in range(to.size):
        at = to[i] - first
        if 0 <= at < places.shape[0] and near[i] > similarities[at, 0]:
            _put_new(places, similarities, at, of[i], near[i])
