"""Near pairs among all vectors of an index: each inverted list against itself and its guests.

To find the lists of a row, its vector is compared with every centroid, which for a million rows is
more work than the pairs themselves. Where every row asks, the lists know their rows already, and
the other lists that a row probes are among those whose centroids are nearest to its own list's.
There it is a guest. Nothing but the index is read, each vector once for each list it probes.

A row is a guest of the lists whose centroid is nearly as near as its own one: in the middle of its
list of none, between many lists of all of them. For the same pairs of 100,000 texts that is 1,080
rows to compare with a row, where one number of lists for all rows takes 1,560. How near is nearly
comes out on the way: guests are met in rounds, the nearest first, until a round finds next to none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.faiss_library import library
from models.indexes.results import marked_cells
from models.indexes.side_by_side import side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.indexes.layers import Layers
    from models.types import Matrix, RowIds

ROUNDS: Final = (1, 2, 3, 4)
"""How many lists a row has visited after each round, on average. All guests are held, 24 bytes
each."""
_NEAR_LISTS: Final = 128
"""Lists by a row's own among which the others that it visits are looked for. Of near pairs of
100,000 texts by MiniLM, in 474 lists, 64 lose .010, 128 lose .004, 256 lose .002."""
_ROWS_TO_TELL: Final = 20_000
_SIMILARITIES_AT_ONCE: Final = 1 << 22
_TILE_BYTES: Final = 8 * 2**20
"""Of vectors that are unpacked at once: lists of many near-copies are long."""


@dataclass(frozen=True, slots=True)
class ListMatches:
    """Some pairs of rows.

    Attributes:
        first: (pairs,) int64.
        second: (pairs,) int64.
        done: which share of the lists has been looked through before, in [0, 1).
    """

    first: RowIds
    second: RowIds
    done: float


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rows of a list, and some of those that they meet there.

    Attributes:
        number: the list.
        own: places in the list.
        met: places in the list; none after the first round.
        guests: (any,) int64, rows of other lists.
    """

    number: int
    own: range
    met: range
    guests: RowIds


@dataclass(frozen=True, slots=True)
class _Guests:
    """The rows that visit lists which they are not in.

    Attributes:
        rows: (guests,) int64, by round, then by the list they visit.
        bounds: (rounds, lists + 1) int64, where those of a list begin and end.
        home: (rows,) int32, the list that holds a row.
        place: (rows,) int32, where it stands there.
    """

    rows: RowIds
    bounds: RowIds
    home: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]

    def of(self, turn: int, number: int) -> RowIds:
        """Return the guests of a list in a round."""
        return self.rows[self.bounds[turn, number] : self.bounds[turn, number + 1]]

    def vectors(self, layers: Layers, rows: RowIds) -> tuple[Matrix, RowIds]:
        """Return the vectors of some rows, wherever they are, and these rows in their order."""
        if layers.store is not None:
            return layers.codes(0, rows), rows
        order = rows[np.argsort(self.home[rows], kind="stable")]
        homes, begins = np.unique(self.home[order], return_index=True)
        parts = zip(homes.tolist(), np.split(order, begins[1:]), strict=True)
        held = [layers.codes(home, part, self.place[part]) for home, part in parts]
        return np.concatenate(held), order


def pairs_in_lists(layers: Layers, radius: float) -> Iterator[Iterator[ListMatches]]:
    """Yield rounds of pairs of rows, one of them in a list that the other visits.

    Nearness is the inner product by the codes of both. A pair may come twice, and either way round;
    no row is paired with itself. Memory is that of two tiles and of a block of products a thread,
    and of the guests' numbers, however many near-copies there are.

    Args:
        layers: of an index for which `is_searched_by_lists` holds.
        radius: an inner product that is exceeded.

    Yields:
        For each of `ROUNDS` its matches; the first round has those within lists too.
    """
    guests = _invited(layers)
    for turn in range(len(ROUNDS)):
        pieces = _pieces(layers, guests, turn)
        yield side_by_side(partial(_matches, layers, guests, radius), pieces)


