"""A lake held still: everything that is read through it belongs to one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.lake import Lake

if TYPE_CHECKING:
    from deltalake import DeltaTable as Delta

    from data.lake import Snapshot


class PinnedLake(Lake):
    """The tables as one snapshot names them, for readers that look more than once.

    The stages read what is committed now, because they are the only writer. A command that reads
    beside a writer would see tables of two moments that way.
    """

    def __init__(self, lake: Lake, snapshot: Snapshot) -> None:
        """Hold a lake still.

        Args:
            lake: whose store is shared.
            snapshot: the state to read.
        """
        self.store = lake.store
        self.pinned = snapshot
        self._forget_tables()

    def delta(self, folder: str, version: int | None = None) -> Delta | None:
        """Open a Delta table at the snapshot's version, or return None if it had none then."""
        if version is None:
            version = self.pinned.versions.get(folder)
            if version is None:
                return None
        return super().delta(folder, version)

    def paths(self, folder: str, snapshot: Snapshot | None = None) -> list[str]:
        """Return the Parquet files of a table at the snapshot's version, sorted."""
        return super().paths(folder, snapshot or self.pinned)
