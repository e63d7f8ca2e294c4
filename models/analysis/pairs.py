"""Near-duplicate pairs that do not depend on which side was looked for, or when.

The index proposes pairs, by its codes and with some slack; the vectors themselves decide. So a pair
has one similarity, whether its rows came in one batch or in two.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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

    from models.analysis.cell_pairs import Candidates
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
    keys = _Search(index, rows, limits).in_blocks(vectors, threshold, slack, progress)
    return _decided(vectors, metric, threshold, keys, limits)


def find_all_pairs(
    vectors: Vectors,
    metric: Metric,
    threshold: float,
    progress: Progress = silent,
    limits: PairLimits = PairLimits(),
    seed: int = 0,
) -> Pairs | None:
    """Find the pairs of all rows whose similarity reaches a threshold, without an index.

    Rows visit more and more cells, until a round adds less than may be missed; see
    `models.analysis.cell_pairs`. Memory is a byte a dimension besides that of `find_pairs`, whose
    arguments these are, and the seed of k-means.

    Returns:
        What `find_pairs` does. None where less may be missed than a round can tell of, where the
        last one has still added more, and for inner products: of two long vectors they are large
        though neither is near the other's cell, so a round that adds few does not tell of the rest.

    Raises:
        InvalidVectorsError: a vector is not finite, or too long.
        TooManyPairsError: more candidates than `limits.pairs`.
    """
    if metric is Metric.INNER_PRODUCT or limits.found > PAIRS_FOUND:
        return None
    # Numba takes .3 s to import, and few rows are compared by the index.
    from models.analysis.cell_pairs import candidates_in
    from models.indexes.byte_products import prepare_for
    from models.indexes.cells import Cells

    prepare_for(vectors.rows * vectors.dim)
    cells = Cells.of(vectors, metric, seed, precise=False, progress=progress)
    rounds = candidates_in(cells, threshold)
    keys = _met_in_rounds(rounds, vectors.rows, threshold, limits, progress)
    return None if keys is None else _decided(vectors, metric, threshold, keys, limits)


def _met_in_rounds(
    rounds: Iterator[Iterator[Candidates]],
    rows: int,
    threshold: float,
    limits: PairLimits,
    progress: Progress,
) -> RowIds | None:
    """Return the keys of candidates of as many rounds as it takes; None where that is too few."""
    keys, done, known, added = _Keys(limits.pairs), 0.0, 0, 0
    try:
        for number, found in enumerate(rounds):
            for pairs in found:
                low = np.minimum(pairs.first, pairs.second)
                keys.add(low * rows + np.maximum(pairs.first, pairs.second))
                done = pairs.done
                progress("pairs", done)
            added, known = keys.join() - known, keys.whole.size
            # One more than were added: few pairs cannot tell that next to none are added.
            if number and added + 1 <= (1 - limits.found) * known:
                return keys.whole
    except TooManyMatchesError as error:
        raise TooManyPairsError(threshold, error.matches, int(done * rows)) from None
    return keys.whole if added <= 1 else None


def joined(one: Pairs, other: Pairs) -> Pairs:
    """Return the pairs of both, sorted by first, then second; each once."""
    first = np.concatenate((one.first, other.first))
    second = np.concatenate((one.second, other.second))
    similarities = np.concatenate((one.similarities, other.similarities))
    order = order_of_pairs(first, second)
    first, second, similarities = first[order], second[order], similarities[order]
    new = (np.diff(first, prepend=-1) != 0) | (np.diff(second, prepend=-1) != 0)
    return Pairs(first[new], second[new], similarities[new])


@dataclass(slots=True)
class _Keys:
    """Keys of candidates, first * rows + second, each once.

    From both sides most pairs come twice, so they are joined now and then.

    Attributes:
        most: how many there may be.
        whole: (keys,) int64, sorted; without those that were added since they were joined.
    """

    most: int
    whole: RowIds = field(default_factory=lambda: np.empty(0, np.int64))
    _waiting: list[RowIds] = field(default_factory=list)
    _held: int = 0

    def add(self, found: RowIds) -> None:
        """Take in more.

        Raises:
            TooManyMatchesError: they are too many.
        """
        self._waiting.append(found)
        self._held += found.size
        if self._held > max(_KEYS_AT_ONCE, self.whole.size):
            self.join()

    def join(self) -> int:
        """Join what was added; return how many keys there are.

        Raises:
            TooManyMatchesError: they are too many.
        """
        if self._held:
            self.whole = np.unique(np.concatenate((self.whole, *self._waiting)))
        self._waiting, self._held = [], 0
        if self.whole.size > self.most:
            raise TooManyMatchesError(self.whole.size)
        return self.whole.size


@dataclass(frozen=True, slots=True)
class _Search:
    """Who is looked for, and where."""

    index: RowView
    rows: RowIds
    limits: PairLimits

    def in_blocks(
        self, vectors: Vectors, threshold: float, slack: float, progress: Progress
    ) -> RowIds:
        """Search for row after row with the least effort that finds enough.

        Returns:
            The keys of the candidates.
        """
        keys, done, wanted = _Keys(self.limits.pairs), 0, threshold - slack
        most, found = 2 * self.limits.pairs, self.limits.found
        try:
            eager = for_pairs(vectors, self.index, self.rows, wanted, most, found)
        except TooManyMatchesError as error:
            raise TooManyPairsError(threshold, error.matches, self.rows.size) from None
        try:
            for new, done in replace(self, index=eager).candidates(vectors, wanted):
                keys.add(new)
                progress("pairs", done / self.rows.size)
            keys.join()
        except TooManyMatchesError as error:
            raise TooManyPairsError(threshold, error.matches, done) from None
        return keys.whole

    def candidates(self, vectors: Vectors, threshold: float) -> Iterator[tuple[RowIds, int]]:
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
