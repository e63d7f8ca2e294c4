"""Remove from a lake what no kept snapshot needs.

A snapshot goes first, by its small file, and only then what it alone needed: a crash in between
leaves files that nothing names, which the next vacuum takes, and never a snapshot without its
files. What is young is left alone, because a run at work writes files before it names them. Looked
at is what latentlake itself writes under the root, by name; symbolic links are not followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from data.lake import snapshot_name
from data.maintenance.needs import Needs, gather_needs
from latentlake.errors import LakeNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from data.lake import Lake, Snapshot
    from data.stores import Store, StoredFile

_OURS: Final = ("tables", "embeddings", "indexes", "models", "checkpoints", "work", "snapshots")
_FOLDERS: Final = {"indexes": ("index", 4), "models": ("model", 3)}
"""Where whole folders are needed or not: what they hold, and how deep they lie."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept besides the current snapshot.

    Attributes:
        keep_runs: the last so many snapshots; None for no such rule.
        keep_days: snapshots not older than so many days; None for no such rule.
        grace_hours: files not older than so many hours, which a run at work may be about to name.

    Without a rule all snapshots are kept; with two, a snapshot is kept that either keeps.
    """

    keep_runs: int | None = None
    keep_days: float | None = None
    grace_hours: float = 24.0


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that nothing kept needs.

    Attributes:
        kind: "snapshot", "shard", "table", "index", "model", "plan", "checkpoint" or "temporary".
        path: under the lake's root.
        size_bytes: what it takes on disk.
    """

    kind: str
    path: str
    size_bytes: int


def kept_snapshots(lake: Lake, retention: Retention, now: datetime) -> list[Snapshot]:
    """Return the snapshots that a rule keeps, the current one always, in order.

    Raises:
        LakeNotFoundError: there is none at all.
    """
    snapshots = [lake.any_snapshot(number) for number in lake.snapshots()]
    if not snapshots:
        raise LakeNotFoundError(lake.uri)
    rules = []
    if retention.keep_runs is not None:
        last = {snapshot.number for snapshot in snapshots[-max(1, retention.keep_runs) :]}
        rules.append(last)
    if retention.keep_days is not None:
        from datetime import datetime, timedelta

        oldest = now - timedelta(days=retention.keep_days)
        rules.append({s.number for s in snapshots if datetime.fromisoformat(s.at) >= oldest})
    if not rules:
        return snapshots
    kept = set.union(*rules) | {snapshots[-1].number}
    return [snapshot for snapshot in snapshots if snapshot.number in kept]


def plan_vacuum(lake: Lake, retention: Retention, now: datetime) -> list[Removal]:
    """List what could go, snapshots first; nothing is changed.

    Raises:
        LakeNotFoundError: there is no snapshot.
    """
    kept = kept_snapshots(lake, retention, now)
    young = now.timestamp() - retention.grace_hours * 3600
    needs = gather_needs(lake, kept, young)
    numbers = {snapshot.number for snapshot in kept}
    sizes = {found.name: found.size_bytes for found in lake.store.files("snapshots")}
    expired = [
        Removal("snapshot", snapshot_name(number), sizes.get(snapshot_name(number), 0))
        for number in lake.snapshots()
        if number not in numbers
    ]
    return expired + [
        Removal(kind, found.name, found.size_bytes)
        for kind, found in _unneeded(lake.store, needs)
        if found.modified_ns <= young * 1e9
    ]


def carry_out(lake: Lake, removals: Sequence[Removal]) -> None:
    """Remove what was planned, in its order; folders that become empty go with it."""
    snapshots = [removal.path for removal in removals if removal.kind == "snapshot"]
    lake.store.delete(snapshots)  # gone for good before the first of their files goes
    lake.store.delete([removal.path for removal in removals if removal.kind != "snapshot"])


def _unneeded(store: Store, needs: Needs) -> Iterator[tuple[str, StoredFile]]:
    for first in _OURS:
        for found in store.files(first):
            kind = _kind(PurePosixPath(found.name), needs)
            if kind is not None:
                yield kind, found
    for name in store.names(""):
        if name.startswith("_tmp-"):
            yield from (("temporary", found) for found in store.files("") if found.name == name)


def _kind(path: PurePosixPath, needs: Needs) -> str | None:
    """Say what a file is that nothing needs, or None if it stays."""
    first = path.parts[0]
    if _is_temporary(path):
        return "temporary"
    if first in _FOLDERS:
        kind, depth = _FOLDERS[first]
        is_held = len(path.parts) <= depth or "/".join(path.parts[:depth]) in needs.folders
        return None if is_held else kind
    if first in ("work", "checkpoints"):
        return "plan" if first == "work" else "checkpoint"
    if first == "snapshots" or "_delta_log" in path.parts or path.suffix != ".parquet":
        return None
    if str(path) in needs.files:
        return None
    return "shard" if first == "embeddings" else "table"


def _is_temporary(path: PurePosixPath) -> bool:
    """Say whether this is what a killed process left: see `data.storage` and index files."""
    name = path.name
    ours = name.startswith("_tmp-") or (name.startswith(".") and name.endswith(".tmp"))
    # delta-rs writes beside the target, under its name and a number.
    return ours or ".parquet#" in name or ("#" in name and path.parent.name == "_delta_log")
