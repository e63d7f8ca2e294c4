"""Near-duplicates: all pairs above a threshold, and the rows to remove so that none is left.

Pairs come from a range search, not from k nearest neighbours: a group larger than k would lose most
of its pairs (measured: .40 of them found at k = 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from latentlake.errors import ConfigError
from models.indexes.streams import Progress, batch_rows, silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.indexes.results import RangeMatches
    from models.indexes.row_view import Searchable
    from models.types import Metric, RowIds, Vectors

Similarities = npt.NDArray[np.float32]

MAX_PAIRS: Final = 100_000_000
"""More of them mean a threshold that tells nothing apart, whatever the memory."""
_FIRST_QUERIES: Final = 64
_MOST_QUERIES: Final = 4096
_MATCHES_AT_ONCE: Final = 4_000_000


class TooManyPairsError(ConfigError):
    """The threshold is so low that nearly everything resembles everything."""

    def __init__(self, threshold: float, pairs: int, rows: int) -> None:
        self.threshold, self.pairs, self.rows = threshold, pairs, rows
        super().__init__(
            f"{pairs:,} pairs reach the similarity {threshold} among the first {rows:,} rows, more "
            "than there is memory for: raise the threshold, or limits.memory."
        )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows at least as near as a threshold, sorted by first, then second; each once.

    Attributes:
        first: (pairs,) int64.
        second: (pairs,) int64, greater than `first`.
        similarities: (pairs,) float32.
    """

    first: RowIds
    second: RowIds
    similarities: Similarities

    @property
    def count(self) -> int:
        """How many pairs."""
        return int(self.first.size)


@dataclass(frozen=True, slots=True)
class Cover:
    """What to remove so that no two rows that stay are near-duplicates.

    Attributes:
        removed: (removed,) int64, ascending.
        twins: (removed,) int64, the nearest row that stays, for each removed one.
        similarities: (removed,) float32, of each with its twin.
    """

    removed: RowIds
    twins: RowIds
    similarities: Similarities

    @property
    def groups(self) -> RowIds:
        """(removed,) int64: a group is named by the one row of it that stays."""
        return self.twins


def similar_pairs(
    vectors: Vectors,
    index: Searchable,
    metric: Metric,
    threshold: float,
    progress: Progress = silent,
) -> Pairs:
    """Find all pairs whose similarity reaches a threshold.

    Complete for a Flat index; else as complete as the lists that the index probes (near-duplicates
    share a list far more often than neighbours do: 2 probes found .998 of the pairs above .9).
    A pair found from either side counts. Similarities are the index's: float32 or its codes.

    Args:
        vectors: all rows.
        index: over the same rows in the same order.
        metric: how nearness is measured.
        threshold: the least similarity; for L2 a negative squared distance.
        progress: called with "pairs" and the fraction done.

    Returns:
        Each pair once.

    Raises:
        IndexMismatchError: the index has another number of rows, dimension or metric.
        TooManyPairsError: more than `MAX_PAIRS` matches.
    """
    index.require(vectors.rows, vectors.dim, metric)
    keys, similarities, total = [], [], 0
    for start, matches in _matches(vectors, index, threshold):
        query = matches.queries + start
        other = query != matches.rows
        low = np.minimum(query, matches.rows)[other]
        high = np.maximum(query, matches.rows)[other]
        keys.append(low * vectors.rows + high)
        similarities.append(matches.similarities[other])
        total += low.size
        if total > 2 * MAX_PAIRS:
            raise TooManyPairsError(threshold, total // 2, int(query[-1]) + 1)
        if query.size:
            progress("pairs", (int(query[-1]) + 1) / vectors.rows)
    if not keys:
        keys, similarities = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    return _unique(np.concatenate(keys), np.concatenate(similarities), vectors.rows)


def _matches(
    vectors: Vectors, index: Searchable, threshold: float
) -> Iterator[tuple[int, RangeMatches]]:
    """Search in chunks that grow while answers are few: their number is not known beforehand."""
    start, chunk = 0, _FIRST_QUERIES
    for batch in vectors.batches(batch_rows(vectors.dim)):
        position = 0
        while position < batch.shape[0]:
            queries = batch[position : position + chunk]
            matches = index.range_search(queries, threshold)
            yield start + position, matches
            position += queries.shape[0]
            per_query = max(1.0, matches.rows.size / queries.shape[0])
            chunk = int(min(_MOST_QUERIES, 2 * chunk, max(1, _MATCHES_AT_ONCE // per_query)))
        start += batch.shape[0]


def _unique(keys: RowIds, similarities: Similarities, rows: int) -> Pairs:
    order = np.argsort(keys, kind="stable")
    keys, similarities = keys[order], similarities[order]
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    # Both sides found most pairs, a rounding apart: the greater one, whatever the order.
    nearest = np.maximum.reduceat(similarities, firsts) if firsts.size else similarities
    return Pairs(keys[firsts] // rows, keys[firsts] % rows, nearest)


def greedy_cover(pairs: Pairs, priority: RowIds) -> Cover:
    """Choose the rows to remove by the rule "greedy cover".

    Rows are walked in order of priority; one stays unless a row that stays is within the threshold
    (the lexicographically first maximal independent set of the pairs). The twin of a removed row is
    the nearest row that stays, the one of higher priority among equals. So every removed row has a
    twin within the threshold, no two rows that stay are within it, and chains do not drag away rows
    that resemble nothing kept, as connected components would.

    Linear in pairs and rows but for two sorts of the pairs; the order of the pairs is of no effect.

    Args:
        pairs: all pairs within the threshold.
        priority: (rows,) int64, all rows, the one to keep first at the front.

    Returns:
        The removed rows with their twins.
    """
    rank = np.empty(priority.size, dtype=np.int64)
    rank[priority] = np.arange(priority.size)
    one, other = rank[pairs.first], rank[pairs.second]
    kept = _kept_ranks(np.minimum(one, other), np.maximum(one, other), priority.size)
    # Both directions: the nearest row that stays may well have less priority than the removed one.
    leaves = np.concatenate((one, other))
    stays = np.concatenate((other, one))
    similarities = np.concatenate((pairs.similarities, pairs.similarities))
    useful = ~kept[leaves] & kept[stays]
    leaves, stays, similarities = leaves[useful], stays[useful], similarities[useful]
    removed = priority[leaves]
    order = np.lexsort((stays, -similarities, removed))
    nearest = order[np.flatnonzero(np.diff(removed[order], prepend=-1))]
    return Cover(removed[nearest], priority[stays[nearest]], similarities[nearest])


def _kept_ranks(before: RowIds, after: RowIds, count: int) -> npt.NDArray[np.bool_]:
    """Tell for each rank whether its row stays: (count,) bool.

    A loop on purpose: rounds of local minima (Blelloch et al. 2012) vectorise, but need as many
    rounds as the longest chain, and the frames of a film are one chain.
    """
    kept = np.ones(count, dtype=np.bool_)
    order = np.argsort(before, kind="stable")
    targets = after[order]
    sources, starts = np.unique(before[order], return_index=True)
    stops = np.append(starts, targets.size)[1:]
    for source, start, stop in zip(sources.tolist(), starts.tolist(), stops.tolist(), strict=True):
        if kept[source]:
            kept[targets[start:stop]] = False
    return kept
