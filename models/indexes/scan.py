"""Brute force over some rows of an index, by the vectors that it holds.

Where a filter leaves few rows it costs less to compare a query with all of them than to look for
them where any row may lie, and it finds them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.exact import by_matrices, nearest_in
from models.indexes.results import Neighbours, from_faiss, no_neighbours
from models.indexes.selectors import flags_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.indexes.layers import Layers
    from models.types import Matrix, Metric, RowIds

_TILE_BYTES: Final = 8 * 2**20
"""Of vectors at once: memory that the last tile has left is taken again without a page fault."""


def nearest_of(layers: Layers, queries: Matrix, k: int, rows: RowIds, metric: Metric) -> Neighbours:
    """Find the k nearest of some rows, as exactly as the index holds them.

    Args:
        layers: of an index that `holds_vectors`.
        queries: (queries, dim) float32, prepared.
        k: how many, at least 1; with fewer rows the rest is -1 and -inf.
        rows: (allowed,) int64, in any order.
        metric: how nearness is measured.
    """
    count = queries.shape[0]
    once = rows if (np.diff(rows) > 0).all() else np.unique(rows)
    if layers.is_raw and not by_matrices(count, queries.shape[1], metric):
        distances, found = layers.nearest_held(queries, k, once)
        return Neighbours(found, from_faiss(distances, found, metric))
    best = no_neighbours(count, k)
    for held, vectors in _tiles(layers, once):
        near = nearest_in(vectors, queries, min(k, held.size), 0, metric)
        best = best.merged(Neighbours(held[near.rows], near.similarities))
    return best


def _tiles(layers: Layers, rows: RowIds) -> Iterator[tuple[RowIds, Matrix]]:
    """Yield all of some rows with their vectors, some thousand at once."""
    size = max(1, _TILE_BYTES // (4 * int(layers.whole.d)))
    if layers.lists is not None and layers.store is None:
        yield from _in_lists(layers, rows, size)
        return
    for start in range(0, rows.size, size):
        yield rows[start : start + size], layers.held(rows[start : start + size])


def _in_lists(layers: Layers, rows: RowIds, size: int) -> Iterator[tuple[RowIds, Matrix]]:
    """Yield them list by list: an index without a store has no table of where a row lies."""
    flags = flags_of(int(layers.whole.ntotal), rows)
    parts: list[tuple[RowIds, Matrix]] = []
    for number in range(int(layers.lists.nlist)):
        places = np.flatnonzero(flags[layers.ids(number)])
        for start in range(0, places.size, size):
            some = places[start : start + size]
            held = layers.ids(number)[some]
            parts.append((held, layers.codes(number, held, some)))
        if sum(held.size for held, _ in parts) >= size:
            yield _joined(parts)
            parts = []
    if parts:
        yield _joined(parts)


def _joined(parts: list[tuple[RowIds, Matrix]]) -> tuple[RowIds, Matrix]:
    held, vectors = zip(*parts, strict=True)
    return np.concatenate(held), np.concatenate(vectors)
