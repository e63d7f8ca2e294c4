"""Do two photos show the same picture? Local features, matched, and checked by geometry.

RootSIFT (Arandjelović & Zisserman, "Three things everyone should know to improve object retrieval",
CVPR 2012) on a small grey copy; matches by the ratio test (Lowe, IJCV 60, 2004); a similarity
transform by RANSAC, whose inliers are counted. Two photos of one kind of thing share a few inliers
by chance; a crop, a caption or another encoding keeps dozens. A sky, or a picture of 32 pixels, has
too few features to share; there `gradient_correlation` compares the brightness's slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from models.types import Image

LONGER_SIDE: Final = 320
"""Pixels of the copy in which features are looked for."""
MOST_FEATURES: Final = 300
RATIO: Final = 0.8
"""A match counts if the second nearest descriptor is this much farther away."""
FEWEST_MATCHES: Final = 4
"""Two points make a similarity transform; two more can speak against it."""
ENOUGH_FEATURES: Final = 20
"""With fewer even a true copy shares too few to be told by them."""
SMALL_SIDE: Final = 32
"""Pixels of the sides of the copy that slopes are compared on."""
MOST_SHIFT: Final = 3
"""Pixels by which that copy may be shifted: a tenth was cut off."""
REPROJECTION: Final = 5.0
"""Pixels that an inlier may lie beside its place."""
RANSAC_ROUNDS: Final = 500
MOST_SCALE: Final = 8.0
"""A picture that is found in another is not an eighth of it: so little agrees with anything."""
_SCALE: Final = 255.0

# A mirrored picture has the same features: each cell of 4 x 4 lies on the other side of the axis
# that the feature points along, and its 8 directions turn the other way.
_CELLS = np.arange(128).reshape(4, 4, 8)
_MIRRORED: Final = _CELLS[::-1, :, [(-turn) % 8 for turn in range(8)]].reshape(-1)


@dataclass(frozen=True, slots=True)
class LocalFeatures:
    """A picture's features.

    Attributes:
        points: (n, 2) float32, x and y in the small copy.
        descriptors: (n, 128) uint8, RootSIFT: its elements times 255, which costs no match.
        small: (32, 32) uint8, the whole picture in grey.
        width: of the copy that the points are places in, in pixels.
    """

    points: npt.NDArray[np.float32]
    descriptors: npt.NDArray[np.uint8]
    small: npt.NDArray[np.uint8]
    width: int

    def mirrored(self) -> LocalFeatures:
        """Return the features of the mirror image."""
        points = self.points.copy()
        points[:, 0] = self.width - 1 - points[:, 0]
        return LocalFeatures(
            points, self.descriptors[:, _MIRRORED], self.small[:, ::-1], self.width
        )

    def to_bytes(self) -> bytes:
        """Return all of it as bytes, for `from_bytes` on the same machine."""
        head = np.array([len(self.points), self.width], np.int32)
        parts = (head, self.small, self.points, self.descriptors)
        return b"".join(part.tobytes() for part in parts)

    @classmethod
    def from_bytes(cls, raw: bytes | memoryview | npt.NDArray[np.uint8]) -> LocalFeatures:
        """Read what `to_bytes` returned, without a copy."""
        count, width = np.frombuffer(raw, np.int32, 2)
        small = np.frombuffer(raw, np.uint8, SMALL_SIDE**2, 8)
        start = 8 + small.nbytes
        points = np.frombuffer(raw, np.float32, 2 * count, start)
        descriptors = np.frombuffer(raw, np.uint8, 128 * count, start + points.nbytes)
        return cls(
            points.reshape(-1, 2),
            descriptors.reshape(-1, 128),
            small.reshape(SMALL_SIDE, SMALL_SIDE),
            int(width),
        )


def local_features(image: Image) -> LocalFeatures:
    """Describe a picture by at most `MOST_FEATURES` features, 13 ms on one core.

    Args:
        image: (height, width, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    copy = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    side = (SMALL_SIDE, SMALL_SIDE)
    small = cv2.resize(grey, side, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    found, sift = cv2.SIFT.create(nfeatures=MOST_FEATURES).detectAndCompute(copy, None)
    if sift is None:
        none = np.empty((0, 2), np.float32)
        return LocalFeatures(none, np.empty((0, 128), np.uint8), small, size[0])
    # OpenCV may return one or two more where responses are equal.
    points = np.array([one.pt for one in found[:MOST_FEATURES]], np.float32)
    sift = sift[:MOST_FEATURES]
    root = np.sqrt(sift / np.maximum(sift.sum(1, keepdims=True), np.finfo(np.float32).tiny))
    return LocalFeatures(points, np.round(_SCALE * root).astype(np.uint8), small, size[0])


def shared_inliers(one: LocalFeatures, other: LocalFeatures) -> int:
    """Count the features that one similarity transform carries from a picture to another.

    The greater count of the picture and its mirror image. Matching is directed: exchanged pictures
    give a similar count, not always the same.
    """
    return max(_inliers(one, other), _inliers(one.mirrored(), other))


def gradient_correlation(one: LocalFeatures, other: LocalFeatures) -> float | None:
    """Correlate the slopes of two small copies, for pictures with few features.

    The greatest normalised cross-correlation over shifts of at most `MOST_SHIFT` pixels, of the
    picture and its mirror image. On the brightness itself it was too weak: any two skies that
    darken upwards reach .96.

    Returns:
        -1 to 1; None where both have enough features to go by.
    """
    if min(len(one.points), len(other.points)) >= ENOUGH_FEATURES:
        return None
    within = _slopes(other.small)
    return max(_best_shift(_slopes(small), within) for small in (one.small, one.small[:, ::-1]))


def _slopes(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return (32, 32, 2) float32: the slopes to the right and downwards."""
    smooth = cv2.GaussianBlur(small.astype(np.float32), (3, 3), 0)
    slopes: npt.NDArray[np.float32] = np.dstack(
        [cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)]
    )
    return slopes


def _best_shift(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    core = np.ascontiguousarray(one[MOST_SHIFT:-MOST_SHIFT, MOST_SHIFT:-MOST_SHIFT])
    if not (core.any() and other.any()):
        return 0.0  # a picture of one colour says nothing
    found = cv2.matchTemplate(other, core, cv2.TM_CCORR_NORMED)
    return float(np.clip(np.nan_to_num(found, posinf=0.0, neginf=0.0).max(), -1.0, 1.0))


def _inliers(one: LocalFeatures, other: LocalFeatures) -> int:
    if min(len(one.points), len(other.points)) < FEWEST_MATCHES:
        return 0
    cosines = _unit(one.descriptors) @ _unit(other.descriptors).T
    nearest = np.argpartition(-cosines, 1, axis=1)[:, :2]
    found = np.take_along_axis(cosines, nearest, 1)
    order = np.argsort(-found, axis=1, kind="stable")
    nearest = np.take_along_axis(nearest, order, 1)
    found = np.take_along_axis(found, order, 1)
    distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * found))
    kept = np.flatnonzero(distances[:, 0] < RATIO * distances[:, 1])
    # Each feature once: many that match a single one would all be inliers of a collapse.
    kept = kept[np.argsort(distances[kept, 0], kind="stable")]
    targets, best = np.unique(nearest[kept, 0], return_index=True)
    if targets.size < FEWEST_MATCHES:
        return 0
    carried, inside = cv2.estimateAffinePartial2D(
        one.points[kept[best]],
        other.points[targets],
        method=cv2.RANSAC,
        ransacReprojThreshold=REPROJECTION,
        maxIters=RANSAC_ROUNDS,
    )
    scale = float(np.hypot(*carried[:, 0])) if np.any(inside) else 0.0
    return int(inside.sum()) if 1 / MOST_SCALE < scale < MOST_SCALE else 0


def _unit(descriptors: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return descriptors.astype(np.float32) / np.float32(_SCALE)
