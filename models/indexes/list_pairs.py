"""Near pairs among all vectors of an index: each inverted list against itself and its guests.

To find the lists of a row, its vector is compared with every centroid, which for a million rows is
more work than the pairs themselves. Where every row asks, the lists know their rows already, and
the other lists that a row probes are among those whose centroids are nearest to its own list's.
There it is a guest. Nothing but the index is read, each vector once for each list it probes.
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

    from models.indexes.list_search import ListSearch
    from models.types import Matrix, RowIds

MOST_PROBES: Final = 8
"""With more, rows are searched for block by block: all guests are held, 12 bytes each."""
_NEAR_LISTS: Final = 64
"""Lists by a row's own among which the others that it probes are looked for."""
_SIMILARITIES_AT_ONCE: Final = 1 << 22
_GUESTS_AT_ONCE: Final = 4096


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
class _Guests:
    """The rows that probe a list which they are not in.

    Attributes:
        rows: (guests,) int64, by the list they probe.
        bounds: (lists + 1,) int64, where those of a list begin and end.
        home: (rows,) int32, the list that holds a row.
        place: (rows,) int32, where it stands there.
    """

    rows: RowIds
    bounds: RowIds
    home: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]

    def of(self, search: ListSearch, number: int) -> Iterator[tuple[Matrix, RowIds]]:
        """Yield the vectors and rows of a list's guests, in parts."""
        rows = self.rows[self.bounds[number] : self.bounds[number + 1]]
        for start in range(0, rows.size, _GUESTS_AT_ONCE):
            some = rows[start : start + _GUESTS_AT_ONCE]
            if search.layers.store is not None:
                yield search.layers.codes(number, some), some
                continue
            order = some[np.argsort(self.home[some], kind="stable")]
            homes, begins = np.unique(self.home[order], return_index=True)
            parts = np.split(order, begins[1:])
            yield (
                np.concatenate(
                    [
                        search.layers.codes(int(home), part, self.place[part])
                        for home, part in zip(homes, parts, strict=True)
                    ]
                ),
                order,
            )


def pairs_in_lists(search: ListSearch, radius: float) -> Iterator[ListMatches]:
    """Yield pairs of rows, one of them in a list that the other probes, nearer than a radius.

    Nearness is the inner product by the codes of both. A pair may come twice, and either way round;
    no row is paired with itself. Memory is that of a list, of a block of products and of the
    guests' numbers, however many near-copies there are.
    """
    return side_by_side(partial(_matches, radius), _pieces(search))


_Piece = tuple["Matrix", "RowIds", "Matrix", "RowIds", float]


def _pieces(search: ListSearch) -> Iterator[_Piece]:
    """Yield vectors and their rows that meet other vectors and theirs, and the share done."""
    guests = _invited(search) if search.nprobe > 1 and search.count > 1 else None
    for number in range(search.count):
        done = number / search.count
        own = list(search.tiles(number))
        for place, (vectors, rows) in enumerate(own):
            for others, other_rows in own[place:]:
                yield from _blocks(vectors, rows, others, other_rows, done)
        if guests is not None and own:
            for vectors, rows in guests.of(search, number):
                for others, other_rows in own:
                    yield from _blocks(vectors, rows, others, other_rows, done)


def _blocks(
    vectors: Matrix, rows: RowIds, others: Matrix, other_rows: RowIds, done: float
) -> Iterator[_Piece]:
    size = max(1, _SIMILARITIES_AT_ONCE // others.shape[0])
    for start in range(0, vectors.shape[0], size):
        some = slice(start, start + size)
        yield vectors[some], rows[some], others, other_rows, done


def _matches(radius: float, piece: _Piece) -> ListMatches:
    vectors, rows, others, other_rows, done = piece
    first, second = marked_cells(vectors @ others.T > radius)
    one, other = rows[first], other_rows[second]
    apart = one != other
    return ListMatches(one[apart], other[apart], done)


def _invited(search: ListSearch) -> _Guests:
    """Find the lists that each row probes besides its own."""
    layers, count = search.layers, search.count
    total, others = int(layers.whole.ntotal), min(search.nprobe, count) - 1
    centroids = layers.lists.quantizer.reconstruct_n(0, count)
    faiss = library()
    width = min(count, max(_NEAR_LISTS, 8 * others) + 1)
    near = faiss.knn(centroids, centroids, width, metric=faiss.METRIC_INNER_PRODUCT)[1]
    home, place = np.zeros(total, np.int32), np.zeros(total, np.int32)
    probed = np.zeros((total, others), np.int32)
    for number in range(count):
        stands = 0
        beside = near[number][near[number] != number]
        for vectors, rows in search.tiles(number):
            inside = vectors if layers.transform is None else layers.transform.apply(vectors)
            similarities = inside @ centroids[beside].T
            best = np.argpartition(-similarities, others - 1, axis=1)[:, :others]
            probed[rows], home[rows] = beside[best], number
            place[rows] = np.arange(stands, stands + rows.size)
            stands += rows.size
    order = np.argsort(probed.ravel(), kind="stable")
    order //= others
    bounds = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(probed.ravel(), minlength=count), out=bounds[1:])
    return _Guests(order, bounds, home, place)
