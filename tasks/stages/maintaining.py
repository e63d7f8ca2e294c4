"""Maintenance that changes a lake: its only writer meanwhile, and, but for vacuum, a run.

A run leaves a row in `runs`, a snapshot of its own and a new catalog.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from data.active import active_contents
from data.catalog import space_versions
from data.maintenance.compacting import compact_space, compact_tables
from data.maintenance.mending import mend
from data.maintenance.migrating import migrate_tables, plan_migration
from data.maintenance.restoring import restore_tables
from data.maintenance.vacuuming import carry_out, plan_vacuum
from data.schemas import SCHEMA_VERSION
from tasks.stages.content_rows import drop_unused
from tasks.stages.receipts import StageReceipt
from tasks.stages.runs import begin_run, finish_run, new_run, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data.lake import Lake, Snapshot
    from data.maintenance.findings import Finding
    from data.maintenance.migrating import Step
    from data.maintenance.vacuuming import Removal, Retention
    from latentlake.settings import Settings
    from tasks.stages.runs import RunSummary


@dataclass(frozen=True, slots=True)
class CompactionOptions:
    """What a compaction does.

    Attributes:
        shard_rows: vectors a shard, at most; None for the configured `run.shard_rows`.
        drop_unused: leave out vectors of contents that no item points to any more.
    """

    shard_rows: int | None = None
    drop_unused: bool = False


def vacuum_lake(lake: Lake, retention: Retention, *, wait: bool = True) -> list[Removal]:
    """Remove what no kept snapshot needs, and return what that was.

    Raises:
        LakeNotFoundError: there is no snapshot.
        LakeBusyError: another writer is at work, and `wait` is false.
    """
    lake.snapshot()
    with writing(lake, "vacuum", wait=wait):
        removals = plan_vacuum(lake, retention, datetime.now(UTC))
        carry_out(lake, removals)
    return removals


def compact_lake(
    lake: Lake, settings: Settings, options: CompactionOptions, *, wait: bool = True
) -> RunSummary:
    """Join small shards and small files of tables.

    Raises:
        LakeNotFoundError: there is no snapshot yet.
        LakeBusyError: another writer is at work, and `wait` is false.
        ShardError: a shard cannot be read, or belongs to another space.
    """
    lake.snapshot()
    with writing(lake, "compact", wait=wait):
        run = begin_run(lake, "compact")
        receipts = list(_compacted(lake, settings, options, run.run_id))
        return finish_run(lake, settings, run, receipts)


def restore_lake(
    lake: Lake, settings: Settings, snapshot: Snapshot, *, wait: bool = True
) -> RunSummary:
    """Make an older state the current one, as a new snapshot.

    Raises:
        LakeBusyError: another writer is at work, and `wait` is false.
        SchemaVersionError: the older state has another layout than this code's.
    """
    with writing(lake, "restore", wait=wait):
        began = time.monotonic()
        run = begin_run(lake, "restore")
        tables = restore_tables(lake, snapshot, run.run_id)
        seconds, subject = time.monotonic() - began, f"snapshot {snapshot.number}"
        receipt = StageReceipt("restore", subject, bool(tables), {"tables": tables}, seconds)
        return finish_run(lake, settings, run, [receipt])


def needs_migration(lake: Lake) -> list[Step] | None:
    """List what is to be migrated; None if nothing is, not even a snapshot of the new layout.

    Raises:
        SchemaVersionError: a table was written by a newer latentlake.
    """
    steps = plan_migration(lake)
    numbers = lake.snapshots()
    is_old = numbers and lake.any_snapshot(numbers[-1]).schema_version < SCHEMA_VERSION
    return steps if steps or is_old else None


def migrate_lake(lake: Lake, settings: Settings, *, wait: bool = True) -> RunSummary:
    """Bring a lake of an older layout to the present one.

    Raises:
        LakeBusyError: another writer is at work, and `wait` is false.
        LakeError: it holds what no version has written.
        SchemaVersionError: a table was written by a newer latentlake.
    """
    with writing(lake, "migrate", wait=wait):
        began = time.monotonic()
        steps = needs_migration(lake)
        run = new_run("migrate", (lake.snapshots() or [0])[-1])
        migrate_tables(lake, steps or [], run.run_id)
        counts = {"tables": len(steps or [])}
        seconds = time.monotonic() - began
        receipt = StageReceipt("migrate", "lake", steps is not None, counts, seconds)
        return finish_run(lake, settings, run, [receipt])


def mend_lake(lake: Lake, settings: Settings, findings: Sequence[Finding]) -> RunSummary:
    """Carry out what findings propose, where they do; the next run makes again what is missing."""
    with writing(lake, "verify --mend"):
        began = time.monotonic()
        run = begin_run(lake, "mend")
        mends = [finding.mend for finding in findings if finding.mend is not None]
        changed = mend(lake, mends, run.run_id)
        counts = {"mended": len(mends)}
        receipt = StageReceipt("mend", "lake", changed, counts, time.monotonic() - began)
        return finish_run(lake, settings, run, [receipt])


def _compacted(
    lake: Lake, settings: Settings, options: CompactionOptions, run_id: str
) -> Iterator[StageReceipt]:
    rows = options.shard_rows or settings.run.shard_rows
    for space in space_versions(lake):
        began = time.monotonic()
        used = active_contents(lake, space) if options.drop_unused else None
        done = compact_space(lake, space.id, rows, run_id, used)
        seconds = time.monotonic() - began
        yield StageReceipt("compact", space.label, bool(done.removed), asdict(done), seconds)
    for table in ("wordings", "pixels") if options.drop_unused else ():
        began = time.monotonic()
        dropped = drop_unused(lake, settings, table, run_id)
        seconds = time.monotonic() - began
        yield StageReceipt("compact", table, bool(dropped), {"dropped": dropped}, seconds)
    began = time.monotonic()
    lost = compact_tables(lake, run_id)
    yield StageReceipt("compact", "tables", bool(lost), lost, time.monotonic() - began)
