"""From which score on two contents of a space count as duplicates, by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from latentlake.errors import ConfigError
from models.types import Metric

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from latentlake.settings import Settings

DEFAULT_THRESHOLDS: Final = {"image": 0.9, "text": 0.98, "vector": 0.98}
"""Where removals of real photos and abstracts are nearly all true; see docs/decisions/0003."""
PAIR_KINDS: Final = {"image": "perceptual", "text": "semantic", "vector": "near"}
"""What a pair of near vectors is called, by the space's modality."""


def near_threshold(settings: Settings, space: SpaceRow) -> float | None:
    """Return the least similarity of near-duplicates; None where only equal contents are copies.

    "auto" is the default here: `calibrations.with_calibration` makes a number of it before.

    Raises:
        ConfigError: no similarity of the space's metric has this value.
    """
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
