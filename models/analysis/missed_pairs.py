"""What a search for pairs has missed: brute force over a sample, against what was found."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.indexes.exact import pair_similarities
from models.indexes.results import marked_cells
from models.indexes.side_by_side import side_by_side
from models.indexes.streams import Progress, prepared, prepared_batches, silent, take
from models.types import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.analysis.duplicates import Pairs
    from models.types import Matrix, RowIds, Vectors

Counts = npt.NDArray[np.int64]
_Near = tuple[Counts, Counts, npt.NDArray[np.float64]]

_Z95: Final = 1.959963984540054
_HELD: Final = 1 << 22
"""Similarities of the sample with a block of rows that are held at once."""
_COMPARED_AT_ONCE: Final = 1 << 14
_BLAS_ROUNDING: Final = 1e-5
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Share:
    """A share of sampled cases with its 95 % confidence interval.

    Attributes:
        cases: how many; 0 where there were none, and then the interval is all of [0, 1].
        hits: how many of them count.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    cases: int
    hits: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """The share itself, 0 without cases."""
        return self.hits / self.cases if self.cases else 0.0


@dataclass(frozen=True, slots=True)
class MissedPairs:
    """What an audit found.

    Attributes:
        missed: the share of the sampled rows' true pairs that are not among the known ones.
        examples: (at most 100, 2) int64, rows of missed pairs, the sampled one first.
        similarities: of these examples, float64.
        compared: how many similarities were computed.
    """

    missed: Share
    examples: RowIds
    similarities: npt.NDArray[np.float64]
    compared: int


def missed_share(true: Counts, missed: Counts) -> Share:
    """Estimate the share of all pairs that are missed from a random sample of rows.

    A row's pairs hang together (one badly placed vector loses all of its own), so they do not count
    as independent: the interval is Wilson's (1927) at the effective sample size of Korn & Graubard
    (1998), p (1 - p) over the variance of the ratio estimator with rows as clusters (Cochran 1977,
    "Sampling Techniques", 6.3). Where nothing, or everything, is missed that variance is 0, and
    only the rows that have pairs count.

    Args:
        true: (rows,) int64, the true pairs of each sampled row.
        missed: (rows,) int64, how many of them are missed.
    """
    cases, hits, clusters = int(true.sum()), int(missed.sum()), int((true > 0).sum())
    if cases == 0:
        return Share(0, 0, 0.0, 1.0)
    rate = hits / cases
    residuals = np.square(missed - rate * true)[true > 0].sum()
    spread = clusters / max(1, clusters - 1) * residuals / cases**2
    effective = rate * (1 - rate) / spread if spread > 0 else float(clusters)
    low, high = wilson(rate, min(max(effective, 1.0), float(cases)))
    return Share(cases, hits, low, high)


def wilson(rate: float, cases: float) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % score interval (1927) of a share.

    Args:
        rate: the observed share.
        cases: how many independent observations it comes from; need not be whole.
    """
    square = _Z95 * _Z95
    centre = (rate + square / (2 * cases)) / (1 + square / cases)
    spread = rate * (1 - rate) / cases + square / (4 * cases * cases)
    half = _Z95 * sqrt(spread) / (1 + square / cases)
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def find_missed(
    vectors: Vectors,
    metric: Metric,
    threshold: float,
    known: Pairs,
    rows: RowIds,
    progress: Progress = silent,
) -> MissedPairs:
    """Find the true pairs of some rows by comparing them with all rows, and look which are unknown.

    One pass over the vectors; memory is that of the sample, of its known pairs, and a thread of
    two blocks of similarities (16 MB) or of what is near in them.

    Args:
        vectors: all rows.
        metric: how nearness is measured.
        threshold: the least similarity of a pair, decided in float64.
        known: the pairs that were found.
        rows: (sample,) int64, ascending, each once.
        progress: called with "audit" and the fraction done.
    """
    queries = prepared(take(vectors, rows), vectors.dim, metric)
    keys = _known_keys(known, rows, vectors.rows)
    true, missed = np.zeros(rows.size, np.int64), np.zeros(rows.size, np.int64)
    examples, similarities = [np.empty((0, 2), np.int64)], [np.empty(0, np.float64)]

    def near(piece: tuple[int, Matrix]) -> tuple[int, list[_Near]]:
        start, block = piece
        return start + block.shape[0], list(_near(queries, block, metric, threshold, start))

    blocks = prepared_batches(vectors, metric, max(64, _HELD // max(1, rows.size)))
    for stop, parts in side_by_side(near, blocks):
        for query, row, similarity in parts:
            other = row != rows[query]
            lost = other & ~_is_in(query * vectors.rows + row, keys)
            true += np.bincount(query[other], minlength=rows.size)
            missed += np.bincount(query[lost], minlength=rows.size)
            if sum(map(len, examples)) < _SHOWN:
                examples.append(np.stack((rows[query[lost]], row[lost]), axis=1))
                similarities.append(similarity[lost])
        progress("audit", min(1.0, stop / vectors.rows))
    shown = np.concatenate(examples)[:_SHOWN]
    return MissedPairs(
        missed_share(true, missed),
        shown,
        np.concatenate(similarities)[: len(shown)],
        rows.size * vectors.rows,
    )


def _known_keys(known: Pairs, rows: RowIds, total: int) -> RowIds:
    """Return sample position * total + other row of each known pair of a sampled row, sorted."""
    parts = []
    for own, other in ((known.first, known.second), (known.second, known.first)):
        position = np.minimum(np.searchsorted(rows, own), max(0, rows.size - 1))
        sampled = rows[position] == own
        parts.append(position[sampled] * total + other[sampled])
    return np.unique(np.concatenate(parts))


def _is_in(keys: RowIds, known: RowIds) -> npt.NDArray[np.bool_]:
    if known.size == 0:
        return np.zeros(keys.size, np.bool_)
    at = np.minimum(np.searchsorted(known, keys), known.size - 1)
    found: npt.NDArray[np.bool_] = known[at] == keys
    return found


def _near(
    queries: Matrix, block: Matrix, metric: Metric, threshold: float, start: int
) -> Iterator[_Near]:
    """Yield query, row and similarity of what reaches the threshold in a block from `start` on.

    BLAS proposes with some slack, float64 decides.
    """
    products = queries @ block.T
    scale = 1.0
    if metric is Metric.L2:
        squares = np.square(queries).sum(axis=1)[:, None], np.square(block).sum(axis=1)[None]
        products = 2 * products - squares[0] - squares[1]
        scale = float(squares[0].max(initial=1.0) + squares[1].max(initial=1.0))
    elif metric is Metric.INNER_PRODUCT:
        lengths = np.linalg.norm(queries, axis=1), np.linalg.norm(block, axis=1)
        scale = float(lengths[0].max(initial=1.0) * lengths[1].max(initial=1.0))
    query, row = marked_cells(products >= threshold - _BLAS_ROUNDING * scale)
    for low in range(0, query.size, _COMPARED_AT_ONCE):
        some = slice(low, low + _COMPARED_AT_ONCE)
        exact = pair_similarities(queries[query[some]], block[row[some]], metric)
        near = exact >= threshold
        yield query[some][near], row[some][near] + start, exact[near]
