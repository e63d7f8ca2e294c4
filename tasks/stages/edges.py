"""All that is stored about which contents of a space resemble which: what every decision reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.analysis.edges import Edges, joined_edges
from models.analysis.evidence import scores
from models.analysis.lexical_pairs import LEXICAL_KINDS
from tasks.stages.budget import budget_of
from tasks.stages.calibrations import with_calibration
from tasks.stages.candidates import candidate_pairs
from tasks.stages.lexical_pairing import lexical_threshold, stored_lexical
from tasks.stages.pairing import stored_pairs
from tasks.stages.photo_pairs import stored_evidence
from tasks.stages.pixel_digests import equal_pixels
from tasks.stages.thresholds import PAIR_KINDS, is_verified, near_threshold, score_threshold

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings


def stored_edges(lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors) -> Edges:
    """Return what is stored about pairs of these contents, in no order; nothing is computed anew.

    Each source of edges has a line here. Items of equal content are no edges: they are one row.

    Args:
        lake: whose tables are read, as they are committed now.
        settings: the thresholds.
        space: whose.
        vectors: its rows; edges of contents that have gone are left out.

    Raises:
        ConfigError: a threshold is none of the space's metric.
    """
    settings = with_calibration(lake, settings, space)
    near = _photo_edges if is_verified(settings, space) else _near_edges
    return joined_edges(
        [
            *near(lake, settings, space, vectors),
            *_pixel_edges(lake, settings, space, vectors),
            *_lexical_edges(lake, settings, space, vectors),
        ]
    )


def _pixel_edges(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors
) -> list[Edges]:
    if space.modality != "image":
        return []
    return [Edges.of_kind("pixels", equal_pixels(lake, vectors, budget_of(settings).pairs), 1.0)]


def _lexical_edges(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors
) -> list[Edges]:
    if space.modality != "text":
        return []
    stored = stored_lexical(lake, space, vectors)
    threshold = lexical_threshold(settings, space)
    if threshold is None and not stored.pairs.count:
        return []
    # Switched off since the pairs were stored: they stand, and count by another threshold only.
    least = [np.inf, np.inf] if threshold is None else [1.0, threshold]
    return [
        Edges.of_kind(kind, stored.of_kind(kind), judged)
        for kind, judged in zip(LEXICAL_KINDS, least, strict=True)
    ]


def _near_edges(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors
) -> list[Edges]:
    pairs = stored_pairs(lake, space.key, vectors)
    return [Edges.of_kind(PAIR_KINDS[space.modality], pairs, near_threshold(settings, space))]


def _photo_edges(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors
) -> list[Edges]:
    """Return the photos that were compared, and those that could not be: by similarity alone."""
    found = candidate_pairs(lake, space, vectors)
    seen = stored_evidence(lake, space, vectors, found.pairs)
    known, other = np.flatnonzero(seen.known), np.flatnonzero(~seen.known)
    judged = scores(found.excesses[known], seen.inliers[known], seen.correlations[known])
    return [
        Edges.of_kind(
            PAIR_KINDS[space.modality],
            found.pairs.chosen(known),
            score_threshold(settings, space),
            judged,
        ),
        Edges.of_kind("near", found.pairs.chosen(other), near_threshold(settings, space)),
    ]
