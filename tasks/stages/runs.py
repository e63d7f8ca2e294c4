"""A run: its turn to write, its identity, and the one step that makes what it did visible."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import duckdb

from data.catalog import CATALOG_NAME, write_catalog
from data.changes import append_rows
from data.fencing import differs_from, fence_tables
from data.lake import Lake, Snapshot, table_of
from data.undo import become_writer, undo_unfinished
from latentlake.errors import LatentlakeError
from tasks.stages.budget import peak_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt

_LIBRARIES = (
    *("latentlake", "prefect", "torch", "faiss-cpu", "faiss-gpu", "gensim"),
    *("pyarrow", "deltalake", "duckdb"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of the pipeline, or of a stage alone.

    Attributes:
        run_id: sorts by start time.
        command: the flow's name.
        started_at: UTC.
        parent_snapshot: the state it started from; 0 for a new lake. It orders the runs, as
            clocks may be set back.
        began: the same moment as `started_at` on the clock that is never set back, in seconds.
    """

    run_id: str
    command: str
    started_at: datetime
    parent_snapshot: int
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        run_id: the run's identity.
        changed: whether anything was committed; if not, no snapshot and no row in `runs` was made.
        snapshot: the number of the lake's state after the run.
        seconds: wall time.
        receipts: the stages' own results, in order.
        finishing_seconds: what recording the run and renewing the catalog took.
    """

    run_id: str
    changed: bool
    snapshot: int
    seconds: float
    receipts: tuple[StageReceipt, ...]
    finishing_seconds: float = 0.0

    @property
    def errors(self) -> tuple[str, ...]:
        """One line for every stage that failed."""
        return tuple(receipt.error for receipt in self.receipts if receipt.error)

    @property
    def quarantined(self) -> int:
        """Inputs that this run put into quarantine."""
        return sum(
            receipt.counts.get("quarantined", 0) + receipt.counts.get("rejected", 0)
            for receipt in self.receipts
        )


class RunFailedError(LatentlakeError):
    """Some stages of a run failed; what the others did is committed."""

    def __init__(self, summary: RunSummary) -> None:
        self.summary = summary
        super().__init__("; ".join(summary.errors))


@contextmanager
def writing(lake: Lake, command: str, *, wait: bool = True) -> Iterator[None]:
    """Be the lake's only writer inside the block, after mending what a dead one has left.

    Raises:
        LakeBusyError: another writer is at work, and `wait` is false.
        LakeNotWritableError: the lake is read-only.
    """
    with lake.store.sole_writer(command, wait=wait) as was_broken:
        if was_broken:
            fence_tables(lake)
        lake.store.remove_leftovers()
        become_writer(lake)
        yield


def begin_run(lake: Lake, command: str) -> Run:
    """Give a new run its identity; nothing is written yet.

    Raises:
        SchemaVersionError: the lake's layout is not this code's.
    """
    return new_run(command, lake.snapshot().number if lake.snapshots() else 0)


def new_run(command: str, parent_snapshot: int) -> Run:
    """Name a run that starts now from a state; 0 is a lake without one."""
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}-{secrets.token_hex(3)}"
    return Run(run_id, command, now, parent_snapshot)


def finish_run(
    lake: Lake, settings: Settings, run: Run, receipts: Sequence[StageReceipt]
) -> RunSummary:
    """Record the run, make the lake's new state visible, and renew the catalog.

    What a dead run had finished is published with the rest. A run in which nothing was changed
    leaves no trace, but for a catalog that was missing or had been written for another place.
    """
    began = time.monotonic()
    # A stage that failed and could not be undone (a full disk) must not become visible.
    undo_unfinished(lake)
    run_id, seconds = run.run_id, began - run.began
    snapshot = _last_snapshot(lake)
    worked = any(receipt.changed for receipt in receipts)
    changed = worked or differs_from(lake, snapshot)
    if changed:
        dead = None if worked else _recorded_since(lake, snapshot)
        if dead is None:
            row = _row(settings, run, receipts, seconds)
            append_rows(lake, "runs", iter([table_of("runs", [row])]), run_id)
        run_id = dead or run_id
        snapshot = lake.commit_snapshot(run_id)
    if snapshot is None:
        return RunSummary(run_id, changed, 0, seconds, tuple(receipts))
    if changed or not _catalog_fits(lake, snapshot):
        write_catalog(lake, snapshot)
    return RunSummary(
        run_id, changed, snapshot.number, seconds, tuple(receipts), time.monotonic() - began
    )


def _last_snapshot(lake: Lake) -> Snapshot | None:
    """Return the last snapshot, of whatever layout: a migration ends here, too."""
    numbers = lake.snapshots()
    return lake.any_snapshot(numbers[-1]) if numbers else None


def _recorded_since(lake: Lake, snapshot: Snapshot | None) -> str | None:
    """Return the run that died between its row and its snapshot: the next snapshot is its own."""
    published = lake.read("runs", snapshot=snapshot, columns=["run_id"]) if snapshot else None
    known = set(published["run_id"].to_pylist()) if published else set()
    recorded = lake.read("runs", columns=["run_id"])["run_id"].to_pylist()
    return next((run_id for run_id in recorded if run_id not in known), None)


def _row(
    settings: Settings, run: Run, receipts: Sequence[StageReceipt], elapsed_s: float
) -> dict[str, Any]:
    names = [f"{receipt.stage} {receipt.subject}" for receipt in receipts]
    counts = {name: r.counts for name, r in zip(names, receipts, strict=True)}
    seconds = {name: round(r.seconds, 3) for name, r in zip(names, receipts, strict=True)}
    return {
        "run_id": run.run_id,
        "command": run.command,
        "started_at": run.started_at,
        "finished_at": run.started_at + timedelta(seconds=elapsed_s),
        "config_hash": hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16],
        "versions": json.dumps({n: found for n in _LIBRARIES if (found := _version(n))}),
        "counts": json.dumps(counts),
        "seconds": json.dumps(seconds),
        "peak_memory_bytes": peak_memory_bytes(),
        "parent_snapshot": run.parent_snapshot,
    }


def _catalog_fits(lake: Lake, snapshot: Snapshot) -> bool:
    try:
        with (
            lake.store.reading(CATALOG_NAME) as path,
            duckdb.connect(str(path), read_only=True) as connection,
        ):
            row = connection.execute("SELECT number, root FROM snapshot").fetchone()
    except (duckdb.Error, FileNotFoundError):
        return False
    return row == (snapshot.number, lake.uri)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except ModuleNotFoundError:
        return None
