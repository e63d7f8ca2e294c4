"""Near-duplicates: pairs above a threshold, and the rows to remove so that none is left.

Pairs come from a range search, not from k nearest neighbours: a group larger than k would lose most
of its pairs (measured: .40 of them found at k = 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from latentlake.errors import ConfigError

if TYPE_CHECKING:
    from models.types import RowIds

Similarities = npt.NDArray[np.floating]

MAX_PAIRS: Final = 100_000_000
"""More of them mean a threshold that tells nothing apart, whatever the memory."""


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
        similarities: (pairs,) float32, or whatever else orders the pairs; more is nearer.
    """

    first: RowIds
    second: RowIds
    similarities: Similarities

    @property
    def count(self) -> int:
        """How many pairs."""
        return int(self.first.size)

    def chosen(self, which: npt.NDArray[np.bool_] | RowIds) -> Pairs:
        """Return some of the pairs, by a mask or by their places."""
        return Pairs(self.first[which], self.second[which], self.similarities[which])


def order_of_pairs(first: RowIds, second: RowIds) -> RowIds:
    """Return what sorts pairs by first, then second, equal ones in the order they come.

    As one number a pair, and by a sort that finds runs: what is stored is sorted mostly.

    Args:
        first: (pairs,) int64, at least 0.
        second: (pairs,) int64, at least 0.
    """
    width = int(second.max(initial=0)) + 1
    order: RowIds = np.argsort(first * width + second, kind="stable")
    return order


@dataclass(frozen=True, slots=True)
class Cover:
    """What to remove so that no two rows that stay are near-duplicates.

    Attributes:
        removed: (removed,) int64, ascending.
        twins: (removed,) int64, the nearest row that stays, for each removed one.
        pairs: (removed,) int64: the place of each one's pair with its twin among all pairs.
    """

    removed: RowIds
    twins: RowIds
    pairs: RowIds

    @property
    def groups(self) -> RowIds:
        """(removed,) int64: a group is named by the one row of it that stays."""
        return self.twins


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
    useful = np.flatnonzero(~kept[leaves] & kept[stays])
    leaves, stays, similarities = leaves[useful], stays[useful], similarities[useful]
    removed = priority[leaves]
    order = np.lexsort((stays, -similarities, removed))
    nearest = order[np.flatnonzero(np.diff(removed[order], prepend=-1))]
    return Cover(removed[nearest], priority[stays[nearest]], useful[nearest] % max(1, pairs.count))


def _kept_ranks(before: RowIds, after: RowIds, count: int) -> npt.NDArray[np.bool_]:
    """Tell for each rank whether its row stays: (count,) bool.

    A loop on purpose: rounds of local minima (Blelloch et al. 2012) vectorise, but need as many
    rounds as the longest chain, and the frames of a film are one chain.
    """
    kept = np.ones(count, dtype=np.bool_)
    order = np.argsort(before)  # the order of a row's pairs is of no effect
    before, targets = before[order], after[order]
    starts = np.flatnonzero(np.diff(before, prepend=-1))
    sources, stops = before[starts], np.append(starts, targets.size)[1:]
    for source, start, stop in zip(sources.tolist(), starts.tolist(), stops.tolist(), strict=True):
        if kept[source]:
            kept[targets[start:stop]] = False
    return kept
