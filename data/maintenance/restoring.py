"""Make the tables' older versions their present ones; history goes on from there.

Every table gets a new version that equals the old one, by Delta's restore: all of them or none, see
`data.undo`. The table of runs is history and stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data.commits import open_to_write, retrying_commit, signed
from data.undo import whole_or_undone
from data.versions import require_version

if TYPE_CHECKING:
    from data.lake import Lake, Snapshot

_HISTORY: Final = "tables/runs"


def restore_tables(lake: Lake, snapshot: Snapshot, run_id: str) -> int:
    """Bring all tables but that of runs to the state of a snapshot; tables it lacks are emptied.

    Embeddings that are younger than the snapshot stay: they cost the most and harm nobody, because
    they are keyed by content, and readers take those of contents in use only.

    Args:
        lake: whose; the caller is its only writer.
        snapshot: the state that is wanted again.
        run_id: recorded in the commits.

    Returns:
        How many tables changed.

    Raises:
        SchemaVersionError: the snapshot's tables have another layout than this code's.
    """
    require_version(f"{lake.uri}, snapshot {snapshot.number}", snapshot.schema_version)
    changed = [
        folder
        for folder in lake.versions()
        if folder != _HISTORY
        and (folder in snapshot.versions or folder.startswith("tables/"))
        and _files(lake, folder) != _files(lake, folder, snapshot)
    ]
    if changed:
        with whole_or_undone(lake, f"restore {snapshot.number}"):
            for folder in changed:
                _restore(lake, folder, snapshot.versions.get(folder), run_id)
    return len(changed)


def _files(lake: Lake, folder: str, snapshot: Snapshot | None = None) -> set[str]:
    """Return a table's files now, or in a snapshot."""
    if snapshot is not None and folder not in snapshot.versions:
        return set()
    table = lake.delta(folder, snapshot.versions[folder] if snapshot else None)
    return set(table.file_uris()) if table else set()


def _restore(lake: Lake, folder: str, version: int | None, run_id: str) -> None:
    def commit() -> None:
        table = open_to_write(lake.store, folder)
        if table is None:
            return
        if version is None:
            table.delete(commit_properties=signed(run_id))
        else:
            table.restore(version, commit_properties=signed(run_id))

    retrying_commit(commit, "restored table", lake.uri)
