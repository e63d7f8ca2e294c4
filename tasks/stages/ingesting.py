"""Find what is new, changed, moved, returned or gone in a source, and put it into `items`.

Commits go items, quarantine, files, and stand together: a run that was killed half-way is undone,
and its files are read again.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from data.lake import Lake, table_of
from data.sources import open_source
from data.sources.records import BadRecord, FileEntry
from data.undo import whole_or_undone
from latentlake.progress import report_progress
from tasks.stages.describing import Origin, quarantine_row
from tasks.stages.receipts import StageReceipt
from tasks.stages.scanning import Described, Scan, read_files, reader_version, scan_source
from tasks.stages.summaries import ignored_text

if TYPE_CHECKING:
    from latentlake.settings import Settings

COMMIT_ROWS = 200_000
"""Rows held before they are committed; a larger source takes several commits, each repeatable."""

_COUNTS = (
    "files",
    "read",
    "new",
    "changed",
    "moved",
    "returned",
    "vanished",
    "unchanged",
    "bad",
    "quarantined",
)


@dataclass
class _Pending:
    """Rows that wait for their commit."""

    items: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)


def ingest_source(lake: Lake, settings: Settings, name: str, run_id: str) -> StageReceipt:
    """Bring `items`, `quarantine` and `files` up to date with one source.

    Raises:
        SourceError: the source cannot be listed at all; nothing is changed then.
    """
    began = time.monotonic()
    source = open_source(settings.source(name), settings.resolve(settings.source(name).uri))
    reader = reader_version(settings.source(name))
    scan = scan_source(lake, name, source, reader)
    # Without news nothing is committed, so there is nothing that could have to be undone.
    with whole_or_undone(lake, f"ingest {name}") if scan.has_news else nullcontext():
        ingest = _Ingest(lake, name, run_id, reader, scan)
        ingest.take_unlisted()
        for done, (entry, described) in enumerate(
            read_files(source, scan.stale, Origin(name, run_id, 0), settings.run.thread_count)
        ):
            report_progress(f"ingest {name}", done, len(scan.stale), "files")
            ingest.take_file(entry, described)
        report_progress(f"ingest {name}", len(scan.stale), len(scan.stale), "files")
        ingest.take_vanished()
        ingest.commit(last=True)
    notes = (ignored_text(source.ignored_by_kind),) if source.ignored else ()
    return StageReceipt(
        "ingest", name, ingest.changed, ingest.counts, time.monotonic() - began, notes
    )


class _Ingest:
    """The bookkeeping of one scan: what each row means against what was there before."""

    def __init__(self, lake: Lake, name: str, run_id: str, reader: str, scan: Scan) -> None:
        self._lake, self._name, self._run_id, self._reader, self._scan = (
            lake,
            name,
            run_id,
            reader,
            scan,
        )
        self._pending = _Pending()
        self._committed = False
        self.counts = dict.fromkeys(_COUNTS, 0)
        self.counts["files"] = len(scan.entries)
        self.counts["read"] = len(scan.stale)
        touched = pa.array([e.file for e in scan.stale] + scan.vanished, pa.string())
        mine = pc.field("source") == name
        self._old: dict[str, dict[str, dict[str, Any]]] = {}
        for row in lake.read("items", where=mine, within=("file", touched)).to_pylist():
            self._old.setdefault(row["file"], {})[row["item_id"]] = row
        unread = (pc.field("source") == name) & pc.field("space").is_null()
        self._bad = {
            row["quarantine_id"]: row for row in lake.read("quarantine", where=unread).to_pylist()
        }
        self._bad_in: dict[str, set[str]] = {}
        for identity, row in self._bad.items():
            self._bad_in.setdefault(row["file"], set()).add(identity)
        live = lake.read(
            "items",
            where=(pc.field("source") == name) & ~pc.field("deleted"),
            columns=["item_id"],
        )
        self.counts["unchanged"] = live.num_rows
        gone = set(scan.vanished)
        self._movable = {
            row["content_id"]: row["uri"]
            for file in gone
            for row in self._old.get(file, {}).values()
            if not row["deleted"]
        }
        self._moved_from: set[str] = set()

    @property
    def changed(self) -> bool:
        """Whether anything was committed."""
        return self._committed

    def take_unlisted(self) -> None:
        """Note what could not even be listed."""
        for bad in self._scan.unlisted:
            self._take_bad(bad)

    def take_file(self, entry: FileEntry, described: Described) -> None:
        """Sort one file's records into new, changed, returned, moved, unchanged and bad."""
        old = self._old.pop(entry.file, {})
        bad_before = self._bad_in.pop(entry.file, set())
        seen: set[str] = set()
        bad_now: set[str] = set()
        for row in described:
            if isinstance(row, BadRecord):
                bad_now.add(self._take_bad(row))
            else:
                seen.add(row["item_id"])
                self._take_row(row, old.get(row["item_id"]))
            self._commit_if_many()
        for item_id in old.keys() - seen:
            self._tombstone(old[item_id])
        self._pending.healed += bad_before - bad_now
        self._note_file(entry, len(seen), len(bad_now))

    def take_vanished(self) -> None:
        """Mark the items of files that are gone, and forget those files' bad inputs."""
        for file in self._scan.vanished:
            for row in self._old.get(file, {}).values():
                self._tombstone(row)
            self._pending.healed += self._bad_in.pop(file, set())

    def commit(self, *, last: bool) -> None:
        """Commit what is pending: items, then quarantine, then (last) the files."""
        lake, pending = self._lake, self._pending
        self._pending = _Pending(files=pending.files)
        written = lake.upsert("items", table_of("items", pending.items), self._run_id)
        written += lake.upsert(
            "quarantine", table_of("quarantine", pending.quarantine), self._run_id
        )
        healed = pa.table({"quarantine_id": pa.array(pending.healed, pa.string())})
        lake.delete("quarantine", healed, self._run_id)
        self._committed |= bool(written or pending.healed)
        if last:
            self._commit_files()

    def _commit_files(self) -> None:
        gone = pa.table(
            {
                "source": pa.array([self._name] * len(self._scan.vanished), pa.string()),
                "file": pa.array(self._scan.vanished, pa.string()),
            }
        )
        rows = table_of("files", self._pending.files)
        self._committed |= bool(self._lake.upsert("files", rows, self._run_id))
        self._lake.delete("files", gone, self._run_id)
        self._committed |= gone.num_rows > 0

    def _commit_if_many(self) -> None:
        if len(self._pending.items) + len(self._pending.quarantine) >= COMMIT_ROWS:
            self.commit(last=False)

    def _take_bad(self, bad: BadRecord) -> str:
        row = quarantine_row(bad, self._name, self._run_id)
        self.counts["bad"] += 1
        old = self._bad.get(row["quarantine_id"])
        if old is None or any(old[column] != row[column] for column in _BAD_BECAUSE):
            self._pending.quarantine.append(row)
            self.counts["quarantined"] += 1
        identity: str = row["quarantine_id"]
        return identity

    def _take_row(self, row: dict[str, Any], old: dict[str, Any] | None) -> None:
        if old is None:
            origin = self._movable.get(row["content_id"])
            if origin is not None and origin not in self._moved_from:
                self._moved_from.add(origin)
                row["previous_uri"] = origin
                self.counts["moved"] += 1
            else:
                self.counts["new"] += 1
        elif old["deleted"]:
            self.counts["returned"] += 1
        elif _same(row, old):
            return
        elif row["content_id"] != old["content_id"]:
            self.counts["changed"] += 1
            self.counts["unchanged"] -= 1
        self._pending.items.append(row)

    def _tombstone(self, row: dict[str, Any]) -> None:
        if row["deleted"]:
            return
        self._pending.items.append(row | {"deleted": True, "last_run": self._run_id})
        self.counts["unchanged"] -= 1
        if row["uri"] not in self._moved_from:
            self.counts["vanished"] += 1

    def _note_file(self, entry: FileEntry, items: int, bad: int) -> None:
        known = self._scan.known.get(entry.file, {})
        row = {
            "source": self._name,
            "file": entry.file,
            "size_bytes": entry.size_bytes,
            "modified_ns": entry.modified_at,
            "etag": entry.etag,
            "reader": self._reader,
            "items": items,
            "quarantined": bad,
        }
        # A scan that only confirms what was known is no news, and no news commits nothing.
        was_ahead = known.get("scanned_ns", 0) > self._scan.started_ns
        if was_ahead or any(known.get(column) != value for column, value in row.items()):
            self._pending.files.append(row | {"scanned_ns": self._scan.started_ns})


_BAD_BECAUSE = ("stage", "error", "message", "size_bytes", "code")
_IGNORED = frozenset({"first_run", "last_run", "previous_uri"})


def _same(row: dict[str, Any], old: dict[str, Any]) -> bool:
    return all(old[column] == value for column, value in row.items() if column not in _IGNORED)
