"""A step that stops a writer which lost its lease: its next commit to any table finds no room.

A commit of ours is for exactly the version after the one that was opened (`data.commits.signed`).
So one empty commit to each table, after the lease has changed hands, makes every commit fail that
was begun under the old lease. See `data.stores.leases`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from data.commits import changed_since, open_to_write, retrying_call, signed
from latentlake.commit_points import reach

if TYPE_CHECKING:
    from data.lake import Lake, Snapshot

logger = logging.getLogger(__name__)


def fence_tables(lake: Lake) -> None:
    """Commit an empty version to every table; the caller has just taken a lease over.

    Raises:
        WriterLostError: another writer has taken over in turn.
    """
    for folder in lake.table_folders():

        def commit(folder: str = folder) -> None:
            table = open_to_write(lake.store, folder)
            if table is not None:
                table.create_write_transaction(
                    [], mode="append", schema=table.schema(), commit_properties=signed("fence")
                )

        retrying_call(commit, folder, lake.uri)
    logger.warning("%s: taken over from a writer that did not end", lake.uri)
    reach("tables fenced")


def differs_from(lake: Lake, snapshot: Snapshot | None) -> bool:
    """Say whether any table is not as a snapshot has it; the empty commits do not count."""
    known = snapshot.versions if snapshot else {}
    return any(
        folder not in known or changed_since(lake.store, folder, known[folder], last)
        for folder, last in lake.versions().items()
    )