def _tile(layers: Layers) -> int:
    """Return how many vectors are unpacked at once."""
    return max(1, _TILE_BYTES // (4 * int(layers.whole.d)))


def _tiles(layers: Layers) -> Iterator[tuple[int, range]]:
    """Yield parts of all lists that are unpacked at once: numbers of lists, and places there."""
    tile = _tile(layers)
    for number, length in enumerate(layers.list_lengths().tolist()):
        for start in range(0, length, tile):
            yield number, range(start, min(length, start + tile))


def _pieces(layers: Layers, guests: _Guests, turn: int) -> Iterator[_Piece]:
    """Yield what is multiplied at once."""
    tile = _tile(layers)
    for number, own in _tiles(layers):
        visiting = guests.of(turn, number)
        # In the first round a tile also meets its own list, from itself on.
        within = layers.lists.invlists.list_size(number) - own.start if turn == 0 else 0
        size = max(1, min(tile, _SIMILARITIES_AT_ONCE // len(own)))
        for first in range(0, within + visiting.size, size):
            met = range(own.start + first, own.start + min(within, first + size))
            some = visiting[max(0, first - within) : max(0, first + size - within)]
            yield _Piece(number, own, met, some)


def _matches(layers: Layers, guests: _Guests, radius: float, piece: _Piece) -> ListMatches:
    vectors, rows = _listed(layers, piece.number, piece.own)
    met = []
    if piece.met == piece.own:
        met.append((vectors, rows))
    elif piece.met:
        met.append(_listed(layers, piece.number, piece.met))
    if piece.guests.size:
        met.append(guests.vectors(layers, piece.guests))
    pairs = []
    for others, other_rows in met:
        first, second = marked_cells(others @ vectors.T > radius)
        one, other = other_rows[first], rows[second]
        apart = one != other
        pairs.append((one[apart], other[apart]))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return ListMatches(one, other, piece.number / layers.lists.nlist)


def _listed(layers: Layers, number: int, places: range) -> tuple[Matrix, RowIds]:
    """Return vectors of a list, and their rows."""
    some = slice(places.start, places.stop)
    rows = layers.ids(number)[some]
    return layers.codes(number, rows, some), rows


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """The lists around each list.

    Attributes:
        layers: whose.
        centroids: (lists, dim) float32.
        near: (lists, some) int64, each with the lists nearest to it, itself among them.
    """

    layers: Layers
    centroids: Matrix
    near: RowIds

    @classmethod
    def of(cls, layers: Layers) -> _Surroundings:
        """Look around."""
        faiss, count = library(), int(layers.lists.nlist)
        centroids = layers.lists.quantizer.reconstruct_n(0, count)
        width = min(count, _NEAR_LISTS + 1)
        near = faiss.knn(centroids, centroids, width, metric=faiss.METRIC_INNER_PRODUCT)[1]
        return cls(layers, centroids, near)

    def gaps(self, number: int, places: range) -> tuple[RowIds, RowIds, Matrix]:
        """Return how much farther than their own centroid others are from some rows of a list.

        Returns:
            The rows; the other lists; (rows, lists) float32.
        """
        vectors, rows = _listed(self.layers, number, places)
        transform = self.layers.transform
        inside = vectors if transform is None else transform.apply(vectors)
        beside = self.near[number][self.near[number] != number]
        own = inside @ self.centroids[number]
        return rows, beside, own[:, None] - inside @ self.centroids[beside].T


def _margin(around: _Surroundings) -> float:
    """Return the gap that as many guests as are held have, as some lists tell."""
    tiles = list(_tiles(around.layers))
    step = max(1, around.layers.whole.ntotal // _ROWS_TO_TELL)
    some = [around.gaps(*tile)[2] for tile in tiles[::step]]
    gaps = np.concatenate([part.ravel() for part in some])
    guests = int(ROUNDS[-1] * sum(map(len, some)))
    return float(np.partition(gaps, guests)[guests]) if guests < gaps.size else np.inf


def _invited(layers: Layers) -> _Guests:
    """Find the lists that each row visits besides its own, and in which round."""
    around, total, count = _Surroundings.of(layers), int(layers.whole.ntotal), layers.lists.nlist
    margin = _margin(around)
    home, place = np.zeros(total, np.int32), np.zeros(total, np.int32)

    def visits(tile: tuple[int, range]) -> tuple[RowIds, RowIds, Matrix]:
        number, places = tile
        rows, beside, gaps = around.gaps(number, places)
        home[rows], place[rows] = number, np.arange(places.start, places.stop)
        row, where = marked_cells(gaps <= margin)
        return rows[row], beside[where], gaps[row, where]

    parts = list(side_by_side(visits, _tiles(layers)))
    rows, lists, gaps = (np.concatenate(side) for side in zip(*parts, strict=True))
    ends = [min(gaps.size, int(turn * total)) for turn in ROUNDS]
    last = np.sort(gaps)[np.maximum(0, np.array(ends) - 1)] if gaps.size else np.zeros(len(ends))
    visit = np.searchsorted(last, gaps) * count + lists  # beyond the last round nobody is met
    order = np.argsort(visit, kind="stable")
    begins = np.arange(len(ROUNDS))[:, None] * count + np.arange(count + 1)
    return _Guests(rows[order], np.searchsorted(visit[order], begins), home, place)
