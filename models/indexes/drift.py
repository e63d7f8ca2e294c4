"""Whether vectors that were added still lie as those did that an index was trained on.

Three signs, all read without a pass over the vectors: lists of uneven length, new vectors farther
from their centroid than nearly all were at the training, and searches that find more with a
multiple of the effort. Each says that lists were laid out for another distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.plans import MOST_FACTOR
from models.indexes.recall import RecallEstimate, estimate_recall
from models.indexes.streams import prepared

if TYPE_CHECKING:
    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix

SAMPLE: Final = 500
"""Rows of a batch that are looked at."""
_FAR: Final = 0.01
"""The share of vectors that were farther from their centroid at the training."""
_LEAST_SAMPLE: Final = 100
"""Fewer rows say nothing about a share of a hundredth."""
_MOST_FAR: Final = 0.1
"""Of the vectors added since the training: ten times what was to be expected."""
_MOST_UNEVEN: Final = 1.5
"""Times the unevenness at the training: searches read as many times the codes."""
_MORE_EFFORT: Final = 8
_PROBED: Final = 200
"""Vectors that are searched for twice: with all of the effort a search takes a third of a
millisecond among 100,000."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the vectors lay when the lists were made.

    Attributes:
        unevenness: of the lists' lengths: 1 where all are equal, the number of lists where one
            holds everything (FAISS's imbalance factor).
        reach: the similarity to its centroid that 99 of 100 vectors had at least.
    """

    unevenness: float
    reach: float


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of the layout.

    Attributes:
        unevenness: of the lists now.
        looked_at: vectors added since the training whose distance was looked at.
        far: the share of these beyond the reach.
        probe: what the tuned effort finds of what eight times the effort does, for new vectors.
    """

    unevenness: float
    looked_at: int
    far: float
    probe: RecallEstimate

    def reason_to_retrain(self, layout: Layout, target_recall: float) -> str | None:
        """Return why the index should be trained anew; None where it should not."""
        if self.unevenness > _MOST_UNEVEN * layout.unevenness:
            return (
                f"lists have become uneven, {self.unevenness:.2f} against "
                f"{layout.unevenness:.2f} at the training"
            )
        if self.looked_at >= _LEAST_SAMPLE and self.far > _MOST_FAR:
            return (
                f"{self.far:.0%} of what was added lies farther from the centroids than "
                f"{_FAR:.0%} did at the training"
            )
        if self.probe.queries >= _LEAST_SAMPLE and self.probe.high < target_recall:
            return (
                f"for what was added the index finds {self.probe.mean:.3f} of what "
                f"{_MORE_EFFORT} times the effort does, below {target_recall}"
            )
        return None


def layout_of(index: VectorIndex, unseen: Matrix) -> Layout | None:
    """Return how the vectors lie in an index's lists; None without lists.

    Args:
        index: filled.
        unseen: (rows, dim) float32, vectors that it was not trained on.
    """
    if index.lists is None or unseen.shape[0] == 0:
        return None
    nearness = index.centroid_similarities(prepared(unseen, index.dim, index.metric))
    return Layout(_unevenness(index), float(np.quantile(nearness, _FAR)))


def drift_of(index: VectorIndex, added: Matrix, layout: Layout, before: Drift | None) -> Drift:
    """Return how an index has drifted once a batch is in it.

    Args:
        index: with the batch.
        added: (rows, dim) float32, a sample of the batch.
        layout: at the training.
        before: the drift as it was before the batch; None if it is the first.
    """
    ready = prepared(added, index.dim, index.metric)
    far = int((index.centroid_similarities(ready) < layout.reach).sum())
    seen = before.looked_at if before else 0
    looked_at = seen + ready.shape[0]
    share = (far + seen * (before.far if before else 0.0)) / max(1, looked_at)
    return Drift(_unevenness(index), looked_at, share, _probe(index, ready[:_PROBED]))


def _probe(index: VectorIndex, queries: Matrix, k: int = 10) -> RecallEstimate:
    tuned = index.plan.search_parameters
    nprobe = min(index.lists or 1, _MORE_EFFORT * (tuned.nprobe or 1))
    factor = None if tuned.k_factor is None else MOST_FACTOR
    harder = index.with_parameters(replace(tuned, nprobe=nprobe, k_factor=factor))
    size = min(one.most_alone(k) or max(1, queries.shape[0]) for one in (index, harder))
    shares = []
    for start in range(0, queries.shape[0], size):
        some = queries[start : start + size]
        found, more = index.search(some, k).similarities, harder.search(some, k).similarities
        # By similarity: which of several equals is found is nobody's mistake.
        shares.append((found >= more[:, -1:] - 1e-6).mean(axis=1))
    return estimate_recall(np.concatenate(shares or [np.empty(0)]).astype(np.float64), k)


def _unevenness(index: VectorIndex) -> float:
    lengths = index.list_lengths.astype(np.float64)
    return float(lengths.size * np.square(lengths).sum() / max(1.0, lengths.sum() ** 2))
