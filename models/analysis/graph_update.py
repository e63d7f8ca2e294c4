"""Bringing a neighbour graph up to date with a batch: new lists, and the old ones they enter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from models.analysis.graph import (
    GraphOptions,
    NeighbourGraph,
    graph_recall,
    is_exact_affordable,
    nearest_rows,
    query_rows,
)
from models.indexes.exact import exact_search
from models.indexes.growth import RECALL_QUERIES
from models.indexes.results import NO_ROW, Neighbours, marked_cells, no_neighbours
from models.indexes.streams import selected
from models.types import ArrayVectors

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.indexes.recall import RecallEstimate
    from models.indexes.row_view import Searchable
    from models.types import Matrix, Metric, RowIds, Vectors

OFFER_WIDTH: Final = 8
"""Through an index, a new row is offered to the lists of its 8 k nearest rows."""
DEFAULTS: Final = GraphOptions()
MOST_CHANGED: Final = 0.3
"""With more rows new or torn, a rebuilt graph costs little more."""


@dataclass(frozen=True, slots=True)
class OldGraph:
    """A graph of earlier rows, in present row numbers.

    Attributes:
        lists: (rows, k), whole but for the rows that are searched for again.
        metric: how nearness was measured.
        fresh: (fresh,) int64, ascending: rows that had no list.
        torn: (torn,) int64, ascending: rows that have lost a neighbour.
        gone: how many rows are there no more.
    """

    lists: Neighbours
    metric: Metric
    fresh: RowIds
    torn: RowIds
    gone: int = 0

    @property
    def changed_share(self) -> float:
        """What share of the rows has to be searched for."""
        return float((self.fresh.size + self.torn.size) / max(1, self.lists.rows.shape[0]))


@dataclass(frozen=True, slots=True)
class GraphUpdate:
    """A graph that was brought up to date.

    Attributes:
        graph: of all rows; its recall is not measured.
        changed: (changed,) int64, ascending: the rows whose lists are not what they were.
    """

    graph: NeighbourGraph
    changed: RowIds


def update_graph(
    vectors: Vectors,
    index: Searchable | None,
    old: OldGraph,
    options: GraphOptions = DEFAULTS,
) -> GraphUpdate:
    """Search for the rows that have no whole list, and let new rows enter the lists of others.

    Where `build_graph` would be exact, rows are looked for by brute force, and every other row is
    compared with the new ones: the result is the same graph. Else the index is asked, and a new row
    is offered to the lists of its nearest rows; `remeasured` tells how well that went. The old
    lists are changed in their place: a copy would take as much memory again.

    Args:
        vectors: all rows.
        index: over the same rows in the same order; None for brute force whatever the size.
        old: the lists as they were.
        options: as for `build_graph`.

    Raises:
        IndexMismatchError: the index has another number of rows, dimension or metric.
        InvalidVectorsError: a vector is not finite.
    """
    if index is not None:
        index.require(vectors.rows, vectors.dim, old.metric)
    used = None if is_exact_affordable(vectors, options) else index
    lists = old.lists
    changed = np.zeros(vectors.rows, dtype=np.bool_)
    searched = np.sort(np.concatenate((old.fresh, old.torn)))
    changed[searched] = True
    closed, k = changed.copy(), lists.rows.shape[1]
    for rows, queries in _blocks(vectors, searched if used is None else old.torn):
        found = nearest_rows(vectors, used, queries, k + 1, old.metric).without(rows)
        lists.rows[rows], lists.similarities[rows] = found.rows, found.similarities
    for rows, queries in _blocks(vectors, old.fresh):
        if used is None:
            offers = _all_offers(vectors, rows, queries, lists, old.metric)
        else:
            near = used.search(queries, OFFER_WIDTH * k + 1).without(rows)
            lists.rows[rows], lists.similarities[rows] = near.rows[:, :k], near.similarities[:, :k]
            offers = _nearby_offers(near, rows, lists)
        for to, offered in offers:
            changed[_enter(lists, closed, to, offered)] = True
    graph = NeighbourGraph(lists.rows, lists.similarities, old.metric, None)
    return GraphUpdate(graph, np.flatnonzero(changed).astype(np.int64))


def remeasured(vectors: Vectors, graph: NeighbourGraph, options: GraphOptions) -> RecallEstimate:
    """Measure the recall of a graph that has grown, on a quarter of the rows a new one gets."""
    few = replace(options, recall_queries=RECALL_QUERIES)
    return graph_recall(vectors, Neighbours(graph.rows, graph.similarities), graph.metric, few)


def _all_offers(
    vectors: Vectors, fresh: RowIds, queries: Matrix, lists: Neighbours, metric: Metric
) -> Iterator[tuple[RowIds, Neighbours]]:
    """Yield, for all rows, the new ones nearest to each."""
    new, k = ArrayVectors(queries), min(fresh.size, lists.rows.shape[1])
    start = 0
    for batch in vectors.batches(query_rows(vectors.dim)):
        found = exact_search(new, batch, k, metric)
        stop = start + batch.shape[0]
        yield (
            np.arange(start, stop, dtype=np.int64),
            Neighbours(fresh[found.rows], found.similarities),
        )
        start = stop


def _nearby_offers(
    found: Neighbours, fresh: RowIds, lists: Neighbours
) -> Iterator[tuple[RowIds, Neighbours]]:
    """Turn what the new rows have found around: yield, for the rows found, who found them.

    Most are farther than all in the list of the row found: they would be sorted for nothing.
    """
    enters = found.similarities > lists.similarities[found.rows, -1]
    finder, place = marked_cells(enters & (found.rows != NO_ROW))
    to, similarities = found.rows[finder, place], found.similarities[finder, place]
    order = np.lexsort((-similarities, to))
    unique, first, counts = np.unique(to[order], return_index=True, return_counts=True)
    if unique.size:
        offers = no_neighbours(unique.size, int(counts.max()))
        of = np.repeat(np.arange(unique.size), counts)
        column = np.arange(order.size) - np.repeat(first, counts)
        offers.rows[of, column] = fresh[finder[order]]
        offers.similarities[of, column] = similarities[order]
        yield unique, offers


def _enter(
    lists: Neighbours, closed: npt.NDArray[np.bool_], to: RowIds, offers: Neighbours
) -> RowIds:
    """Merge offers into the lists of rows that were not searched for; return who has taken one."""
    better = offers.similarities[:, 0] > lists.similarities[to, -1]
    takers = np.flatnonzero(better & ~closed[to])
    rows = to[takers]
    merged = Neighbours(lists.rows[rows], lists.similarities[rows]).merged(
        Neighbours(offers.rows[takers], offers.similarities[takers])
    )
    lists.rows[rows], lists.similarities[rows] = merged.rows, merged.similarities
    return rows


def _blocks(vectors: Vectors, rows: RowIds) -> Iterator[tuple[RowIds, Matrix]]:
    return selected(vectors, rows, query_rows(vectors.dim))
