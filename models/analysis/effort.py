"""How hard a search for all rows has to try: often less than a single query does.

An index is tuned for queries of its own kind, k = 10 at the recall its user asked for. A graph may
be content with less, and near-duplicates lie in the same inverted list or in the one beside it: of
the pairs above .9 among 100,000 texts, two lists hold .998. So a sample tells how many lists do.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.recall import ground_truth
from models.indexes.streams import sample, take

if TYPE_CHECKING:
    from models.indexes.row_view import RowView
    from models.types import RowIds, Vectors

PAIRS_FOUND: Final = 0.99
"""Of the matches of the sample's rows, at least; a pair has two rows to be found from."""
_LEAST_MATCHES: Final = 200
_SAMPLES: Final = (4096, 65_536)
_TUNING_QUERIES: Final = 300


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
    rows = np.sort(sample(vectors.rows, _TUNING_QUERIES, seed))
    truth = ground_truth(vectors, rows, k, index.index.metric)
    ranks = np.sort(index.ranks(truth.queries, truth.neighbours.rows), axis=None)
    # Lists that hold enough of the neighbours; codes of 8 bits may take another row for one.
    least = int(ranks[min(ranks.size, ceil(target_recall * ranks.size)) - 1]) + 1
    for nprobe in _steps(index.index.lists, least):
        tried = index.probing(nprobe)
        found = tried.search(truth.queries, truth.k + 1).without(rows)
        hits = (found.rows[:, :, None] == truth.neighbours.rows[:, None, :]).any(axis=2)
        if hits.mean() >= target_recall:
            return tried
    return index


def found_for(max_missed: float) -> float:
    """Return which share of the matches has to be found, so that few enough pairs are missed.

    Half of what may be missed, as the other half is the index's own; at least `PAIRS_FOUND`.
    """
    return max(PAIRS_FOUND, 1 - max_missed / 2)


def for_pairs(
    vectors: Vectors,
    index: RowView,
    rows: RowIds,
    threshold: float,
    most: int,
    share: float = PAIRS_FOUND,
) -> RowView:
    """Return the index with the least effort that finds most of the pairs that it can find.

    Args:
        vectors: all rows.
        index: over the same rows in the same order.
        rows: (wanted,) int64, ascending: the rows that are going to be looked for.
        threshold: the least similarity.
        most: how many matches may be held.
        share: of the matches that all its lists have, those that have to be found.

    Returns:
        The index as it is where there are few rows, or few pairs to tell by.

    Raises:
        TooManyMatchesError: a sample has more matches than `most`.
    """
    full = index.index.plan.search_parameters.nprobe
    if full is None:
        return index
    for size in _SAMPLES:
        if rows.size <= size:
            break
        chosen = rows[np.sort(sample(rows.size, size, 0))]
        queries = take(vectors, chosen)
        every = index.range_search(queries, threshold, most + size).rows.size - size
        if every >= _LEAST_MATCHES:
            for nprobe in _steps(full):
                tried = index.probing(nprobe)
                found = tried.range_search(queries, threshold, most + size).rows.size - size
                if found >= share * every:
                    return tried
            break
    return index


def _steps(last: int, first: int = 1) -> list[int]:
    """Return `first`, then those of 1, 2, 3, 4, 6, 8, 12, ... between it and `last`, and that."""
    steps = {round(base * 2**power) for base in (1, 1.5) for power in range(last.bit_length())}
    return sorted({one for one in steps if first < one < last} | {first, last})
