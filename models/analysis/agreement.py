"""How far two spaces agree about the same rows: in neighbours, geometry and decisions.

Geometry is compared after the vectors are prepared as an index has them: of length 1 where the
metric is the cosine, because nothing else of them is ever used then.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.analysis.anomalies import STRANGE_SHARE, find_anomalies
from models.analysis.duplicates import MAX_PAIRS, Pairs, TooManyPairsError
from models.analysis.graph import GraphOptions, NeighbourGraph, build_graph
from models.indexes.errors import IndexMismatchError
from models.indexes.exact import own_rows, pair_similarities
from models.indexes.recall import GroundTruth, RecallEstimate, estimate_recall, measure_recall
from models.indexes.results import Neighbours, marked_cells
from models.indexes.streams import prepared
from models.types import ArrayVectors, Matrix, Metric

if TYPE_CHECKING:
    from models.types import RowIds

Wide = npt.NDArray[np.float64]

OVERLAP_K: Final = 10
_BLOCK_CELLS: Final = 1 << 23
_ROUNDING: Final = 1e-6
"""As `models.analysis.pairs` decides: what reaches a threshold but for float32's rounding."""
_LEAST_ROWS: Final = 4
"""The unbiased estimate of HSIC needs as many."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What one number says of two matrices of the same rows; see `compare_geometry`.

    Attributes:
        cka: linear CKA, from 0 to 1.
        cka_unbiased: the same from unbiased estimates, so that few rows do not raise it; about 0
            for spaces without relation, 1 at most.
        procrustes: squared residual after the best rotation, from 0 to 2.
    """

    cka: float
    cka_unbiased: float
    procrustes: float


def compare_geometry(one: Matrix, other: Matrix) -> Geometry:
    """Compare two spaces whatever their axes: rotation and scale are of no effect.

    * Linear CKA, |Y'X|^2 / (|X'X| |Y'Y|) with centred columns and Frobenius norms (Kornblith et al.
      2019). It is biased upwards where rows are not many more than dimensions, so it is given a
      second time from the unbiased estimate of HSIC (Song et al. 2012; Nguyen et al. 2021).
    * The residual of the orthogonal Procrustes problem, min |XQ - Y|^2 over orthogonal Q, which is
      2 - 2 |Y'X|_* with the nuclear norm (Schoenemann 1966), X and Y being centred and of Frobenius
      norm 1. The narrower matrix counts as padded with zeros.

    Args:
        one: (rows, any) float32, prepared.
        other: (rows, any) float32, prepared.

    Returns:
        All NaN where a matrix is constant, or there are fewer than four rows.
    """
    if one.shape[0] < _LEAST_ROWS:
        return Geometry(np.nan, np.nan, np.nan)
    x, y = _centred(one), _centred(other)
    if x is None or y is None:
        return Geometry(np.nan, np.nan, np.nan)
    cross = y.T @ x
    cka = np.square(cross).sum() / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    singular = np.linalg.svd(cross, compute_uv=False)
    residual = max(0.0, 2.0 - 2.0 * float(singular.sum()))
    spread = _hsic(x, x) * _hsic(y, y)
    unbiased = _hsic(x, y) / np.sqrt(spread) if spread > 0 else np.nan
    return Geometry(float(cka), float(unbiased), residual)


def neighbour_overlap(one: NeighbourGraph, other: NeighbourGraph, spaces: Spaces) -> RecallEstimate:
    """Measure what share of each row's nearest ten is the same in both spaces.

    A neighbour that is as near as the tenth counts as one of the ten: which of several equals is
    named is no difference. It is counted from either side, and the mean is taken.

    Args:
        one: the first space's exact graph.
        other: the second space's, of the same rows.
        spaces: the vectors of both.

    Returns:
        The mean with its 95 % confidence interval, which holds for the corpus of the sampled rows.
    """
    k = min(OVERLAP_K, one.k, other.k, max(0, one.rows.shape[0] - 1))
    lists = [Neighbours(g.rows[:, :k], g.similarities[:, :k]) for g in (one, other)]
    rows = own_rows(0, one.rows.shape[0])
    shares = [
        measure_recall(ArrayVectors(matrix), GroundTruth(rows, matrix, true), [found], metric)[0]
        for (matrix, metric), true, found in zip(spaces, lists, lists[::-1], strict=True)
    ]
    return estimate_recall(np.mean(shares, axis=0), k)


def exact_graph(vectors: Matrix, metric: Metric, k: int) -> NeighbourGraph:
    """Link each row with its k nearest others, by brute force."""
    return build_graph(ArrayVectors(vectors), metric, k, GraphOptions(exact_flops=inf))


