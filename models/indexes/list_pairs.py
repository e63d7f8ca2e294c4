"""Near pairs among all vectors of an index: each inverted list against itself.

To find the list of a row, its vector is compared with every centroid, which for a million rows is
more work than the pairs themselves. Where every row asks, and no row needs more than one list, the
lists know their rows already: they are unpacked once, and nothing else is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.faiss_library import library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.indexes.list_search import ListSearch
    from models.types import Matrix, RowIds

_SIMILARITIES_AT_ONCE: Final = 1 << 22


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


def pairs_in_lists(search: ListSearch, radius: float) -> Iterator[ListMatches]:
    """Yield pairs of rows of the same list whose inner product by the codes exceeds a radius.

    A pair may come twice, and either way round; no row is paired with itself. Memory is that of a
    list and of a block of products, however many near-copies there are.
    """
    for number in range(search.count):
        own = list(search.tiles(number))
        for place, (vectors, rows) in enumerate(own):
            for others, other_rows in own[place:]:
                for first, second in _matches(vectors, others, radius):
                    one, other = rows[first], other_rows[second]
                    apart = one != other
                    yield ListMatches(one[apart], other[apart], number / search.count)


def _matches(vectors: Matrix, others: Matrix, radius: float) -> Iterator[tuple[RowIds, RowIds]]:
    """Yield which vectors are near to which others, by their places."""
    tile = library().IndexFlatIP(vectors.shape[1])
    tile.add(others)
    size = max(1, _SIMILARITIES_AT_ONCE // others.shape[0])
    for start in range(0, vectors.shape[0], size):
        limits, _, found = tile.range_search(vectors[start : start + size], radius)
        counts = np.diff(limits.astype(np.int64))
        yield np.repeat(np.arange(start, start + counts.size), counts), found
