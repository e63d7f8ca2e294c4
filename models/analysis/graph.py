"""The neighbour graph: the k nearest others of each row, which all reports read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from models.analysis.visiting import reach_for
from models.indexes.exact import exact_search, own_rows
from models.indexes.held_vectors import HeldVectors
from models.indexes.recall import (
    GroundTruth,
    RecallEstimate,
    estimate_recall,
    ground_truth,
    measure_recall,
)
from models.indexes.results import Neighbours, no_neighbours
from models.indexes.streams import Progress, blocks, sample, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.analysis.linking import Kept
    from models.indexes.row_view import Searchable
    from models.types import Matrix, Metric, RowIds, Vectors

EXACT_FLOPS: Final = 1e12
"""Below it brute force takes about 5 s on two cores."""
_FITTED_ROWS: Final = 800
"""Whose true neighbours tell how far rows have to reach; others measure the recall."""
QUERY_ROWS: Final = 1 << 16
QUERY_BYTES: Final = 64 * 2**20
"""Rows that are searched for at once, and their vectors.
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


def _any_number(_: int) -> None:
    """Let there be as many visits as it takes."""


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How a graph is computed.

    Attributes:
        exact_flops: up to this many floating-point operations (2 n^2 dim) brute force is used.
        target_recall: what share of the true neighbours it is to hold where it is not.
        precise: whether similarities are those of vectors in 16 bits, which take as many bytes
            again as those of 8 bits.
        recall_queries: rows that the recall is measured on.
        seed: of all sampling and of k-means.
        check_visits: called with about how many visits there will be, which take 16 bytes each;
            what it raises ends the build. Rows without any structure have hundreds of them.
    """

    exact_flops: float = EXACT_FLOPS
    target_recall: float = 0.9
    precise: bool = True
    recall_queries: int = 1000
    seed: int = 0
    check_visits: Callable[[int], None] = _any_number


def build_graph(
    vectors: Vectors,
    metric: Metric,
    k: int = 15,
    options: GraphOptions = GraphOptions(),
    kept: Kept | None = None,
    progress: Progress = silent,
) -> NeighbourGraph:
    """Find the k nearest others of each row.

    Small sets are searched by brute force. The rows of larger ones are compared with those of the
    cells around their own: see `models.analysis.linking`.

    Args:
        vectors: all rows.
        metric: how nearness is measured.
        k: how many neighbours.
        options: when to use brute force, and how much is to be found otherwise.
        kept: where lists are kept on the way, for a run that is killed.
        progress: called with "cells" or "graph" and the fraction done.

    Returns:
        The graph, with its measured recall unless brute force made it.

    Raises:
        InvalidVectorsError: a vector is not finite.
    """
    if is_exact_affordable(vectors, options):
        lists = _by_brute_force(vectors, metric, k, progress)
        return NeighbourGraph(lists.rows, lists.similarities, metric, None)
    # Numba takes .3 s to import, and a small graph has no use for it.
    from models.analysis.linking import linked
    from models.indexes.cells import Cells

    seed, sampled = options.seed, min(vectors.rows, _FITTED_ROWS + options.recall_queries)
    fitted = min(_FITTED_ROWS, sampled // 2)
    cells = Cells.of(vectors, metric, seed, precise=options.precise, progress=progress)
    # Cells hold what was read; 8 bits would not tell what they lose.
    source = HeldVectors.of(cells) if options.precise else vectors
    truth = _truth(source, metric, k, sampled, seed)
    reach = reach_for(cells, truth.part(0, fitted), options.target_recall)
    options.check_visits(reach.visit_count())
    lists = linked(reach, k, kept, progress)
    recall = _measured(source, lists, truth.part(fitted), metric)
    return NeighbourGraph(lists.rows, lists.similarities, metric, recall)


def is_exact_affordable(vectors: Vectors, options: GraphOptions = GraphOptions()) -> bool:
    """Tell whether so many rows are linked by brute force."""
    return 2.0 * vectors.rows**2 * vectors.dim <= options.exact_flops


def graph_recall(
    vectors: Vectors, lists: Neighbours, metric: Metric, options: GraphOptions
) -> RecallEstimate:
    """Measure what share of the true neighbours is in lists, in three passes over the vectors."""
    truth = _truth(vectors, metric, lists.rows.shape[1], options.recall_queries, options.seed)
    return _measured(vectors, lists, truth, metric)


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


def _truth(vectors: Vectors, metric: Metric, k: int, queries: int, seed: int) -> GroundTruth:
    return ground_truth(vectors, sample(vectors.rows, queries, seed), k, metric)


def _measured(
    vectors: Vectors, lists: Neighbours, truth: GroundTruth, metric: Metric
) -> RecallEstimate:
    rows = truth.rows
    found = Neighbours(lists.rows[rows, : truth.k], lists.similarities[rows, : truth.k])
    shares = measure_recall(vectors, truth, [found], metric)[0]
    return estimate_recall(shares, truth.k)


def _by_brute_force(vectors: Vectors, metric: Metric, k: int, progress: Progress) -> Neighbours:
    found = no_neighbours(vectors.rows, k)
    for start, queries in blocks(vectors, query_rows(vectors.dim)):
        own = own_rows(start, queries.shape[0])
        part = exact_search(vectors, queries, k + 1, metric).without(own)
        found.rows[own], found.similarities[own] = part.rows, part.similarities
        progress("graph", (start + queries.shape[0]) / vectors.rows)
    return found
