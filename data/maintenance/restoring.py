"""Make the tables' older versions their present ones; history goes on from there.

Every table gets a new version that equals the old one, by Delta's restore. The order keeps a crash
harmless, because the next run starts from whatever it finds: `files` goes back first, so that what
differs is read again; `builds` is emptied before anything that it vouches for changes, and comes
back last, so that a half-restored report is rebuilt. The table of runs is history and stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deltalake import DeltaTable

from data.commits import retrying_commit, signed
from data.versions import require_version

if TYPE_CHECKING:
    from data.lake import Lake, Snapshot

_FIRST: Final = ("tables/files", "tables/items", "tables/quarantine", "tables/spaces")
_BUILDS: Final = "tables/builds"
_HISTORY: Final = "tables/runs"


def restore_tables(lake: Lake, snapshot: Snapshot, run_id: str) -> int:
    """Bring all tables but that of runs to the state of a snapshot; tables it lacks are emptied.

    Args:
        lake: whose.
        snapshot: the state that is wanted again.
        run_id: recorded in the commits.

    Returns:
        How many tables changed.

    Raises:
        SchemaVersionError: the snapshot's tables have another layout than this code's.
    """
    require_version(f"{lake.root}, snapshot {snapshot.number}", snapshot.schema_version)
    present = lake.table_folders()
    changed = [f for f in present if f != _HISTORY and _differs(lake, f, snapshot)]
    if not changed:
        return 0
    if _BUILDS in present:
        _empty(lake, _BUILDS, run_id)
    others = [folder for folder in changed if folder not in (*_FIRST, _BUILDS)]
    for folder in [folder for folder in _FIRST if folder in changed] + others:
        _restore(lake, folder, snapshot, run_id)
    if _BUILDS in present:
        _restore(lake, _BUILDS, snapshot, run_id)
    return len(changed)


def _differs(lake: Lake, folder: str, snapshot: Snapshot) -> bool:
    """Say whether a table's files are others than in a snapshot."""
    now = lake.delta(folder)
    held = set(now.file_uris()) if now else set()
    version = snapshot.versions.get(folder)
    then = lake.delta(folder, version) if version is not None else None
    return held != (set(then.file_uris()) if then else set())


def _restore(lake: Lake, folder: str, snapshot: Snapshot, run_id: str) -> None:
    version = snapshot.versions.get(folder)
    if version is None:
        # A table younger than the snapshot. Vectors cost the most and harm nobody: they are keyed
        # by content, and readers take those of contents in use only.
        if folder.startswith("tables/"):
            _empty(lake, folder, run_id)
        return

    def commit() -> None:
        DeltaTable(str(lake.root / folder)).restore(version, commit_properties=signed(run_id))

    retrying_commit(commit, "restored table")


def _empty(lake: Lake, folder: str, run_id: str) -> None:
    def commit() -> None:
        DeltaTable(str(lake.root / folder)).delete(commit_properties=signed(run_id))

    retrying_commit(commit, "restored table")
