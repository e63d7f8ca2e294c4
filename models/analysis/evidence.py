"""How sure two photos are duplicates: similarity beyond the background, and shared local features.

A cosine means little by itself: two zebras in a park reach .8, and a crop of a photo of a bed may
stay at .6. So the mean similarity to neighbours that are no copies (the background) is taken off,
as in score normalisation for copy detection (Douze et al., "The 2021 Image Similarity Dataset and
Challenge", arXiv:2106.09672), and what the pixels say is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.results import NO_ROW

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.analysis.graph import NeighbourGraph
    from models.types import RowIds


BACKGROUND_RANKS: Final = slice(4, 15)
"""Neighbours 5 to 15: nearer ones may be copies."""
LEAST_BACKGROUND: Final = 0.5
"""In a small or varied collection nothing is near, and two pictures of one thing stand out."""
MOST_BACKGROUND: Final = 0.75
"""Where a photo has more than 15 copies they are its neighbours, and no background."""
INLIER_WEIGHT: Final = 0.1
MOST_LOG_INLIERS: Final = 5.0


def backgrounds(graph: NeighbourGraph) -> npt.NDArray[np.float32]:
    """Return each row's background similarity, (rows,) float32.

    The mean over `BACKGROUND_RANKS` of its neighbours, kept between `LEAST_BACKGROUND` and
    `MOST_BACKGROUND`; rows with fewer neighbours have the least.
    """
    near = graph.similarities[:, BACKGROUND_RANKS].astype(np.float64)
    there = graph.rows[:, BACKGROUND_RANKS] != NO_ROW
    counts = there.sum(axis=1)
    sums = np.where(there, near, 0.0).sum(axis=1)
    means = np.divide(sums, counts, out=np.zeros(len(sums)), where=counts > 0)
    return np.clip(means, LEAST_BACKGROUND, MOST_BACKGROUND).astype(np.float32)


def excess(
    similarities: npt.NDArray[np.float32],
    background: npt.NDArray[np.float32],
    first: RowIds,
    second: RowIds,
) -> npt.NDArray[np.float32]:
    """Return by how much pairs are more similar than the background of both, (pairs,) float32."""
    return similarities - (background[first] + background[second]) / 2


def scores(
    excesses: npt.NDArray[np.float32], inliers: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Join both kinds of evidence: excess + .1 min(log(1 + inliers), 5), (pairs,) float32."""
    seen = np.minimum(np.log1p(inliers), MOST_LOG_INLIERS)
    return (excesses + INLIER_WEIGHT * seen).astype(np.float32)
