"""Pairs of photos that may be duplicates: more alike than each is like its surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from models.analysis.duplicates import Pairs
from models.analysis.evidence import backgrounds, excess
from models.analysis.pairs import joined
from models.indexes.results import NO_ROW
from tasks.stages.pairing import stored_pairs
from tasks.stages.stored_graph import stored_lists

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from models.analysis.edges import Floats

LEAST_EXCESS: Final = 0.02
"""Over the background of both. On neardup_photos_dev .02 keeps 832 of 840 true pairs among 1,482, 0
keeps 837 among 1,961, .05 keeps 826 among 1,120; see docs/decisions/0019."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs that the pixels should decide about.

    Attributes:
        pairs: sorted, each once.
        excesses: (pairs,) float32, how much more similar than the background each is.
    """

    pairs: Pairs
    excesses: Floats


def candidate_pairs(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> Candidates:
    """Find the candidates among the stored pairs and the edges of the neighbour graph.

    They are what the data say, whatever batches it came in, as long as the graph is exact. Memory
    is that of the candidates, at most as many as the graph has edges.

    Raises:
        LakeError: the neighbour graph is missing, or of other contents.
    """
    background = np.empty(vectors.rows, np.float32)
    for rows, lists in stored_lists(lake, space, vectors):
        background[rows] = backgrounds(lists)

    def likely(pairs: Pairs) -> Pairs:
        found = excess(pairs.similarities, background, pairs.first, pairs.second)
        return pairs.chosen(found >= LEAST_EXCESS)

    parts = [likely(stored_pairs(lake, space.key, vectors))]
    for rows, lists in stored_lists(lake, space, vectors):
        there = lists.rows != NO_ROW
        own = np.broadcast_to(rows[:, None], there.shape)[there]
        other = lists.rows[there]
        edges = Pairs(np.minimum(own, other), np.maximum(own, other), lists.similarities[there])
        parts.append(likely(edges))
    found = _merged(parts)
    return Candidates(found, excess(found.similarities, background, found.first, found.second))


def _merged(parts: list[Pairs]) -> Pairs:
    """Join parts; of a pair that stands in several, the first part's similarity stays."""
    none = np.empty(0, np.int64)
    whole = Pairs(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.similarities for part in parts]),
    )
    return joined(whole, Pairs(none, none, np.empty(0, np.float32)))
