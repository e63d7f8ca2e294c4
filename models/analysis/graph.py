"""The neighbour graph: the k nearest others of each row, which all reports read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.exact import exact_search, own_rows
from models.indexes.recall import RecallEstimate, estimate_recall, ground_truth, measure_recall
from models.indexes.results import Neighbours, no_neighbours
from models.indexes.streams import Progress, batch_rows, sample, silent

if TYPE_CHECKING:
    from models.indexes.row_view import Searchable
    from models.types import Matrix, Metric, RowIds, Vectors

EXACT_FLOPS: Final = 1e12
"""Below it brute force takes about 5 s on two cores, which is what an index would take as well."""
QUERY_ROWS: Final = 1 << 14
"""Rows that are searched for at once: their answers stay small, and all threads have work."""


@dataclass(frozen=True, slots=True)
class NeighbourGraph:
    """Each row's nearest others.

    Attributes:
        rows: (n, k) int64, nearest first, never the row itself; -1 at the end where fewer were
            found (fewer than k others, or lists probed in vain).
        similarities: (n, k) float32, decreasing; -inf where the row is -1.
        metric: how nearness was measured.
        recall: what share of the true neighbours is in it, measured on a sample; None where the
            graph was computed by brute force, or has not been measured.
    """

    rows: RowIds
    similarities: Matrix
    metric: Metric
    recall: RecallEstimate | None

    @property
    def k(self) -> int:
        """How many neighbours a row has at most."""
        return int(self.rows.shape[1])

    def narrowed(self, k: int) -> NeighbourGraph:
        """Return the graph of the k nearest; all of them where there are fewer."""
        return replace(self, rows=self.rows[:, :k], similarities=self.similarities[:, :k])


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How a graph is computed.

    Attributes:
        exact_flops: up to this many floating-point operations (2 n^2 dim) brute force is used
            even where an index is at hand.
        recall_queries: rows that the recall is measured on.
        seed: of their choice.
    """

    exact_flops: float = EXACT_FLOPS
    recall_queries: int = 1000
    seed: int = 0


def build_graph(
    vectors: Vectors,
    index: Searchable | None,
    metric: Metric,
    k: int = 15,
    options: GraphOptions = GraphOptions(),
    progress: Progress = silent,
) -> NeighbourGraph:
    """Find the k nearest others of each row.

    Small sets are searched by brute force (or any set where there is no index: n^2 work, one pass
    over the stream for each 16k queries), larger ones through the index. Memory is the graph, a
    block of queries and a batch.

    Args:
        vectors: all rows.
        index: over the same rows in the same order; None for brute force whatever the size.
        metric: how nearness is measured.
        k: how many neighbours.
        options: when to use brute force, how to measure.
        progress: called with "graph" and the fraction done.

    Returns:
        The graph, with its measured recall where it came from the index.

    Raises:
        IndexMismatchError: the index has another number of rows, dimension or metric.
        InvalidVectorsError: a vector is not finite.
    """
    if index is not None:
        index.require(vectors.rows, vectors.dim, metric)
    used = None if is_exact_affordable(vectors, options) else index
    found = no_neighbours(vectors.rows, k)
    start = 0
    for queries in vectors.batches(_query_rows(vectors.dim)):
        part = _search(vectors, used, queries, k + 1, metric)
        part = part.without(own_rows(start, queries.shape[0]))
        stop = start + queries.shape[0]
        found.rows[start:stop], found.similarities[start:stop] = part.rows, part.similarities
        start = stop
        progress("graph", stop / vectors.rows)
    recall = None if used is None else measured_recall(vectors, found, metric, options)
    return NeighbourGraph(found.rows, found.similarities, metric, recall)


def is_exact_affordable(vectors: Vectors, options: GraphOptions) -> bool:
    """Tell whether so many rows are linked by brute force even where an index is at hand."""
    return 2.0 * vectors.rows**2 * vectors.dim <= options.exact_flops


def _query_rows(dim: int) -> int:
    return min(QUERY_ROWS, batch_rows(dim))


def _search(
    vectors: Vectors, index: Searchable | None, queries: Matrix, k: int, metric: Metric
) -> Neighbours:
    if index is None:
        return exact_search(vectors, queries, k, metric)
    return index.search(queries, k)


def measured_recall(
    vectors: Vectors, found: Neighbours, metric: Metric, options: GraphOptions
) -> RecallEstimate:
    """Measure a graph's recall on sampled rows, in three passes over the vectors.

    Args:
        vectors: all rows.
        found: the neighbours of each.
        metric: how nearness is measured.
        options: how many rows to sample, and the seed.
    """
    rows = np.sort(sample(vectors.rows, options.recall_queries, options.seed))
    truth = ground_truth(vectors, rows, found.rows.shape[1], metric)
    sampled = Neighbours(found.rows[rows, : truth.k], found.similarities[rows, : truth.k])
    shares = measure_recall(vectors, truth, [sampled], metric)[0]
    return estimate_recall(shares, truth.k)
