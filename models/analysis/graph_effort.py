"""How hard the search for a graph has to try: often less than a single query does.

An index is tuned for queries of its own kind, k = 10 at the recall its user asked for, and each of
them probes as many lists. For a graph all rows ask, and a sample of them tells which lists have to
be probed until the share that the graph is to hold is found.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.recall import ground_truth
from models.indexes.streams import sample

if TYPE_CHECKING:
    from models.indexes.recall import GroundTruth
    from models.indexes.row_view import RowView
    from models.types import Vectors

_QUERIES: Final = 600


def for_graph(vectors: Vectors, index: RowView, k: int, target_recall: float, seed: int) -> RowView:
    """Return the index with the least effort that finds a share of the k nearest others.

    Args:
        vectors: all rows.
        index: over the same rows in the same order.
        k: how many neighbours.
        target_recall: which share of them.
        seed: of the sample that it is measured on.
    """
    if index.index.lists is None or vectors.rows <= k:
        return index
    truth = ground_truth(
        vectors, np.sort(sample(vectors.rows, _QUERIES, seed)), k, index.index.metric
    )
    return _likely_lists(index, truth, target_recall) or _nearest_lists(index, truth, target_recall)


def _likely_lists(index: RowView, truth: GroundTruth, target: float) -> RowView | None:
    """Probe lists by a rule; None where there is none, or where codes spoil what lists hold."""
    share = target
    while share < 1:
        rule = index.likely_lists(truth.queries, truth.neighbours.rows, share)
        if rule is None:
            return None
        tried = index.probing_by(rule)
        missed = target - _found(tried, truth)
        if missed <= 0:
            return tried
        share += max(missed, (1 - share) / 8)  # codes of 8 bits may take another row for one
    return None


def _nearest_lists(index: RowView, truth: GroundTruth, target: float) -> RowView:
    """Probe one number of lists for all rows."""
    ranks = np.sort(index.ranks(truth.queries, truth.neighbours.rows), axis=None)
    least = int(ranks[min(ranks.size, ceil(target * ranks.size)) - 1]) + 1
    for nprobe in _steps(index.index.lists or 1, least):
        tried = index.probing(nprobe)
        if _found(tried, truth) >= target:
            return tried
    return index


def _found(index: RowView, truth: GroundTruth) -> float:
    found = index.search(truth.queries, truth.k + 1).without(truth.rows)
    hits = (found.rows[:, :, None] == truth.neighbours.rows[:, None, :]).any(axis=2)
    return float(hits.mean())


def _steps(last: int, first: int) -> list[int]:
    """Return numbers from `first` to `last`, each a tenth more than the one before it, or one."""
    steps = [first]
    while steps[-1] < last:
        steps.append(min(last, max(steps[-1] + 1, steps[-1] * 11 // 10)))
    return steps
