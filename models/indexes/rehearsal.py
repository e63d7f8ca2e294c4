"""What short codes can find among all vectors, told from a twentieth of them.

Candidates are those that the codes rank first, so a neighbour is lost where more rows than these
come before it, however many lists are probed. How many come before is told from a sample, as each
of its rows stands for `all / sample` rows. To code the sample costs little beside coding all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.indexes.faiss_library import library
from models.indexes.plans import MOST_FACTOR
from models.indexes.recall import RecallEstimate, estimate_recall
from models.indexes.streams import prepared, take

if TYPE_CHECKING:
    from models.indexes.recall import GroundTruth
    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix, RowIds, Vectors

_SHARE: Final = 20
"""One row of so many is coded: 16 of them then stand for all candidates of ten neighbours."""


def rehearse(
    index: VectorIndex, vectors: Vectors, training: Matrix, truth: GroundTruth
) -> RecallEstimate:
    """Estimate what share of the neighbours is among the most candidates of all vectors' codes.

    No search finds more. On 100,000 x 384 texts and clusters it was within .02 of what was found.

    Args:
        index: trained and empty, with a store; it stays empty.
        vectors: what it is going to hold.
        training: (rows, dim) float32, what it was trained on; random rows in random order.
        truth: queries with their true neighbours among all vectors.
    """
    some = training[: max(1, vectors.rows // _SHARE)]
    named, place = np.unique(truth.neighbours.rows, return_inverse=True)
    ready = [prepared(part, index.dim, index.metric) for part in (some, take(vectors, named))]
    codes = _coded(index, ready)
    asked = prepared(truth.queries, index.dim, index.metric)
    most = MOST_FACTOR * truth.k
    every = library().SearchParametersIVF(nprobe=int(codes.nlist))
    ranked = codes.search(_inside(index, asked), min(most, codes.ntotal), params=every)[1]
    own = some.shape[0] + place.reshape(truth.neighbours.rows.shape)
    before = _rows_before(ranked, own, some.shape[0], vectors.rows / some.shape[0])
    return estimate_recall((before < most).mean(axis=1), truth.k)


def _coded(index: VectorIndex, parts: list[Matrix]) -> Any:
    codes = library().clone_index(index.layers.lists)
    for part in parts:
        codes.add(_inside(index, part))
    return codes


def _inside(index: VectorIndex, ready: Matrix) -> Matrix:
    transform = index.layers.transform
    inside: Matrix = ready if transform is None else transform.apply(ready)
    return inside


def _rows_before(ranked: RowIds, own: RowIds, sampled: int, weight: float) -> Matrix:
    """Return how many rows come before each true neighbour: (queries, k), inf where all ranked do.

    Other queries' neighbours are among the ranked rows, too, and do not count.

    Args:
        ranked: (queries, any) int64, rows in the order of their codes; the sample's come first by
            their numbers.
        own: (queries, k) int64, the true neighbours.
        sampled: rows of the sample.
        weight: how many rows one of the sample stands for.
    """
    is_own = (ranked[:, :, None] == own[:, None, :]).any(axis=2)
    counted = np.where((ranked >= 0) & (ranked < sampled), weight, is_own.astype(np.float64))
    passed = np.cumsum(counted, axis=1) - counted
    before = np.full(own.shape, np.inf)
    query, at, which = np.nonzero(ranked[:, :, None] == own[:, None, :])
    before[query, which] = passed[query, at]
    return before
