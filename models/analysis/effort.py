"""How hard a search for all rows has to try: often less than a single query does.

An index is tuned for queries of its own kind, k = 10 at the recall its user asked for. A graph may
be content with less, and near-duplicates lie in the same inverted list or in one beside it: of the
2,782 pairs above .9 among 100,000 texts, 3 lists of 474 hold .989 and 6 hold .998, where the
search was tuned to 48. So a sample tells how many lists do.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.streams import sample, take

if TYPE_CHECKING:
    from models.indexes.row_view import RowView
    from models.types import RowIds, Vectors

PAIRS_FOUND: Final = 0.995
"""Of the sample's matches, at least."""
_MOST_MATCHES: Final = 20_000
"""That are looked at: a few rows of a crowd have thousands each."""
_LEAST_SAMPLED: Final = 2048
_MOST_SAMPLED: Final = 65_536


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

    A pair has two rows to be found from: one list less is enough where either of them meets the
    other's. So matches of a sample are found with all effort, and each tells how many lists it
    would have needed from its better side.

    Args:
        vectors: all rows.
        index: over the same rows in the same order.
        rows: (wanted,) int64, ascending: the rows that are going to be looked for.
        threshold: the least similarity.
        most: how many matches may be held.
        share: of the matches that all its lists have, those that have to be found; for 1 there is
            no less effort.

    Returns:
        The index as it is where there are few rows, or few pairs to tell by.

    Raises:
        TooManyMatchesError: a sample has more matches than `most`.
    """
    full = index.index.plan.search_parameters.nprobe
    if full is None or share >= 1:  # no sample tells that nothing is missed
        return index
    enough = ceil(1 / (1 - share))  # fewer cannot tell such a share
    asking, met = _sampled_matches(vectors, index, rows, threshold, most, enough)
    if asking.size < enough:
        return index
    needed = np.sort(_lists_needed(vectors, index, rows, asking, met))
    return index.probing(int(needed[ceil(share * needed.size) - 1]))


def _sampled_matches(
    vectors: Vectors, index: RowView, rows: RowIds, threshold: float, most: int, enough: int
) -> tuple[RowIds, RowIds]:
    """Search for a growing sample of the rows until it has `enough`: who asked, whom it met.

    Each row's match with itself is left out.
    """
    order = sample(rows.size, min(rows.size, _MOST_SAMPLED), 0)
    asking = met = np.empty(0, np.int64)
    start, stop = 0, _LEAST_SAMPLED
    while 2 * stop <= rows.size and stop <= _MOST_SAMPLED and asking.size < enough:
        chosen = np.sort(rows[order[start:stop]])
        found = index.range_search(take(vectors, chosen), threshold, most + chosen.size)
        query = chosen[found.queries]
        other = query != found.rows
        asking = np.concatenate((asking, query[other]))
        met = np.concatenate((met, found.rows[other]))
        start, stop = stop, 2 * stop
    step = max(1, asking.size // _MOST_MATCHES)
    return asking[::step], met[::step]


def _lists_needed(
    vectors: Vectors, index: RowView, rows: RowIds, asking: RowIds, met: RowIds
) -> RowIds:
    """Return how many lists have to be probed until each match is found from either row.

    Args:
        vectors: all rows.
        index: over the same rows.
        rows: those that are going to be looked for.
        asking: (matches,) int64, of `rows`.
        met: (matches,) int64; only those of `rows` will look for their part.
    """
    unique, where = np.unique(np.concatenate((asking, met)), return_inverse=True)
    one, other = np.split(where, 2)
    full = index.index.plan.search_parameters.nprobe or 1
    lists = index.index.nearest_lists(take(vectors, unique), full)

    def lists_until(asks: RowIds, lies: RowIds) -> RowIds:
        is_home = lists[asks] == lists[lies, :1]
        return np.where(is_home.any(axis=1), is_home.argmax(axis=1) + 1, full)

    seeks = np.isin(met, rows)
    return np.minimum(lists_until(one, other), np.where(seeks, lists_until(other, one), full))
