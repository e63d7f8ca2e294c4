"""Which contents of a space count: those that items point to, or that are its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

if TYPE_CHECKING:
    import pyarrow as pa

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot


def active_contents(lake: Lake, space: SpaceRow, snapshot: Snapshot | None = None) -> pa.Array:
    """Return the contents whose vectors in a space count: those of items, or of its words."""
    if space.is_vocabulary:
        where = pc.field("space") == space.key
        rows = lake.read("vocabulary", snapshot=snapshot, where=where, columns=["content_id"])
    else:
        where = ~pc.field("deleted")
        rows = lake.read("items", snapshot=snapshot, where=where, columns=["content_id"])
    return rows["content_id"].combine_chunks()
