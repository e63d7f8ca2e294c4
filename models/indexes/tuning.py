"""Finding the least search effort that reaches a target recall."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.plans import MOST_FACTOR, SearchParameters
from models.indexes.recall import GroundTruth, measure_recall
from models.indexes.results import Neighbours
from models.indexes.work import query_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.indexes.vector_index import VectorIndex
    from models.types import Vectors

_FACTORS: Final = (MOST_FACTOR, 16, 8, 6, 4, 3, 2, 1)
"""Candidates for each wanted neighbour that short codes may propose."""


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
        cost_ns: of a query, as `query_ns` counts.
    """

    parameters: SearchParameters
    recall: float
    cost_ns: float


def effort_ladder(index: VectorIndex) -> tuple[SearchParameters, ...]:
    """Return the efforts to try, least first, in steps of about the square root of 2.

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


def tune(index: VectorIndex, vectors: Vectors, truth: GroundTruth, goal: Goal) -> Tuned:
    """Return the cheapest effort whose mean recall over the queries reaches the target.

    Efforts grow step by step until one is good enough by row numbers alone; then one more pass over
    the vectors forgives ties, which can only let an earlier step win. So the cost is a small
    multiple of the last search, and nothing is kept but its answers.

    Args:
        index: trained and filled.
        vectors: what it holds, for telling ties.
        truth: queries that the index was not trained on, with their true neighbours.
        goal: the recall to reach, and what it may cost.

    Returns:
        The effort. Where none reaches the recall at that cost, the one that finds the most.
    """
    tried = [(effort, _cost(index, effort, truth.k)) for effort in effort_ladder(index)]
    if len(tried) == 1 or truth.rows.size == 0 or truth.k == 0:
        effort, cost = tried[-1]
        return Tuned(effort, 1.0, cost)
    answers: list[Neighbours] = []
    tried = []
    for effort, cost, found in _walk(index, truth, goal):
        tried.append((effort, cost))
        answers.append(found)
    shares = measure_recall(vectors, truth, answers, index.metric)
    results = [
        Tuned(effort, float(share.mean()), cost)
        for (effort, cost), share in zip(tried, shares, strict=True)
    ]
    good = [one for one in results if one.recall >= goal.recall]
    if good:
        return min(good, key=lambda one: one.cost_ns)
    return max(results, key=lambda one: (one.recall, -one.cost_ns))


def _walk(
    index: VectorIndex, truth: GroundTruth, goal: Goal
) -> Iterator[tuple[SearchParameters, float, Neighbours]]:
    """Try efforts: more lists until they hold the neighbours, then fewer candidates.

    With fewer candidates as many or more lists are needed, so each step goes one way, and it ends
    where more lists cost more than the best that has been found.
    """
    ladder = effort_ladder(index)
    best = np.inf if goal.most_ns is None else goal.most_ns
    step, is_first = 0, True
    for factor in _FACTORS if index.has_store else (None,):
        while step < len(ladder):
            effort = replace(ladder[step], k_factor=factor)
            cost = _cost(index, effort, truth.k)
            if cost > best and not is_first:
                break
            is_first = False
            found = answer(index.with_parameters(effort), truth)
            yield effort, cost, found
            if _recall_by_row(found, truth) >= goal.recall:
                best = min(best, cost)
                break
            step += 1


def answer(index: VectorIndex, truth: GroundTruth) -> Neighbours:
    """Search for the queries of a ground truth as if each came alone, their own rows left out."""
    size = index.most_alone or max(1, truth.rows.size)
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


def _recall_by_row(found: Neighbours, truth: GroundTruth) -> float:
    hits = (found.rows[:, :, None] == truth.neighbours.rows[:, None, :]).any(axis=2)
    return float(hits.mean())


def _steps(first: int, last: int) -> list[int]:
    """Return first, ..., last, each about 1.41 times the one before: 1, 2, 3, 4, 6, 8, 12, ..."""
    steps = {min(last, round(first * 2**exponent)) for exponent in range(last.bit_length())}
    steps |= {min(last, round(first * 1.5 * 2**exponent)) for exponent in range(last.bit_length())}
    return sorted(steps | {last})
