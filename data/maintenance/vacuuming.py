"""Remove from a lake what no kept snapshot needs.

A snapshot goes first, by its small file, and only then what it alone needed: a crash in between
leaves files that nothing names, which the next vacuum takes, and never a snapshot without its
files. What is young is left alone, because a run at work writes files before it names them. Looked
at is what latentlake itself writes under the root, by name; symbolic links are not followed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data.maintenance.needs import Needs, gather_needs
from data.storage import sync
from latentlake.errors import LakeNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from data.lake import Lake, Snapshot

_TABLES: Final = ("tables/*", "embeddings/*/*")


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
        kind: "snapshot", "shard", "table", "index", "model", "plan" or "temporary".
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
        raise LakeNotFoundError(str(lake.root))
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
    expired = [number for number in lake.snapshots() if number not in numbers]
    root = lake.root
    found = chain(
        (("snapshot", root / "snapshots" / f"{number:012d}.json") for number in expired),
        ((kind, path) for kind, path in _unneeded(root, needs) if _is_older(path, young)),
    )
    return [
        Removal(kind, path.relative_to(root).as_posix(), path.lstat().st_size)
        for kind, path in found
    ]


def carry_out(lake: Lake, removals: Sequence[Removal]) -> None:
    """Remove what was planned, in its order; folders that become empty go with it."""
    snapshots = [removal for removal in removals if removal.kind == "snapshot"]
    for removal in snapshots:
        (lake.root / removal.path).unlink(missing_ok=True)
    if snapshots:
        sync(lake.root / "snapshots")  # gone for good before the first of its files goes
    for removal in removals:
        path = lake.root / removal.path
        path.unlink(missing_ok=True)
        _remove_empty(path.parent, lake.root)


def _unneeded(root: Path, needs: Needs) -> Iterator[tuple[str, Path]]:
    for table in chain.from_iterable(root.glob(pattern) for pattern in _TABLES):
        kind = "shard" if table.parent.parent.name == "embeddings" else "table"
        for path in _files([table]):
            if "_delta_log" in path.parts or _is_temporary(path):
                continue
            if path.suffix == ".parquet" and os.path.realpath(path) not in needs.files:
                yield kind, path
    for kind, pattern in (("index", "indexes/*/*/*"), ("model", "models/*/*")):
        for folder in root.glob(pattern):
            if folder.relative_to(root).as_posix() not in needs.folders:
                yield from ((kind, path) for path in _files([folder]) if not _is_temporary(path))
    yield from (("plan", path) for path in _files([root / "work"]) if not _is_temporary(path))
    ours = [root / name for name in ("tables", "embeddings", "indexes", "models", "work")]
    leftovers = chain(_files([*ours, root / "snapshots"]), root.glob("_tmp-*"))
    yield from (("temporary", path) for path in leftovers if _is_temporary(path))


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_symlink():
            continue
        for place, _, names in os.walk(folder, followlinks=False):
            yield from (Path(place, name) for name in sorted(names))


def _is_temporary(path: Path) -> bool:
    """Say whether this is what a killed process left: see `data.storage` and index files."""
    name = path.name
    ours = name.startswith("_tmp-") or (name.startswith(".") and name.endswith(".tmp"))
    # delta-rs writes beside the target, under its name and a number.
    return ours or ".parquet#" in name or ("#" in name and path.parent.name == "_delta_log")


def _is_older(path: Path, young: float) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_mtime <= young


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it that are empty, down to the lake's own first level."""
    while root not in (folder, folder.parent) and folder.parent.name != "tables":
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
