"""Finding the least search effort that reaches a target recall."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import partial
from math import inf, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.plans import MOST_FACTOR, SearchParameters
from models.indexes.recall import GroundTruth, measure_recall
from models.indexes.results import Neighbours
from models.indexes.work import query_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.indexes.recall import Shares
    from models.indexes.vector_index import VectorIndex
    from models.types import Vectors

    Price = Callable[[SearchParameters], float]

_FACTORS: Final = (MOST_FACTOR, 16, 12, 8, 6, 5, 4, 3, 2, 1)
"""Candidates for each wanted neighbour that short codes may propose."""
_RANKED: Final = 512
"""Lists nearest to a query among which those of its neighbours are looked for."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What tuning aims at.

    Attributes:
        recall: the mean share of the true neighbours to reach, in [0, 1].
        most_ns: what a query may cost at the most, as `query_ns` counts; None for any cost.
    """

    recall: float = 0.95
    most_ns: float | None = None


USUAL: Final = Goal()


@dataclass(frozen=True, slots=True)
class Tuned:
    """An effort, what it finds and what it costs.

    Attributes:
        parameters: the effort.
        recall: the mean share of true neighbours that the tuning queries found.
        cost_ns: of a query, as it was priced.
        doubt: the standard error of that mean.
    """

    parameters: SearchParameters
    recall: float
    cost_ns: float
    doubt: float = 0.0

    def reaches(self, recall: float) -> bool:
        """Tell whether other queries will find as much, too.

        The cheapest of several efforts that are good enough is one that was lucky with these
        queries: so it has to be good enough by a standard error more.
        """
        return self.recall - self.doubt >= recall


def effort_ladder(index: VectorIndex) -> tuple[SearchParameters, ...]:
    """Return the efforts to try, least first, four to each doubling.

    The last one of an inverted file probes all lists. Kinds without an effort have one step. Where
    short codes propose candidates, these are the steps for as many of them as are ever taken.
    """
    if index.lists is not None:
        factor = _FACTORS[0] if index.has_store else None
        steps = _steps(1, index.lists)
        return tuple(SearchParameters(nprobe=n, k_factor=factor) for n in steps)
    if index.is_graph:
        return tuple(SearchParameters(ef_search=n) for n in _steps(16, 2048))
    return (index.plan.search_parameters,)


def tune(
    index: VectorIndex,
    vectors: Vectors,
    truth: GroundTruth,
    goal: Goal,
    price: Price | None = None,
) -> Tuned:
    """Return the cheapest effort whose mean recall over the queries reaches the target.

    Efforts grow from the first whose lists hold as much as is wanted, until one is good enough by
    row numbers alone; then one more pass over the vectors forgives ties, which can only let an
    earlier step win. So the cost is a small multiple of the last search, and nothing is kept but
    its answers.

    Args:
        index: trained and filled.
        vectors: what it holds, for telling ties.
        truth: queries that the index was not trained on, with their true neighbours.
        goal: the recall to reach, and what it may cost.
        price: of a query with some effort, in nanoseconds; None counts it for this index.

    Returns:
        The effort. Where none reaches the recall at that cost, the one that finds the most.
    """
    price = price or partial(_cost, index, k=truth.k)
    ladder = effort_ladder(index)
    if len(ladder) == 1 or truth.rows.size == 0 or truth.k == 0:
        return Tuned(ladder[-1], 1.0, price(ladder[-1]))
    tried = _walk(index, truth, goal, price)
    shares = measure_recall(vectors, truth, [found for _, found in tried], index.metric)
    results = [
        Tuned(effort, float(share.mean()), price(effort), _doubt(share))
        for (effort, _), share in zip(tried, shares, strict=True)
    ]
    good = [one for one in results if one.reaches(goal.recall)]
    if good:
        return min(good, key=lambda one: one.cost_ns)
    return max(results, key=lambda one: (one.recall, -one.cost_ns))


def _walk(
    index: VectorIndex, truth: GroundTruth, goal: Goal, price: Price
) -> list[tuple[SearchParameters, Neighbours]]:
    """Try efforts: more lists until they hold the neighbours, then fewer candidates.

    With fewer candidates as many or more lists are needed, so each step goes one way, and it ends
    where more lists cost more than the best that has been found.
    """
    tried: list[tuple[SearchParameters, Neighbours]] = []

    def is_enough(efforts: Sequence[SearchParameters], at: int) -> bool:
        found = answer(index.with_parameters(efforts[at]), truth)
        tried.append((efforts[at], found))
        shares = _recalls_by_row(found, truth)
        return bool(shares.mean() - _doubt(shares) >= goal.recall)

    ladder, step = effort_ladder(index), 0
    needed = _step_needed(index, truth, goal.recall)
    best = inf if goal.most_ns is None else goal.most_ns
    factors = _FACTORS if index.has_store else (None,)
    for factor in factors:
        efforts = [replace(effort, k_factor=factor) for effort in ladder]
        last = bisect_right(efforts, best, key=price) - 1
        step = max(step, min(needed, last))
        good = _first_good(partial(is_enough, efforts), step, last, climbs=best == inf)
        step = max(step, last + 1) if good is None else good
        best = best if good is None else price(efforts[good])
    if not tried:  # nothing is cheap enough
        is_enough([replace(ladder[0], k_factor=factors[-1])], 0)
    return tried


def _first_good(is_good: Callable[[int], bool], low: int, high: int, *, climbs: bool) -> int | None:
    """Return the first good step of low, ..., high, taking it that those after a good one are good.

    Climbing ends soon where the first is nearly good, and does not look at the high ones, which may
    cost any multiple. Where they may not, the last one tells at once whether any is good.
    """
    if climbs:
        return next(filter(is_good, range(low, high + 1)), None)
    if low > high or is_good(low):
        return low if low <= high else None
    if low == high or not is_good(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_good(middle) else (middle, high)
    return high


def _step_needed(index: VectorIndex, truth: GroundTruth, recall: float) -> int:
    """Return the first effort whose lists hold enough of the neighbours: no search can find more.

    It is one of those that are looked at: finding thousands of lists takes longer than searching
    some.
    """
    if index.lists is None:
        return 0
    looked_at = min(index.lists, _RANKED)
    ranks = index.ranks(truth.queries, truth.neighbours.rows, looked_at)
    probed = [effort.nprobe or 0 for effort in effort_ladder(index)]
    for step, nprobe in enumerate(probed[:-1]):
        if nprobe >= looked_at or (ranks < nprobe).mean() >= recall:
            return step
    return len(probed) - 1


def answer(index: VectorIndex, truth: GroundTruth) -> Neighbours:
    """Search for the queries of a ground truth as if each came alone, their own rows left out.

    Own rows are found besides the k, so one candidate more is asked for, not one for each k.
    """
    effort = index.plan.search_parameters
    if effort.k_factor is not None:
        factor = (effort.k_factor * truth.k + 1.5) / (truth.k + 1)
        index = index.with_parameters(replace(effort, k_factor=factor))
    size = index.most_alone(truth.k + 1) or max(1, truth.rows.size)
    parts = [
        index.search(truth.queries[start : start + size], truth.k + 1)
        for start in range(0, truth.rows.size, size)
    ] or [index.search(truth.queries, truth.k + 1)]
    found = Neighbours(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.similarities for part in parts]),
    )
    return found.without(truth.rows)


def _cost(index: VectorIndex, effort: SearchParameters, k: int) -> float:
    return query_ns(index.plan, effort, index.rows, index.dim, k)


def _doubt(shares: Shares) -> float:
    return float(shares.std(ddof=1) / sqrt(shares.size)) if shares.size > 1 else 0.0


def _recalls_by_row(found: Neighbours, truth: GroundTruth) -> Shares:
    hits = (found.rows[:, :, None] == truth.neighbours.rows[:, None, :]).any(axis=2)
    shares: Shares = hits.mean(axis=1)
    return shares


def _steps(first: int, last: int) -> list[int]:
    """Return first, ..., last, four to each doubling: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, ..."""
    quarters = (1.0, 1.25, 1.5, 1.75)
    steps = {
        min(last, round(first * part * 2**exponent))
        for exponent in range(last.bit_length())
        for part in quarters
    }
    return sorted(steps | {last})
