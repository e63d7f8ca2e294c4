"""The drift of a space's index, kept with its record from batch to batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.indexes.drift import SAMPLE, Drift, Layout, drift_of
from models.indexes.recall import RecallEstimate
from models.indexes.streams import sample, take

if TYPE_CHECKING:
    from models.indexes.vector_index import VectorIndex
    from models.types import RowIds, Vectors
    from tasks.stages.builds import Details


def layout_in(details: Details) -> Layout | None:
    """Return the layout at the training; None without lists, or of an older version."""
    known = details.get("layout")
    return Layout(**known) if known else None


def drift_in(details: Details) -> Drift | None:
    """Return the drift as it was after the last batch; None before the first."""
    known = details.get("drift")
    return Drift(**known | {"probe": RecallEstimate(**known["probe"])}) if known else None


def drift_after(
    index: VectorIndex, vectors: Vectors, added: RowIds, details: Details, seed: int
) -> Drift | None:
    """Return the drift once a batch is in the index; None where there is nothing to hold it to.

    Args:
        index: with the batch.
        vectors: all of the space.
        added: (rows,) int64, which of them the batch was.
        details: of the last version.
        seed: of the sample of the batch.
    """
    layout, before = layout_in(details), drift_in(details)
    if layout is None or added.size == 0:
        return before
    some = added[sample(added.size, SAMPLE, seed)]
    return drift_of(index, take(vectors, some), layout, before)
