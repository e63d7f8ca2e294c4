"""From which score on two contents of a space count as duplicates, by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from latentlake.errors import ConfigError
from models.types import Metric

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from latentlake.settings import Settings

DEFAULT_THRESHOLDS: Final = {"image": 0.9, "text": 0.98, "vector": 0.98}
"""Least cosines. Removals of real photos and abstracts are nearly all true from there on; see
docs/decisions/0003."""
SCORE_THRESHOLD: Final = 0.48
"""The least score of verified photos; see docs/decisions/0019."""
PAIR_KINDS: Final = {"image": "perceptual", "text": "semantic", "vector": "near"}
"""What a pair of near vectors is called, by the space's modality."""


def is_verified(settings: Settings, space: SpaceRow) -> bool:
    """Tell whether pairs of the space are decided on the pixels: photos, compared by cosines."""
    wanted = settings.space(space.id.name).duplicates.verify
    return wanted and space.modality == "image" and space.id.metric == Metric.COSINE


def score_threshold(settings: Settings, space: SpaceRow) -> float | None:
    """Return the least score of the space's near-duplicates; where it is not verified, similarity.

    Raises:
        ConfigError: no score, or no similarity of the space's metric, has this value.
    """
    if not is_verified(settings, space):
        return near_threshold(settings, space)
    threshold = settings.space(space.id.name).duplicates.threshold
    if threshold is None or threshold == "auto":
        return SCORE_THRESHOLD
    if not 0 < threshold <= 1:
        raise ConfigError(
            f"space '{space.id.name}': duplicates.threshold = {threshold:g} is no score of "
            "verified photos: it must be above 0 and at most 1."
        )
    return threshold


def near_threshold(settings: Settings, space: SpaceRow) -> float | None:
    """Return the least similarity of near-duplicates; None where only equal contents are copies.

    Where photos are verified it is that of pairs which could not be: the default. "auto" is the
    default here: `calibrations.with_calibration` makes a number of it before.

    Raises:
        ConfigError: no similarity of the space's metric has this value.
    """
    if is_verified(settings, space):
        return DEFAULT_THRESHOLDS[space.modality]
    threshold, metric = settings.space(space.id.name).duplicates.threshold, Metric(space.id.metric)
    if threshold is None or threshold == "auto":
        return DEFAULT_THRESHOLDS[space.modality] if metric is Metric.COSINE else None
    if metric is Metric.COSINE and not 0 < threshold <= 1:
        raise ConfigError(
            f"space '{space.id.name}': duplicates.threshold = {threshold:g} is no cosine of "
            "near-duplicates: it must be above 0 and at most 1."
        )
    if metric is Metric.L2 and threshold > 0:
        raise ConfigError(
            f"space '{space.id.name}': duplicates.threshold = {threshold:g}, but the similarity of "
            "the metric l2 is minus the squared distance: write "
            f"{-(threshold**2):g} for a distance of at most {threshold:g}."
        )
    return threshold
