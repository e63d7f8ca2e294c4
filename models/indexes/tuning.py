"""Finding the least search effort that reaches a target recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.indexes.plans import SearchParameters
from models.indexes.recall import GroundTruth, measure_recall

if TYPE_CHECKING:
    from models.indexes.results import Neighbours
    from models.indexes.vector_index import VectorIndex
    from models.types import Vectors


def effort_ladder(index: VectorIndex) -> tuple[SearchParameters, ...]:
    """Return the efforts to try, least first, in steps of about the square root of 2.

    The last one of an inverted file probes all lists. Kinds without an effort have one step.
    """
    if index.lists is not None:
        return tuple(SearchParameters(nprobe=n) for n in _steps(1, index.lists))
    if index.is_graph:
        return tuple(SearchParameters(ef_search=n) for n in _steps(16, 2048))
    return (index.plan.search_parameters,)


def tune(
    index: VectorIndex, vectors: Vectors, truth: GroundTruth, target_recall: float
) -> SearchParameters:
    """Return the least effort whose mean recall over the queries reaches the target.

    Efforts grow step by step until one is good enough by row numbers alone; then one more pass over
    the vectors forgives ties, which can only let an earlier step win. So the cost is a small
    multiple of the last search, and nothing is kept but its answers.

    Args:
        index: trained and filled.
        vectors: what it holds, for telling ties.
        truth: queries that the index was not trained on, with their true neighbours.
        target_recall: the mean share of the true neighbours to reach, in [0, 1].

    Returns:
        The effort; the greatest one where none reaches the target.
    """
    ladder = effort_ladder(index)
    if len(ladder) == 1 or truth.rows.size == 0 or truth.k == 0:
        return ladder[-1]
    answers: list[Neighbours] = []
    for parameters in ladder:
        answers.append(answer(index.with_parameters(parameters), truth))
        if _recall_by_row(answers[-1], truth) >= target_recall:
            break
    for parameters, shares in zip(
        ladder, measure_recall(vectors, truth, answers, index.metric), strict=False
    ):
        if shares.mean() >= target_recall:
            return parameters
    return ladder[len(answers) - 1]


def answer(index: VectorIndex, truth: GroundTruth) -> Neighbours:
    """Search for the queries of a ground truth, their own rows left out."""
    return index.search(truth.queries, truth.k + 1).without(truth.rows)


def _recall_by_row(found: Neighbours, truth: GroundTruth) -> float:
    hits = (found.rows[:, :, None] == truth.neighbours.rows[:, None, :]).any(axis=2)
    return float(hits.mean())


def _steps(first: int, last: int) -> list[int]:
    """Return first, ..., last, each about 1.41 times the one before: 1, 2, 3, 4, 6, 8, 12, ..."""
    steps = {min(last, round(first * 2**exponent)) for exponent in range(last.bit_length())}
    steps |= {min(last, round(first * 1.5 * 2**exponent)) for exponent in range(last.bit_length())}
    return sorted(steps | {last})
