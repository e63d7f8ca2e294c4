"""A run: its identity, and the one step that makes what it did visible."""

from __future__ import annotations

import hashlib
import json
import resource
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import duckdb

from data.catalog import CATALOG_NAME, write_catalog
from data.lake import Lake, Snapshot, table_of
from latentlake.errors import LakeNotFoundError, LatentlakeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt

_LIBRARIES = ("latentlake", "prefect", "torch", "faiss-cpu", "pyarrow", "deltalake", "duckdb")


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of the pipeline, or of a stage alone.

    Attributes:
        run_id: sorts by start time.
        command: the flow's name.
        started_at: UTC.
        parent_snapshot: the state it started from; 0 for a new lake.
    """

    run_id: str
    command: str
    started_at: datetime
    parent_snapshot: int


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


def begin_run(lake: Lake, command: str) -> Run:
    """Give a new run its identity; nothing is written yet."""
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}-{secrets.token_hex(3)}"
    return Run(run_id, command, now, (lake.snapshots() or [0])[-1])


def finish_run(
    lake: Lake, settings: Settings, run: Run, receipts: Sequence[StageReceipt]
) -> RunSummary:
    """Record the run, make the lake's new state visible, and renew the catalog.

    A run in which no stage changed anything leaves no trace, but for a catalog that was missing or
    had been written for another place.
    """
    began = time.monotonic()
    now = datetime.now(UTC)
    changed = any(receipt.changed for receipt in receipts)
    seconds = (now - run.started_at).total_seconds()
    if changed:
        lake.upsert("runs", table_of("runs", [_row(settings, run, receipts, now)]), run.run_id)
        snapshot = lake.commit_snapshot(run.run_id)
        write_catalog(lake, snapshot)
    else:
        try:
            snapshot = lake.snapshot()
        except LakeNotFoundError:
            return RunSummary(run.run_id, changed, 0, seconds, tuple(receipts))
        if not _catalog_fits(lake, snapshot):
            write_catalog(lake, snapshot)
    return RunSummary(
        run.run_id, changed, snapshot.number, seconds, tuple(receipts), time.monotonic() - began
    )


def _row(
    settings: Settings, run: Run, receipts: Sequence[StageReceipt], now: datetime
) -> dict[str, Any]:
    names = [f"{receipt.stage} {receipt.subject}" for receipt in receipts]
    counts = {name: r.counts for name, r in zip(names, receipts, strict=True)}
    seconds = {name: round(r.seconds, 3) for name, r in zip(names, receipts, strict=True)}
    return {
        "run_id": run.run_id,
        "command": run.command,
        "started_at": run.started_at,
        "finished_at": now,
        "config_hash": hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16],
        "versions": json.dumps({name: _version(name) for name in _LIBRARIES}),
        "counts": json.dumps(counts),
        "seconds": json.dumps(seconds),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
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
