"""The neighbour graph: the k nearest others of each row, which all reports read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.exact import exact_search, own_rows
from models.indexes.recall import RecallEstimate, estimate_recall, ground_truth, measure_recall
from models.indexes.results import Neighbours, no_neighbours
from models.indexes.streams import Progress, blocks, sample, silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.indexes.row_view import Searchable
    from models.types import Matrix, Metric, RowIds, Vectors

EXACT_FLOPS: Final = 1e12
"""Below it brute force takes about 5 s on two cores, which is what an index would take as well."""
QUERY_ROWS: Final = 1 << 16
QUERY_BYTES: Final = 64 * 2**20
"""Rows that are searched for at once, and their vectors: many of them meet each list of an index.
Not a matter of the memory limit: products of other shapes may be rounded in another way."""


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
        first: the row to begin with; those before it are linked already.
    """

    exact_flops: float = EXACT_FLOPS
    recall_queries: int = 1000
    seed: int = 0
    first: int = 0


@dataclass(frozen=True, slots=True)
class SampledLists:
    """The lists of a few rows, kept to measure the recall of all.

    Attributes:
        rows: (sampled,) int64, ascending.
        lists: (sampled, k).
    """

    rows: RowIds
    lists: Neighbours

    @classmethod
    def drawn(cls, rows: int, k: int, options: GraphOptions) -> SampledLists:
        """Choose rows; their lists are to be kept."""
        chosen = np.sort(sample(rows, options.recall_queries, options.seed))
        return cls(chosen, no_neighbours(chosen.size, k))

    def keep(self, start: int, block: Neighbours) -> None:
        """Take what is wanted from the lists of consecutive rows."""
        low, high = np.searchsorted(self.rows, [start, start + block.rows.shape[0]])
        wanted = self.rows[low:high] - start
        self.lists.rows[low:high] = block.rows[wanted]
        self.lists.similarities[low:high] = block.similarities[wanted]

    def recall(self, vectors: Vectors, metric: Metric) -> RecallEstimate:
        """Measure what share of the true neighbours is there, in three passes over the vectors."""
        truth = ground_truth(vectors, self.rows, self.lists.rows.shape[1], metric)
        found = Neighbours(self.lists.rows[:, : truth.k], self.lists.similarities[:, : truth.k])
        shares = measure_recall(vectors, truth, [found], metric)[0]
        return estimate_recall(shares, truth.k)


def build_graph(
    vectors: Vectors,
    index: Searchable | None,
    metric: Metric,
    k: int = 15,
    options: GraphOptions = GraphOptions(),
    progress: Progress = silent,
) -> NeighbourGraph:
    """Find the k nearest others of each row, and hold them all: see `link_rows`.

    Returns:
        The graph, with its measured recall where it came from the index.
    """
    found = no_neighbours(vectors.rows, k)
    sampled = SampledLists.drawn(vectors.rows, k, options)
    for start, block in link_rows(vectors, index, metric, k, options, progress):
        stop = start + block.rows.shape[0]
        found.rows[start:stop], found.similarities[start:stop] = block.rows, block.similarities
        sampled.keep(start, block)
    exact = index is None or is_exact_affordable(vectors, options)
    recall = None if exact else sampled.recall(vectors, metric)
    return NeighbourGraph(found.rows, found.similarities, metric, recall)


def link_rows(
    vectors: Vectors,
    index: Searchable | None,
    metric: Metric,
    k: int = 15,
    options: GraphOptions = GraphOptions(),
    progress: Progress = silent,
) -> Iterator[tuple[int, Neighbours]]:
    """Find the k nearest others of each row, block by block.

    Small sets are searched by brute force (or any set where there is no index: n^2 work, one pass
    over the stream for each block), larger ones through the index. Memory is that of a block.

    Args:
        vectors: all rows.
        index: over the same rows in the same order; None for brute force whatever the size.
        metric: how nearness is measured.
        k: how many neighbours.
        options: when to use brute force.
        progress: called with "graph" and the fraction done.

    Yields:
        The first row of a block, and the lists of its rows; all rows from the first on, in order.

    Raises:
        IndexMismatchError: the index has another number of rows, dimension or metric.
        InvalidVectorsError: a vector is not finite.
    """
    if index is not None:
        index.require(vectors.rows, vectors.dim, metric)
    used = None if is_exact_affordable(vectors, options) else index
    first = options.first
    left = vectors.subset(own_rows(first, vectors.rows - first)) if first else vectors
    for place, queries in blocks(left, query_rows(vectors.dim)):
        start = first + place
        found = nearest_rows(vectors, used, queries, k + 1, metric)
        yield start, found.without(own_rows(start, queries.shape[0]))
        progress("graph", (start + queries.shape[0]) / vectors.rows)


def is_exact_affordable(vectors: Vectors, options: GraphOptions) -> bool:
    """Tell whether so many rows are linked by brute force even where an index is at hand."""
    return 2.0 * vectors.rows**2 * vectors.dim <= options.exact_flops


def query_rows(dim: int) -> int:
    """Return how many rows are searched for at once."""
    return max(1, min(QUERY_ROWS, QUERY_BYTES // (4 * max(1, dim))))


def nearest_rows(
    vectors: Vectors, index: Searchable | None, queries: Matrix, k: int, metric: Metric
) -> Neighbours:
    """Find the k nearest rows of each query, through the index or without one by brute force."""
    if index is None:
        return exact_search(vectors, queries, k, metric)
    return index.search(queries, k)
