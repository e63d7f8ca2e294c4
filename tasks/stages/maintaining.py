"""Maintenance as runs: each leaves a row in `runs`, a snapshot of its own and a new catalog."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from data.catalog import current_spaces
from data.locking import sole_writer
from data.maintenance.compacting import compact_space, compact_tables
from data.maintenance.mending import mend
from data.maintenance.migrating import migrate_tables, plan_migration
from data.maintenance.restoring import restore_tables
from data.schemas import SCHEMA_VERSION
from data.undo import whole_or_undone
from tasks.stages.receipts import StageReceipt
from tasks.stages.runs import begin_run, finish_run, new_run, writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from data.lake import Lake, Snapshot
    from data.maintenance.findings import Finding
    from data.maintenance.migrating import Step
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


def compact_lake(lake: Lake, settings: Settings, options: CompactionOptions) -> RunSummary:
    """Join small shards and small files of tables.

    Raises:
        LakeNotFoundError: there is no snapshot yet.
        ShardError: a shard cannot be read, or belongs to another space.
    """
    lake.snapshot()
    with writing(lake, "compact"):
        return _compacted(lake, settings, options)


def _compacted(lake: Lake, settings: Settings, options: CompactionOptions) -> RunSummary:
    run = begin_run(lake, "compact")
    receipts = []
    rows = options.shard_rows or settings.run.shard_rows
    used = _used_contents(lake) if options.drop_unused else None
    for space in current_spaces(lake).values():
        began = time.monotonic()
        done = compact_space(lake, space.id, rows, run.run_id, used)
        counts = asdict(done)
        seconds = time.monotonic() - began
        name = space.id.name
        receipts.append(StageReceipt("compact", name, bool(done.removed), counts, seconds))
    began = time.monotonic()
    lost = compact_tables(lake, run.run_id)
    seconds = time.monotonic() - began
    receipts.append(StageReceipt("compact", "tables", bool(lost), lost, seconds))
    return finish_run(lake, settings, run, receipts)


def restore_lake(lake: Lake, settings: Settings, snapshot: Snapshot) -> RunSummary:
    """Make an older state the current one, as a new snapshot.

    Raises:
        SchemaVersionError: the older state has another layout than this code's.
    """
    with writing(lake, "restore"):
        began = time.monotonic()
        run = begin_run(lake, "restore")
        with whole_or_undone(lake, "restore"):
            tables = restore_tables(lake, snapshot, run.run_id)
        receipt = StageReceipt(
            "restore",
            f"snapshot {snapshot.number}",
            bool(tables),
            {"tables": tables},
            time.monotonic() - began,
        )
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


def migrate_lake(lake: Lake, settings: Settings, steps: list[Step]) -> RunSummary:
    """Bring a lake of an older layout to the present one.

    Raises:
        LakeError: it holds what no version has written.
    """
    with sole_writer(lake.root, "migrate"):
        began = time.monotonic()
        run = new_run("migrate", (lake.snapshots() or [0])[-1])
        migrate_tables(lake, steps, run.run_id)
        counts = {"tables": len(steps)}
        seconds = time.monotonic() - began
        receipt = StageReceipt("migrate", "lake", True, counts, seconds)  # noqa: FBT003
        return finish_run(lake, settings, run, [receipt])


def mend_lake(lake: Lake, settings: Settings, findings: Sequence[Finding]) -> RunSummary:
    """Carry out what findings propose, where they do."""
    with writing(lake, "mend"):
        began = time.monotonic()
        run = begin_run(lake, "mend")
        mends = [finding.mend for finding in findings if finding.mend is not None]
        changed = mend(lake, mends, run.run_id)
        counts = {"mended": len(mends)}
        receipt = StageReceipt("mend", "lake", changed, counts, time.monotonic() - began)
        return finish_run(lake, settings, run, [receipt])


def _used_contents(lake: Lake) -> pa.Array:
    """Return the contents that an item points to now."""
    items = lake.read("items", where=~pc.field("deleted"), columns=["content_id"])
    return items["content_id"].combine_chunks()
