"""Decisions of the reports that two spaces take differently about the same contents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from models.analysis.agreement import near_pairs, similarities_of, strange_ranks
from models.analysis.duplicates import Cover, Pairs, greedy_cover
from tasks.stages.calibrations import with_calibration
from tasks.stages.deduplicating import ranked_items
from tasks.stages.thresholds import is_verified, near_threshold

if TYPE_CHECKING:
    import pyarrow as pa

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from latentlake.settings import Settings
    from models.analysis.agreement import Spaces
    from models.analysis.graph import NeighbourGraph
    from models.types import Matrix, Metric, RowIds


@dataclass(frozen=True, slots=True)
class Flip:
    """A decision that one space takes and the other does not.

    Attributes:
        decision: "pair" (two contents are near-duplicates), "removal" (a content would go) or
            "anomaly" (a content is among the strangest 5 %).
        taken_by: "one" or "other".
        item: the URI of an item that has the content.
        twin: of a pair the other one, of a removal the one that would stay; None of an anomaly.
        one: similarity of the two, or the rank, in the first space.
        other: the same in the second space.
    """

    decision: str
    taken_by: str
    item: str
    twin: str | None
    one: float
    other: float


@dataclass(frozen=True, slots=True)
class Counted:
    """How often two spaces decide alike.

    Attributes:
        both: decisions that both take.
        one: those of the first space alone.
        other: those of the second space alone.
    """

    both: int
    one: int
    other: int


@dataclass(frozen=True, slots=True)
class Decided:
    """All decisions about a sample.

    Attributes:
        thresholds: the least similarity of near-duplicates in each space; None where only equal
            contents are copies.
        pairs: near-duplicates.
        removals: contents that "greedy-cover" would remove.
        anomalies: contents among the strangest 5 % of the sample.
        flips: what differs: pairs, removals, anomalies.
        unseen: whether a report would look at pixels, too: nobody has looked here.
    """

    thresholds: tuple[float | None, float | None]
    pairs: Counted
    removals: Counted
    anomalies: Counted
    flips: tuple[Flip, ...]
    unseen: bool


@dataclass(frozen=True, slots=True)
class Sampled:
    """The same contents in two spaces.

    Attributes:
        sides: the versions.
        ids: the contents.
        spaces: their prepared vectors.
        graphs: their exact neighbours.
    """

    sides: tuple[SpaceRow, SpaceRow]
    ids: pa.Array
    spaces: Spaces
    graphs: tuple[NeighbourGraph, NeighbourGraph]


def decide(lake: Lake, settings: Settings, snapshot: Snapshot, sampled: Sampled) -> Decided:
    """Take the decisions of the reports `duplicates` and `anomalies` in both spaces.

    They are those of the sample standing alone: the rules, thresholds and shares are the reports',
    but neighbours and twins outside of the sample are not looked at. Photos are judged by their
    vectors alone, in both spaces alike, also where reports verify them: what their pixels show
    does not depend on the encoder, and is compared again for the pairs that the new one proposes.
    """
    uris = _uris(lake, snapshot, sampled.ids)
    thresholds = [
        near_threshold(with_calibration(lake, settings, side), side) for side in sampled.sides
    ]
    found = [
        _pairs(space, threshold)
        for space, threshold in zip(sampled.spaces, thresholds, strict=True)
    ]
    covers = [
        greedy_cover(pairs, _priority(lake, settings, side, sampled.ids))
        for pairs, side in zip(found, sampled.sides, strict=True)
    ]
    judged = [
        strange_ranks(matrix, graph.narrowed(settings.space(side.id.name).neighbours))
        for (matrix, _), graph, side in zip(
            sampled.spaces, sampled.graphs, sampled.sides, strict=True
        )
    ]
    pairs, pair_flips = _pair_flips(sampled.spaces, found, uris)
    removals, removal_flips = _removal_flips(sampled.spaces, covers, uris)
    anomalies, anomaly_flips = _anomaly_flips(judged, uris)
    return Decided(
        (thresholds[0], thresholds[1]),
        pairs,
        removals,
        anomalies,
        (*pair_flips, *removal_flips, *anomaly_flips),
        any(is_verified(settings, side) for side in sampled.sides),
    )


def _pairs(space: tuple[Matrix, Metric], threshold: float | None) -> Pairs:
    if threshold is None:
        none = np.empty(0, np.int64)
        return Pairs(none, none, np.empty(0, np.float32))
    return near_pairs(*space, threshold)


def _pair_flips(spaces: Spaces, found: list[Pairs], uris: list[str]) -> tuple[Counted, list[Flip]]:
    rows = len(uris)
    keys = [pairs.first * rows + pairs.second for pairs in found]
    counted, alone = _counted(keys)
    flips = []
    for taken_by, own in zip(("one", "other"), alone, strict=True):
        first, second = own // rows, own % rows
        similarities = [similarities_of(*space, first, second) for space in spaces]
        flips += [
            Flip("pair", taken_by, uris[a], uris[b], float(one), float(other))
            for a, b, one, other in zip(first, second, *similarities, strict=True)
        ]
    return counted, flips


def _removal_flips(
    spaces: Spaces, covers: list[Cover], uris: list[str]
) -> tuple[Counted, list[Flip]]:
    counted, alone = _counted([cover.removed for cover in covers])
    flips = []
    for taken_by, cover, own in zip(("one", "other"), covers, alone, strict=True):
        twins = cover.twins[np.searchsorted(cover.removed, own)]
        similarities = [similarities_of(*space, own, twins) for space in spaces]
        flips += [
            Flip("removal", taken_by, uris[a], uris[b], float(one), float(other))
            for a, b, one, other in zip(own, twins, *similarities, strict=True)
        ]
    return counted, flips


def _anomaly_flips(judged: list[tuple[RowIds, int]], uris: list[str]) -> tuple[Counted, list[Flip]]:
    counted, alone = _counted([np.flatnonzero(ranks <= last) for ranks, last in judged])
    one, other = (ranks for ranks, _ in judged)
    flips = [
        Flip("anomaly", taken_by, uris[row], None, float(one[row]), float(other[row]))
        for taken_by, own in zip(("one", "other"), alone, strict=True)
        for row in own
    ]
    return counted, flips


def _counted(taken: list[RowIds]) -> tuple[Counted, list[RowIds]]:
    """Count what both, one and the other decide; also return what each decides alone."""
    one, other = taken
    alone = [np.setdiff1d(one, other), np.setdiff1d(other, one)]
    return Counted(one.size - alone[0].size, alone[0].size, alone[1].size), alone


def _priority(lake: Lake, settings: Settings, side: SpaceRow, ids: pa.Array) -> RowIds:
    """Return the sample's rows in the order in which the space would keep them."""
    configured = settings.space(side.id.name)
    ranked = ranked_items(lake, configured.sources, configured.duplicates.keep)
    rows = pc.index_in(ranked["content_id"].combine_chunks(), value_set=ids).drop_null().to_numpy()
    _, first = np.unique(rows, return_index=True)
    known = rows[np.sort(first)].astype(np.int64)
    rest = np.setdiff1d(np.arange(len(ids)), known)  # of other sources: whatever their order
    return np.concatenate((known, rest)).astype(np.int64)


def _uris(lake: Lake, snapshot: Snapshot, ids: pa.Array) -> list[str]:
    """Return for each content the first URI of an item that has it."""
    items = lake.read(
        "items",
        snapshot=snapshot,
        where=~pc.field("deleted"),
        within=("content_id", ids),
        columns=["content_id", "uri"],
    )
    named = items.group_by("content_id").aggregate([("uri", "min")])
    rows = pc.index_in(ids, value_set=named["content_id"].combine_chunks())
    uris: list[str] = named["uri_min"].combine_chunks().take(rows).to_pylist()
    return uris
