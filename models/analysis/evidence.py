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

    from models.indexes.results import Neighbours
    from models.types import RowIds


BACKGROUND_RANKS: Final = slice(4, 15)
"""Neighbours 5 to 15: nearer ones may be copies."""
LEAST_BACKGROUND: Final = 0.5
"""In a small or varied collection nothing is near, and two pictures of one thing stand out."""
MOST_BACKGROUND: Final = 0.75
"""Where a photo has more than 15 copies they are its neighbours, and no background."""
INLIER_WEIGHT: Final = 0.1
MOST_LOG_INLIERS: Final = 5.0
LEAST_CORRELATION: Final = 0.8
"""Of slopes: different pictures with few features stay below it, but for a few skies."""
SCORE_DECIMALS: Final = 4
"""Scores and backgrounds are rounded: what batches the photos came in may move the last bits of a
neighbour's similarity, and is to decide nothing."""


def backgrounds(lists: Neighbours) -> npt.NDArray[np.float32]:
    """Return each row's background similarity, (rows,) float32.

    The mean over `BACKGROUND_RANKS` of its neighbours, kept between `LEAST_BACKGROUND` and
    `MOST_BACKGROUND`; rows with fewer neighbours have the least.
    """
    near = lists.similarities[:, BACKGROUND_RANKS].astype(np.float64)
    there = lists.rows[:, BACKGROUND_RANKS] != NO_ROW
    counts = there.sum(axis=1)
    sums = np.where(there, near, 0.0).sum(axis=1)
    means = np.divide(sums, counts, out=np.zeros(len(sums)), where=counts > 0)
    return _rounded(np.clip(means, LEAST_BACKGROUND, MOST_BACKGROUND))


def excess(
    similarities: npt.NDArray[np.float32],
    background: npt.NDArray[np.float32],
    first: RowIds,
    second: RowIds,
) -> npt.NDArray[np.float32]:
    """Return by how much pairs are more similar than the background of both, (pairs,) float32."""
    return np.subtract(similarities, (background[first] + background[second]) / 2, dtype=np.float32)


def scores(
    excesses: npt.NDArray[np.float32],
    inliers: npt.NDArray[np.int32],
    correlations: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Join what vectors and pixels say: excess + .1 min(log(1 + inliers), 5), (pairs,) float32.

    A correlation of slopes, where there is one, counts from .8 (nothing) to 1 (as 147 inliers or
    more); the greater of the two counts.

    Args:
        excesses: (pairs,) float32, of `excess`.
        inliers: (pairs,) int32.
        correlations: (pairs,) float32; NaN where the inliers are enough to go by.
    """
    seen = np.minimum(np.log1p(inliers), MOST_LOG_INLIERS)
    slopes = (np.nan_to_num(correlations, nan=-1.0) - LEAST_CORRELATION) / (1 - LEAST_CORRELATION)
    seen = np.maximum(seen, MOST_LOG_INLIERS * np.clip(slopes, 0, 1))
    return _rounded(excesses + INLIER_WEIGHT * seen)


def _rounded(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    rounded: npt.NDArray[np.float32] = values.round(SCORE_DECIMALS).astype(np.float32)
    return rounded
