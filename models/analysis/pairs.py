"""Near-duplicate pairs that do not depend on which side was looked for, or when.

The index proposes pairs, by its codes and with some slack; the vectors themselves decide. So a pair
has one similarity, whether its rows came in one batch or in two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from models.analysis.duplicates import MAX_PAIRS, Pairs, TooManyPairsError, order_of_pairs
from models.analysis.effort import PAIRS_FOUND, for_pairs
from models.analysis.graph import query_rows
from models.indexes.errors import TooManyMatchesError
from models.indexes.exact import pair_similarities
from models.indexes.streams import (
    BATCH_BYTES,
    Progress,
    prepared,
    selected,
    silent,
    take,
)
from models.types import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.indexes.row_view import RowView
    from models.types import RowIds, Vectors

_MATCHES_AT_ONCE: Final = 4_000_000
_KEYS_AT_ONCE: Final = 1 << 20
_COMPARED_AT_ONCE: Final = 1 << 14
_SLACK: Final = {"SQfp16": 2e-3, "SQ8": 3e-2}
"""How far a cosine by these codes may be off; see the contract suite over all index kinds."""
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class PairLimits:
    """What may be held of pairs, and what missed.

    Attributes:
        pairs: how many candidates.
        compared_bytes: of the vectors of candidates that are compared at once; fewer bytes mean
            more passes over the vectors.
        found: share of the matches in the index's lists that has to be found.
    """

    pairs: int = MAX_PAIRS
    compared_bytes: int = 4 * BATCH_BYTES
    found: float = PAIRS_FOUND


def find_pairs(
    vectors: Vectors,
    index: RowView,
    threshold: float,
    rows: RowIds,
    progress: Progress = silent,
    limits: PairLimits = PairLimits(),
) -> Pairs:
    """Find all pairs that some rows are part of and whose similarity reaches a threshold.

    Complete for a Flat index, else as complete as the lists that the index probes. Memory is that
    of the candidates, and of the vectors of a block of them.

    Args:
        vectors: all rows.
        index: over the same rows in the same order.
        threshold: the least similarity, to within float32's rounding; for L2 a negative squared
            distance.
        rows: (wanted,) int64, ascending: the rows to look for.
        progress: called with "pairs" and the fraction done.
        limits: what may be held.

    Returns:
        Each pair once, its similarity computed in float64 from the vectors.

    Raises:
        IndexMismatchError: the index has another number of rows or dimension.
        TooManyPairsError: more candidates than `limits.pairs`.
    """
    metric = index.index.metric
    index.require(vectors.rows, vectors.dim, metric)
    slack = _SLACK.get(index.index.plan.codec, 1e-5 * max(1.0, abs(threshold)))
    wanted = threshold - slack
    try:
        eager = for_pairs(vectors, index, rows, wanted, 2 * limits.pairs, limits.found)
    except TooManyMatchesError as error:
        raise TooManyPairsError(threshold, error.matches, rows.size) from None
    search = _Search(eager, rows, limits)
    keys = _candidate_keys(search, vectors, threshold, slack, progress)
    return _decided(vectors, metric, threshold, keys, limits)


def joined(one: Pairs, other: Pairs) -> Pairs:
    """Return the pairs of both, sorted by first, then second; each once."""
    first = np.concatenate((one.first, other.first))
    second = np.concatenate((one.second, other.second))
    similarities = np.concatenate((one.similarities, other.similarities))
    order = order_of_pairs(first, second)
    first, second, similarities = first[order], second[order], similarities[order]
    new = (np.diff(first, prepend=-1) != 0) | (np.diff(second, prepend=-1) != 0)
    return Pairs(first[new], second[new], similarities[new])


def _candidate_keys(
    search: _Search, vectors: Vectors, threshold: float, slack: float, progress: Progress
) -> RowIds:
    """Return first * rows + second of each candidate, sorted, each once."""
    keys, done = np.empty(0, np.int64), 0
    waiting, held = [keys], 0
    try:
        for found, done in search.candidates(vectors, threshold, slack):
            waiting.append(found)
            held += found.size
            # From both sides most pairs come twice, so they are joined now and then.
            if held > max(_KEYS_AT_ONCE, keys.size):
                keys, held = search.joined(waiting), 0
                waiting = [keys]
            progress("pairs", done / search.rows.size)
        return search.joined(waiting)
    except TooManyMatchesError as error:
        raise TooManyPairsError(threshold, error.matches, done) from None


@dataclass(frozen=True, slots=True)
class _Search:
    """Who is looked for, and where."""

    index: RowView
    rows: RowIds
    limits: PairLimits

    def joined(self, parts: list[RowIds]) -> RowIds:
        """Return the keys of all parts, sorted, each once.

        Raises:
            TooManyMatchesError: they are more than the limit.
        """
        keys = np.unique(np.concatenate(parts))
        if keys.size > self.limits.pairs:
            raise TooManyMatchesError(keys.size)
        return keys

    def candidates(
        self, vectors: Vectors, threshold: float, slack: float
    ) -> Iterator[tuple[RowIds, int]]:
        """Let all rows ask at once, where the index can, or search for some.

        Yields:
            first * rows + second of each match, and how many rows have been searched for.
        """
        # By the codes of both sides a similarity is off by twice as much.
        # Lists probed by these lose up to one pair in a hundred: too many where few may be missed.
        every = self.rows.size == vectors.rows and self.limits.found <= PAIRS_FOUND
        found = self.index.pairs_within(threshold - 2 * slack) if every else None
        if found is None:
            yield from self._searched(vectors, threshold - slack)
            return
        for pairs in found:
            low = np.minimum(pairs.first, pairs.second)
            high = np.maximum(pairs.first, pairs.second)
            yield low * vectors.rows + high, int(pairs.done * vectors.rows)

    def _searched(self, vectors: Vectors, threshold: float) -> Iterator[tuple[RowIds, int]]:
        """Search in chunks that grow while answers are few: their number is not known beforehand.

        The first is so small that all it could meet is held, and answers are few mostly.

        Yields:
            first * rows + second of each match, and how many rows have been searched for.
        """
        chunk = max(1, _MATCHES_AT_ONCE // max(1, self.index.index.most_met))
        done, most = 0, 2 * self.limits.pairs
        for block, queries in selected(vectors, self.rows, query_rows(vectors.dim)):
            start = 0
            while start < block.size:
                part = slice(start, start + chunk)
                searched = block[part].size
                matches = self.index.range_search(queries[part], threshold, most + searched)
                query = block[part][matches.queries]
                other = query != matches.rows
                low = np.minimum(query, matches.rows)[other]
                start, done = start + searched, done + searched
                yield low * vectors.rows + np.maximum(query, matches.rows)[other], done
                each = max(1.0, matches.rows.size / searched)
                chunk = int(min(2 * chunk, max(1, _MATCHES_AT_ONCE // each)))


def _compared_until(first: RowIds, second: RowIds, start: int, most: int) -> int:
    """Return where pairs end that `most` vectors do for; near-copies share theirs."""
    stop = first.size
    while stop - start > 1:
        rows = np.unique(np.concatenate((first[start:stop], second[start:stop]))).size
        if rows <= most:
            break
        stop = start + max(1, min((stop - start) * most // rows, (stop - start) // 2))
    return int(stop)


def _decided(
    vectors: Vectors, metric: Metric, threshold: float, keys: RowIds, limits: PairLimits
) -> Pairs:
    first, second = np.divmod(keys, vectors.rows)
    similarities = np.empty(first.size, np.float32)
    most = max(1, limits.compared_bytes // (4 * vectors.dim))
    start = 0
    while start < first.size:
        part = slice(start, _compared_until(first, second, start, most))
        start = part.stop
        both = np.concatenate((first[part], second[part]))
        unique, where = np.unique(both, return_inverse=True)
        stored = prepared(take(vectors, unique), vectors.dim, metric)
        left, right = np.split(where, 2)
        for low in range(0, left.size, _COMPARED_AT_ONCE):
            some = slice(low, low + _COMPARED_AT_ONCE)
            similarities[part][some] = pair_similarities(
                stored[left[some]], stored[right[some]], metric
            )
    if metric is Metric.COSINE:
        np.clip(similarities, -1.0, 1.0, out=similarities)
    near = similarities >= threshold - _ROUNDING * max(1.0, abs(threshold))
    return Pairs(first[near], second[near], similarities[near])
