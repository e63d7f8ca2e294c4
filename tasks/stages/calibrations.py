"""What is stored of calibrations, and the threshold "auto" that goes by it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tasks.stages.builds import last_build
from tasks.stages.thresholds import is_verified

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt

STAGE: Final = "calibration"


@dataclass(frozen=True, slots=True)
class Calibration:
    """A space's calibration, as `builds.details` holds it.

    Attributes:
        verified: whether scores are those of verified photos, and not similarities.
        threshold: the least score whose pairs are duplicates with the precision.
        low: lower end of its 95 % interval.
        high: upper end.
        wanted_precision: what was asked for.
        precision: expected at the threshold; below what was asked for where no score reaches that.
        recall: share of altered copies that reach the threshold.
        recall_by_way: the same for each way of altering.
        duplicate_share: of the pairs seen above the level, those that are duplicates.
        sampled: contents that were altered.
        copies: altered copies that were encoded.
        edges: of the histograms' bins, one more than each histogram has.
        of_copies: altered copies a bin.
        of_pairs: pairs in the data a bin.
        of_far_pairs: random pairs a bin.
        examples: pairs in the data: score, one, other (URIs).
    """

    verified: bool
    threshold: float
    low: float
    high: float
    wanted_precision: float
    precision: float
    recall: float
    recall_by_way: dict[str, float]
    duplicate_share: float
    sampled: int
    copies: int
    edges: list[float]
    of_copies: list[int]
    of_pairs: list[int]
    of_far_pairs: list[int]
    examples: list[dict[str, Any]]

    @property
    def is_reached(self) -> bool:
        """Whether there is a score with the precision that was asked for."""
        return self.precision >= self.wanted_precision


def stored_calibration(lake: Lake, space: SpaceRow) -> Calibration | None:
    """Return the calibration of this very version of a space, if there is one."""
    build = last_build(lake, STAGE, space)
    if build is None:
        return None
    details = json.loads(build["details"])
    return Calibration(**{name: details[name] for name in Calibration.__slots__})


def fitting_calibration(lake: Lake, settings: Settings, space: SpaceRow) -> Calibration | None:
    """Return the space's calibration if it is about the scores that are in use now."""
    stored = stored_calibration(lake, space)
    fits = stored is not None and stored.verified == is_verified(settings, space)
    return stored if fits else None


def with_calibration(lake: Lake, settings: Settings, space: SpaceRow) -> Settings:
    """Return settings in which the threshold "auto" of a space has become a number.

    Without a calibration of this very version it becomes the default: a run at night is not to fail
    because a model is new. `uncalibrated_note` says so.
    """
    name = space.id.name
    if settings.space(name).duplicates.threshold != "auto":
        return settings
    stored = fitting_calibration(lake, settings, space)
    threshold = stored.threshold if stored else None
    return settings.with_duplicates(name, {"threshold": threshold})


def with_note(
    receipt: StageReceipt, lake: Lake, settings: Settings, space: SpaceRow
) -> StageReceipt:
    """Return a receipt that says so where "auto" has no calibration to go by."""
    wanted = settings.space(space.id.name).duplicates.threshold
    if wanted != "auto" or fitting_calibration(lake, settings, space) is not None:
        return receipt
    note = f"no calibration of it yet: 'latentlake duplicates calibrate --space {space.id.name}'"
    return replace(receipt, notes=(*receipt.notes, note))