def near_pairs(vectors: Matrix, metric: Metric, threshold: float) -> Pairs:
    """Find all pairs that reach a threshold, by brute force, as `find_pairs` would decide.

    Args:
        vectors: (rows, dim) float32, prepared.
        metric: how nearness is measured.
        threshold: the least similarity.

    Raises:
        TooManyPairsError: more than `MAX_PAIRS` of them.
    """
    rows, scale = vectors.shape[0], max(1.0, abs(threshold))
    longest = float(np.square(vectors).sum(axis=1).max(initial=scale))
    block = max(1, _BLOCK_CELLS // max(1, rows))
    found, total = [np.empty((0, 2), np.int64)], 0
    for start in range(0, rows, block):
        near = _similarities(vectors[start : start + block], vectors[start:], metric)
        first, second = marked_cells(near >= threshold - 1e-4 * longest)
        later = second > first
        found.append(np.stack((first[later], second[later]), axis=1) + start)
        total += int(later.sum())
        if total > MAX_PAIRS:
            raise TooManyPairsError(threshold, total, min(rows, start + block))
    first, second = np.concatenate(found).T
    similarities = similarities_of(vectors, metric, first, second)
    kept = similarities >= threshold - _ROUNDING * scale
    return Pairs(first[kept], second[kept], similarities[kept])


def similarities_of(
    vectors: Matrix, metric: Metric, first: RowIds, second: RowIds
) -> npt.NDArray[np.float32]:
    """Return the similarity of pairs of rows: (pairs,) float32, computed in float64."""
    found = np.empty(first.size, np.float32)
    for start in range(0, first.size, 1 << 14):
        part = slice(start, start + (1 << 14))
        found[part] = pair_similarities(vectors[first[part]], vectors[second[part]], metric)
    return np.clip(found, -1.0, 1.0) if metric is Metric.COSINE else found


def strange_ranks(vectors: Matrix, graph: NeighbourGraph) -> tuple[RowIds, int]:
    """Rank rows as the report of anomalies does, and say how many ranks it calls strange.

    Args:
        vectors: (rows, dim) float32, prepared.
        graph: of the same rows.

    Returns:
        (rows,) int64 from 1, the strangest; and the last rank that is strange.
    """
    found = find_anomalies(ArrayVectors(vectors), graph)
    return found.ranks, ceil(STRANGE_SHARE * vectors.shape[0])


Spaces = tuple[tuple[Matrix, Metric], tuple[Matrix, Metric]]
"""The prepared vectors of the same rows in two spaces, each with its metric."""


def prepare_spaces(one: Matrix, other: Matrix, metrics: tuple[Metric, Metric]) -> Spaces:
    """Check two matrices of the same rows and prepare each for its metric.

    Raises:
        IndexMismatchError: they have different numbers of rows.
        InvalidVectorsError: a vector is not finite.
    """
    if one.shape[0] != other.shape[0]:
        raise IndexMismatchError("the number of rows", other.shape[0], one.shape[0])
    return (
        (prepared(one, one.shape[1], metrics[0]), metrics[0]),
        (prepared(other, other.shape[1], metrics[1]), metrics[1]),
    )


def _centred(matrix: Matrix) -> Wide | None:
    """Centre columns and scale to Frobenius norm 1; None for a constant matrix."""
    wide = matrix.astype(np.float64)
    wide -= wide.mean(axis=0)
    norm = float(np.linalg.norm(wide))
    # What centring leaves of a constant is rounding.
    floor = 1e-6 * max(1.0, float(np.abs(matrix).max(initial=0.0))) * np.sqrt(matrix.shape[0])
    return wide / norm if norm > floor else None


def _hsic(x: Wide, y: Wide) -> float:
    """Return the unbiased HSIC of two linear kernels, up to a factor, without the kernels.

    Song et al. 2012, equation 5, with the diagonals of XX' and YY' set to zero.
    """
    n = x.shape[0]
    own_x, own_y = np.square(x).sum(axis=1), np.square(y).sum(axis=1)
    sums_x, sums_y = x @ x.sum(axis=0) - own_x, y @ y.sum(axis=0) - own_y
    traces = float(np.square(x.T @ y).sum()) - float(own_x @ own_y)
    product = float(sums_x.sum() * sums_y.sum()) / ((n - 1) * (n - 2))
    return float(traces + product - 2 * (sums_x @ sums_y) / (n - 2))


def _similarities(left: Matrix, right: Matrix, metric: Metric) -> Matrix:
    products: Matrix = left @ right.T
    if metric is not Metric.L2:
        return products
    squares = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)
    distances: Matrix = squares - 2 * products
    return -distances
